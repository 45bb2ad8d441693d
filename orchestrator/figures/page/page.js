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

function draw(place) {
  const { data, layout } = plots[place.id];
  Plotly.react(place, data, { ...layout, width: place.clientWidth, template: template() }, { displayModeBar: false });
}

// A button of a legend takes its variant out of the panels of its figure, or puts it back.
function toggle(button) {
  const shown = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(shown));
  for (const place of button.closest("section").querySelectorAll(".plot")) {
    for (const trace of plots[place.id].data) {
      if (trace.meta === button.value) trace.visible = shown;
    }
    draw(place);
  }
}

// In MLflow, or downloaded, the page has not its sweep's directory around it: paths stay, links would lead nowhere.
function unlinkAwayFromHome() {
  const name = JSON.parse(document.getElementById("name").textContent);
  if (decodeURIComponent(location.pathname.split("/").at(-3) ?? "") === name) return;
  for (const link of document.querySelectorAll("#latents a")) link.removeAttribute("href");
}

unlinkAwayFromHome();
const places = document.querySelectorAll(".plot");
const widths = new ResizeObserver((entries) => entries.forEach((entry) => draw(entry.target)));
places.forEach((place) => widths.observe(place)); // which draws each a first time
dark.addEventListener("change", () => places.forEach(draw));
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => toggle(button));
}
