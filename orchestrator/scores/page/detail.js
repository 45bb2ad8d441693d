// All that is known of one latent.

/** Put `latent` of `coder` into `place`; `link(latent)` makes the address of another latent of that coder. */
function showLatent(place, coder, latent, link) {
  const heading = element("h2", { tabindex: "-1" }, `Latent ${latent.latent}`);
  place.replaceChildren(
    heading,
    element("p", { class: latent.explanation ? "explanation" : "explanation none", dir: "auto" },
      latent.explanation ? visible(latent.explanation) : "No explanation"),
    numbersOf(latent),
    element("div", { class: "tables" }, scoresOf(coder, latent), neighboursOf(coder, latent, link)),
    ...logitsOf(latent),
    ...contextGroups(latent),
  );
}

function numbersOf(latent) {
  const often = latent.rate > 0 ? ` (1 in ${Math.round(1 / latent.rate).toLocaleString("en")} tokens)` : "";
  const facts = [["Fires on", `${percent(latent.rate)}${often}`], ["Max activation", number(latent.max)]];
  if (latent.step !== null) facts.push(["Chosen at step", `${number(latent.step)} on average`]);
  return element("dl", { class: "facts" },
    facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

/** A table with a caption; a cell is a string or an element, and the first one of a row names it. */
function table(caption, head, rows, name = "") {
  return element("table", { class: name },
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, head.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, rows.map(([first, ...rest]) => element("tr", {},
      element("th", { scope: "row" }, first), rest.map((cell) => element("td", {}, cell))))));
}

function scoresOf(coder, latent) {
  if (coder.scorers.length === 0) return null;
  return table("Scores of the explanation", ["Scorer", "Score", "Chance", ""], coder.scorers.map((scorer, index) => {
    const [score, chance] = [latent.scores[index], coder.chance[index]];
    return [breakable(scorer), score === null ? "not scored" : number(score), number(chance), meter(score, chance)];
  }), "scorers");
}

/** A name that may go on in another line after each underscore. */
function breakable(name) {
  return element("span", {}, name.split(/(?<=_)/).flatMap((part) => [part, element("wbr")]));
}

function neighboursOf(coder, latent, link) {
  if (latent.neighbours.length === 0) return null;
  const here = new Map(coder.latents.map((one) => [one.latent, one]));
  return table("Nearest decoder rows", ["Latent", "Cosine", "Explanation"], latent.neighbours.map(([other, cosine]) => [
    here.has(other) ? element("a", { href: link(other), "data-latent": other }, `#${other}`) : `#${other}`,
    number(cosine),
    here.has(other) ? visible(here.get(other).explanation || "–") : "not on this page",
  ]), "neighbours");
}

/** The tokens that the decoder row writes for and against, each with its weight. */
function logitsOf(latent) {
  const lists = [["Promoted tokens", latent.promoted], ["Suppressed tokens", latent.suppressed]];
  return lists.filter(([, tokens]) => tokens.length > 0).map(([name, tokens]) => element("section", { class: "logits" },
    element("h3", {}, name),
    element("ul", {}, tokens.map(([token, weight]) => element("li", {},
      element("code", { dir: "auto" }, standalone(DATA.strings[token])),
      element("span", {}, `${weight > 0 ? "+" : ""}${number(weight)}`))))));
}

/** A section per quantile, in the order of the quantiles. */
function contextGroups(latent) {
  const groups = new Map();
  for (const context of contextsOf(latent)) {
    if (!groups.has(context.quantile)) groups.set(context.quantile, []);
    groups.get(context.quantile).push(context);
  }
  const strengths = [...groups.values()].flat().flatMap((context) => context.activations.map(Math.abs));
  const full = strengths.reduce((most, strength) => Math.max(most, strength), latent.max ?? 0) || 1;
  return [...groups.entries()].sort(([one], [other]) => one - other).map(([quantile, contexts]) => {
    const peaks = contexts.map((context) => Math.max(0, ...context.activations.map(Math.abs)));
    const range = [...new Set([number(Math.min(...peaks)), number(Math.max(...peaks))])].join(" to ");
    return element("section", { class: "quantile" },
      element("h3", {}, quantile === 0 ? "Top" : `Quantile ${quantile}`,
        element("span", {}, quantile === 0 ? "the strongest of all" : "drawn; 1 is the strongest", ` · peaks ${range}`)),
      element("ol", { class: "contexts" }, contexts.map((context, index) => contextRow(context, peaks[index], full))));
  });
}

function contextRow(context, peak, full) {
  const text = element("span", { class: "text", dir: "auto" });
  const strongest = peak > 0 ? context.activations.findIndex((value) => Math.abs(value) === peak) : -1;
  context.tokens.forEach((token, index) => {
    const value = context.activations[index];
    const made = element("span", { title: `${standalone(token)}: ${number(value)}` }, visible(token));
    if (value) {
      made.className = value < 0 ? "token against" : "token";
      made.dataset.value = number(value);
      made.style.setProperty("--strength", (0.1 + 0.9 * Math.abs(value) / full).toFixed(3));
    }
    if (index === strongest) made.classList.add("strongest");
    text.append(made);
  });
  return element("li", {}, element("span", { class: "peak" }, number(peak)), text);
}
