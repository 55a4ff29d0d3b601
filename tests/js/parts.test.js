import { Controls } from "/app/ui/live/web/controls.js";
import { Cells } from "/app/ui/live/web/cells.js";
import { Picture } from "/app/ui/live/web/draw.js";
import { Ladder } from "/app/ui/live/web/ladder.js";
import { Layout } from "/app/ui/live/web/layout.js";
import { Legend } from "/app/ui/live/web/legend.js";
import { GAP, GATE_TABLE, GROUND } from "/app/ui/live/web/palette.js";
import { Player } from "/app/ui/live/web/player.js";
import { RunStore } from "/app/ui/live/web/store.js";
import { Strip } from "/app/ui/live/web/strip.js";
import { chunk, header, NONE_16, whole } from "./chunks.js";
import { equal, frames, holds, mounted, near, spy, test, until } from "./harness.js";

const words = (key, values = {}) => `${key} ${Object.values(values).join(" ")}`.trim();
const made = (one) => {
  const store = new RunStore("r");
  store.merge(one);
  return store;
};

// --- the picture

function picture(store, token, more = {}) {
  const stage = mounted("div", "width: 640px");
  const canvas = stage.appendChild(document.createElement("canvas"));
  const drawn = new Picture(canvas);
  drawn.measure();
  drawn.draw({ store, token, theme: "light", tail: false, cell: null, hover: null, words, ...more });
  const at = (position, expert) => {
    const { layout } = drawn;
    const [x, y] = [layout.left + (expert + 0.5) * layout.cellWidth, layout.top + (position + 0.5) * layout.cellHeight];
    return [...canvas.getContext("2d").getImageData(Math.round(x * layout.ratio), Math.round(y * layout.ratio), 1, 1).data].slice(0, 3);
  };
  return { drawn, canvas, at };
}
const close = (a, b, within = 12) => Math.max(...a.map((v, c) => Math.abs(v - b[c]))) <= within;

test("the current token's experts are lit by their weight, all others show their load", () => {
  const { at } = picture(made(whole(4)), 3);
  holds(close(at(0, 3), GATE_TABLE[153]), `expert 3 of layer 0 is ${at(0, 3)}`);
  holds(close(at(0, 4), GATE_TABLE[102]), `expert 4 of layer 0 is ${at(0, 4)}`);
  holds(close(at(1, 3), GATE_TABLE[204]), `expert 3 of layer 1 is ${at(1, 3)}`);
  holds(Math.max(...at(0, 7)) < 100, `expert 7 of layer 0 is ${at(0, 7)}`);
});

test("the first token draws no token before it, and the tail is drawn only where it is wanted", () => {
  equal(close(picture(made(whole(4)), 0).at(0, 3), GATE_TABLE[153]), false);
  const [with_, without] = [true, false].map((tail) => picture(made(whole(6)), 5, { tail }).at(0, 4));
  holds(Math.hypot(...with_) > Math.hypot(...without) + 20, `${with_} is not brighter than ${without}`);
});

test("a token without a row lights nothing of its own", () => {
  const store = made(chunk({ head: header(), texts: ["a", "b"], rows: [[0, 1, 2, 3]], weights: [[255, 255, 255, 255]] }));
  const { at } = picture(store, 1);
  holds(Math.max(...at(0, 0)) < 140, `expert 0 is ${at(0, 0)}`);
});

test("a smaller layer ends where its experts end, and 65,535 lights nothing", () => {
  const head = header({ experts: [16, 4], topK: [2, 1], dtype: "uint16" });
  const { at } = picture(made(chunk({ head, texts: ["a"], rows: [[0, 15, 3, NONE_16]], weights: [[255, 255, 255, 0]], width: 2 })), 0);
  holds(close(at(0, 15), GATE_TABLE[255]) && close(at(1, 3), GATE_TABLE[255]), "the last experts are not lit");
  for (const expert of [5, 10, 15]) equal(at(1, expert), GAP);
});

