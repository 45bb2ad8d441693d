"use strict";

const plots = JSON.parse(document.getElementById("plots").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

// The colours of the page, as plotly takes them: it does not know CSS variables.
function template() {
  const style = getComputedStyle(document.documentElement);
  const [back, panel, line, text, muted] = ["back", "panel", "line", "text", "muted"].map((name) =>
    style.getPropertyValue(`--${name}`).trim(),
  );
  const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, tickcolor: line };
  return {
    layout: {
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
      paper_bgcolor: back,
      plot_bgcolor: back,
      font: { color: text, family: "system-ui, sans-serif", size: 13 },
      hoverlabel: { bgcolor: panel, bordercolor: line, font: { color: text } },
      modebar: { bgcolor: "rgba(0, 0, 0, 0)", color: muted, activecolor: text },
      xaxis: axis,
      yaxis: axis,
    },
    data: { bar: [{ error_x: { color: text } }] },
  };
}

function draw(name) {
  const { data, layout } = plots[name];
  Plotly.react(name, data, { ...layout, template: template() }, { displayModeBar: false, responsive: true });
}

function drawAll() {
  Object.keys(plots).forEach(draw);
}

// A button of a legend takes its variant out of the panels of its figure, or puts it back.
function toggle(button) {
  const shown = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(shown));
  for (const place of button.closest("section").querySelectorAll(".plot")) {
    for (const trace of plots[place.id].data) {
      if (trace.meta === button.value) trace.visible = shown;
    }
    draw(place.id);
  }
}

// In MLflow, or downloaded, the page has not its sweep's directory around it: paths stay, links would lead nowhere.
function unlinkAwayFromHome() {
  const home = JSON.parse(document.getElementById("home").textContent);
  if (decodeURIComponent(location.pathname).endsWith(home)) return;
  for (const link of document.querySelectorAll("#latents a")) link.removeAttribute("href");
}

unlinkAwayFromHome();
drawAll();
dark.addEventListener("change", drawAll);
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => toggle(button));
}
