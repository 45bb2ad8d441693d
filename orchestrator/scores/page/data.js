// The page's data; orchestrator/scores/page_data.py says how it is packed.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SIDES = DATA.coders.length === 1 ? ["latent"] : ["left", "right"];

/** A latent's contexts with their tokens and one activation per token. */
function contextsOf(latent) {
  return latent.contexts.map(([quantile, tokens, fires, values]) => {
    const activations = new Array(tokens.length).fill(0);
    fires.forEach((position, index) => { activations[position] = values[index]; });
    return { quantile, tokens: tokens.map((token) => DATA.strings[token]), activations };
  });
}

/** What a search looks through, lower case; made when it is first asked for. */
function haystack(latent) {
  latent.haystack ??= [
    latent.explanation,
    ...latent.contexts.map(([, tokens]) => tokens.map((token) => DATA.strings[token]).join("")),
    ...[...latent.promoted, ...latent.suppressed].map(([token]) => DATA.strings[token]),
  ].join("\n").toLowerCase();
  return latent.haystack;
}

/** Whether a latent is what `query` asks for: "#12" by its number's beginning, other words also by its texts. */
function matches(latent, query) {
  const asked = query.trim().toLowerCase();
  if (asked.startsWith("#")) return String(latent.latent).startsWith(asked.slice(1));
  return asked === "" || String(latent.latent).startsWith(asked) || haystack(latent).includes(asked);
}

/** What latents can be sorted by: [name, text, the value of a latent]. */
function sortKeys(coder) {
  const keys = [
    ["latent", "latent", (latent) => latent.latent],
    ["rate", "firing rate", (latent) => latent.rate],
    ["max", "max activation", (latent) => latent.max],
    ...coder.scorers.map((scorer, index) => [`score${index}`, `${scorer} score`, (latent) => latent.scores[index]]),
  ];
  const steps = coder.latents.some((latent) => latent.step !== null);
  return steps ? [...keys, ["step", "step of the pursuit", (latent) => latent.step]] : keys;
}

/** `latents` in the order of `valueOf`; those without a value come last either way. */
function sorted(latents, valueOf, descending) {
  const sign = descending ? -1 : 1;
  return [...latents].sort((one, other) => {
    const [a, b] = [valueOf(one), valueOf(other)];
    if (a === null || b === null) return (a === null) - (b === null) || one.latent - other.latent;
    return sign * (a - b) || one.latent - other.latent;
  });
}

/** The one of `latents` whose firing rate is nearest to `rate` by their ratio; null where none has a rate. */
function nearestByRate(latents, rate) {
  const distance = (latent) => Math.abs(Math.log((latent.rate + 1e-12) / (rate + 1e-12)));
  const rated = latents.filter((latent) => latent.rate !== null);
  if (rate === null || rated.length === 0) return null;
  return rated.reduce((best, latent) => (distance(latent) < distance(best) ? latent : best));
}