test("an empty stage and a model without layers draw nothing and break nothing", () => {
  const { drawn, canvas } = picture(made(chunk({ head: header({ experts: [] }), texts: ["a"] })), 0);
  equal(drawn.layout.empty, true);
  canvas.parentElement.style.width = "0";
  drawn.measure();
  drawn.draw({ store: made(whole(2)), token: 1, theme: "dark", tail: true, cell: { position: 0, expert: 1 }, hover: null, words });
});

test("another width is fitted to once it is measured", () => {
  const { drawn, canvas } = picture(made(whole(2)), 1);
  const before = canvas.width;
  canvas.parentElement.style.width = "320px";
  drawn.measure();
  drawn.draw({ store: made(whole(2)), token: 1, theme: "light", tail: false, cell: null, hover: null, words });
  equal([before, canvas.width], [640, 320]);
});

test("a chosen cell is outlined and the ground stays dark", () => {
  const store = made(whole(4));
  const { drawn, canvas } = picture(store, 0, { cell: { position: 1, expert: 6 } });
  const { layout } = drawn;
  const pixel = canvas.getContext("2d").getImageData(layout.x(6) - 1, Math.round(layout.y(1) + layout.cellHeight / 2), 1, 1).data;
  holds(pixel[0] > 180, `the edge is ${pixel}`);
  holds(Math.max(...GROUND) < 40, "the ground is not dark");
});

test("columns thinner than a pixel are widened, and none is drawn outside", () => {
  const head = header({ experts: [2000, 2000], topK: [2, 2], dtype: "uint16", weights: false });
  const store = made(chunk({ head, texts: ["a"], rows: [[0, 1999, 700, NONE_16]], width: 2 }));
  const cells = new Cells(new Layout(400, 2, 2000));
  const { data } = cells.draw(store, 0, true);
  const bright = (row) => Array.from({ length: cells.width }, (_, x) => Math.max(...data.slice(4 * ((cells.rows[row] + 1) * cells.width + x), 4 * ((cells.rows[row] + 1) * cells.width + x) + 3)) > 120 ? x : -1).filter((x) => x >= 0);
  const [first, second] = [bright(0), bright(1)];
  holds(first.includes(0) || first.includes(1), `expert 0 is not seen: ${first}`);
  holds(first.includes(cells.width - 1), `expert 1999 is not seen: ${first}`);
  holds(second.length >= 2 && Math.abs(second[0] - 0.35 * cells.width) < 3, `expert 700 is at ${second}`);
});

test("the load is the same however a token is come to", () => {
  const store = made(whole(300));
  const [straight, around] = [new Cells(new Layout(500, 2, 8)), new Cells(new Layout(500, 2, 8))];
  for (const token of [299, 5, 120, 6]) around.draw(store, token, true);
  equal([...around.draw(store, 7, true).data.slice(0, 8000)], [...straight.draw(store, 7, true).data.slice(0, 8000)]);
});

// --- the strip

function strip(texts, more = {}) {
  const onSelect = spy();
  const shown = new Strip(onSelect);
  mounted("div", "width: 312px; font: 13px monospace").append(shown.box);
  shown.box.style.cssText = "height: 112px; overflow: auto; position: relative; padding: 4px 6px; box-sizing: border-box";
  const store = made(chunk({ head: header({ experts: [] }), texts, rows: [], ...more }));
  shown.measure();
  shown.update(store, words);
  return { shown, store, onSelect };
}
const many = Array.from({ length: 4000 }, (_, i) => `token${i}`);

test("only lines in sight are elements, however long the run is", async () => {
  const { shown } = strip(many);
  const there = () => shown.box.querySelectorAll("[data-i]").length;
  holds(there() > 20 && there() < 120, `${there()} elements`);
  shown.select(2500);
  holds(shown.find(2500) !== null && shown.find(0) === null, "the selected token is not in sight");
  equal(shown.find(2500).getAttribute("aria-selected"), "true");
  await frames();
  holds(there() < 120, `${there()} elements after a leap`);
});

