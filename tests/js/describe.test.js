import { cellLines, Description, highlightSentence, percent } from "/app/ui/live/web/describe.js";
import { decimals } from "/app/ui/live/web/ladder.js";
import { RunStore } from "/app/ui/live/web/store.js";
import { chunk, header, NONE_16, whole } from "./chunks.js";
import { equal, holds, test } from "./harness.js";

const words = (key, values = {}) => `${key}(${Object.entries(values).map(([k, v]) => `${k}=${v}`)})`;
const made = (one) => {
  const store = new RunStore("r");
  store.merge(one);
  return store;
};

test("shares and weights in as many digits as they carry", () => {
  equal([percent(0.0078), percent(1), percent(0), percent(null)], ["0.8%", "100.0%", "0.0%", "–"]);
  equal([decimals(0.214), decimals(1), decimals(0), decimals(0.999), decimals(2.5)], [".21", "1.00", ".00", "1.00", "2.50"]);
});

test("a cell says what this token did with it, its load, chance and sample size", () => {
  const store = made(whole(4));
  equal(cellLines(store, 0, { position: 0, expert: 0 }, words), ["tip_cell(layer=0,expert=0)", "tip_weight(weight=.60,rank=1,k=2)", "tip_load(load=50.0%,uniform=12.5%,n=1)"]);
  equal(cellLines(store, 0, { position: 1, expert: 7 }, words).slice(1), ["tip_unused()", "tip_load(load=0.0%,uniform=12.5%,n=1)"]);
});

test("without weights the rank alone is told", () => {
  const store = made(chunk({ head: header({ weights: false }), texts: ["a"], rows: [[6, 2, 1, 0]] }));
  equal(cellLines(store, 0, { position: 0, expert: 2 }, words)[1], "tip_used(rank=2,k=2)");
});

test("a label, and an expert that a smaller layer lacks, speak of the layer", () => {
  const head = header({ experts: [8, 4], topK: [2, 1], dtype: "uint16", layers: [1, 3] });
  const store = made(chunk({ head, texts: ["a"], rows: [[0, 1, 3, NONE_16]], width: 2 }));
  const layer = ["tip_layer(layer=3)", "tip_layer_size(experts=4,k=1)"];
  equal(cellLines(store, 0, { position: 1, expert: null }, words), layer);
  equal(cellLines(store, 0, { position: 1, expert: 6 }, words), layer);
  equal(highlightSentence(store, 0, { position: 1, expert: null }, words), "highlight_layer(layer=3)");
});

test("the sentence below counts up to the token that is shown", () => {
  const store = made(whole(9));
  equal(highlightSentence(store, 0, { position: 0, expert: 0 }, words), "highlight(layer=0,expert=0,count=1,n=1,load=50.0%,uniform=12.5%)");
  equal(highlightSentence(store, 8, { position: 0, expert: 0 }, words), "highlight(layer=0,expert=0,count=3,n=9,load=16.7%,uniform=12.5%)");
  equal(highlightSentence(store, 0, null, words), "highlight_hint()");
  equal(highlightSentence(made(chunk({ head: header({ experts: [] }), texts: ["a"] })), 0, null, words), "");
});

test("the table for readers has a line a layer and the experts with their weights", () => {
  const description = new Description("d");
  description.update(made(whole(3)), 2, words);
  const rows = [...description.table.rows].map((row) => [...row.cells].map((cell) => cell.textContent));
  equal(rows, [["tip_layer(layer=0)", "2: .60", "3: .40"], ["tip_layer(layer=1)", "2: .80", "3: .20"]]);
  holds(description.sentence.textContent.startsWith("describe(index=2,last=2,text=t2,phase=thinking()"), description.sentence.textContent);
});

test("a token without a row, and a model without layers, have a sentence and no table", () => {
  const description = new Description("d");
  description.update(made(whole(3)), 2, words);
  description.update(made(chunk({ head: header(), texts: ["a", "b"], rows: [[0, 1, 2, 3]] })), 1, words);
  equal([description.table.rows.length, description.sentence.textContent.split("(")[0]], [0, "describe_unrouted"]);
  description.update(made(chunk({ head: header({ experts: [] }), texts: ["a"], rows: [[]] })), 0, words);
  equal([description.table.rows.length, description.sentence.textContent.split("(")[0]], [0, "dense"]);
  description.empty();
  equal(description.sentence.textContent, "");
});

test("a token's text reaches the description as text", () => {
  const description = new Description("d");
  description.update(made(chunk({ head: header(), texts: ["<img src=x>"], rows: [[0, 1, 2, 3]], weights: [[1, 1, 1, 1]] })), 0, words);
  equal(description.root.querySelector("img"), null);
  holds(description.sentence.textContent.includes("<img src=x>"), "the text is missing");
});
