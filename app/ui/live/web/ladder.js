// "This token": its text and phase, and layer by layer the experts it used with their gate weights.
// Knows a store and words. Does not know the canvas; only the layers in sight are written.

import { element, setText, visible } from "./dom.js";
import { GATE_CSS, gateIndex, gateTop, PHASES } from "./palette.js";

const CHIP = 29; // least width of an expert's chip, without the digits of its number
const DIGIT = 7;
const CHIP_HEIGHT = [18, 24]; // the least, where that brings all layers into sight, and the most
const RUNG = 4; // pixels of a layer above and below its chips
const LABEL = 28;
const PADDED = 12;

export class Ladder {
  /** @param onPick (position, expert) => void */
  constructor(onPick) {
    this.text = element("span", { class: "xs-quote" });
    this.meta = element("span", { class: "xs-meta" });
    this.note = element("p", { class: "xs-note" });
    this.sheet = element("div", { class: "xs-sheet" });
    this.box = element("div", { class: "xs-ladder", tabindex: "0", role: "group" }, this.sheet);
    this.head = element("div", { class: "xs-this" }, this.text, this.meta);
    this.root = element("section", { class: "xs-panel" }, this.head, this.note, this.box);
    this.rungs = [];
    this.width = this.sight = this.top = 0; // room for chips, height in sight, how far it is scrolled
    this.box.addEventListener("scroll", () => ((this.top = this.box.scrollTop), this._render()), { passive: true });
    this.box.addEventListener("click", (event) => {
      const chip = event.target.closest("[data-e]");
      if (chip) onPick(Number(chip.dataset.l), Number(chip.dataset.e));
    });
    this.box.addEventListener("keydown", (event) => this._key(event));
  }

  /** Look how large the box is; asked for seldom, since the browser may have to lay out the page to know. */
  measure() {
    this.width = this.box.clientWidth - PADDED;
    this.sight = this.box.clientHeight;
    this.top = this.box.scrollTop;
  }

  /** Enter goes from the list to its experts, the arrows from one to the next, Enter chooses, Escape leaves. */
  _key(event) {
    const chip = document.activeElement?.closest(".xs-chip");
    if (chip && event.key === "Escape") return this.box.focus(); // the view clears its highlight as well
    const to = chip ? this._beside(chip, event.key) : event.key === "Enter" ? [this._first, 0] : null;
    if (!to) return;
    this._focus(...to);
    event.preventDefault();
    event.stopPropagation();
  }

  /** Layer and place of the chip that an arrow key leads to from `chip`; null for other keys. */
  _beside(chip, key) {
    const { store, token } = this.scene;
    const { columns } = this;
    const [layer, place] = [Number(chip.dataset.l), [...chip.parentElement.children].indexOf(chip)];
    const last = (position) => store.used(token, position).length - 1;
    const line = (at) => Math.floor(at / columns);
    const [above, below] = [Math.max(0, layer - 1), Math.min(store.layers - 1, layer + 1)];
    const moves = {
      ArrowRight: () => (place < last(layer) ? [layer, place + 1] : [below, below > layer ? 0 : place]),
      ArrowLeft: () => (place ? [layer, place - 1] : [above, above < layer ? last(above) : place]),
      ArrowDown: () => (line(place) < line(last(layer)) ? [layer, Math.min(place + columns, last(layer))] : [below, below > layer ? Math.min(place % columns, last(below)) : place]),
      ArrowUp: () => (line(place) ? [layer, place - columns] : [above, above < layer ? Math.min(line(last(above)) * columns + place, last(above)) : place]),
    };
    return moves[key]?.() ?? null;
  }

  /** Only layers in sight have chips, and scrolling hands a chip on to another layer: first scroll, then focus. */
  _focus(layer, place) {
    this._reveal(layer);
    this._render(true);
    this.rungs[layer - this._first]?.chips[place]?.root.focus({ preventScroll: true });
  }

  /** @param scene {store, token, cell, words} */
  update(scene) {
    this.scene = scene;
    const { store, token, words } = scene;
    const phase = PHASES[store.phases.data[token]] || "marker";
    this.head.dataset.phase = phase;
    setText(this.text, store.tokens ? visible(store.texts[token]) : "");
    setText(this.meta, words("meta", { index: token, phase: words(phase) }));
    setText(this.note, this._note());
    this.box.setAttribute("aria-label", words("used_by"));
    this.box.hidden = !store.layers || !store.hasRow(token);
    this._render(true);
  }

