// The live view: puts canvas, strip, panel and controls together and redraws what has changed, once a frame.
// Knows its parts and what people do to them. Does not know Gradio: it is given chunks and two callbacks.

import { Controls } from "./controls.js";
import { cellLines, Description, highlightSentence } from "./describe.js";
import { element, setText, speaker } from "./dom.js";
import { Ladder } from "./ladder.js";
import { Legend } from "./legend.js";
import { theme } from "./palette.js";
import { Picture } from "./draw.js";
import { Player } from "./player.js";
import { RunStore } from "./store.js";
import { Strip } from "./strip.js";

const PANEL_MS = 80; // the panel beside the canvas follows a stream at this pace, so that it can be read
let made = 0;

export class LiveView {
  /**
   * @param root an empty element
   * @param options {words: {en: {…}, …}, language, select: ({index, layer}) => void, counters: {…}}
   */
  constructor(root, options) {
    this.root = root;
    this.options = options;
    this.counters = options.counters || {};
    this.player = new Player();
    this.store = new RunStore("");
    this.cell = this.hover = null;
    this._dirty = new Set();
    this._still = window.matchMedia("(prefers-reduced-motion: reduce)");
    this._build();
    this.speak(options.language);
    this._watch();
    this.invalidate("all");
  }

  _build() {
    this.canvas = element("canvas", { class: "xs-canvas", role: "img", tabindex: "0" });
    this.description = new Description(`xs-description-${++made}`);
    this.canvas.setAttribute("aria-describedby", this.description.sentence.id);
    this.tip = element("div", { class: "xs-tip", hidden: true });
    this.stage = element("div", { class: "xs-stage" }, this.canvas, this.tip);
    this.picture = new Picture(this.canvas);
    this.message = element("p", { class: "xs-message" });
    this.highlight = element("p", { class: "xs-highlight" });
    this.strip = new Strip((index, focus) => this.choose(index, focus));
    this.ladder = new Ladder((position, expert) => this.pick({ position, expert }));
    this.legend = new Legend();
    const step = (by) => () => this.choose(this.player.token + by);
    this.controls = new Controls({
      first: () => this.choose(0),
      previous: step(-1),
      next: step(1),
      last: () => this.choose(this.store.tokens - 1),
      toggle: () => this.toggle(),
      live: () => this._moved(() => this.player.live(this.newest, this.store.done)),
      scrub: (index, final) => this.choose(index, false, final),
      pace: (pace) => this._moved(() => this.player.setPace(pace, performance.now())),
    });
    const left = element("div", { class: "xs-left" }, this.stage, this.highlight, this.legend.scales);
    this.body = element("div", { class: "xs-body" }, left, this.ladder.root);
    const head = element("div", { class: "xs-top" }, this.strip.box, this.legend.phases);
    this.root.replaceChildren(this.message, head, this.body, this.controls.root, this.description.root);
    this.parts = [head, this.body, this.controls.root];
  }

  _watch() {
    this._cleanups = [];
    const on = (target, name, listener) => {
      target.addEventListener(name, listener);
      this._cleanups.push(() => target.removeEventListener(name, listener));
    };
    on(this.root, "keydown", (event) => this._key(event));
    on(this.canvas, "pointermove", (event) => this._point(event));
    on(this.canvas, "pointerleave", () => this._unpoint());
    on(this.canvas, "click", (event) => this.pick(this._hit(event)));
    on(this._still, "change", () => this.invalidate("all"));
    const sizes = new ResizeObserver(() => this.invalidate("size"));
    sizes.observe(this.root);
    sizes.observe(this.stage);
    const themes = new MutationObserver(() => this.invalidate("all"));
    themes.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    this._cleanups.push(() => sizes.disconnect(), () => themes.disconnect());
  }

  /** Stop listening; the element may go. */
  destroy() {
    this._cleanups.forEach((clean) => clean());
    this._cleanups = [];
    this.destroyed = true;
  }

  speak(language) {
    this.words = speaker(this.options.words, language);
    this.root.setAttribute("aria-label", this.words("region"));
    this.controls.speak(this.words);
    this.invalidate("all");
  }

  /** Show another run, or the same one again after a remount. */
  show(store, player) {
    if (store.run !== this.store.run) this.cell = this.hover = null;
    this.store = store;
    this.player = player;
    this.strip.setMark(null);
    this._legendFor = null;
    this._when = null;
    this.invalidate("all");
  }

