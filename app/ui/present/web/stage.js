// The stage: shows some parts of the page and nothing else, enlarged to fill the window, and gives the page back.
// Knows elements and sizes. Moves nothing and copies nothing: it marks the parts and what they stand in, and the style
// sheet hides the rest. Does not know slides, keys or words.

const MARK = "data-present";
const LARGEST = 3;
const SLACK = 24; // pixels that a part may grow or shrink by without being enlarged anew

export class Stage {
  /** @param bar what stands below the stage */
  constructor(bar) {
    this.bar = bar;
    this.root = document.querySelector(".gradio-container");
    this.content = this.root.querySelector(":scope > .main") ?? this.root;
    this.shown = "";
  }

  open() {
    this.scroll = [window.scrollX, window.scrollY];
    document.documentElement.classList.add("presenting");
  }

  close() {
    document.documentElement.classList.remove("presenting");
    this._clear();
    this.root.removeAttribute(MARK);
    for (const name of ["--pr-scale", "--pr-bar"]) document.documentElement.style.removeProperty(name);
    window.scrollTo(...this.scroll);
    window.dispatchEvent(new Event("resize")); // figures fit themselves to the page again
  }

  /** Show the first of `choices` (lists of ids) that has something to show. Whether there is one. */
  show(choices) {
    for (const ids of choices) {
      const parts = ids.map((id) => document.getElementById(id)).filter(Boolean);
      const key = parts.map((part) => part.id).join(" ");
      if (key && key === this.shown && parts.every(marked) && parts.some(filled)) return true;
      this._clear();
      parts.forEach((part) => this._mark(part));
      if (!parts.some(filled)) continue;
      this.shown = key;
      return true;
    }
    this._clear();
    return false;
  }

  _mark(part) {
    part.setAttribute(MARK, "part");
    for (let above = part.parentElement; above && this.root.contains(above); above = above.parentElement) {
      if (!above.hasAttribute(MARK)) above.setAttribute(MARK, "path");
    }
  }

  _clear() {
    this.shown = "";
    this.root.setAttribute(MARK, "path");
    for (const element of this.root.querySelectorAll(`[${MARK}]`)) element.removeAttribute(MARK);
  }

  /** Enlarge what is shown: as wide as the window, if `wide` pixels are enough for it, and as high as there is room;
   * on a wide window it is scrolled rather than made smaller than `legible`. */
  fit({ wide, legible }) {
    const [width, height] = [document.documentElement.clientWidth, window.innerHeight - this.bar.offsetHeight];
    const least = width >= 1100 ? legible : 1;
    document.documentElement.style.setProperty("--pr-bar", `${this.bar.offsetHeight}px`);
    const set = (scale) => document.documentElement.style.setProperty("--pr-scale", scale.toFixed(3));
    let scale = Math.min(LARGEST, Math.max(1, width / wide));
    set(scale);
    for (let tries = 0; tries < 2; tries++) {
      const needed = this.content.scrollHeight;
      if (needed * scale <= height) break;
      scale = Math.min(scale, Math.max(least, height / needed));
      set(scale);
    }
    this.height = this.content.scrollHeight;
    window.dispatchEvent(new Event("resize"));
  }

  /** Whether what is shown has another height than when it was enlarged. */
  grown() {
    return Math.abs(this.content.scrollHeight - this.height) > SLACK;
  }
}

function marked(element) {
  return element.hasAttribute(MARK);
}

/** Whether an element has something to show: it has a size, and is no picture that is yet to come. */
function filled(element) {
  if (!element.getClientRects().length || element.offsetHeight < 8) return false;
  const plot = element.querySelector(".js-plotly-plot, .empty");
  return !plot || plot.matches(".js-plotly-plot");
}
