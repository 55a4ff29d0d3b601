// The view for a class: one slide at a time, turned by keys and buttons, over the page as it stands.
// Knows the slides and the bar below them. Does not know Gradio: it is given a function that opens a tab.

import { element, icon } from "../../live/web/dom.js";
import { Stage } from "./stage.js";

const PATIENCE = 1500; // milliseconds in which the server begins to draw, before a slide says that it has nothing
const LATE = 2000; // milliseconds that the page is waited for when one leaves
const ICONS = {
  previous: "M11 3v10L4 8z",
  next: "M5 3v10l7-5z",
  join: "M2 2h5v5H2zM9 2h5v5H9zM2 9h5v5H2zM9 9h2v2H9zM12 9h2v2h-2zM9 12h2v2H9zM12 12h2v2h-2z",
  fullscreen: "M2 2h5v2H4v3H2zM9 2h5v5h-2V4H9zM2 9h2v3h3v2H2zM12 9h2v5H9v-2h3z",
  leave: "M3.6 2.2 8 6.6l4.4-4.4 1.4 1.4L9.4 8l4.4 4.4-1.4 1.4L8 9.4l-4.4 4.4-1.4-1.4L6.6 8 2.2 3.6z",
};

export class Presenter {
  /**
   * @param words key → text
   * @param slides [{name, parts, message, wide, legible, title, question, empty}]
   * @param actions {open(tab), join(), opener: the button that opened it}
   */
  constructor(words, slides, actions) {
    [this.words, this.slides, this.actions] = [words, slides, actions];
    this.at = 0;
    this.on = false;
    this._asked = new Set(); // tabs that are on their way
    this._build();
    this.stage = new Stage(this.bar);
    document.addEventListener("keydown", (event) => this._key(event));
    window.addEventListener("resize", (event) => event.isTrusted && this.on && this._fit());
    document.addEventListener("expertscope:lead", (event) => this.lead(event.detail));
    document.addEventListener("fullscreenchange", () => this._pressed());
    this._changes = new MutationObserver(() => this._later());
    this._sizes = new ResizeObserver(() => this.on && this.filled && this.stage.grown() && this._fit());
  }

  _build() {
    const { words } = this;
    this.buttons = {};
    const actions = {
      previous: () => this.turn(-1),
      next: () => this.turn(1),
      join: () => this.actions.join(),
      fullscreen: () => this._fullscreen(),
      leave: () => this.leave(),
    };
    for (const [name, action] of Object.entries(actions)) {
      const label = element("span", { class: "pr-label" }, words[name]);
      const button = element("button", { type: "button", class: `pr-button pr-${name}`, title: words[name] }, icon(ICONS[name]), label);
      button.addEventListener("click", action);
      this.buttons[name] = button;
    }
    this.buttons.fullscreen.hidden = !document.fullscreenEnabled;
    this.where = element("p", { class: "pr-where", role: "status" });
    this.question = element("span", { class: "pr-question" });
    this.title = element("strong");
    this.place = element("span", { class: "pr-place" });
    this.where.append(this.place, this.title, this.question);
    const { previous, next, join, fullscreen, leave } = this.buttons;
    this.bar = element("nav", { class: "pr-bar", "aria-label": words.label, hidden: true }, previous, next, this.where, join, fullscreen, leave);
    this.sentence = element("p");
    this.go = element("button", { type: "button", class: "pr-button pr-go" }, words.go);
    this.go.addEventListener("click", () => this.leave(this.slides[this.at].name));
    this.empty = element("div", { class: "pr-empty", hidden: true }, this.sentence, this.go);
    document.body.append(this.empty, this.bar);
  }

