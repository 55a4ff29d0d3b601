// The token strip: every token of the turn, coloured by phase, only the lines in sight as elements.
// Knows texts, phases and which token is selected. Does not know routing; it is told which tokens to mark.

import { element, visible } from "./dom.js";
import { PHASES } from "./palette.js";
import { LineBreaker } from "./strip_layout.js";

const LINE = 26;
const PADDED = 12; // the box's padding, left and right together
const PADDED_TOP = 8; // top and bottom
const SPARE = 3; // lines kept above and below those in sight
const REST_MS = 100;

export class Strip {
  /** @param onSelect (index) => void, by click */
  constructor(onSelect) {
    this.box = element("div", { class: "xs-strip", role: "listbox", tabindex: "-1", "aria-orientation": "horizontal" });
    this.sheet = element("div", { class: "xs-sheet", role: "presentation" });
    this.box.append(this.sheet);
    this.shown = []; // texts as shown
    this.lines = new Map(); // line number → element
    this.breaker = new LineBreaker((text) => this._pen().measureText(text).width);
    this.selected = -1;
    this.mark = null;
    this.width = this.height = this.top = 0; // inside the box, and how far it is scrolled
    this.box.addEventListener("scroll", () => this._scrolled(), { passive: true });
    this.box.addEventListener("click", (event) => {
      const token = event.target.closest("[data-i]");
      if (token) onSelect(Number(token.dataset.i), true);
    });
    if (document.fonts) document.fonts.ready.then(() => this.refit(true));
  }

  /** Look how large the box is; asked for seldom, since the browser may have to lay out the page to know. */
  measure() {
    this.width = Math.max(0, this.box.clientWidth - PADDED);
    this.height = this.box.clientHeight;
    this.top = this.box.scrollTop;
  }

  _pen() {
    if (!this._context) {
      this._context = document.createElement("canvas").getContext("2d");
      const style = getComputedStyle(this.sheet);
      this._context.font = `${style.fontSize} ${style.fontFamily}`;
    }
    return this._context;
  }

  /** Show `store`'s tokens; `words` names them. Call again when tokens were added. */
  update(store, words) {
    if (store !== this.store || words !== this.words) {
      this.store = store;
      this.words = words;
      this.box.setAttribute("aria-label", words("strip_label"));
      this.shown = [];
      this._clear();
      this.breaker.reset(this.width);
    }
    for (let i = this.shown.length; i < store.tokens; i++) this.shown.push(visible(store.texts[i]));
    if (!this.width) return; // hidden: laid out when shown
    if (this.breaker.width !== this.width) return this.refit();
    this._redraw(this.breaker.extend(this.shown));
    if (this.mark) this.setMark(this.mark); // rows may come later than their tokens
  }

  empty() {
    this.store = null;
    this.shown = [];
    this.selected = -1;
    this._clear();
    this.breaker.reset(this.width); // the box still hears that it was scrolled back
    this.sheet.style.height = "";
  }

  /** The width or the font has changed. */
  refit(fontChanged = false) {
    if (!this.width) return;
    if (fontChanged) this._context = null;
    this._clear();
    this.breaker.reset(this.width, fontChanged);
    this.breaker.extend(this.shown);
    this._redraw(0);
    if (this.selected >= 0) this.reveal(this.selected);
  }

  _clear() {
    for (const line of this.lines.values()) line.remove();
    this.lines.clear();
  }

  _redraw(from) {
    const held = this.box.contains(document.activeElement); // a line that is laid out anew must not lose the focus
    const tall = this.breaker.starts.length * LINE;
    this.sheet.style.height = `${tall}px`;
    this.top = Math.max(0, Math.min(this.top, tall + PADDED_TOP - this.height)); // a shorter run is scrolled back
    for (const [number, line] of this.lines) {
      if (number >= from) {
        line.remove();
        this.lines.delete(number);
      }
    }
    this._render();
    if (held && !this.box.contains(document.activeElement)) (this.find(this.selected) || this.box).focus({ preventScroll: true });
  }