test("a run that grows keeps its lines, and one that is shorter is scrolled back", () => {
  const { shown, store } = strip(many);
  shown.select(3999);
  const first = shown.find(3990);
  store.merge(chunk({ first: 4000, texts: ["new"], run: "r" }));
  shown.update(store, words);
  holds(first.isConnected && shown.find(3990) === first, "a line that did not change was made anew");
  shown.update(made(chunk({ head: header({ experts: [] }), texts: ["a", "b"] })), words);
  equal([...shown.box.querySelectorAll("[data-i]")].map((t) => t.textContent), ["a", "b"]);
  holds(!first.isConnected, "the old run is still there");
});

test("a strip that was emptied while it was scrolled shows nothing and draws nothing of what was", async () => {
  const { shown } = strip(many);
  shown.select(3999);
  await frames();
  const errors = [];
  const listen = (event) => errors.push(event.message);
  window.addEventListener("error", listen);
  shown.empty();
  shown.box.style.display = "none"; // as on the page, which hides what has nothing to show
  await frames();
  shown.box.dispatchEvent(new Event("scroll"));
  shown.refit(true);
  window.removeEventListener("error", listen);
  equal([errors, shown.box.querySelectorAll("[data-i]").length, shown.box.scrollTop], [[], 0, 0]);
});

test("hostile and invisible texts are texts", () => {
  const { shown } = strip(["<img src=x onerror=alert(1)>", "\n", "&lt;"]);
  equal([...shown.box.querySelectorAll("[data-i]")].map((t) => t.textContent), ["<img src=x onerror=alert(1)>", "↵", "&lt;"]);
  equal(shown.box.querySelector("img"), null);
});

test("a click chooses its token, and readers hear place, text and phase", () => {
  const { shown, onSelect } = strip(["a", "b", "c"], { phase: 2 });
  shown.find(1).click();
  equal(onSelect.calls, [[1, true]]);
  equal([shown.find(1).getAttribute("aria-posinset"), shown.find(1).getAttribute("aria-label")], ["2", "token_label 1 b answer"]);
});

test("exactly one token is reached by Tab, and the focus goes along with the selection", () => {
  const { shown } = strip(["a", "b", "c"]);
  shown.select(0);
  shown.find(0).focus();
  shown.select(2);
  equal([document.activeElement.dataset.i, [...shown.box.querySelectorAll('[tabindex="0"]')].map((t) => t.dataset.i)], ["2", ["2"]]);
});

test("the focus is not lost when a line is laid out anew", () => {
  const { shown, store } = strip(["a", "b"]);
  shown.select(1);
  shown.find(1).focus();
  store.merge(chunk({ first: 2, texts: ["c"], run: "r" }));
  shown.update(store, words);
  equal(document.activeElement.dataset.i, "1");
});

test("marks are set on lines in sight and on those that come into sight", () => {
  const { shown } = strip(many);
  shown.setMark((i) => i % 2 === 0);
  equal([shown.find(0), shown.find(1)].map((t) => t.classList.contains("xs-marked")), [true, false]);
  shown.select(3000);
  equal(shown.find(3000).classList.contains("xs-marked"), true);
  shown.setMark(null);
  equal(shown.box.querySelector(".xs-marked"), null);
});

test("a row that comes after its token marks that token, too", () => {
  const texts = many.slice(0, 40);
  const { shown, store } = strip(texts);
  const used = new Set([0]);
  shown.setMark((i) => used.has(i));
  used.add(1);
  store.merge(chunk({ first: 40, texts: ["new"], run: "r" }));
  shown.update(store, words);
  equal([...shown.box.querySelectorAll(".xs-marked")].map((t) => t.dataset.i), ["0", "1"]);
});

// --- the panel, the rulers and the controls

function ladder(store, token, cell = null) {
  const onPick = spy();
  const shown = new Ladder(onPick);
  mounted("div", "width: 400px").append(shown.root);
  shown.box.style.cssText = "height: 200px; overflow: auto; position: relative";
  shown.measure();
  shown.update({ store, token, cell, words });
  return { shown, onPick };
}
const chips = (shown) => [...shown.box.querySelectorAll(".xs-chip:not([hidden])")].map((chip) => chip.textContent);

test("the panel names a token's experts by weight, layer by layer", () => {
  const { shown, onPick } = ladder(made(whole(3)), 2);
  equal(chips(shown), ["2.60", "3.40", "2.80", "3.20"]);
  shown.box.querySelectorAll(".xs-chip")[3].click();
  equal(onPick.calls, [[1, 3]]);
});

