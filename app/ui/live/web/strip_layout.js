// Breaks tokens into lines, so that a strip of any length knows its height and shows only the lines in sight.
// Knows widths of texts. Does not know elements.

export const PADDING = 5; // pixels a token is wider than its text

export class LineBreaker {
  /** @param measure (text) => width in CSS pixels */
  constructor(measure) {
    this.measure = measure;
    this.widths = new Map();
    this.reset(0);
  }

  /** Forget the lines; keep the measured widths unless the font has changed. */
  reset(width, fontChanged = false) {
    this.width = width;
    this.starts = []; // index of the first token of each line
    this.count = 0;
    this._x = 0;
    if (fontChanged) this.widths.clear();
  }

  /** Lay out tokens from `count` to the end of `texts`. Returns the first line that has changed. */
  extend(texts) {
    const changed = Math.max(0, this.starts.length - 1);
    for (; this.count < texts.length; this.count++) {
      const wide = Math.min(this.width, this._measured(texts[this.count]));
      if (!this.starts.length || this._x + wide > this.width) {
        this.starts.push(this.count);
        this._x = 0;
      }
      this._x += wide;
    }
    return changed;
  }

  _measured(text) {
    let wide = this.widths.get(text);
    if (wide === undefined) {
      wide = Math.ceil(this.measure(text)) + PADDING;
      if (this.widths.size < 50000) this.widths.set(text, wide);
    }
    return wide;
  }

  /** [from, to) tokens of a line. */
  range(line) {
    return [this.starts[line], line + 1 < this.starts.length ? this.starts[line + 1] : this.count];
  }

  /** The line that holds `token`. */
  lineOf(token) {
    let [low, high] = [0, this.starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= token) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
