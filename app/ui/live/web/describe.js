// What the picture says, in words: the tooltip of a cell, the sentence of a highlighted expert, and the description
// and table that screen readers get. Knows a store and words; makes text, never markup.

import { element, setText, visible } from "./dom.js";
import { decimals } from "./ladder.js";
import { PHASES } from "./palette.js";

export function percent(share) {
  return share === null ? "–" : `${(share * 100).toFixed(1)}%`;
}

/** Lines about one cell: where, this token's use of it, its load against chance. */
export function cellLines(store, token, { position, expert }, words) {
  const layer = store.header.layers[position];
  if (expert === null || expert >= store.header.experts[position]) {
    const [experts, k] = [store.header.experts[position], store.header.top_k[position]];
    return [words("tip_layer", { layer }), words("tip_layer_size", { experts, k })];
  }
  const lines = [words("tip_cell", { layer, expert })];
  const entry = store.used(token, position).find((e) => e.expert === expert);
  const k = store.header.top_k[position];
  if (!entry) lines.push(words("tip_unused"));
  else if (entry.weight === null) lines.push(words("tip_used", { rank: entry.rank, k }));
  else lines.push(words("tip_weight", { weight: decimals(entry.weight), rank: entry.rank, k }));
  const load = store.load(token, position, expert);
  lines.push(words("tip_load", { load: percent(load.share), uniform: percent(load.uniform), n: load.n }));
  return lines;
}

/** The sentence under the canvas about the highlighted expert or layer; what can be done, where there is none. */
export function highlightSentence(store, token, cell, words) {
  if (!store.layers) return "";
  if (!cell) return words("highlight_hint");
  const layer = store.header.layers[cell.position];
  if (cell.expert === null) return words("highlight_layer", { layer });
  const { count, n, share, uniform } = store.load(token, cell.position, cell.expert);
  const figures = { layer, expert: cell.expert, count, n, load: percent(share), uniform: percent(uniform) };
  return words("highlight", figures);
}

/** A description for those who cannot see the canvas, and the current token's experts as a table. */
export class Description {
  constructor(id) {
    this.sentence = element("p", { id });
    this.keys = element("p", { id: `${id}-keys` });
    this.table = element("table");
    this.root = element("div", { class: "xs-hidden", "aria-live": "off" }, this.sentence, this.keys, this.table);
  }

  speak(words) {
    setText(this.keys, words("keys"));
  }

  empty() {
    setText(this.sentence, "");
    this.table.replaceChildren();
  }

  update(store, token, words) {
    const phase = words(PHASES[store.phases.data[token]] || "marker");
    const values = { index: token, last: store.tokens - 1, text: visible(store.texts[token] || ""), phase, n: store.rows };
    const routed = store.layers > 0 && store.hasRow(token);
    const key = !store.layers ? "dense" : routed ? "describe" : "describe_unrouted";
    setText(this.sentence, words(key, { ...values, layers: store.layers, experts: store.experts }));
    const rows = [];
    for (let l = 0; routed && l < store.layers; l++) {
      const used = store.used(token, l);
      const cells = used.map((e) => element("td", {}, e.weight === null ? `${e.expert}` : `${e.expert}: ${decimals(e.weight)}`));
      rows.push(element("tr", {}, element("th", { scope: "row" }, words("tip_layer", { layer: store.header.layers[l] })), ...cells));
    }
    const caption = element("caption", {}, words(store.hasWeights ? "table_weights" : "table_ids", values));
    this.table.replaceChildren(...(routed ? [caption, ...rows] : []));
  }
}
