// The picture: faint load so far, bright experts of the current token and a fading tail of those before it.
// Knows a store, a layout and colours. Does not know controls, the strip, or when to draw.

import { Layout } from "./layout.js";
import { GAP, GATE_CSS, gateIndex, gateTop, ink, LOAD_TABLE, loadIndex } from "./palette.js";

const TAIL = 6; // tokens before the current one that still glow
const FADE = 0.55;

export class Picture {
  /** @param canvas fills the width of its parent; its height follows from the number of layers. */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.faint = document.createElement("canvas");
    this.layout = new Layout(0, 0, 0);
    this._faintKey = "";
  }

  /** Fit to the parent. Returns whether there is anything to draw on. */
  resize(layers, experts) {
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    const width = this.canvas.parentElement ? this.canvas.parentElement.clientWidth : 0;
    const old = this.layout;
    if (old.width !== width || old.layers !== layers || old.experts !== experts || old.ratio !== ratio) {
      this.layout = new Layout(width, layers, experts, ratio);
      this._faintKey = "";
      this.canvas.style.height = `${this.layout.height}px`;
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(this.layout.height * ratio);
    }
    return !this.layout.empty;
  }

  /**
   * @param scene {store, token, theme, tail, cell: {position, expert|null}|null, hover: ditto}
   */
  draw(scene) {
    const { store } = scene;
    if (!this.resize(store.layers, store.experts)) return;
    const c = this.context;
    const { layout } = this;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this._drawFaint(scene);
    c.setTransform(layout.ratio, 0, 0, layout.ratio, 0, 0);
    this._drawLit(scene);
    this._drawAxes(scene);
    this._drawMarks(scene);
  }

  _drawFaint({ store, token }) {
    const { layout } = this;
    const key = `${store.run} ${store.countedAt(token)}`;
    const px = (v) => Math.round(v * layout.ratio);
    if (key !== this._faintKey) {
      this._faintKey = key;
      this._paintFaint(store, token, px(layout.plotWidth), px(layout.plotHeight));
    }
    this.context.drawImage(this.faint, px(layout.left), px(layout.top));
  }

  _paintFaint(store, token, width, height) {
    const { layout, faint } = this;
    const px = (v) => Math.round(v * layout.ratio);
    if (faint.width !== width || faint.height !== height) {
      faint.width = width;
      faint.height = height;
    }
    const image = faint.getContext("2d").createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const gap = packed(GAP);
    pixels.fill(gap);
    const counts = store.countsAt(token);
    const n = store.countedAt(token);
    const line = new Uint32Array(width);
    for (let l = 0; l < store.layers; l++) {
      const slots = n * store.header.top_k[l];
      const experts = store.header.experts[l];
      line.fill(gap);
      for (let e = 0; e < experts; e++) {
        const colour = PACKED_LOAD[loadIndex(counts[l * store.experts + e], slots, experts)];
        const from = px(layout.x(e) - layout.left);
        line.fill(colour, from, Math.max(from + 1, px(layout.x(e + 1) - layout.left) - px(layout.gapX)));
      }
      const from = px(layout.y(l) - layout.top);
      const to = Math.min(height, Math.max(from + 1, px(layout.y(l + 1) - layout.top) - px(layout.gapY)));
      for (let y = from; y < to; y++) pixels.set(line, y * width);
    }
    faint.getContext("2d").putImageData(image, 0, 0);
  }

  _drawLit({ store, token, tail }) {
    const c = this.context;
    const newest = Math.min(token, store.rowEnd - 1);
    for (let age = tail ? TAIL : 0; age >= 0; age--) {
      if (age === 0 && newest !== token) break; // the current token has no row of its own
      const row = store.rawRow(newest - age);
      if (!row) continue;
      c.globalAlpha = age === 0 ? 1 : 0.75 * FADE ** age;
      this._drawRow(store, row);
    }
    c.globalAlpha = 1;
  }

  _drawRow(store, row) {
    const c = this.context;
    const { layout } = this;
    const { k, no_expert: none, weight_max: max } = store.header;
    const top = gateTop(k, max);
    const least = Math.min(2.5, layout.plotWidth / 120); // thin columns are widened, so that none is lost
    const height = Math.max(1, layout.cellHeight);
    for (let l = 0; l < store.layers; l++) {
      const y = layout.y(l);
      const h = Math.max(1, layout.y(l + 1) - y - layout.gapY, height > 3 ? 0 : height);
      for (let j = 0; j < k; j++) {
        const expert = row.ids[l * k + j];
        if (expert === none) continue;
        const weight = row.weights ? (row.weights[l * k + j] / 255) * max : top * 0.66;
        c.fillStyle = GATE_CSS[gateIndex(weight, top)];
        const x = layout.x(expert);
        const w = layout.x(expert + 1) - x - layout.gapX;
        c.fillRect(w < least ? x - (least - w) / 2 : x, y, Math.max(w, least), h);
      }
    }
  }

  _drawAxes({ store, theme, cell, words }) {
    const c = this.context;
    const { layout } = this;
    const [plain, strong] = [ink("axis", theme), ink("strong", theme)];
    c.font = "10.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace";
    c.textBaseline = "middle";
    c.textAlign = "right";
    const chosen = cell ? cell.position : -1;
    for (const l of layout.layerTicks()) {
      if (l === chosen || Math.abs(l - chosen) * layout.cellHeight >= 11 || chosen < 0) {
        c.fillStyle = l === chosen ? strong : plain;
        c.fillText(words("layer_short", { layer: store.header.layers[l] }), layout.left - 7, (layout.y(l) + layout.y(l + 1)) / 2 + 0.5);
      }
    }
    if (chosen >= 0) {
      c.fillStyle = strong;
      const y = (layout.y(chosen) + layout.y(chosen + 1)) / 2;
      c.fillText(words("layer_short", { layer: store.header.layers[chosen] }), layout.left - 7, y + 0.5);
      c.fillRect(layout.left - 4, layout.y(chosen), 2, Math.max(2, layout.cellHeight - layout.gapY));
    }
    c.textBaseline = "top";
    const base = layout.top + layout.plotHeight;
    for (const e of layout.expertTicks()) {
      const x = layout.x(e) + (layout.cellWidth >= 5 ? layout.cellWidth / 2 : 0);
      c.fillStyle = plain;
      c.fillRect(Math.round(x), base + 1, 1, 3);
      c.textAlign = e === 0 && layout.cellWidth < 5 ? "left" : "center";
      c.fillText(String(e), x, base + 6);
    }
    c.textAlign = "center";
    c.fillText(words("axis_expert"), layout.left + layout.plotWidth / 2, base + 20);
  }

  _drawMarks({ cell, hover }) {
    const c = this.context;
    const { layout } = this;
    if (hover && hover.expert !== null) this._outline(hover, "rgba(255,255,255,.75)", 1);
    if (!cell) return;
    if (cell.expert === null) {
      c.strokeStyle = "rgba(255,255,255,.8)";
      c.lineWidth = 1;
      c.strokeRect(layout.left - 0.5, layout.y(cell.position) - 0.5, layout.plotWidth, layout.cellHeight);
      return;
    }
    this._outline(cell, "#ffffff", 1.5);
    const x = (layout.x(cell.expert) + layout.x(cell.expert + 1)) / 2;
    c.fillStyle = "#ffffff"; // a notch above and below the column
    for (const [y, way] of [[layout.top, 1], [layout.top + layout.plotHeight, -1]]) {
      c.beginPath();
      c.moveTo(x - 4, y - way);
      c.lineTo(x + 4, y - way);
      c.lineTo(x, y + 4 * way);
      c.fill();
    }
  }

  _outline({ position, expert }, colour, width) {
    const c = this.context;
    const { layout } = this;
    const [x, y] = [layout.x(expert), layout.y(position)];
    const w = Math.max(4, layout.x(expert + 1) - x - layout.gapX);
    const h = Math.max(4, layout.y(position + 1) - y - layout.gapY);
    c.strokeStyle = colour;
    c.lineWidth = width;
    c.strokeRect(x - 0.5, y - 0.5, w + 1, h + 1);
  }
}

function packed([r, g, b]) {
  return new Uint32Array(new Uint8Array([r, g, b, 255]).buffer)[0];
}

const PACKED_LOAD = LOAD_TABLE.map(packed);