test("a smaller top-k leaves no chip of the layer before", () => {
  const head = header({ experts: [8, 8], topK: [3, 1], dtype: "uint16" });
  const rows = [[0, 1, 2, 5, NONE_16, NONE_16]];
  equal(chips(ladder(made(chunk({ head, texts: ["a"], rows, weights: [[90, 85, 80, 255, 0, 0]], width: 2 })), 0).shown), ["0.35", "1.33", "2.31", "51.00"]);
});

test("what a token lacks is said", () => {
  const note = (store, token) => ladder(store, token).shown.note.textContent;
  const rows = { head: header(), texts: ["a", "b", "c"], rowStart: 1, rows: [[0, 1, 2, 3]], weights: [[1, 1, 1, 1]] };
  equal([note(made(chunk(rows)), 0), note(made(chunk(rows)), 2), note(made(chunk({ ...rows, done: true })), 2)], ["no_row", "not_routed_yet", "not_routed"]);
  equal(note(made(chunk({ head: header({ experts: [] }), texts: ["a"], rows: [[]] })), 0), "dense");
  equal(note(made(chunk({ ...rows, head: header({ weights: false }), weights: null })), 1), "used_order. no_weights");
});

test("of many layers only those in sight are written, and the chosen one is brought into sight", () => {
  const layers = 94;
  const head = header({ experts: Array(layers).fill(8) });
  const store = made(chunk({ head, texts: ["a"], rows: [Array(2 * layers).fill(0).map((_, i) => i % 8)], weights: [Array(2 * layers).fill(100)] }));
  const { shown } = ladder(store, 0, { position: 80, expert: null });
  const labels = [...shown.box.querySelectorAll(".xs-rung:not([hidden]) .xs-rung-label")].map((label) => label.textContent);
  holds(labels.length < 12 && labels.includes("layer_short 80"), labels.join(", "));
});

test("the arrows go from expert to expert, Enter enters, Escape leaves", () => {
  const { shown } = ladder(made(whole(3)), 2);
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  shown.box.focus();
  press("Enter");
  equal(document.activeElement.dataset, { l: "0", e: "2" });
  press("ArrowRight");
  press("ArrowLeft");
  press("ArrowLeft");
  equal(document.activeElement.dataset.e, "2");
  press("Escape");
  holds(document.activeElement === shown.box, "the focus is elsewhere");
});

test("the arrows reach every layer of a list that must be scrolled, down and up again", () => {
  const layers = 48;
  const head = header({ experts: Array(layers).fill(8), topK: Array(layers).fill(3) });
  const store = made(chunk({ head, texts: ["a"], rows: [Array(3 * layers).fill(0).map((_, i) => i % 3)], weights: [Array(3 * layers).fill(80)] }));
  const { shown } = ladder(store, 0);
  mounted("style").textContent = ".xs-sheet { position: relative } .xs-rung { position: absolute; display: flex; overflow: hidden } .xs-chips { display: grid }";
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const walk = (key, steps) =>
    Array.from({ length: steps }, () => {
      press(key);
      shown.box.dispatchEvent(new Event("scroll")); // as the browser says it of a box that was scrolled
      const { l, e } = document.activeElement.dataset;
      const [box, chip] = [shown.box.getBoundingClientRect(), document.activeElement.getBoundingClientRect()];
      holds(chip.top >= box.top - 1 && chip.bottom <= box.bottom + 1, `layer ${l} is out of sight`);
      return `${l}.${e}`;
    });
  shown.box.focus();
  press("Enter");
  const lines = Math.ceil(3 / shown.columns);
  const down = walk("ArrowDown", lines * (layers - 1) + lines - 1);
  equal([...new Set(down.map((at) => Number(at.split(".")[0])))].at(-1), layers - 1);
  equal(new Set(down.map((at) => at.split(".")[0])).size, layers - (lines === 1 ? 1 : 0));
  walk("ArrowUp", lines * layers);
  equal(document.activeElement.dataset.l, "0");
  const every = walk("ArrowRight", 3 * layers - 1);
  equal([every.length, new Set(every).size, every.at(-1)], [3 * layers - 1, 3 * layers - 1, "47.2"]);
  walk("ArrowLeft", 3 * layers - 1);
  equal(document.activeElement.dataset, { l: "0", e: "0" });
});

