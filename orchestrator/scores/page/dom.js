// Building elements. Every text becomes a text node; nothing here or elsewhere parses markup.

/** An element with attributes and children; strings among the children become text nodes, null is left out. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

/** A bar from 0 to 1 with a tick at `chance`; it repeats what a number beside it says. */
function meter(value, chance) {
  const bar = element("span", { class: "meter", "aria-hidden": "true" });
  if (value !== null) {
    const filled = element("span", { class: value < (chance ?? 0) ? "filled below" : "filled" });
    filled.style.setProperty("--value", value);
    bar.append(filled);
  }
  if (chance !== null) {
    const tick = element("span", { class: "tick" });
    tick.style.setProperty("--value", chance);
    bar.append(tick);
  }
  return bar;
}

/** A label and a select over [value, text] pairs; `onChange` is given the value. */
function choice(label, options, onChange) {
  const select = element("select", {}, options.map(([value, text]) => element("option", { value }, text)));
  select.addEventListener("change", () => onChange(select.value));
  return element("label", { class: "choice" }, element("span", {}, label), select);
}
