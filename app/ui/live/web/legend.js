// The rulers: what the colours of the canvas and of the strip mean, with the equal share and chance marked.

import { element, setText } from "./dom.js";
import { GATE_TABLE, gateTop, gradient, LOAD_TABLE, PHASES } from "./palette.js";
import { decimals } from "./ladder.js";
import { percent } from "./describe.js";

export class Legend {
  constructor() {
    this.gate = scale(gradient(GATE_TABLE));
    this.load = scale(gradient(LOAD_TABLE));
    this.scales = element("div", { class: "xs-legend" }, this.gate.root, this.load.root);
    this.phases = element("div", { class: "xs-phases" });
  }

  update(store, words) {
    this.phases.replaceChildren(
      ...PHASES.map((phase) => {
        const chip = element("span", { class: `xs-phase xs-${phase}` });
        chip.textContent = words(phase);
        return chip;
      }),
    );
    this.scales.hidden = !store || !store.layers;
    if (this.scales.hidden) return;
    const { k, weight_max: max, even_weight: even, experts } = store.header;
    const top = gateTop(k, max);
    setText(this.gate.name, words(store.hasWeights ? "legend_gate" : "legend_used"));
    this.gate.marks([
      [0, "0"],
      ...(even === null || even > top ? [] : [[even / top, words("legend_equal", { share: decimals(even), k: Math.round(max / even) })]]),
      [1, top < max ? `≥ ${decimals(top)}` : decimals(top)],
    ]);
    this.gate.bar.hidden = this.gate.ticks.hidden = !store.hasWeights;
    const [low, high] = [Math.min(...experts), Math.max(...experts)];
    const uniform = low === high ? percent(1 / high) : `${percent(1 / high)}–${percent(1 / low)}`;
    setText(this.load.name, words("legend_load"));
    this.load.marks([
      [0, "≤ ¼×"],
      [0.5, words("legend_uniform", { share: uniform })],
      [1, "≥ 4×"],
    ]);
  }
}

function scale(background) {
  const name = element("span", { class: "xs-scale-name" });
  const bar = element("span", { class: "xs-scale-bar" });
  const ticks = element("span", { class: "xs-scale-ticks" });
  bar.style.background = background;
  const marks = (list) => {
    const notches = list.slice(1, -1).map(([at]) => {
      const notch = element("i");
      notch.style.left = `${at * 100}%`;
      return notch;
    });
    bar.replaceChildren(...notches);
    ticks.replaceChildren(
      ...list.map(([at, text]) => {
        const tick = element("span", { class: at === 0 ? "xs-low" : at === 1 ? "xs-high" : "" }, text);
        if (at > 0 && at < 1) tick.style.left = `${at * 100}%`;
        return tick;
      }),
    );
  };
  return { root: element("div", { class: "xs-scale" }, name, bar, ticks), name, bar, ticks, marks };
}
