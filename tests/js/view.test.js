import { mount } from "/app/ui/live/web/main.js";
import { Screen } from "/app/ui/live/web/screen.js";
import { LiveView } from "/app/ui/live/web/view.js";
import { chunk, header, NONE_16, whole } from "./chunks.js";
import { equal, frames, holds, mounted, spy, test, until } from "./harness.js";

let runs = 0;

/** A mounted view; `send(chunk)` is what Gradio does with a new value. */
async function page({ value = null, pull = async () => null } = {}) {
  const host = mounted("div", "width: 900px");
  host.innerHTML = '<div class="xs-live"></div>';
  const props = { words: { en: {} }, lang: "en", value };
  const select = spy();
  let told = () => {};
  const view = await mount(host, { props, server: { pull }, select, watch: (_, take) => (told = take) });
  const run = `view-${++runs}`;
  const send = (one) => ((props.value = { run, ...one, ...("run" in one && one.run !== "r" ? {} : { run }) }), told());
  return { host, view, root: view.root, select, send, run, again: told };
}

const press = (target, key, more = {}) => {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  target.dispatchEvent(event);
  return event.defaultPrevented;
};
const click = (view, position, expert) => {
  const { layout } = view.screen.picture;
  const box = view.screen.canvas.getBoundingClientRect();
  const [x, y] = [box.left + layout.left + (expert + 0.5) * layout.cellWidth, box.top + layout.top + (position + 0.5) * layout.cellHeight];
  view.screen.canvas.dispatchEvent(new MouseEvent("click", { clientX: x, clientY: y, bubbles: true }));
};
const marked = (view) => [...view.root.querySelectorAll(".xs-marked")].map((t) => Number(t.dataset.i));

test("an empty view invites, a run that is awaited says so, one that is gone says that", async () => {
  const { view, root, send } = await page();
  await frames();
  equal([root.dataset.state, root.querySelector(".xs-message").textContent, root.querySelector(".xs-controls").hidden], ["empty", "empty", true]);
  send({ pull: true });
  await until(() => root.dataset.state === "gone", "that it is gone");
  equal(root.querySelector(".xs-message").textContent, "gone");
  view.destroy();
});

test("a stream is followed to its end, and then the rest of the page hears of nothing it did not ask for", async () => {
  const { view, root, send, select } = await page();
  send(whole(3, { done: false }));
  await frames();
  equal([view.player.token, root.dataset.state], [2, "live"]);
  send(whole(8));
  await frames();
  equal([view.player.token, root.dataset.state, root.querySelector(".xs-selected").textContent], [7, "done", "t7"]);
  equal(select.calls, []);
});

test("a cell that is picked while a stream is followed is told, and at the end the token where it ended", async () => {
  const { view, send, select, run } = await page();
  send(whole(3, { done: false }));
  await frames();
  view.pick({ position: 1, expert: 3 });
  await until(() => select.calls.length, "the cell");
  send(whole(6, { done: false }));
  send(whole(8));
  await until(() => select.calls.length > 1, "the end");
  equal(select.calls, [[{ run, index: 2, layer: 1 }], [{ run, index: 7, layer: 1 }]]);
});

test("a run that is shown again tells the token at which it was left", async () => {
  const { view, send, select, run } = await page();
  send(whole(8));
  view.choose(3);
  await until(() => select.calls.length, "the choice");
  send(whole(4, { run: `${run}-b` }));
  send({ pull: true });
  await until(() => select.calls.length > 1, "the token");
  equal([view.player.token, select.calls[1]], [3, [{ run, index: 3, layer: null }]]);
});

test("a row that was drawn is noted with its moment, for measurements", async () => {
  const { view, send } = await page();
  view.counters.drawn = [];
  const began = Date.now();
  send(whole(4, { done: false, t: began }));
  await frames();
  const [rows, moment] = view.counters.drawn.at(-1);
  holds(rows === 4 && moment >= began && moment <= Date.now(), `${rows}, ${moment - began} ms`);
});

test("a chosen token is told once, with the run and the highlighted layer", async () => {
  const { view, send, select, run } = await page();
  send(whole(8));
  await frames();
  for (const index of [1, 2, 3]) view.choose(index);
  await until(() => select.calls.length, "the choice");
  equal(select.calls, [[{ run, index: 3, layer: null }]]);
  click(view, 1, 4);
  await until(() => select.calls.length > 1, "the cell");
  equal(select.calls[1], [{ run, index: 3, layer: 1 }]);
});

