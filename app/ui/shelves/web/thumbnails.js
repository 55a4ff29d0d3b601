// Small pictures of the load, layers × experts, drawn when their card comes into view. Asked for together, kept by id.
// Knows the format of thumbnails (cards.py) and the colours it is given. Does not know cards.

import { bytes } from "../../live/web/decode.js";
import { rgb, theme } from "../../live/web/palette.js";

const NONE = 255; // no such expert in this layer
const WAIT_MS = 40; // those that come into view together are asked for together
const MOST = 64; // in one request

export class Thumbnails {
  /**
   * @param fetch ids → promise of {id: {rows, columns, n, levels}}
   * @param colours {light: [hex, …], dark: […]}, from a quarter of chance to four times chance
   * @param known a Map that outlives this object
   */
  constructor(fetch, colours, known) {
    this.fetch = fetch;
    this.known = known;
    this.tables = { light: table(colours.light), dark: table(colours.dark) };
    this.waiting = new Map(); // id → canvases
    this.drawn = new Set();
    this.seen = new IntersectionObserver((entries) => this._come(entries), { rootMargin: "200px" });
    this.themes = new MutationObserver(() => this._again());
    this.themes.observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }

  /** The library is no longer on the page. */
  stop() {
    this.seen.disconnect();
    this.themes.disconnect();
  }

  /** Draw the thumbnail of `id` on `canvas` once that is in view, and `tell` how many tokens it counts. */
  watch(canvas, id, tell = () => {}) {
    canvas.__thumbnail = id;
    canvas.__tell = tell;
    this.seen.observe(canvas);
  }

  _come(entries) {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.seen.unobserve(target);
      this.drawn.add(target);
      const id = target.__thumbnail;
      if (this.known.has(id)) paint(target, this.known.get(id), this.tables);
      else this._wait(id, [target]);
    }
    if (this.waiting.size) this._timer ??= setTimeout(() => this._ask(), WAIT_MS);
  }

  _wait(id, canvases) {
    this.waiting.set(id, [...(this.waiting.get(id) || []), ...canvases]);
  }

  async _ask() {
    this._timer = null;
    const asked = [...this.waiting].slice(0, MOST);
    asked.forEach(([id]) => this.waiting.delete(id));
    if (this.waiting.size) this._timer = setTimeout(() => this._ask(), WAIT_MS);
    let found = {};
    try {
      found = (await this.fetch(asked.map(([id]) => id))) || {};
    } catch (error) {
      console.warn("thumbnails could not be fetched:", error);
      asked.forEach(([id, canvases]) => this._wait(id, canvases)); // asked for again with the next that come into view
    }
    for (const [id, canvases] of asked) {
      if (!found[id]) continue;
      this.known.set(id, found[id]);
      canvases.forEach((canvas) => paint(canvas, found[id], this.tables));
    }
  }

  _again() {
    for (const canvas of this.drawn) {
      if (!canvas.isConnected) {
        this.drawn.delete(canvas);
        this.seen.observe(canvas); // a search may bring it back
      } else if (this.known.has(canvas.__thumbnail)) paint(canvas, this.known.get(canvas.__thumbnail), this.tables);
    }
  }
}

function paint(canvas, { rows, columns, n, levels }, tables) {
  if (!rows || !columns) return;
  canvas.__tell(n);
  const shades = bytes(levels);
  const colours = tables[theme(canvas)];
  canvas.width = columns;
  canvas.height = rows;
  canvas.classList.add("lib-drawn");
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  shades.forEach((shade, i) => (pixels[i] = shade === NONE ? 0 : colours[shade]));
  context.putImageData(image, 0, 0);
}

/** 255 packed colours along an even scale. */
function table(hexes) {
  const anchors = hexes.map(rgb);
  return Uint32Array.from({ length: NONE }, (_, i) => {
    const at = (i / (NONE - 1)) * (anchors.length - 1);
    const low = Math.min(anchors.length - 2, Math.floor(at));
    const mixed = anchors[low].map((v, c) => Math.round(v + (anchors[low + 1][c] - v) * (at - low)));
    return new Uint32Array(new Uint8Array([...mixed, 255]).buffer)[0];
  });
}
