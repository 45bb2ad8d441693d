// Numbers and tokens as a reader sees them.

/** So many significant digits, or a dash where there is no number. */
function number(value, digits = 3) {
  if (value === null) return "–";
  const whole = value === 0 || Math.abs(value) >= 10 ** digits - 0.5;
  const written = whole ? String(Math.round(value)) : value.toPrecision(digits);
  return written.replace(/^-/, "−");
}

/** A share of tokens, in percent. */
function percent(share, digits = 3) {
  return share === null ? "–" : `${number(100 * share, digits)} %`;
}

const SPACES = /^ +$/;
const UNSEEN = /[\u0000-\u001f\u007f-\u00a0\u00ad\u200b\u200e\u200f\u2028-\u202f\u2060-\u206f\ufeff]/gu;
const SIGNS = { "\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽" };

/** `text` with signs in place of characters that would not be seen, or that would turn the text around. */
function visible(text) {
  if (text === "") return "∅";
  const seen = SPACES.test(text) ? "·".repeat(text.length) : text;
  return seen.replace(UNSEEN, (one) => {
    const code = one.codePointAt(0);
    if (one in SIGNS) return SIGNS[one];
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

/** A token that stands alone, so that the spaces around it have to be seen too. */
function standalone(text) {
  return visible(text).replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length));
}