test("what the page chose is followed and not told back", async () => {
  const { view, send, select } = await page();
  send(whole(8));
  send({ pull: true, select: { index: 5, layer: 1 } });
  await frames();
  equal([view.player.token, view.cell], [5, { position: 1, expert: null }]);
  await new Promise((resolve) => setTimeout(resolve, 150));
  equal(select.calls, []);
});

test("a token that has not come yet is gone to when it comes", async () => {
  const { view, send } = await page();
  send({ ...whole(2, { done: false }), select: { index: 6, layer: null } });
  equal(view.player.token, 1);
  send(whole(5, { done: false }));
  equal(view.player.token, 4);
  send(whole(9));
  equal(view.player.token, 6);
});

test("a cell outlines the tokens that use it; the same cell or Escape clears it", async () => {
  const { view, root, send } = await page();
  send(whole(8));
  await frames();
  click(view, 0, 3);
  equal([view.cell, marked(view)], [{ position: 0, expert: 3 }, [2, 3]]);
  click(view, 0, 3);
  equal([view.cell, marked(view)], [null, []]);
  click(view, 0, 3);
  equal([press(root.querySelector(".xs-canvas"), "Escape"), view.cell, marked(view)], [true, null, []]);
  equal(press(root.querySelector(".xs-canvas"), "Escape"), false);
});

test("a click beyond the experts of a smaller layer means that layer, not an expert that is not there", async () => {
  const { view, send } = await page();
  const head = header({ experts: [16, 4], topK: [1, 1], dtype: "uint16" });
  send(chunk({ head, texts: ["a"], rows: [[12, NONE_16]], width: 2, done: true }));
  await frames();
  click(view, 1, 9);
  equal(view.cell, { position: 1, expert: null });
  view.pick(null);
  click(view, 0, 9);
  press(view.screen.canvas, "ArrowDown");
  equal(view.cell, { position: 1, expert: null });
});

test("keys move through tokens and layers, and leave fields alone", async () => {
  const { view, root, send } = await page();
  send(whole(8));
  await frames();
  const canvas = root.querySelector(".xs-canvas");
  press(canvas, "Home");
  press(canvas, "ArrowRight");
  equal(view.player.token, 1);
  press(canvas, "ArrowDown");
  press(canvas, "ArrowDown");
  press(canvas, "ArrowDown");
  equal(view.cell, { position: 1, expert: null });
  equal([press(root.querySelector(".xs-range"), "End"), view.player.token], [false, 1]);
  press(canvas, "End");
  equal(view.player.token, 7);
  equal([press(canvas, " "), view.player.playing], [true, true]);
  press(canvas, " ");
  equal(view.player.playing, false);
});

test("the strip keeps the keyboard's focus while the arrows move the selection", async () => {
  const { view, root, send } = await page();
  send(whole(8));
  await frames();
  root.querySelector(".xs-selected").focus();
  press(document.activeElement, "ArrowLeft");
  await frames();
  equal([view.player.token, document.activeElement.dataset.i], [6, "6"]);
});

test("a replay plays from the start, at its pace, and tells where it ended", async () => {
  const { view, send, select, run } = await page();
  send({ ...whole(4), play: true });
  view.player.setPace(200, performance.now());
  holds(view.player.playing && view.player.token < 3, `token ${view.player.token}`);
  await until(() => !view.player.playing, "its end");
  equal(view.player.token, 3);
  await until(() => select.calls.length, "that it is told");
  equal(select.calls.at(-1), [{ run, index: 3, layer: null }]);
});

test("a replay step by step rests on the first token, and tells it", async () => {
  const { view, send, select, run } = await page();
  send(whole(4));
  view.player.setPace(0, performance.now());
  send({ pull: true, play: true });
  await until(() => select.calls.length, "that it is told");
  equal([view.player.playing, select.calls], [false, [[{ run, index: 0, layer: null }]]]);
});

