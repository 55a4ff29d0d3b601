// The box beside the pointer that says what is under it. Knows lines of text and places.

import { element } from "./dom.js";

/** Where a tip of [width, height] stands for a pointer in a stage of [width, height]: beside and below it, never outside. */
export function beside([x, y], [width, height], [stageWidth, stageHeight]) {
  const left = Math.max(0, Math.min(x + 14, stageWidth - width - 4));
  return { left, top: y + 18 + height > stageHeight ? Math.max(0, y - height - 10) : y + 18 };
}

export class Tip {
  constructor() {
    this.root = element("div", { class: "xs-tip", hidden: true });
  }

  /** @param lines texts, or null for no tip; `pointer` is [x, y] in the parent */
  show(lines, pointer) {
    const { root } = this;
    root.hidden = !lines;
    if (!lines) return;
    root.replaceChildren(...lines.map((line) => element("div", {}, line)));
    const stage = root.parentElement;
    const { left, top } = beside(pointer, [root.offsetWidth, root.offsetHeight], [stage.clientWidth, stage.clientHeight]);
    root.style.left = `${left}px`;
    root.style.top = `${top}px`;
  }
}