  _note() {
    const { store, token, words } = this.scene;
    if (!store.layers) return words("dense");
    if (store.hasRow(token)) return store.hasWeights ? words("used_by") : `${words("used_order")}. ${words("no_weights")}`;
    if (token < store.rowStart) return words("no_row");
    return words(store.done ? "not_routed" : "not_routed_yet");
  }

  _render(dirty = false) {
    if (!this.scene || this.box.hidden) return;
    const { store, cell } = this.scene;
    if (this.width <= 0) return;
    const { k } = store.header;
    const chip = CHIP + DIGIT * String(store.experts - 1).length;
    const lines = Math.ceil(k / Math.max(1, Math.floor((this.width - LABEL) / chip)));
    const columns = Math.ceil(k / lines);
    const [least, most] = CHIP_HEIGHT;
    const each = Math.floor((this.sight / store.layers - RUNG) / lines);
    const high = Math.max(least, Math.min(most, each));
    const height = lines * high + RUNG;
    if (high !== this._high) this.sheet.style.setProperty("--xs-chip", `${(this._high = high)}px`);
    if (columns !== this.columns || height !== this.height) dirty = true;
    [this.columns, this.height] = [columns, height];
    this.sheet.style.height = `${height * store.layers}px`;
    this.top = Math.max(0, Math.min(this.top, height * store.layers - this.sight)); // fewer layers are scrolled back
    if (dirty && cell && (cell.position !== this._shownCell)) this._reveal(cell.position);
    this._shownCell = cell ? cell.position : null;
    const first = Math.max(0, Math.floor(this.top / height));
    const visibleRungs = Math.min(store.layers - first, Math.ceil(this.sight / height) + 1);
    if (!dirty && first === this._first && visibleRungs === this._count) return;
    [this._first, this._count] = [first, visibleRungs];
    while (this.rungs.length < visibleRungs) this._addRung();
    this.rungs.forEach((rung, i) => {
      rung.root.hidden = i >= visibleRungs;
      if (i < visibleRungs) this._write(rung, first + i);
    });
  }

  _reveal(position) {
    const top = position * this.height;
    if (top >= this.top && top + this.height <= this.top + this.sight) return;
    this.box.scrollTop = Math.max(0, top - this.sight / 2 + this.height / 2);
    this.top = this.box.scrollTop; // no further than there is
  }

  _addRung() {
    const rung = { label: element("span", { class: "xs-rung-label" }), chips: [], row: element("span", { class: "xs-chips" }) };
    rung.root = element("div", { class: "xs-rung" }, rung.label, rung.row);
    this.rungs.push(rung);
    this.sheet.append(rung.root);
  }

  _write(rung, position) {
    const { store, token, cell, words } = this.scene;
    const { k, weight_max: max } = store.header;
    const used = store.used(token, position);
    rung.root.style.top = `${position * this.height}px`;
    rung.root.style.height = `${this.height}px`;
    rung.root.classList.toggle("xs-chosen", !!cell && cell.position === position);
    rung.row.style.gridTemplateColumns = `repeat(${this.columns}, minmax(0, 1fr))`;
    setText(rung.label, words("layer_short", { layer: store.header.layers[position] }));
    while (rung.chips.length < used.length) {
      const chip = { id: element("b"), weight: element("span"), bar: element("i") };
      chip.root = element("button", { class: "xs-chip", type: "button", tabindex: "-1" }, chip.id, chip.weight, chip.bar);
      rung.chips.push(chip);
      rung.row.append(chip.root);
    }
    const top = gateTop(k, max);
    rung.chips.forEach((chip, j) => {
      const entry = used[j];
      chip.root.hidden = !entry;
      if (!entry) return;
      const chosen = !!cell && cell.position === position && cell.expert === entry.expert;
      chip.root.classList.toggle("xs-chosen", chosen);
      chip.root.dataset.l = position;
      chip.root.dataset.e = entry.expert;
      setText(chip.id, String(entry.expert));
      setText(chip.weight, entry.weight === null ? "" : decimals(entry.weight));
      chip.bar.style.width = entry.weight === null ? "0" : `${Math.min(100, (entry.weight / top) * 100)}%`;
      if (entry.weight !== null) chip.bar.style.background = GATE_CSS[gateIndex(entry.weight, top)];
    });
  }
}

/** A gate weight with the two decimals that a byte can carry: .21, 1.00 */
export function decimals(weight) {
  const text = weight.toFixed(2);
  return text.startsWith("0") ? text.slice(1) : text;
}