test("a replay that is asked for before the run has come begins when it is whole", async () => {
  const { view, send } = await page();
  send({ pull: true, play: true });
  send(whole(3, { done: false }));
  equal(view.player.playing, false);
  send(whole(6));
  equal([view.player.playing, view.player.token], [true, 0]);
});

test("the example plays by itself, once", async () => {
  const { view, send } = await page();
  send(whole(5, { header: header({ autoplay: 4 }) }));
  equal([view.player.playing, view.player.token, view.player.pace], [true, 0, 4]);
});

test("readers get the table once a token rests, and nothing of a run that is no longer shown", async () => {
  const { view, root, send, again } = await page();
  const table = () => root.querySelectorAll(".xs-hidden tr").length;
  send(whole(5));
  await until(() => table() === 2, "the table");
  view.choose(1);
  await frames();
  send({ run: null });
  again();
  await new Promise((resolve) => setTimeout(resolve, 300));
  equal([table(), root.querySelector(".xs-hidden p").textContent, root.querySelectorAll(".xs-token").length], [0, "", 0]);
});

test("another run shows nothing of the one before", async () => {
  const { view, root, send } = await page();
  send(whole(8));
  await frames();
  click(view, 0, 3);
  send(whole(2, { run: `other-${runs}`, tokens: [["x", 1, 2], ["y", 1, 2]] }));
  await frames();
  equal([view.cell, marked(view), [...root.querySelectorAll(".xs-token")].map((t) => t.textContent)], [null, [], ["x", "y"]]);
});

test("a dense model has its tokens and neither canvas nor layers", async () => {
  const { root, send } = await page();
  send(chunk({ head: header({ experts: [] }), texts: ["a", "b"], rows: [[], []], done: true }));
  await frames();
  equal([root.querySelector(".xs-stage").hidden, root.querySelectorAll(".xs-token").length, root.classList.contains("xs-dense")], [true, 2, true]);
});

test("pointing at a cell says what it is, leaving it says nothing", async () => {
  const { view, root, send } = await page();
  send(whole(4));
  await frames();
  const { canvas, picture } = view.screen;
  const box = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + picture.layout.left + 5, clientY: box.top + 12 }));
  await frames();
  equal([root.querySelector(".xs-tip").hidden, root.querySelectorAll(".xs-tip div").length], [false, 3]);
  canvas.dispatchEvent(new PointerEvent("pointerleave"));
  await frames();
  equal(root.querySelector(".xs-tip").hidden, true);
});

test("a view that is mounted again takes over; the old one is silent", async () => {
  const { host, view, send, select } = await page();
  send(whole(3));
  view.choose(0);
  const second = await mount(host, { props: { words: { en: {} }, value: null }, server: { pull: async () => null }, select: spy(), watch: () => {} });
  equal([view.destroyed, second instanceof LiveView, second.screen instanceof Screen], [true, true, true]);
  await new Promise((resolve) => setTimeout(resolve, 150));
  equal(select.calls, []);
});

test("a run that came while another was shown stands at its end when it is shown", async () => {
  let answer;
  const { view, send, run, host } = await page({ pull: (id) => new Promise((resolve) => (answer = () => resolve({ ...whole(6), run: id }))) });
  send({ run: `${run}-a`, pull: true });
  send({ run: `${run}-b`, ...whole(3), run: `${run}-b` });
  answer();
  await frames();
  send({ run: `${run}-a`, pull: true });
  await frames();
  equal([view.store.run, view.player.token, view.player.following], [`${run}-a`, 5, false]);
  host.remove();
  view.destroy();
});

test("a cell is hit where it is seen, however much the view is enlarged", async () => {
  const { host, view, send } = await page();
  send(whole(8));
  host.style.transformOrigin = "0 0";
  host.style.transform = "scale(1.104)";
  view.invalidate("size");
  await frames();
  const { layout } = view.screen.picture;
  const box = view.screen.canvas.getBoundingClientRect();
  const scale = box.width / view.screen.canvas.clientWidth;
  const edge = box.left + (layout.left + 7 * layout.cellWidth) * scale; // between the experts 6 and 7
  const y = box.top + (layout.top + 0.5 * layout.cellHeight) * scale;
  const at = (x) => view.screen.hit({ clientX: x, clientY: y }, view.store).expert;
  equal([at(edge - 1), at(edge + 1)], [6, 7]);
});