  /** Begin with slide `number` (from 0). */
  enter(number = 0) {
    if (this.on) return;
    this.on = true;
    this._asked.clear();
    this._late = "";
    this.before = { tab: openTab(), focus: document.activeElement };
    this.bar.hidden = false;
    this.stage.open();
    this._changes.observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["style"] });
    this._sizes.observe(this.stage.content);
    this._show(Math.max(0, Math.min(this.slides.length - 1, number)));
    this.buttons.next.focus({ preventScroll: true });
  }

  /** Give the page back as it was, or with the tab `tab` open, once that is open. */
  async leave(tab = "") {
    if (!this.on || this.leaving) return;
    this.leaving = true;
    clearTimeout(this._patience);
    this._changes.disconnect();
    if (document.fullscreenElement) document.exitFullscreen();
    const back = tab || this.before.tab;
    if (back && back !== openTab()) {
      this._open(back);
      await opened(back);
    }
    this.on = this.leaving = false;
    this._sizes.disconnect();
    this.bar.hidden = this.empty.hidden = true;
    this.stage.close();
    address(null);
    const { focus } = this.before;
    const target = tab ? document.getElementById("below") : focus?.isConnected && focus !== document.body ? focus : this.actions.opener;
    target?.focus({ preventScroll: true });
    if (tab) target?.scrollIntoView({ block: "start" });
  }

  /** Open a tab: at once where its button stands on the page; where there was no room for that, by the server. */
  _open(name) {
    this._asked.add(name);
    const button = this._late ? null : document.getElementById(`tab-${name}-button`);
    if (button) return button.click();
    this._late = name; // others go the same way until it has come, so that the last one wins
    this.actions.open(name);
  }

  turn(by) {
    if (this.leaving) return;
    const to = this.at + by;
    if (to >= 0 && to < this.slides.length) this._show(to);
  }

  _show(at) {
    this.at = at;
    const slide = this.slides[at];
    address(at + 1);
    this.place.textContent = this.words.where.replace("{n}", at + 1).replace("{all}", this.slides.length);
    this.title.textContent = slide.title;
    this.question.textContent = slide.question;
    this.buttons.previous.disabled = at === 0;
    this.buttons.next.disabled = at === this.slides.length - 1;
    document.documentElement.dataset.slide = slide.name;
    this.filled = null;
    this._patient = true;
    clearTimeout(this._patience);
    this._patience = setTimeout(() => ((this._patient = false), this._arrange()), PATIENCE);
    const closed = slide.name !== "live" && openTab() !== slide.name;
    if (closed) this._open(slide.name);
    window.scrollTo(0, 0);
    this._arrange();
    const { activeElement } = document;
    if (!this.bar.contains(activeElement) || activeElement.disabled) {
      const way = this.buttons.next.disabled ? this.buttons.previous : this.buttons.next;
      way.focus({ preventScroll: true });
    }
  }

  _later() {
    if (!this._due) this._due = requestAnimationFrame(() => ((this._due = 0), this.on && this._follow()));
  }

  /** The page has changed: a picture came, or a link in it led to a tab that has a slide of its own. */
  _follow() {
    const tab = openTab();
    const led = tab !== this._tab && !this._asked.delete(tab);
    if (led && this._arrived) this.lead(tab);
    this._arrange();
  }

  /** A link in the page leads to the tab `name`. */
  lead(name) {
    const slide = this.slides.findIndex((one) => one.name === name);
    if (this.on && slide >= 0 && slide !== this.at) this._show(slide);
  }

  _arrange() {
    const slide = this.slides[this.at];
    const tab = openTab();
    this._arrived = slide.name === "live" || tab === slide.name;
    if (tab === slide.name) this._asked.clear();
    if (tab === this._late) this._late = "";
    this._tab = tab;
    const there = this._arrived && this.stage.show(slide.parts);
    if (!there) this.stage.show([]);
    const why = there ? "" : this._why(slide);
    this.empty.hidden = !why;
    this.sentence.textContent = why;
    this.go.hidden = slide.name === "live";
    if (there && this.filled !== this.stage.shown) {
      this.filled = this.stage.shown;
      this._fit();
    }
  }

  /** What is said where a slide has nothing to show, or not yet. */
  _why(slide) {
    const drawing = slide.name !== "live" && document.querySelector(`#tab-${slide.name} [data-testid=status-tracker] .progress-text`);
    if (this._patient || !this._arrived || drawing) return this.words.wait;
    const message = slide.message ? document.querySelector(`#${slide.message} .status`)?.textContent.trim() : "";
    return message || slide.empty;
  }

  _fit() {
    this.stage.fit(this.slides[this.at]);
  }

  _key(event) {
    if (!this.on || this.leaving || event.defaultPrevented || event.isComposing || event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
    const writing = event.target.closest("input, textarea, select, [contenteditable=true]");
    const by = { PageDown: 1, PageUp: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") this.leave();
    else if (by && !(writing && event.key.startsWith("Arrow"))) this.turn(by);
    else return;
    event.preventDefault();
  }

  _fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen().catch((error) => console.warn("full screen:", error));
  }

  _pressed() {
    this.buttons.fullscreen.setAttribute("aria-pressed", document.fullscreenElement ? "true" : "false");
  }
}

/** The name of the tab that is open below the chat. */
function openTab() {
  const panels = document.querySelectorAll("#below > [role=tabpanel]");
  const open = [...panels].find((panel) => panel.style.display !== "none");
  return open ? open.id.replace(/^tab-/, "") : "";
}

/** Until the tab `name` is open, but not for ever. */
function opened(name) {
  return new Promise((resolve) => {
    const seen = new MutationObserver(() => openTab() === name && done());
    const late = setTimeout(() => done(), LATE);
    const done = () => (seen.disconnect(), clearTimeout(late), resolve());
    seen.observe(document.getElementById("below"), { subtree: true, attributes: true, attributeFilter: ["style"] });
    if (openTab() === name) done();
  });
}

/** Put the number of a slide into the page's address, or take it out. */
function address(number) {
  const url = new URL(location.href);
  if (number) url.searchParams.set("present", number);
  else url.searchParams.delete("present");
  history.replaceState(history.state, "", url);
}
