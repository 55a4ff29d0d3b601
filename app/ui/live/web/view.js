// The live view: what is shown, what people do to it, and a frame for what has changed.
// Knows a store, a player and a screen. Does not know Gradio: it is given chunks and a callback.

import { meaning } from "./keys.js";
import { Player } from "./player.js";
import { Screen } from "./screen.js";
import { speaker } from "./dom.js";
import { RunStore } from "./store.js";

export class LiveView {
  /**
   * @param root an empty element
   * @param options {words: {en: {…}, …}, language, select: ({run, index, layer}) => void,
   *   elsewhere: ({layer, expert}) => void, counters: {…}}
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
    this.screen = new Screen(root, this._actions(), this.counters);
    this.speak(options.language);
    this._watch();
    this.invalidate("all");
  }

  _actions() {
    const step = (by) => () => this.choose(this.player.token + by);
    return {
      first: () => this.choose(0),
      previous: step(-1),
      next: step(1),
      last: () => this.choose(this.store.tokens - 1),
      toggle: () => this.toggle(),
      live: () => this._moved(() => this.player.live(this.newest, this.store.done)),
      scrub: (index, final) => this.choose(index, false, final),
      pace: (pace) => this._moved(() => this.player.setPace(pace, performance.now())),
      choose: (index, focus) => this.choose(index, focus),
      pick: (cell) => this.pick(cell),
      again: (what) => this.invalidate(what),
      elsewhere: () => this._elsewhere(),
    };
  }

  _watch() {
    this._cleanups = [];
    const on = (target, name, listener) => {
      target.addEventListener(name, listener);
      this._cleanups.push(() => target.removeEventListener(name, listener));
    };
    const { canvas, sized } = this.screen;
    on(this.root, "keydown", (event) => this._key(event));
    on(canvas, "pointermove", (event) => this._point(this._hit(event), [event.offsetX, event.offsetY]));
    on(canvas, "pointerleave", () => this._point(null, null));
    on(canvas, "click", (event) => this.pick(this._hit(event)));
    on(this._still, "change", () => this.invalidate("all"));
    const sizes = new ResizeObserver(() => this.invalidate("size"));
    sized.forEach((part) => sizes.observe(part));
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
    this.screen.speak(this.words);
    this.invalidate("all");
  }

  /** Show another run, or the same one again after a remount. */
  show(store, player) {
    if (store.run !== this.store.run) this.cell = this.hover = null;
    this.store = store;
    this.player = player;
    this.screen.forget();
    if (player.token < 0) player.grown(this.newest, store.done); // it came while another was shown
    this._when = null;
    this.invalidate("all");
  }

  /** Play a finished run from its start, at once or when it has come. */
  replay() {
    this._once((done) => {
      if (!done) return false;
      const plays = !this._still.matches && this.player.pace > 0;
      this.choose(0, false, !plays);
      if (plays) this._moved(() => this.player.play(performance.now()));
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
    const followed = player.following;
    player.grown(this.newest, store.done);
    if (followed && !player.following && this._told === store.run) this._tell(); // it has moved on since
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
    this.settled();
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
      this.screen.strip.setMark(null);
    }
    this.choose(index, false, false);
    this.invalidate("cell");
  }

  /** A person chose a cell, a layer ({position, expert: null}), or nothing (null). The same again clears it. */
  pick(cell) {
    const old = this.cell;
    if (cell && cell.expert >= this.store.header.experts[cell.position]) cell = { ...cell, expert: null }; // a smaller layer
    const same = cell && old && cell.position === old.position && cell.expert === old.expert;
    this.cell = same ? null : cell;
    const { store } = this;
    const chosen = this.cell && this.cell.expert !== null ? this.cell : null;
    this.screen.strip.setMark(chosen ? (i) => store.uses(i, chosen.position, chosen.expert) : null);
    this.invalidate("cell");
    if (this.cell) this._tell();
  }

  _tell() {
    this._told = this.store.run;
    clearTimeout(this._telling);
    this._telling = setTimeout(() => {
      const layer = this.cell ? this.store.header.layers[this.cell.position] : null;
      if (this.player.token >= 0 && !this.destroyed) this.options.select({ run: this.store.run, index: this.player.token, layer });
    }, 100);
  }

  /** Where the view rests on a token, the rest of the page hears of it. */
  settled() {
    if (!this.player.playing && !this.player.following) this._tell();
  }

  _key(event) {
    const { target } = event;
    const { strip, canvas } = this.screen;
    const wanted = meaning(event.key, {
      token: this.player.token,
      tokens: this.store.tokens,
      layers: this.store.layers,
      cell: this.cell,
      onCanvas: target === canvas,
      inField: !!target.closest("input, select, textarea"),
      onButton: !!target.closest("button"),
      modified: event.altKey || event.ctrlKey || event.metaKey,
      shift: event.shiftKey,
      experts: (position) => this.store.header.experts[position],
      strongest: (position) => this.store.used(this.player.token, position)[0]?.expert ?? 0,
    });
    if (!wanted) return;
    event.preventDefault();
    if (wanted.what === "clear") this.pick(null);
    else if (wanted.what === "toggle") this.toggle();
    else if (wanted.what === "token") this.choose(wanted.index, strip.box.contains(target));
    else if (wanted.what === "cell") this.pick(wanted.cell);
    else if (wanted.what === "elsewhere") this._elsewhere();
  }

  /** Where else the chosen expert is used is shown elsewhere on the page. */
  _elsewhere() {
    const { cell, store } = this;
    if (cell && cell.expert !== null) this.options.elsewhere({ layer: store.header.layers[cell.position], expert: cell.expert });
  }

  _hit(event) {
    return this.screen.hit(event, this.store);
  }

  _point(cell, pointer) {
    this.hover = cell;
    this.pointer = pointer;
    this.invalidate("hover");
  }

  /** Something changed: "data", "token", "cell", "hover", "size", "panel" or "all". Drawn at the next frame. */
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
    const { store, player } = this;
    const played = player.playing;
    if (player.tick(performance.now(), this.newest, store.done)) dirty.add("token");
    this.screen.draw(this._scene(), dirty, now);
    this._focus = false;
    Object.assign(this.counters, { run: store.run, rows: store.rows, tokens: store.tokens, token: player.token });
    if (player.playing) this.invalidate("clock");
    else if (played) this.settled();
  }

  _scene() {
    const { store, player, newest, cell, hover, pointer, words } = this;
    return { store, player, newest, cell, hover, pointer, words, still: this._still.matches, focus: this._focus };
  }
}
