// The list of a coder's latents: search, order, and rows that are made as they are scrolled to.

const BATCH = 100;

class LatentList {
  /** `side` is the name of its part of the address; `onChoose(latent, how)` hears of every choice made here. */
  constructor(coder, side, onChoose) {
    Object.assign(this, { coder, side, onChoose });
    Object.assign(this, { shown: [], rows: new Map(), made: 0, current: null, descending: false });
    this.keys = sortKeys(coder);
    this.key = this.keys[0];
    this.rowsElement = element("ol", { class: "rows" });
    this.end = element("div", { class: "end" });
    this.status = element("p", { role: "status", class: "status" });
    this.scroller = element("div", { class: "scroller" }, this.rowsElement, this.end);
    this.element = element("nav", { class: "list", "aria-label": `Latents of ${coder.title}` },
      this.toolbar(), this.status, this.scroller);
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    new IntersectionObserver(() => this.make(this.made + BATCH), { root: this.scroller, rootMargin: "400px" })
      .observe(this.end);
  }

  toolbar() {
    this.search = element("input", {
      type: "search", placeholder: "Search number, text, explanation", spellcheck: "false", autocomplete: "off",
      "aria-label": `Search the latents of ${this.coder.title}`,
    });
    this.search.addEventListener("input", () => this.refresh());
    const order = choice("Sort by", this.keys.map(([name, text]) => [name, text]), (name) => {
      this.key = this.keys.find((key) => key[0] === name);
      this.turn(name !== "latent" && name !== "step");
    });
    this.direction = element("button", { type: "button" });
    this.direction.addEventListener("click", () => this.turn(!this.descending));
    this.turn(false);
    return element("div", { class: "toolbar", role: "search" },
      this.search, element("div", { class: "order" }, order, this.direction));
  }

  turn(descending) {
    this.descending = descending;
    this.direction.textContent = descending ? "↓ high to low" : "↑ low to high";
    this.refresh();
  }

  /** Filter and sort again. */
  refresh() {
    const found = this.coder.latents.filter((latent) => matches(latent, this.search.value));
    this.shown = sorted(found, this.key[2], this.descending);
    this.status.textContent = `${found.length} of ${this.coder.latents.length} latents`;
    this.rowsElement.replaceChildren();
    this.rows.clear();
    this.made = 0;
    this.make(BATCH);
    this.mark(this.current);
  }

  /** Make rows up to the `count`th. */
  make(count) {
    const until = Math.min(count, this.shown.length);
    for (; this.made < until; this.made += 1) {
      const latent = this.shown[this.made];
      const row = this.row(latent);
      this.rows.set(latent, row);
      this.rowsElement.append(element("li", {}, row));
    }
    this.end.hidden = this.made === this.shown.length;
  }

  row(latent) {
    const scorer = this.key[0].startsWith("score") ? Number(this.key[0].slice(5)) : 0;
    const written = latent.promoted.slice(0, 4).map(([token]) => standalone(DATA.strings[token])).join(" ");
    const score = this.coder.scorers.length === 0 ? null : [
      element("span", {}, `${number(latent.scores[scorer])} ${this.coder.scorers[scorer]}`),
      meter(latent.scores[scorer], this.coder.chance[scorer]),
    ];
    const numbers = element("span", { class: "numbers" },
      element("span", {}, percent(latent.rate, 2)), element("span", {}, `max ${number(latent.max)}`),
      this.key[0] === "step" ? element("span", {}, `step ${number(latent.step)}`) : score);
    return element("a", { href: `#${this.side}=${latent.latent}`, "data-latent": latent.latent, tabindex: "-1" },
      element("span", { class: "name" }, `#${latent.latent}`),
      element("span", { class: latent.explanation ? "gist" : "gist none", dir: "auto" },
        visible(latent.explanation || (written ? `writes ${written}` : "no explanation"))),
      numbers);
  }

  /** Mark `latent` as the one that is shown, in view where it is in the list. Returns its row, or null. */
  mark(latent) {
    this.rows.get(this.current)?.removeAttribute("aria-current");
    for (const row of [this.stop, this.rows.get(this.current)]) row?.setAttribute("tabindex", "-1");
    this.current = latent;
    const place = this.shown.indexOf(latent);
    if (place >= 0) this.make(place + 10);
    const row = this.rows.get(latent) ?? null;
    row?.setAttribute("aria-current", "true");
    if (row) this.scrollTo(row);
    this.stop = row ?? this.rows.get(this.shown[0]);
    this.stop?.setAttribute("tabindex", "0");
    return row;
  }

  /** Bring a row into the list's own view; the page around it stays where it is. */
  scrollTo(row) {
    const [own, view] = [row.getBoundingClientRect(), this.scroller.getBoundingClientRect()];
    if (own.top < view.top) this.scroller.scrollTop -= view.top - own.top;
    if (own.bottom > view.bottom) this.scroller.scrollTop += own.bottom - view.bottom;
  }

  /** Put the focus on the chosen row. The page moves for it only where the row is below what is seen of the page. */
  focus() {
    this.stop?.focus({ preventScroll: true });
    if (this.stop?.getBoundingClientRect().bottom > innerHeight) this.stop.scrollIntoView({ block: "nearest" });
  }

  /** Choose the latent so many rows on, the first or last one at the ends. */
  move(rows) {
    const place = this.shown.indexOf(this.current);
    const next = place < 0 ? 0 : Math.min(Math.max(place + rows, 0), this.shown.length - 1);
    if (this.shown.length > 0) this.onChoose(this.shown[next], "key");
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inSearch = event.target === this.search;
    const steps = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    if (inSearch && event.key === "ArrowDown") {
      this.focus();
    } else if (inSearch && event.key === "Enter") {
      const exact = this.shown.find((one) => String(one.latent) === this.search.value.trim().replace("#", ""));
      if (this.shown.length > 0) this.onChoose(exact ?? this.shown[0], "key");
    } else if (inSearch && event.key === "Escape" && this.search.value !== "") {
      this.search.value = "";
      this.refresh();
    } else if (event.target.closest(".rows") && event.key in steps) {
      this.move(steps[event.key]);
    } else {
      return;
    }
    event.preventDefault();
  }
}
