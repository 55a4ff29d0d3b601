// What stands on the page: canvas, strip, panel, legends and controls, put together and redrawn where they have changed.
// Knows its parts and a scene. Does not know what people do to them (view.js); their presses are handed on as `actions`.

import { Controls } from "./controls.js";
import { cellLines, Description, highlightSentence } from "./describe.js";
import { element, setText } from "./dom.js";
import { Picture } from "./draw.js";
import { Ladder } from "./ladder.js";
import { Legend } from "./legend.js";
import { theme } from "./palette.js";
import { Strip } from "./strip.js";
import { Tip } from "./tip.js";

const PANEL_MS = 80; // the panel beside the canvas follows a stream at this pace, so that it can be read
const REST_MS = 200; // the description for readers is written once a token has been shown this long
let made = 0;

export class Screen {
  /** @param actions those of Controls, and choose(index, focus), pick(cell), again(what): draw `what` in a coming frame */
  constructor(root, actions, counters) {
    this.root = root;
    this.actions = actions;
    this.counters = counters;
    this.canvas = element("canvas", { class: "xs-canvas", role: "img", tabindex: "0" });
    this.description = new Description(`xs-description-${++made}`);
    this.canvas.setAttribute("aria-describedby", `${this.description.sentence.id} ${this.description.keys.id}`);
    this.tip = new Tip();
    this.stage = element("div", { class: "xs-stage" }, this.canvas, this.tip.root);
    this.picture = new Picture(this.canvas);
    this.message = element("p", { class: "xs-message" });
    this.highlight = element("p", { class: "xs-highlight" });
    this.more = element("button", { class: "xs-button xs-more", type: "button", hidden: true });
    this.more.addEventListener("click", () => actions.elsewhere());
    this.about = element("div", { class: "xs-about" }, this.highlight, this.more);
    this.strip = new Strip(actions.choose);
    this.ladder = new Ladder((position, expert) => actions.pick({ position, expert }));
    this.legend = new Legend();
    this.controls = new Controls(actions);
    const left = element("div", { class: "xs-left" }, this.stage, this.about, this.legend.scales);
    const body = element("div", { class: "xs-body" }, left, this.ladder.root);
    const head = element("div", { class: "xs-top" }, this.strip.box, this.legend.phases);
    root.replaceChildren(this.message, head, body, this.controls.root, this.description.root);
    this.parts = [head, body, this.controls.root];
    this.sized = [root, this.stage, this.strip.box, this.ladder.box]; // whose sizes matter
  }

  speak(words) {
    this.root.setAttribute("aria-label", words("region"));
    this.description.speak(words);
    this.controls.speak(words);
  }

  /** Nothing that was drawn before is to be taken for the next run's. */
  forget() {
    clearTimeout(this._resting);
    this.strip.setMark(null);
    this._legendFor = null;
  }

  /** Layer and expert under a pointer's place on the page, or null; `expert` is null where the layer has no such expert. */
  hit(event, store) {
    if (!store.layers) return null;
    const box = this.canvas.getBoundingClientRect();
    const { layout } = this.picture;
    const scale = box.width / (this.canvas.clientWidth || 1); // exactly; the picture's own is rounded
    return layout.hit((event.clientX - box.left) / scale, (event.clientY - box.top) / scale);
  }

  /**
   * @param scene {store, player, newest, cell, hover, pointer, words, still, focus}
   * @param dirty a Set of what has changed: see LiveView.invalidate
   */
  draw(scene, dirty, now) {
    const { store, player, words } = scene;
    const any = (...names) => dirty.has("all") || names.some((name) => dirty.has(name));
    if (this._message(scene)) dirty.add("size");
    if (!store.header) return this._empty();
    if (any("size")) this._measure();
    if (this._legendFor !== store || any()) this.legend.update(store, words);
    this._legendFor = store;
    if (any("data", "size")) this.strip.update(store, words);
    if (player.token !== this._stripToken) this.strip.select(player.token, scene.focus);
    else if (any("data") && player.following) this.strip.reveal(player.token);
    this._stripToken = player.token;
    this._picture(scene, any("data", "token", "cell", "hover", "size"));
    this._panel(scene, now, any("cell", "size"), any("data", "token", "panel"));
    this.controls.update({ player, newest: scene.newest, tokens: store.tokens, done: store.done });
    this._about(scene);
    const hover = scene.hover && store.layers ? cellLines(store, player.token, scene.hover, words) : null;
    this.tip.show(hover, scene.pointer);
  }

