// The library: a search row, this session's recordings, and the groups that come along. Redrawn from a value; cards that
// did not change stay as they are, so that focus and place are kept. Knows groups and filters; a card knows itself.

import { element, setText } from "../../live/web/dom.js";
import { Card } from "./card.js";
import { languagesOf, matches, takesShown } from "./filter.js";

const WIDE = 520; // pixels; on narrower pages only the first group is open at the start
const SAID_MS = 4000;
const MODES = ["thinking", "non-thinking", "forced"];

export class Library {
  /** @param options {words, languages: {code: name}, act: ({what, id}), thumbnails, filter} */
  constructor(root, options) {
    this.root = root;
    this.options = options;
    this.filter = options.filter;
    this.cards = new Map(); // id → Card
    this.value = { groups: [], own: [], shown: "" };
    this._build();
  }

  _build() {
    const { words } = this.options;
    this.root.setAttribute("aria-label", words("region"));
    this.search = element("input", { class: "lib-search", type: "search", placeholder: words("search"), "aria-label": words("search") });
    this.search.value = this.filter.text;
    this.search.addEventListener("input", () => this._filter({ text: this.search.value }));
    this.language = element("select", { class: "lib-select", "aria-label": words("language") });
    this.language.addEventListener("change", () => this._filter({ language: this.language.value }));
    this.mode = element("select", { class: "lib-select", "aria-label": words("mode") });
    this.mode.addEventListener("change", () => this._filter({ mode: this.mode.value }));
    this.count = element("output", { class: "lib-count" });
    const row = element("div", { class: "lib-filter", role: "search" }, this.search, this.language, this.mode, this.count);
    this.said = element("p", { class: "lib-said", role: "status" });
    this.sections = element("div", { class: "lib-sections" });
    this.none = element("p", { class: "lib-empty", hidden: true }, words("nothing"));
    const hint = element("p", { class: "lib-hint" }, words("thumbnail_hint"));
    this.root.replaceChildren(row, hint, this.said, this.none, this.sections);
  }

  /** Show a value of the component. */
  show(value) {
    this.value = value;
    const { words, languages } = this.options;
    choices(this.language, [["", words("all_languages")], ...languagesOf(value.groups).map((code) => [code, languages[code] || code])], this.filter.language);
    const takes = [...value.own, ...value.groups.flatMap((group) => group.cards)].flatMap((card) => card.takes);
    const modes = MODES.filter((mode) => takes.some((take) => take.mode === mode));
    choices(this.mode, [["", words("all_modes")], ...modes.map((mode) => [mode, words(`mode_${mode}`)])], this.filter.mode);
    this._draw();
  }

  _filter(change) {
    Object.assign(this.filter, change);
    this._draw();
  }

  _draw() {
    const { words } = this.options;
    const focus = document.activeElement;
    const own = { id: "own", title: words("own"), cards: this.value.own, language: "" };
    const sections = [own, ...this.value.groups].map((group) => this._section(group));
    const shown = sections.filter((section) => section.cards.length || (section.group === own && !this._filtered));
    place(this.sections, shown.map((section) => section.element));
    const total = sections.reduce((sum, section) => sum + section.cards.length, 0);
    setText(this.count, words(total === 1 ? "count_one" : "count", { n: total }));
    this.none.hidden = total > 0 || !this._filtered;
    if (focus && focus !== document.activeElement && focus.isConnected) focus.focus();
    this._drop();
  }

  get _filtered() {
    return Boolean(this.filter.text.trim() || this.filter.language || this.filter.mode);
  }

  _section(group) {
    const { words } = this.options;
    this._kept ??= new Map();
    let kept = this._kept.get(group.id);
    if (!kept) {
      const own = group.id === "own";
      const heading = element("h4", { id: `lib-group-${group.id}`, tabindex: own ? "-1" : null });
      const list = element("ul", { class: "lib-list" });
      const empty = element("p", { class: "lib-empty" }, words("own_empty"));
      const around = own
        ? element("section", { class: "lib-group", "aria-labelledby": heading.id }, heading, empty, list)
        : element("details", { class: "lib-group" }, element("summary", {}, heading), list);
      if (!own) around.open = this.root.clientWidth >= WIDE || group === this.value.groups[0];
      kept = { heading, list, empty, element: around };
      this._kept.set(group.id, kept);
    }
    setText(kept.heading, group.title);
    if (this._filtered && group.id !== "own") kept.element.open = true;
    const expired = (card) => card.deleted && this.cards.get(card.id)?.expired;
    const cards = group.cards.filter((card) => (card.deleted || matches(card, group.language, this.filter)) && !expired(card));
    kept.empty.hidden = group.id !== "own" || !group.cards.every(expired);
    kept.list.classList.toggle("lib-single", !cards.some((card) => takesShown(card, this.filter).length > 1));
    place(kept.list, cards.map((card) => this._card(card, group)));
    return { element: kept.element, cards: cards.filter((card) => !card.deleted), group: group.id === "own" ? group : null };
  }

  _card(data, group) {
    let card = this.cards.get(data.id);
    if (!card) {
      const act = (chosen) => this._act(chosen);
      const expired = () => this._expired(card, group);
      card = new Card({ ...this.options, act, expired, say: (text) => this._say(text), language: group.language });
      this.cards.set(data.id, card);
    }
    card.update(data, { shown: this.value.shown, filter: this.filter, undoSeconds: this.value.undo_seconds });
    return card.element;
  }

  _expired(card, group) {
    const focused = card.element.contains(document.activeElement);
    this._draw();
    if (focused) this._kept.get(group.id).heading.focus();
  }

  /** What is replayed or compared is brought into view: the cards may stand far below it. */
  _act(chosen) {
    this.options.act(chosen);
    const shown = document.getElementById({ open: "live-view", compare: "below" }[chosen.what]);
    if (!shown) return;
    const { top, bottom } = shown.getBoundingClientRect();
    if (top >= 0 && Math.min(bottom, top + 320) <= window.innerHeight) return;
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    shown.scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
  }

  _say(text) {
    setText(this.said, text);
    clearTimeout(this._saying);
    this._saying = setTimeout(() => setText(this.said, ""), SAID_MS);
  }

  _drop() {
    const known = new Set([...this.value.own, ...this.value.groups.flatMap((group) => group.cards)].map((card) => card.id));
    for (const id of this.cards.keys()) if (!known.has(id)) this.cards.delete(id);
  }
}

/** Make `children` the children of `parent`, moving only what stands elsewhere. */
function place(parent, children) {
  children.forEach((child, i) => {
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] || null);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}

function choices(select, pairs, value) {
  const key = JSON.stringify(pairs);
  if (select.__pairs !== key) {
    select.__pairs = key;
    select.replaceChildren(...pairs.map(([code, name]) => element("option", { value: code }, name)));
  }
  select.value = pairs.some(([code]) => code === value) ? value : "";
}
