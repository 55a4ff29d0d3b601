// One card: the prompt, and for each of its recordings the mode, the tokens, the beginning of the answer, a picture of
// the load, and what can be done. Text of models and users is only ever put there as text.

import { element, icon, setText } from "../../live/web/dom.js";
import { takesShown } from "./filter.js";

const ICONS = {
  open: "M4 2.5v11l9-5.5z",
  link: "M6.5 9.5 9.5 6.5M7 4.5l1.6-1.6a2.6 2.6 0 0 1 3.7 3.7L10.7 8.2M9 11.5l-1.6 1.6a2.6 2.6 0 0 1-3.7-3.7L5.3 7.8",
  compare: "M3 3h4v10H3zM9 3h4v10H9zM9 6.5h4M3 9.5h4",
  delete: "M3.5 4.5h9M6.5 4V2.8h3V4M5 4.5l.6 8.7h4.8l.6-8.7M7 6.8v4M9 6.8v4",
};
const STROKED = ["link", "delete", "compare"];

export class Card {
  /** @param options {words, act, thumbnails, say, language, expired: () => void, it can no longer be taken back} */
  constructor(options) {
    this.options = options;
    this.element = element("li", { class: "lib-card" });
    this._last = "";
  }

  /** @param state {shown: id of the recording that the views show, filter, undoSeconds} */
  update(data, { shown, filter, undoSeconds }) {
    const takes = takesShown(data, filter);
    const key = JSON.stringify([data, takes.map((take) => take.id)]);
    if (key !== this._last) {
      const focused = this.element.contains(document.activeElement);
      this._last = key;
      clearTimeout(this._timer);
      this.expired = false;
      this.rows = new Map();
      if (data.deleted) this._deleted(data, undoSeconds);
      else this._draw(data, takes);
      this.element.classList.toggle("lib-deleted", Boolean(data.deleted));
      if (focused) this.element.querySelector("button")?.focus();
    }
    let any = false;
    for (const [id, row] of this.rows) {
      const now = id === shown;
      any ||= now;
      row.classList.toggle("lib-now", now);
      if (now) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
      setText(row.querySelector(".lib-shown"), now ? this.options.words("shown_now") : "");
    }
    this.element.classList.toggle("lib-shown-card", any);
  }

  _deleted(data, undoSeconds) {
    const { words, act } = this.options;
    const undo = this._button("undo", words("undo"), () => act({ what: "undo", id: data.id }));
    this.element.replaceChildren(element("p", { class: "lib-note" }, words("deleted", { n: data.number })), undo);
    this._timer = setTimeout(() => {
      this.expired = true;
      this.options.expired();
    }, 1000 * undoSeconds);
  }

  _draw(data, takes) {
    const { words } = this.options;
    const title = element("p", { class: "lib-title", dir: "auto", title: data.prompt }, data.prompt || words("untitled"));
    if (this.options.language) title.lang = this.options.language;
    const facts = [data.number && words("number", { n: data.number }), data.kind && words(`kind_${data.kind}`), data.file, data.topic_name, data.model];
    const line = element("p", { class: "lib-facts" }, facts.filter(Boolean).join(" · "));
    const head = element("div", { class: "lib-head" }, title, line);
    if (data.gone) {
      const remove = this._button("delete", words("remove"), () => this.options.act({ what: "delete", id: data.id }));
      this.element.replaceChildren(head, element("p", { class: "lib-note" }, data.gone), remove);
      return;
    }
    this.element.replaceChildren(head, element("div", { class: "lib-takes" }, ...takes.map((take) => this._take(take, data))));
  }

  _take(take, data) {
    const { words, act, thumbnails, say } = this.options;
    const mode = words(`mode_${take.mode}`);
    const top = element("p", { class: "lib-mode" }, element("b", {}, mode), element("span", { class: "lib-shown" }));
    const chips = element("p", { class: "lib-chips" });
    const chip = (phase, n) => n > 0 && chips.append(element("span", { class: `lib-chip lib-chip-${phase}` }, words(`chip_${phase}`, { n })));
    chip("thinking", take.thinking);
    chip("answer", take.answered);
    if (take.mode === "forced") chip("prompt", take.read);
    const facts = [
      take.seconds !== null && take.seconds !== undefined && words("seconds", { n: take.seconds }),
      take.created && clock(take.created),
      take.shape,
      take.finish !== "stop" && words(["length", "stopped", "interrupted", "error"].includes(take.finish) ? `finish_${take.finish}` : "finish_other"),
    ].filter(Boolean);
    if (take.edited) chips.append(element("span", { class: "lib-chip lib-chip-edited", title: take.edited }, words("edited")));
    const answer = element("p", { class: "lib-begin", dir: "auto" }, take.answer || words("no_answer"));
    if (!take.answer) answer.classList.add("lib-soft");
    const name = { prompt: data.prompt.slice(0, 60), mode };
    const buttons = element("div", { class: "lib-buttons" });
    buttons.append(this._button("open", words("replay"), () => act({ what: "open", id: take.id }), words("replay_name", name)));
    if (take.picture) {
      buttons.append(this._button("compare", words("compare"), () => act({ what: "compare", id: take.id }), words("compare_name", name)));
    }
    if (take.link) {
      const copied = (done) => say(words(done ? "link_copied" : "link_failed"));
      const copy = () => window.expertscope.copyLink(take.link).then(copied);
      buttons.append(this._button("link", words("copy_link"), copy, words("link_name", name)));
    } else {
      buttons.append(this._button("delete", words("delete"), () => act({ what: "delete", id: take.id }), words("delete_name", name)));
    }
    const row = element("div", { class: "lib-take" }, top, chips, answer);
    if (take.picture) {
      const canvas = element("canvas", { class: "lib-thumb", role: "img", "aria-label": words("thumbnail", { mode }) });
      const counted = element("p", { class: "lib-facts lib-counted" });
      thumbnails.watch(canvas, take.id, (n) => setText(counted, words("thumbnail_n", { n })));
      row.append(canvas, counted);
    }
    if (facts.length) row.append(element("p", { class: "lib-facts" }, facts.join(" · ")));
    row.append(buttons);
    this.rows.set(take.id, row);
    return row;
  }

  _button(kind, text, press, name = text) {
    const sign = ICONS[kind] ? [icon(ICONS[kind])] : [];
    if (STROKED.includes(kind)) sign[0].classList.add("lib-stroked");
    const label = element("span", {}, text);
    const button = element("button", { class: `lib-button lib-${kind}`, type: "button", "aria-label": name, title: name }, ...sign, label);
    button.addEventListener("click", press);
    return button;
  }
}

/** The time of day of a moment in ISO form, as the visitor's clock shows it. */
function clock(moment) {
  const date = new Date(moment);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleTimeString(document.documentElement.lang || [], { hour: "2-digit", minute: "2-digit" });
}