  /** The sentence below the canvas, and the way from a chosen expert to its card. */
  _about({ store, player, cell, words }) {
    setText(this.highlight, highlightSentence(store, player.token, cell, words));
    this.more.hidden = !store.layers || !cell || cell.expert === null;
    if (!this.more.hidden) setText(this.more, words("elsewhere", { layer: store.header.layers[cell.position], expert: cell.expert }));
  }

  _empty() {
    clearTimeout(this._resting);
    this.strip.empty(); // what was shown before is nobody's business any more
    this.description.empty();
    this.tip.show(null);
    this._stripToken = -1;
  }

  /** All sizes in one go, before anything is written: a size asked for later would be worked out again each time. */
  _measure() {
    this.strip.measure();
    this.ladder.measure();
    this.picture.measure();
  }

  /** Returns whether parts have come into view that were hidden. */
  _message({ store, words }) {
    const text = store.gone ? words("gone") : store.header ? "" : words(store.run ? "loading" : "empty");
    const shown = this.parts[0].hidden && !!store.header;
    setText(this.message, text);
    this.message.hidden = !text;
    this.parts.forEach((part) => (part.hidden = !store.header));
    this.root.dataset.state = store.gone ? "gone" : !store.header ? "empty" : store.done ? "done" : "live";
    this.root.classList.toggle("xs-dense", !!store.header && !store.layers);
    const flat = !store.layers;
    const opened = this.stage.hidden && !flat;
    this.stage.hidden = this.about.hidden = flat;
    return shown || opened;
  }

  _picture({ store, player, words, still, cell, hover }, needed) {
    if (!store.layers || !needed) return;
    const label = words("canvas_label", { title: store.header.title, layers: store.layers, experts: store.experts });
    if (label !== this._label) this.canvas.setAttribute("aria-label", (this._label = label));
    const looks = theme(this.root);
    this.picture.draw({ store, token: player.token, theme: looks, tail: !still, cell, hover, words });
    this.counters.frames = (this.counters.frames || 0) + 1;
    if (store !== this._noted || store.rowEnd !== this._rowEnd) this._note(store);
  }

  /** For measurements: when which row was first drawn, and how long ago the newest had come to the server. */
  _note(store) {
    [this._noted, this._rowEnd] = [store, store.rowEnd];
    const now = Date.now();
    const { counters } = this;
    keep((counters.drawn ??= []), [store.rowEnd, now]);
    if (!store.time || store.done) return;
    counters.lastLatencyMs = now - store.time;
    keep((counters.latencies ??= []), counters.lastLatencyMs);
  }

  _panel(scene, now, atOnce, changed) {
    const { store, player, cell, words } = scene;
    if (!(atOnce || changed) || player.token < 0) return;
    if (!atOnce && now - (this._panelAt ?? -PANEL_MS) < PANEL_MS) {
      this._panelDue ||= setTimeout(() => ((this._panelDue = 0), this.actions.again("panel")), PANEL_MS);
      return;
    }
    this._panelAt = now;
    this.ladder.update({ store, token: player.token, cell, words });
    clearTimeout(this._resting);
    this._resting = setTimeout(() => {
      if (!player.following && !player.playing) this.description.update(store, player.token, words);
    }, REST_MS);
  }
}

function keep(list, value) {
  list.push(value);
  if (list.length > 5000) list.shift();
}
