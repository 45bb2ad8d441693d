// One pane per coder, what they show, the address, and the keys that work everywhere.

const panes = DATA.coders.map((coder, side) => {
  const detail = element("section", { class: "detail", "aria-label": `A latent of ${coder.title}` });
  const list = new LatentList(coder, SIDES[side], (latent, how) => choose(side, latent, how));
  const title = SIDES.length > 1 ? element("h2", { class: `side${side}` }, `${SIDES[side]}: ${coder.title}`) : null;
  const pane = element("div", { class: "pane" }, title, element("div", { class: "columns" }, list.element, detail));
  pane.addEventListener("focusin", () => { active = side; });
  pane.addEventListener("click", (event) => clicked(side, event));
  return { coder, detail, list, element: pane };
});
let active = 0;
let matching = "none";

/** The address of a latent on one side, the other side as it is. */
function address(side, latent) {
  const numbers = panes.map((pane, index) => (index === side ? latent : pane.list.current?.latent));
  return "#" + SIDES.map((name, index) => [name, numbers[index]])
    .filter(([, value]) => value !== undefined).map(([name, value]) => `${name}=${value}`).join("&");
}

function show(side, latent) {
  const { detail, list, coder } = panes[side];
  list.mark(latent);
  showLatent(detail, coder, latent, (other) => `#${SIDES[side]}=${other}`);
}

/** The latent of the other side that goes with `latent`, among those in its list; null where none does. */
function partner(side, latent) {
  const shown = panes[1 - side].list.shown;
  if (matching === "rate") return nearestByRate(shown, latent.rate);
  return shown[panes[side].list.shown.indexOf(latent)] ?? null;
}

/** Show `latent`, and its partner where rows move together. `how` it was chosen decides where the focus goes. */
function choose(side, latent, how) {
  if (latent !== panes[side].list.current) show(side, latent);
  const heading = panes[side].detail.querySelector("h2");
  if (heading.getBoundingClientRect().top < 0) heading.scrollIntoView();
  const other = matching === "none" ? null : partner(side, latent);
  if (other && other !== panes[1 - side].list.current) show(1 - side, other);
  if (how === "key") panes[side].list.focus();
  if (how === "enter") heading.focus();
  remember(how === "key");
}

/** Links to latents work without the address, which a frame may not have; with a key held they are plain links. */
function clicked(side, event) {
  const link = event.target.closest("a[data-latent]");
  if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const latent = panes[side].coder.latents.find((one) => one.latent === Number(link.dataset.latent));
  const byKey = event.detail === 0;
  choose(side, latent, byKey || panes[side].detail.contains(link) ? "enter" : "click");
}

/** Put what is shown into the address; a frame without an address of its own refuses, and goes without. */
function remember(replace) {
  try {
    history[replace ? "replaceState" : "pushState"](null, "", address(-1));
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
  }
}

/** Show what the address asks for, and the first of each list where it asks for nothing. */
function followAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  panes.forEach(({ coder, list, detail }, side) => {
    const wanted = coder.latents.find((latent) => String(latent.latent) === asked.get(SIDES[side]));
    const latent = wanted ?? list.current ?? list.shown[0];
    if (!latent) detail.replaceChildren(element("p", { class: "none" }, "No latents here"));
    else if (latent !== list.current) show(side, latent);
  });
}

/** A coder's facts beside the other's; those that differ are marked. */
function factsTable() {
  const names = [...new Set(DATA.coders.flatMap((coder) => coder.facts.map(([name]) => name)))];
  const facts = DATA.coders.map((coder) => new Map(coder.facts));
  if (facts.length === 1) {
    return element("dl", { class: "facts" }, names.map((name) => element("div", {},
      element("dt", {}, name), element("dd", {}, facts[0].get(name)))));
  }
  const made = table("Facts", ["", ...DATA.coders.map((coder, side) => `${SIDES[side]}: ${coder.title}`)],
    names.map((name) => [name, ...facts.map((own) => own.get(name) ?? "–")]), "compared");
  [...made.tBodies[0].rows].forEach((row, index) => {
    if (facts[0].get(names[index]) !== facts[1].get(names[index])) row.className = "differs";
  });
  return made;
}

function tools() {
  const values = element("button", { type: "button", "aria-pressed": "false" }, "Show activations");
  values.addEventListener("click", () => {
    values.setAttribute("aria-pressed", String(document.body.classList.toggle("values")));
  });
  if (panes.length === 1) return [values];
  const options = [["none", "each by itself"], ["rank", "together, by rank in the lists"],
    ["rate", "together, by nearest firing rate"]];
  const together = choice("Rows move", options, (value) => {
    matching = value;
    if (panes[active].list.current) choose(active, panes[active].list.current, "match");
  });
  return [together, values];
}

function pressed(event) {
  const writing = event.target.closest("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const { list, detail } = panes[active];
  if (event.key === "Escape" && (event.target === list.search || detail.contains(event.target))) {
    list.focus();
  } else if (writing) {
    return;
  } else if (event.key === "/") {
    list.search.focus();
    list.search.select();
  } else if (event.key === "j" || event.key === "k") {
    list.move(event.key === "j" ? 1 : -1);
  } else {
    return;
  }
  event.preventDefault();
}

if (DATA.coders.length > 1) document.body.classList.add("comparison");
document.getElementById("facts").append(factsTable());
document.getElementById("tools").append(...tools());
document.getElementById("panes").append(...panes.map((pane) => pane.element));
document.getElementById("spread").open = innerWidth > 860;
document.getElementById("spread").hidden = DATA.coders.every((coder) => coder.scorers.length === 0);
document.addEventListener("keydown", pressed);
addEventListener("hashchange", followAddress);
followAddress();
