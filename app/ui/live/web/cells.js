// The cells of the plot as pixels: the load so far, and over it the experts of the current token and those before it.
// Knows a store and a layout. Pixels are set one by one: a canvas takes far longer for thousands of small rectangles.

import { GAP, GATE_TABLE, gateIndex, gateTop, LOAD_TABLE, loadIndex } from "./palette.js";

const TAIL = 6; // tokens before the current one that still glow
const FADE = 0.55;
const UNWEIGHTED = 0.66; // of the gate scale, where the engine gives no weights

export class Cells {
  /** @param layout one that is not empty */
  constructor(layout) {
    const px = (v) => Math.round(v * layout.ratio);
    [this.left, this.top] = [px(layout.left), px(layout.top)];
    [this.width, this.height] = [px(layout.plotWidth), px(layout.plotHeight)];
    this.columns = Int32Array.from({ length: layout.experts + 1 }, (_, e) => px(layout.x(e)) - this.left);
    this.rows = Int32Array.from({ length: layout.layers + 1 }, (_, l) => px(layout.y(l)) - this.top);
    [this.gapX, this.gapY] = [px(layout.gapX), px(layout.gapY)];
    this.least = Math.max(1, px(Math.min(2.5, layout.plotWidth / 120))); // thin columns are widened, so that none is lost
    this.image = new ImageData(this.width, this.height);
    this.bytes = this.image.data;
    this.pixels = new Uint32Array(this.bytes.buffer);
    this.load = new Uint32Array(this.pixels.length);
    this._drawn = "";
  }

  /** The picture as ImageData, to be put at (left, top); valid until the next call. */
  draw(store, token, tail) {
    const key = `${store.run} ${store.countedAt(token)}`;
    if (key !== this._drawn) this._paintLoad(store, token);
    this._drawn = key;
    this.pixels.set(this.load);
    const newest = Math.min(token, store.rowEnd - 1);
    for (let age = tail ? TAIL : 0; age >= 0; age--) {
      if (age === 0 && newest !== token) break; // the current token has no row of its own
      const row = store.rawRow(newest - age);
      if (row) this._light(store, row, age === 0 ? 1 : 0.75 * FADE ** age);
    }
    return this.image;
  }

  _paintLoad(store, token) {
    const { load, width, height, columns, rows } = this;
    load.fill(PACKED_GAP);
    const counts = store.countsAt(token);
    const n = store.countedAt(token);
    const line = new Uint32Array(width);
    for (let l = 0; l < store.layers; l++) {
      const slots = n * store.header.top_k[l];
      const experts = store.header.experts[l];
      line.fill(PACKED_GAP);
      for (let e = 0; e < experts; e++) {
        const colour = PACKED_LOAD[loadIndex(counts[l * store.experts + e], slots, experts)];
        line.fill(colour, columns[e], Math.max(columns[e] + 1, columns[e + 1] - this.gapX));
      }
      const to = Math.min(height, Math.max(rows[l] + 1, rows[l + 1] - this.gapY));
      for (let y = rows[l]; y < to; y++) load.set(line, y * width);
    }
  }

  _light(store, row, alpha) {
    const { columns, rows, least } = this;
    const { k, no_expert: none, weight_max: max } = store.header;
    const top = gateTop(k, max);
    for (let l = 0; l < store.layers; l++) {
      const bottom = Math.max(rows[l] + 1, rows[l + 1] - this.gapY);
      for (let j = l * k; j < (l + 1) * k; j++) {
        const expert = row.ids[j];
        if (expert === none || expert >= store.experts) continue;
        const weight = row.weights ? (row.weights[j] / 255) * max : top * UNWEIGHTED;
        let [from, to] = [columns[expert], columns[expert + 1] - this.gapX];
        if (to - from < least) {
          from -= (least - (to - from)) >> 1;
          to = from + least;
        }
        this._blend(Math.max(0, from), Math.min(this.width, to), rows[l], Math.min(this.height, bottom), gateIndex(weight, top), alpha);
      }
    }
  }

  _blend(left, right, top, bottom, gate, alpha) {
    const { pixels, bytes, width } = this;
    const [r, g, b] = GATE_TABLE[gate];
    for (let y = top; y < bottom; y++) {
      const row = y * width;
      if (alpha === 1) pixels.fill(PACKED_GATE[gate], row + left, row + right);
      else {
        for (let at = 4 * (row + left); at < 4 * (row + right); at += 4) {
          bytes[at] += (r - bytes[at]) * alpha;
          bytes[at + 1] += (g - bytes[at + 1]) * alpha;
          bytes[at + 2] += (b - bytes[at + 2]) * alpha;
        }
      }
    }
  }
}

/** A colour as the four bytes of a pixel, in the machine's order. */
function packed([r, g, b]) {
  return new Uint32Array(new Uint8Array([r, g, b, 255]).buffer)[0];
}

const PACKED_GAP = packed(GAP);
const PACKED_GATE = GATE_TABLE.map(packed);
const PACKED_LOAD = LOAD_TABLE.map(packed);
