import { RunStore } from "/app/ui/live/web/store.js";
import { chunk, header, NONE_16, whole } from "./chunks.js";
import { equal, near, test, throws } from "./harness.js";

const made = (...chunks) => {
  const store = new RunStore("r");
  chunks.forEach((one) => store.merge(one));
  return store;
};

/** Counts by going through every row: slow and plain. */
function counted(store, token) {
  const counts = new Array(store.layers * store.experts).fill(0);
  for (let i = store.rowStart; i <= token && i < store.rowEnd; i++) {
    for (let l = 0; l < store.layers; l++) for (const { expert } of store.used(i, l)) counts[l * store.experts + expert] += 1;
  }
  return counts;
}

test("an empty run knows nothing and says so", () => {
  const store = new RunStore("");
  equal([store.tokens, store.rows, store.rowEnd, store.layers, store.experts, store.hasWeights], [0, 0, 0, 0, 0, false]);
  equal([store.hasRow(0), store.rawRow(0), store.used(0, 0), store.uses(0, 0, 0), store.countedAt(0)], [false, null, [], false, 0]);
});

test("one token with one row: its experts with weights and ranks", () => {
  const store = made(chunk({ head: header(), texts: ["a"], rows: [[3, 5, 0, 7]], weights: [[51, 204, 255, 0]] }));
  equal(store.used(0, 0), [{ expert: 5, weight: 0.8, rank: 1 }, { expert: 3, weight: 0.2, rank: 2 }]);
  equal(store.used(0, 1).map((e) => [e.expert, e.weight]), [[0, 1], [7, 0]]);
  equal([store.uses(0, 0, 5), store.uses(0, 0, 0), store.uses(0, 1, 0)], [true, false, true]);
});

test("weights of routers that give more than one are scaled by what a byte of 255 stands for", () => {
  const store = made(chunk({ head: header({ max: 2.5 }), texts: ["a"], rows: [[0, 1, 0, 1]], weights: [[255, 51, 0, 0]] }));
  near(store.used(0, 0)[0].weight, 2.5);
  near(store.used(0, 0)[1].weight, 0.5);
});

test("without gate weights the router's order is the rank", () => {
  const store = made(chunk({ head: header({ weights: false }), texts: ["a"], rows: [[6, 2, 1, 0]] }));
  equal(store.used(0, 0), [{ expert: 6, weight: null, rank: 1 }, { expert: 2, weight: null, rank: 2 }]);
  equal(store.hasWeights, false);
});

test("an engine that gives no weights for some rows gives none", () => {
  const store = made(
    chunk({ head: header(), texts: ["a"], rows: [[0, 1, 0, 1]], weights: [[255, 0, 255, 0]] }),
    chunk({ first: 1, texts: ["b"], rowStart: 1, rows: [[2, 3, 2, 3]] }),
    chunk({ first: 2, texts: ["c"], rowStart: 2, rows: [[4, 5, 4, 5]], weights: [[255, 0, 255, 0]] }),
  );
  equal(store.hasWeights, false);
  equal(store.used(2, 0), [{ expert: 4, weight: null, rank: 1 }, { expert: 5, weight: null, rank: 2 }]);
});

test("layers of different sizes: 65,535 is no expert, neither used nor counted", () => {
  const head = header({ experts: [300, 4], topK: [3, 1], dtype: "uint16" });
  const rows = [[299, 0, 256, 3, NONE_16, NONE_16], [299, 1, 2, 0, NONE_16, NONE_16]];
  const store = made(chunk({ head, texts: ["a", "b"], rows, weights: rows.map(() => [100, 80, 75, 255, 0, 0]), width: 2 }));
  equal(store.used(0, 1), [{ expert: 3, weight: 1, rank: 1 }]);
  equal(store.used(1, 0).map((e) => e.expert), [299, 1, 2]);
  const counts = store.countsAt(1);
  equal(counts.length, 600);
  equal(counts[299], 2);
  equal([...counts.subarray(300, 304)], [1, 0, 0, 1]);
  equal(counts.reduce((a, b) => a + b), 8);
  equal(store.load(1, 1, 3), { count: 1, n: 2, share: 0.5, uniform: 0.25 });
  near(store.load(1, 0, 299).share, 2 / 6);
});

test("an id beyond the layers' experts is not counted as another layer's", () => {
  const head = header({ experts: [4, 4], topK: [1, 1] });
  const counts = made(chunk({ head, texts: ["a"], rows: [[7, 1]] })).countsAt(0);
  equal(counts, [0, 0, 0, 0, 0, 1, 0, 0]);
});

test("a dense model has tokens and no layers", () => {
  const store = made(chunk({ head: header({ experts: [] }), texts: ["a", "b"], rows: [[], []], done: true, finish_reason: "stop" }));
  equal([store.tokens, store.rows, store.layers, store.done, store.finishReason], [2, 2, 0, true, "stop"]);
  equal([store.rawRow(0), store.used(0, 0)], [null, []]);
});