test("the rulers mark the equal share and chance, and say where layers differ", () => {
  const legend = new Legend();
  mounted().append(legend.scales, legend.phases);
  const head = header({ experts: [64, 128], topK: [8, 8] });
  legend.update(made(chunk({ head, texts: ["a"] })), words);
  equal([...legend.load.ticks.children].map((t) => t.textContent), ["≤ ¼×", "legend_uniform 0.8%–1.6%", "≥ 4×"]);
  equal([...legend.gate.ticks.children].map((t) => t.textContent), ["0", "legend_equal .13 8", "≥ .38"]);
  near(parseFloat(legend.gate.ticks.children[1].style.left), 100 / 3, 0.001);
  equal(legend.phases.children.length, 4);
  legend.update(made(chunk({ head: header({ experts: [] }), texts: ["a"] })), words);
  equal(legend.scales.hidden, true);
});

test("a scale without an equal share has no mark for one", () => {
  const legend = new Legend();
  legend.update(made(chunk({ head: header({ even_weight: null }), texts: ["a"] })), words);
  equal([...legend.gate.ticks.children].map((t) => t.textContent), ["0", "1.00"]);
});

function controls() {
  const names = ["first", "previous", "toggle", "next", "last", "live", "scrub", "pace"];
  const actions = Object.fromEntries(names.map((name) => [name, spy()]));
  const shown = new Controls(actions);
  shown.speak(words);
  mounted().append(shown.root);
  return { shown, actions };
}
const rest = (token, more = {}) => Object.assign(new Player(), { token, following: false, ...more });

test("buttons that lead nowhere are off", () => {
  const { shown } = controls();
  const off = (state) => (shown.update(state), Object.entries(shown.buttons).filter(([, b]) => b.disabled).map(([name]) => name));
  equal(off({ player: rest(-1), newest: -1, tokens: 0, done: false }), ["first", "previous", "toggle", "next", "last"]);
  equal(off({ player: rest(0), newest: 0, tokens: 1, done: true }), ["first", "previous", "next", "last"]);
  equal(off({ player: rest(0), newest: 4, tokens: 5, done: true }), ["first", "previous"]);
  equal(off({ player: rest(4), newest: 4, tokens: 5, done: true }), ["next", "last"]);
});

test("the big button says what it will do", () => {
  const { shown } = controls();
  const says = (state) => (shown.update({ newest: 4, tokens: 5, done: true, ...state }), shown.buttons.toggle.getAttribute("aria-label"));
  equal(says({ player: rest(2) }), "play");
  equal(says({ player: rest(2, { playing: true }) }), "pause");
  equal(says({ player: rest(4, { following: true }), done: false }), "pause");
  equal(says({ player: rest(4), done: false }), "follow");
});

test("scrubbing hands on every step, and the last one as final", () => {
  const { shown, actions } = controls();
  shown.update({ player: rest(0), newest: 9, tokens: 10, done: true });
  shown.range.value = "7";
  shown.range.dispatchEvent(new Event("input"));
  shown.range.dispatchEvent(new Event("change"));
  equal(actions.scrub.calls, [[7, false], [7, true]]);
  equal([shown.range.max, shown.range.getAttribute("aria-valuetext")], ["9", "position 0 9"]);
});

test("the controls announce nothing by themselves while tokens stream", () => {
  const { shown } = controls();
  shown.update({ player: rest(4), newest: 4, tokens: 5, done: false });
  equal([shown.position.textContent, shown.root.querySelectorAll("output, [aria-live], [role=status]").length], ["position 4 4", 0]);
});

test("a run that has ended has no live button", async () => {
  const { shown } = controls();
  shown.update({ player: rest(1), newest: 1, tokens: 2, done: false });
  equal(shown.live.hidden, false);
  shown.update({ player: rest(1), newest: 1, tokens: 2, done: true });
  await until(() => shown.live.hidden, "that it is hidden");
});