  /** Play a finished run from its start, at once or when it has come. */
  replay() {
    this._once((done) => {
      if (!done) return false;
      this.choose(0, false, this._still.matches);
      if (!this._still.matches && this.player.pace) this._moved(() => this.player.play(performance.now()));
      return true;
    });
  }

  /** Do `what` now, or as soon as it can be done with what has come; it tells whether it was done. */
  _once(what) {
    this._when = this.store.tokens && what(this.store.done) ? null : what;
  }

  /** The store has grown. */
  grown() {
    const { store, player } = this;
    if (!this._autoplayed && store.header && store.header.autoplay && store.done && !this._still.matches) {
      this._autoplayed = true;
      player.pace = store.header.autoplay;
      player.token = 0;
      player.play(performance.now());
    }
    player.grown(this.newest, store.done);
    if (this._when) this._once(this._when);
    this.invalidate("data");
  }

  /** The newest token that has something to show: the last one with a row, or the last one where nothing is routed. */
  get newest() {
    return this.store.rows && this.store.layers ? this.store.rowEnd - 1 : this.store.tokens - 1;
  }

  _moved(move) {
    move();
    this.invalidate("token");
    this._settled();
  }

  toggle() {
    this._moved(() => this.player.toggle(this.newest, this.store.done, performance.now()));
  }

  /** A person chose token `index`. */
  choose(index, focus = false, tell = true) {
    if (!this.store.tokens) return;
    this.player.go(index, this.store.tokens - 1);
    this._focus = focus;
    this.invalidate("token");
    if (tell) this._tell();
  }

  /** The page around chose a token and a layer's number (or null): go along, and do not tell it. */
  follow({ index, layer }) {
    this._once((done) => (done || index < this.store.tokens) && (this._follow(index, layer), true));
  }

  _follow(index, layer) {
    const position = this.store.header.layers.indexOf(layer);
    if (position >= 0 && (!this.cell || this.cell.position !== position)) {
      this.cell = { position, expert: null };
      this.strip.setMark(null);
    }
    this.choose(index, false, false);
    this.invalidate("cell");
  }

  /** A person chose a cell, a layer ({position, expert: null}), or nothing (null). The same again clears it. */
  pick(cell) {
    const old = this.cell;
    const same = cell && old && cell.position === old.position && cell.expert === old.expert;
    this.cell = same ? null : cell;
    const { store } = this;
    const chosen = this.cell && this.cell.expert !== null ? this.cell : null;
    this.strip.setMark(chosen ? (i) => store.uses(i, chosen.position, chosen.expert) : null);
    this.invalidate("cell");
    if (this.cell) this._tell();
  }

  _tell() {
    clearTimeout(this._telling);
    this._telling = setTimeout(() => {
      const layer = this.cell ? this.store.header.layers[this.cell.position] : null;
      if (this.player.token >= 0 && !this.destroyed) this.options.select({ run: this.store.run, index: this.player.token, layer });
    }, 100);
  }

  /** After playing or following has ended on a token, the rest of the page hears of it. */
  _settled() {
    if (!this.player.playing && !this.player.following) this._tell();
  }

  _key(event) {
    const inField = event.target.closest("input, select, textarea");
    if (event.key === "Escape" && this.cell) return this.pick(null), event.preventDefault();
    if (inField || event.altKey || event.ctrlKey || event.metaKey || !this.store.tokens) return;
    const onCanvas = event.target === this.canvas;
    const token = this.player.token;
    const jump = { ArrowLeft: token - 1, ArrowRight: token + 1, Home: 0, End: this.store.tokens - 1 }[event.key];
    if (jump !== undefined) this.choose(jump, this.strip.box.contains(event.target));
    else if (event.key === " " && !event.target.closest("button")) this.toggle();
    else if (onCanvas && (event.key === "ArrowUp" || event.key === "ArrowDown") && this.store.layers) {
      const from = this.cell ? this.cell.position + (event.key === "ArrowDown" ? 1 : -1) : 0;
      const position = Math.max(0, Math.min(this.store.layers - 1, from));
      if (!this.cell || position !== this.cell.position) this.pick({ position, expert: this.cell ? this.cell.expert : null });
    } else return;
    event.preventDefault();
  }

  _hit(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.store.layers ? this.picture.layout.hit(event.clientX - box.left, event.clientY - box.top) : null;
  }

  _point(event) {
    this.hover = this._hit(event);
    this._pointer = [event.offsetX, event.offsetY];
    this.invalidate("hover");
  }

  _unpoint() {
    this.hover = null;
    this.invalidate("hover");
  }

