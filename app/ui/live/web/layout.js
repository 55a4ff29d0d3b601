// Geometry of the canvas: where each layer and expert stands. Pure arithmetic in CSS pixels.

const LEFT = 34;
const RIGHT = 6;
const TOP = 6;
const BOTTOM = 34;
const LOWEST = 120;

/**
 * Height of the plot for `layers` rows in a canvas `width` wide: few rows are tall, many are thin, and the canvas no
 * higher than `room` as long as rows can be seen.
 */
export function plotHeight(layers, width, room = Infinity) {
  const narrow = width < 480;
  const most = (narrow ? 320 : 460) + Math.min(120, Math.max(0, layers - 48) * 2.4);
  const least = narrow ? 168 : 288;
  const wanted = Math.max(least, Math.min(most, layers * (narrow ? 12 : 16)));
  return Math.round(Math.min(wanted, Math.max(room - TOP - BOTTOM, LOWEST, layers * 3)));
}

/** Where things are. Edges lie on device pixels. */
export class Layout {
  constructor(width, layers, experts, ratio = 1, room = Infinity) {
    this.width = Math.max(0, width);
    this.layers = layers;
    this.experts = experts;
    this.ratio = ratio;
    this.room = room;
    this.left = LEFT;
    this.top = TOP;
    this.plotWidth = Math.max(0, this.width - LEFT - RIGHT);
    this.plotHeight = layers ? plotHeight(layers, this.width, room) : 0;
    this.height = layers ? TOP + this.plotHeight + BOTTOM : 0;
  }

  get empty() {
    return !this.layers || !this.experts || this.plotWidth < 8;
  }

  _snap(value) {
    return Math.round(value * this.ratio) / this.ratio;
  }

  x(expert) {
    return this._snap(this.left + (expert / this.experts) * this.plotWidth);
  }

  y(position) {
    return this._snap(this.top + (position / this.layers) * this.plotHeight);
  }

  get cellWidth() {
    return this.plotWidth / this.experts;
  }

  get cellHeight() {
    return this.plotHeight / this.layers;
  }

  /** Pixels left between cells, where there is room for it. */
  get gapX() {
    return this.cellWidth >= 5 ? 1 : 0;
  }

  get gapY() {
    return this.cellHeight >= 4 ? 1 : 0;
  }

  /** {position, expert} under a point; expert is null on a layer's label; null elsewhere. */
  hit(x, y) {
    if (this.empty) return null;
    const position = Math.floor(((y - this.top) / this.plotHeight) * this.layers);
    if (position < 0 || position >= this.layers) return null;
    if (x < this.left) return x >= 0 ? { position, expert: null } : null;
    const expert = Math.floor(((x - this.left) / this.plotWidth) * this.experts);
    return expert < this.experts ? { position, expert } : null;
  }

  /** Positions of the layers that get a label. */
  layerTicks() {
    return ticks(this.layers, this.cellHeight, 13);
  }

  /** Experts that get a label. */
  expertTicks() {
    return ticks(this.experts, this.cellWidth, 38);
  }
}

/** 0, s, 2s, … below `count`, s the smallest of 1, 2, 4, 8, … (5, 10 after 4 for few) whose labels do not touch. */
export function ticks(count, size, room) {
  let step = 1;
  while (step * size < room && step < count) step *= 2;
  return Array.from({ length: Math.ceil(count / step) }, (_, i) => i * step);
}
