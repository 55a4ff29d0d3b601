// The picture: the cells with their labels, and marks around what is chosen or pointed at.
// Knows a store, a layout and a canvas. Does not know controls, the strip, or when to draw.

import { Cells } from "./cells.js";
import { Layout } from "./layout.js";
import { ink } from "./palette.js";

const FONT = "10.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace";

export class Picture {
  /** @param canvas fills the width of its parent; its height follows from the number of layers. */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.axes = document.createElement("canvas");
    this.layout = new Layout(0, 0, 0);
    this.width = 0;
    this.scale = 1;
    this.room = Infinity;
  }

  /**
   * Look how wide the parent is, how high the style sheet lets the canvas be, and how much larger than it was laid out it
   * is shown; asked for seldom, since the browser may have to lay out the page to know.
   */
  measure() {
    const { parentElement, clientWidth } = this.canvas;
    this.width = parentElement ? parentElement.clientWidth : 0;
    this.room = parseFloat(getComputedStyle(this.canvas).getPropertyValue("--xs-tall")) || Infinity;
    this.scale = clientWidth ? Math.round((this.canvas.getBoundingClientRect().width / clientWidth) * 100) / 100 : 1;
  }

  /** Fit to the parent. Returns whether there is anything to draw on. */
  resize(layers, experts) {
    const ratio = Math.min(3, (window.devicePixelRatio || 1) * this.scale);
    const { width, room } = this;
    const old = this.layout;
    if (old.width !== width || old.layers !== layers || old.experts !== experts || old.ratio !== ratio || old.room !== room) {
      this.layout = new Layout(width, layers, experts, ratio, room);
      this.cells = this.layout.empty ? null : new Cells(this.layout);
      this.canvas.style.height = `${this.layout.height}px`;
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(this.layout.height * ratio);
      this._axesKey = "";
    }
    return !this.layout.empty;
  }

  /**
   * @param scene {store, token, theme, tail, cell: {position, expert|null}|null, hover: ditto}
   */
  draw(scene) {
    const { store, token, tail } = scene;
    if (!this.resize(store.layers, store.experts)) return;
    const c = this.context;
    const { cells, layout } = this;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.canvas.width, this.canvas.height);
    c.putImageData(cells.draw(store, token, tail), cells.left, cells.top);
    this._drawAxes(scene);
    c.setTransform(layout.ratio, 0, 0, layout.ratio, 0, 0);
    this._drawMarks(scene);
  }

  /** Labels change seldom, and text on a canvas of the page makes the browser work out the page's style each time. */
  _drawAxes(scene) {
    const { store, theme, cell, words } = scene;
    const { axes, canvas, layout } = this;
    const key = [store.run, theme, cell ? cell.position : -1, words("layer_short"), words("axis_expert")].join("\n");
    if (key !== this._axesKey) {
      this._axesKey = key;
      [axes.width, axes.height] = [canvas.width, canvas.height];
      const c = axes.getContext("2d");
      c.setTransform(layout.ratio, 0, 0, layout.ratio, 0, 0);
      c.font = FONT;
      this._paintAxes(c, scene);
    }
    this.context.drawImage(axes, 0, 0);
  }

  _paintAxes(c, { store, theme, cell, words }) {
    const { layout } = this;
    const [plain, strong] = [ink("axis", theme), ink("strong", theme)];
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