test("chunks that repeat and overlap add nothing twice", () => {
  const all = whole(10);
  const store = made(all);
  equal(store.merge(all), "known");
  const part = whole(6, { done: false });
  equal(store.merge(part), "known");
  equal([store.tokens, store.rows], [10, 10]);
  equal(store.countsAt(9), counted(store, 9));
});

test("a chunk that overlaps gives only what is new", () => {
  const store = made(whole(4, { done: false }));
  equal(store.done, false);
  equal(store.merge(whole(9)), "new");
  equal([store.tokens, store.rows, store.done], [9, 9, true]);
  equal(store.texts, ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8"]);
  equal(store.countsAt(8), counted(store, 8));
});

const piece = (seq, from, to, rowFrom, rowTo) => {
  const all = whole(to);
  const rows = Array.from({ length: rowTo - rowFrom }, (_, i) => [0, 1, 2, 3].map((j) => (rowFrom + i + (j % 2)) % 8));
  return chunk({ head: from ? null : header(), seq, first: from, texts: all.tokens.slice(from).map(([t]) => t), rowStart: rowFrom, rows, weights: rows.map(() => [153, 102, 204, 51]) });
};

test("rows come a token later than their tokens", () => {
  const store = made(piece(0, 0, 3, 0, 2), piece(1, 3, 4, 2, 3));
  equal([store.tokens, store.rows, store.rowEnd, store.hasRow(2), store.hasRow(3)], [4, 3, 3, true, false]);
});

test("any order of arrival gives the same run", () => {
  const pieces = [piece(0, 0, 2, 0, 1), piece(1, 2, 5, 1, 4), piece(2, 5, 6, 4, 5), piece(3, 6, 9, 5, 8)];
  const right = made(...pieces);
  for (const order of [[3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1], [0, 3, 3, 1, 2]]) {
    const store = new RunStore("r");
    const outcomes = order.map((i) => store.merge(pieces[i]));
    equal(outcomes.includes("gap"), true);
    equal([store.tokens, store.rows, store.texts, store.waiting.length], [9, 8, right.texts, 0], `order ${order}`);
    equal(store.countsAt(7), right.countsAt(7));
  }
});

test("a run may begin with a cached prefix that has no rows", () => {
  const store = made(chunk({ head: header(), texts: ["a", "b", "c"], rowStart: 2, rows: [[0, 1, 2, 3]], weights: [[1, 1, 1, 1]] }));
  equal([store.rowStart, store.hasRow(1), store.hasRow(2), store.countedAt(1), store.countedAt(2)], [2, false, true, 0, 1]);
});

test("ids that do not fit the number of rows are refused", () => {
  throws(() => made({ ...whole(3), rows: 4 }), /12 ids for 4 rows/);
});

test("load up to any token, forwards, backwards and in leaps, over several thousand rows", () => {
  const store = new RunStore("r");
  const rows = Array.from({ length: 4100 }, (_, i) => [(i * 7) % 8, (i * 7 + 3) % 8, (i * 5) % 8, (i * 5 + 1) % 8]);
  for (let from = 0; from < 4100; from += 410) {
    const part = rows.slice(from, from + 410);
    store.merge(chunk({ head: from ? null : header({ weights: false }), seq: from, first: from, texts: part.map(() => "x"), rowStart: from, rows: part }));
  }
  for (const token of [4099, 0, 1, 4098, 1023, 1024, 1025, 2047, 2048, 512, 513, 3600, 3599, 4099, 0]) {
    equal(store.countsAt(token), counted(store, token), `token ${token}`);
  }
});

test("load looked at between chunks goes on to be right", () => {
  const store = new RunStore("r");
  for (let i = 0; i < 40; i++) {
    store.merge(chunk({ head: i ? null : header({ weights: false }), seq: i, first: i, texts: ["x"], rowStart: i, rows: [[i % 8, (i + 2) % 8, 0, 1]] }));
    const token = (i * 13) % (i + 1);
    equal(store.countsAt(token), counted(store, token));
    equal(store.countsAt(i), counted(store, i));
  }
});

test("before the first row there is no share, after the last row nothing is added", () => {
  const store = made(chunk({ head: header(), texts: ["a", "b"], rowStart: 1, rows: [[0, 1, 2, 3]], weights: [[1, 1, 1, 1]] }));
  equal(store.load(0, 0, 0), { count: 0, n: 0, share: null, uniform: 0.125 });
  equal(store.load(99, 0, 0), { count: 1, n: 1, share: 0.5, uniform: 0.125 });
});

test("texts that are no strings are made strings", () => equal(made(chunk({ head: header(), texts: [7, null] })).texts, ["7", "null"]));