  /** Lines in sight, and `spare` more on either side. */
  _range(spare) {
    const first = Math.floor(this.top / LINE) - spare;
    const last = Math.ceil((this.top + this.height) / LINE) + spare;
    return [Math.max(0, first), Math.min(this.breaker.starts.length, last)];
  }

  _scrolled() {
    if (this.box.scrollTop === this.top) return; // by `reveal`
    this.top = this.box.scrollTop;
    this._render();
  }

  _render(spare = SPARE) {
    const [from, to] = this._range(SPARE);
    const [first, last] = this._range(spare);
    for (const [number, line] of this.lines) {
      if (number < from || number >= to) {
        if (line.contains(document.activeElement)) this.box.focus({ preventScroll: true });
        line.remove();
        this.lines.delete(number);
      }
    }
    for (let number = first; number < last; number++) if (!this.lines.has(number)) this._line(number);
  }

  _line(number) {
    const line = element("div", { class: "xs-line", role: "presentation" });
    line.style.top = `${number * LINE}px`;
    const [from, to] = this.breaker.range(number);
    for (let i = from; i < to; i++) line.append(this._token(i));
    const next = [...this.lines.keys()].filter((n) => n > number).sort((a, b) => a - b)[0];
    this.sheet.insertBefore(line, next === undefined ? null : this.lines.get(next));
    this.lines.set(number, line);
  }

  _token(index) {
    const phase = PHASES[this.store.phases.data[index]] || "marker";
    const selected = index === this.selected;
    const token = element("span", {
      class: `xs-token xs-${phase}${selected ? " xs-selected" : ""}${this.mark && this.mark(index) ? " xs-marked" : ""}`,
      role: "option",
      "aria-selected": selected ? "true" : "false",
      "aria-posinset": index + 1,
      "aria-setsize": this.shown.length,
      "aria-label": this.words("token_label", { index, text: this.shown[index], phase: this.words(phase) }),
      tabindex: selected ? "0" : "-1",
      "data-i": index,
    });
    token.textContent = this.shown[index];
    return token;
  }

  /** The element of a token, where it is in sight. */
  find(index) {
    const line = this.lines.get(this.breaker.lineOf(index));
    return line ? line.querySelector(`[data-i="${index}"]`) : null;
  }

  /** Select a token and bring it into sight; `focus` moves the keyboard's focus along. */
  select(index, focus = false) {
    const had = this.selected >= 0 ? this.find(this.selected) : null;
    const moveFocus = focus || (had && had === document.activeElement);
    this.selected = index;
    this._state(had, false);
    if (index < 0) return;
    this.reveal(index);
    const now = this.find(index);
    this._state(now, true);
    if (now && moveFocus) now.focus({ preventScroll: true });
  }

  _state(token, selected) {
    if (!token) return;
    token.classList.toggle("xs-selected", selected);
    token.setAttribute("aria-selected", selected ? "true" : "false");
    token.tabIndex = selected ? 0 : -1;
  }

  reveal(index) {
    if (!this.breaker.starts.length) return;
    const top = this.breaker.lineOf(index) * LINE;
    const height = this.height - PADDED_TOP;
    if (top < this.top) this._scroll(Math.max(0, top - LINE));
    else if (top + LINE > this.top + height) this._scroll(top + 2 * LINE - height);
    this._render(0); // a leap makes no more than is seen; the rest follows when it rests
    clearTimeout(this._resting);
    this._resting = setTimeout(() => this._render(), REST_MS);
  }

  _scroll(top) {
    this.box.scrollTop = top;
    this.top = this.box.scrollTop; // no further than there is
  }

  /** Mark the tokens for which `test(index)` holds; null for none. */
  setMark(test) {
    this.mark = test;
    for (const line of this.lines.values()) {
      for (const token of line.children) token.classList.toggle("xs-marked", !!(test && test(Number(token.dataset.i))));
    }
  }
}