  _tooltip() {
    const { hover, tip, store } = this;
    tip.hidden = !hover || !store.layers;
    if (tip.hidden) return;
    const lines = cellLines(store, this.player.token, hover, this.words);
    tip.replaceChildren(...lines.map((line) => element("div", {}, line)));
    const [x, y] = this._pointer;
    const left = Math.min(x + 14, this.stage.clientWidth - tip.offsetWidth - 4);
    tip.style.left = `${Math.max(0, left)}px`;
    tip.style.top = `${y + 18 + tip.offsetHeight > this.stage.clientHeight ? y - tip.offsetHeight - 10 : y + 18}px`;
  }

  /** Something changed: "data", "token", "cell", "hover", "size" or "all". Drawn at the next frame. */
  invalidate(what) {
    this._dirty.add(what);
    if (this._frame || this.destroyed) return;
    this._frame = requestAnimationFrame((now) => {
      this._frame = 0;
      this._redraw(now);
    });
  }

  _redraw(now) {
    if (this.destroyed) return;
    const dirty = this._dirty;
    this._dirty = new Set();
    if (this.player.tick(performance.now(), this.newest, this.store.done)) dirty.add("token");
    const { store, player } = this;
    const any = (...names) => dirty.has("all") || names.some((name) => dirty.has(name));
    this._message();
    if (store.tokens || store.header) {
      if (this._legendFor !== store || any()) this.legend.update(store, this.words);
      this._legendFor = store;
      if (any("data")) this.strip.update(store, this.words);
      if (any("size")) this.strip.update(store, this.words);
      if (any("data", "token", "size") && player.token !== this._stripToken) this.strip.select(player.token, this._focus);
      else if (any("data") && player.following) this.strip.reveal(player.token);
      this._stripToken = player.token;
      this._focus = false;
      this._draw(any("data", "token", "cell", "hover", "size"));
      this._panel(now, any("data", "token", "cell", "size"));
      this.controls.update({ player, newest: this.newest, tokens: store.tokens, done: store.done });
      setText(this.highlight, highlightSentence(store, player.token, this.cell, this.words));
    } else {
      this.strip.empty(); // what was shown before is nobody's business any more
      this.description.empty();
    }
    this._tooltip();
    this._count();
    if (player.playing) this.invalidate("clock");
    else if (this._wasPlaying) this._settled();
    this._wasPlaying = player.playing;
  }

  _message() {
    const { store, words } = this;
    const text = store.gone ? words("gone") : store.header ? "" : words(store.run ? "loading" : "empty");
    setText(this.message, text);
    this.message.hidden = !text;
    this.parts.forEach((part) => (part.hidden = !store.header));
    this.root.dataset.state = store.gone ? "gone" : !store.header ? "empty" : store.done ? "done" : "live";
    this.root.classList.toggle("xs-dense", !!store.header && !store.layers);
  }

  _draw(needed) {
    const { store, player } = this;
    this.stage.hidden = this.highlight.hidden = !store.layers;
    if (!store.layers || !needed) return;
    const label = { title: store.header.title, layers: store.layers, experts: store.experts };
    this.canvas.setAttribute("aria-label", this.words("canvas_label", label));
    this.picture.draw({
      store,
      token: player.token,
      theme: theme(this.root),
      tail: !this._still.matches,
      cell: this.cell,
      hover: this.hover,
      words: this.words,
    });
    this.counters.frames = (this.counters.frames || 0) + 1;
    if (store.time && store.time !== this._timed && !store.done) {
      this.counters.lastLatencyMs = Date.now() - store.time;
      (this.counters.latencies ??= []).push(this.counters.lastLatencyMs);
      if (this.counters.latencies.length > 5000) this.counters.latencies.shift();
    }
    this._timed = store.time;
  }

  _panel(now, needed) {
    if (!needed && !this._panelDue) return;
    const moving = this.player.following || this.player.playing;
    if (moving && now - (this._panelAt || 0) < PANEL_MS) {
      this._panelDue ||= setTimeout(() => ((this._panelDue = 0), this.invalidate("token")), PANEL_MS);
      return;
    }
    this._panelAt = now;
    const scene = { store: this.store, token: this.player.token, cell: this.cell, words: this.words };
    if (this.player.token < 0) return;
    this.ladder.update(scene);
    if (!moving) this.description.update(this.store, this.player.token, this.words);
  }

  _count() {
    this.counters.run = this.store.run;
    this.counters.rows = this.store.rows;
    this.counters.tokens = this.store.tokens;
    this.counters.token = this.player.token;
  }
}
