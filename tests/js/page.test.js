// The scripts that are no modules: app/ui/page.js in the document's head, app/ui/links.js and app/ui/chips.js in their components.

import { equal, frames, holds, mounted, spy, test, until } from "./harness.js";

const source = (path) => fetch(path).then((answer) => answer.text());
const links = await source("/app/ui/links.js");
const chips = await source("/app/ui/chips.js");
const page = await source("/app/ui/page.js");

// --- page.js, each time in a page of its own

async function opened(query = "", { theme = null, chat = "", clipboard = { writeText: spy(async () => {}) } } = {}) {
  if (theme) localStorage.setItem("expertscope-theme", theme);
  else localStorage.removeItem("expertscope-theme");
  const frame = mounted("iframe");
  frame.src = `/${query}`;
  await new Promise((resolve) => (frame.onload = resolve));
  const { contentWindow: inner, contentDocument: there } = frame;
  there.body.innerHTML = `<div id="chat">${chat}</div><button id="b"></button>`;
  const gone = [];
  const place = { replace: (to) => gone.push(to), pathname: inner.location.pathname, search: inner.location.search, origin: inner.location.origin };
  Object.defineProperty(inner.navigator, "clipboard", { value: clipboard, configurable: true });
  const written = clipboard?.writeText;
  inner.Function("location", page)(place);
  return { inner, there, gone, written, clipboard, scope: inner.expertscope };
}

test("an address that asks for a language leads there and keeps the rest of its query", async () => {
  equal((await opened("?lang=ja")).gone, ["/ja"]);
  equal((await opened("?lang=zh-CN&trace=gallery/1&token=3")).gone, ["/zh?trace=gallery%2F1&token=3"]);
  for (const query of ["", "?lang=en", "?lang=xx", "?lang=__proto__", "?lang=//example.org"]) equal((await opened(query)).gone, [], query);
});

test("a language's link keeps the address's query, but for a language that it asked for", async () => {
  for (const [query, wanted] of [["", "/ja"], ["?lang=en", "/ja"], ["?trace=gallery/1&lang=en&token=3", "/ja?trace=gallery%2F1&token=3"]]) {
    const { there, inner } = await opened(query);
    there.body.innerHTML = '<nav class="languages"><a href="/ja?old=1"><i>日本語</i></a></nav><a href="/other">other</a>';
    there.addEventListener("click", (event) => event.preventDefault());
    const [link, other] = there.querySelectorAll("a");
    for (const kind of ["click", "auxclick"]) {
      link.search = "?old=1";
      link.firstChild.dispatchEvent(new inner.MouseEvent(kind, { bubbles: true, cancelable: true }));
      equal(link.getAttribute("href").replace(location.origin, ""), wanted, `${query} ${kind}`);
    }
    other.click();
    equal(other.getAttribute("href"), "/other");
  }
});

test("a chat stays on its page: another language opens beside it", async () => {
  const { there, inner } = await opened();
  there.addEventListener("click", (event) => event.preventDefault());
  for (const [chat, target] of [["", ""], ["<p data-testid='user'>hello</p>", "_blank"]]) {
    there.body.innerHTML = `<nav class="languages"><a href="/ja">日本語</a></nav><div id="chat">${chat}</div>`;
    there.querySelector("a").dispatchEvent(new inner.MouseEvent("click", { bubbles: true, cancelable: true }));
    equal(there.querySelector("a").target, target);
  }
});

test("the message box loses only what was taken from it, and keeps what came back and what was written since", async () => {
  const { scope } = await opened();
  const after = (receipt, written) => scope.boxAfter(JSON.stringify(receipt), written);
  equal([after({ taken: "a" }, "a"), after({ taken: "a" }, "ab"), after({ taken: "" }, "b")], ["", "ab", "b"]);
  equal([after({ back: "a" }, ""), after({ back: "a" }, " "), after({ back: "a" }, "b")], ["a", "a", "a\nb"]);
  equal(scope.boxAfter("", "b"), "b");
});

test("the language of the page stands on its root", async () => {
  const { there } = await opened();
  equal([there.documentElement.lang, there.documentElement.dataset.lang], ["en", "en"]);
});

test("foreign pictures, frames and forms are forbidden before anything is drawn", async () => {
  const policy = (await opened()).there.querySelector("meta[http-equiv]").content;
  for (const part of ["img-src 'self' data: blob:", "frame-src 'none'", "form-action 'none'", "object-src 'none'"]) holds(policy.includes(part), part);
});

test("the theme is the address's, then the last choice, then the system's", async () => {
  const started = async (query, theme) => (await opened(query, { theme })).scope.start({});
  equal([await started("?__theme=dark", "light"), await started("", "dark"), await started("", null), await started("?__theme=pink", "dark")], ["dark", "dark", "light", "dark"]);
});

test("switching the theme is remembered", async () => {
  const { scope } = await opened();
  equal([scope.toggle(), localStorage.getItem("expertscope-theme"), scope.toggle()], ["dark", "dark", "light"]);
  localStorage.removeItem("expertscope-theme");
});

test("the page stays as it looks when the system turns dark, since its figures are drawn already", async () => {
  const { scope, inner, there } = await opened();
  const system = new inner.EventTarget();
  inner.matchMedia = () => system;
  const turned = () => (there.body.classList.toggle("dark"), system.dispatchEvent(new inner.Event("change")), scope.theme());
  equal([scope.start({}), turned(), scope.toggle(), turned()], ["light", "light", "dark", "dark"]);
  localStorage.removeItem("expertscope-theme");
});

test("N steps in the view for a class, too, where the button is not displayed, but not where there is no stepping", async () => {
  const { there, inner } = await opened();
  there.body.insertAdjacentHTML("beforeend", '<div style="display: none"><button id="next-token">next</button></div>');
  let pressed = 0;
  const button = there.getElementById("next-token");
  button.addEventListener("click", () => pressed++);
  const key = () => there.body.dispatchEvent(new inner.KeyboardEvent("keydown", { key: "n", bubbles: true, cancelable: true }));
  there.documentElement.classList.add("presenting");
  equal([key(), pressed], [false, 1]);
  button.classList.add("hide");
  equal([key(), pressed], [true, 1]);
});

test("N presses the button for the next token, where it is seen and nothing is being written", async () => {
  const { there, inner } = await opened("", { chat: "" });
  there.body.insertAdjacentHTML("beforeend", '<button id="next-token">next</button><textarea></textarea><input type="radio"><input type="text">');
  const button = there.getElementById("next-token");
  let pressed = 0;
  button.addEventListener("click", () => pressed++);
  const key = (target, more = {}) => target.dispatchEvent(new inner.KeyboardEvent("keydown", { key: "n", bubbles: true, ...more }));
  key(there.body);
  key(there.querySelector("input[type=radio]"), { key: "N" });
  equal(pressed, 2);
  key(there.querySelector("textarea"));
  key(there.querySelector("input[type=text]"));
  key(there.body, { ctrlKey: true });
  key(there.body, { key: "m" });
  button.style.display = "none";
  key(there.body);
  equal(pressed, 2);
});

test("N steps from the message box, too, where it is empty and an answer is under way", async () => {
  const { there, inner } = await opened();
  there.body.insertAdjacentHTML("beforeend", '<div id="box"><textarea></textarea></div><button id="stop" disabled>stop</button><button id="next-token">next</button>');
  let pressed = 0;
  there.getElementById("next-token").addEventListener("click", () => pressed++);
  const box = there.querySelector("#box textarea");
  const typed = () => box.dispatchEvent(new inner.KeyboardEvent("keydown", { key: "n", bubbles: true, cancelable: true }));
  equal([typed(), pressed], [true, 0]); // no answer is under way: it is a letter
  there.getElementById("stop").disabled = false;
  equal([typed(), pressed], [false, 1]);
  box.value = "a draft";
  equal([typed(), pressed], [true, 1]);
});

test("of the tabs below, one that is opened out of sight leads there; one in sight, or of other tabs, does not", async () => {
  const { there, inner, scope } = await opened();
  there.body.innerHTML =
    '<div style="height: 0"></div><div class="tabs" id="below"><div class="tab-wrapper" style="height: 20px"><button role="tab"><i>Load</i></button><button aria-label="More"></button>' +
    '<div class="overflow-dropdown"><button>Learn</button></div></div><div class="tabs"><div class="tab-wrapper"><button role="tab">inner</button></div></div></div><button id="other"></button>';
  const [space, below] = there.body.children;
  const [tab, more, hidden, nested] = below.querySelectorAll("button");
  const led = () => [tab.firstChild, hidden, more, nested, there.getElementById("other")].map((target) => scope.opened(target) === below);
  equal(led(), [false, false, false, false, false]);
  space.style.height = `${inner.innerHeight}px`;
  equal(led(), [true, true, false, false, false]);
});

test("buttons that show a sign get their name; one that is not there is no error", async () => {
  const { scope, there } = await opened();
  scope.start({ b: "Send", missing: "x" });
  equal([there.getElementById("b").title, there.getElementById("b").getAttribute("aria-label")], ["Send", "Send"]);
});

test("a link leads to the recording, at the token shown where that is wanted", async () => {
  const { scope, written, inner } = await opened();
  inner.__expertscope_live = { token: 12 };
  equal(await scope.copyLink("gallery/00000-thinking-0"), true);
  await scope.copyLink("gallery/a b&token=9", true);
  inner.__expertscope_live = { token: -1 };
  await scope.copyLink("g", true);
  const start = `${location.origin}/?trace=`;
  equal(written.calls.flat(), [`${start}gallery/00000-thinking-0`, `${start}gallery/a%20b&token=9&token=12`, `${start}g`]);
});

test("without a turn there is no link to copy", async () => {
  const { scope } = await opened();
  equal(await scope.copyShown(), "failed");
});

test("a message is copied as it was written, other text as it is", async () => {
  const { there, clipboard, written } = await opened("", { chat: '<button id="copy">copy</button>' });
  there.getElementById("copy").click();
  await clipboard.writeText("a &#060;b> &#038; &#091;c] &#042;&#033; &lt; &#062;");
  there.getElementById("b").click();
  await clipboard.writeText("&#060;");
  equal(written.calls.flat(), ["a <b> & [c] *! &lt; &#062;", "&#060;"]);
});

test("without https text is copied by hand, a message as it was written, and the focus stays", async () => {
  for (const clipboard of [null, { writeText: async () => Promise.reject(new Error("not allowed")) }]) {
    const { there, inner, scope } = await opened("", { chat: '<button id="copy">copy</button>', clipboard });
    const copied = [];
    there.execCommand = () => copied.push(there.activeElement.value) > 0;
    const write = (text) => inner.navigator.clipboard.writeText(text);
    const copy = there.getElementById("copy");
    copy.focus();
    copy.click();
    await write("3 &#060; 5");
    equal([there.activeElement === copy, there.querySelector("textarea")], [true, null]);
    there.getElementById("b").click();
    await write("&#060;");
    equal(await scope.copyLink("g"), true);
    equal(copied, ["3 < 5", "&#060;", `${location.origin}/?trace=g`]);
    there.execCommand = () => false;
    equal([await write("x").catch((error) => error.message), await scope.copyLink("g")], ["nothing was copied", false]);
  }
});

test("a message that is edited is shown as it was written", async () => {
  const { there } = await opened();
  const [inside, outside] = ["chat", "b"].map((id) => {
    const field = there.createElement("textarea");
    field.value = "&#060;b>";
    there.getElementById(id).append(field);
    return field;
  });
  await until(() => inside.value === "<b>", "the plain text");
  equal(outside.value, "&#060;b>");
});

// --- links.js

function linked({ plot = "plot", mark = null, html = "" } = {}) {
  const element = mounted();
  element.innerHTML = html;
  const [trigger, watch] = [spy(), spy()];
  const props = { value: { mark } };
  new Function("element", "props", "trigger", "watch", "PLOT", links)(element, props, trigger, watch, plot);
  return { element, props, trigger, changed: () => watch.calls.forEach(([, run]) => run()) };
}

/** A stand-in for what Plotly leaves on the page: ten pixels a cell, from 100, 50. */
function figure(id = "plot") {
  const host = mounted("div");
  host.id = id;
  host.innerHTML = '<div class="js-plotly-plot"><div class="svg-container"></div></div>';
  const shown = host.firstChild;
  const heard = {};
  shown.on = (name, run) => (heard[name] = run);
  shown._fullLayout = { xaxis: { _offset: 100, c2p: (v) => 10 * v }, yaxis: { _offset: 50, c2p: (v) => -10 * v } };
  return { host, shown, heard };
}

test("buttons of a card hand on their expert or token as numbers", () => {
  const { element, trigger } = linked({ plot: "", html: '<button data-expert="3,17"><i>x</i></button><button data-token="0,12">y</button><button>z</button>' });
  element.querySelector("i").click();
  element.children[1].click();
  element.children[2].click();
  equal(trigger.calls, [["expert", { at: [3, 17] }], ["token", { at: [0, 12] }]]);
});

test("in a grid and in a text of buttons the keyboard stops once, and the arrow keys go on from there", async () => {
  const buttons = (n, pressed) => Array.from({ length: n }, (_, i) => `<button aria-pressed="${i === pressed}">${i}</button>`);
  const row = (line) => `<tr>${line.map((button) => `<td>${button}</td>`).join("")}</tr>`;
  const [four, six] = [buttons(4), buttons(6, 4)];
  const { element } = linked({ plot: "", html: `<div class="xp-grid"><table>${row(four.slice(0, 2))}${row(four.slice(2))}</table></div><p class="pick-token">${six.join("")}</p>` });
  const [table, text] = [element.querySelector("table"), element.querySelector("p")];
  const stops = (around) => [...around.querySelectorAll("button")].flatMap((button, i) => (button.tabIndex === 0 ? [i] : []));
  equal([stops(table), stops(text)], [[0], [4]]);
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const walk = (around, start, keys) => {
    around.querySelectorAll("button")[start].focus();
    return keys.map((key) => (press(key), stops(around)[0]));
  };
  equal(walk(text, 4, ["ArrowRight", "ArrowRight", "ArrowLeft", "ArrowDown", "Home", "End"]), [5, 5, 4, 4, 0, 5]);
  equal(walk(table, 0, ["ArrowRight", "ArrowDown", "Home", "ArrowUp"]), [1, 3, 2, 0]);
});

test("a click on a cell of the figure is handed on, one on anything else is not", async () => {
  const { trigger } = linked();
  const { heard } = figure();
  await until(() => heard.plotly_click, "the figure's listener");
  heard.plotly_click({ points: [{ pointNumber: [4, 9] }] });
  heard.plotly_click({ points: [{ pointNumber: 4 }] });
  heard.plotly_click({ points: [] });
  equal(trigger.calls, [["cell", { at: [4, 9] }]]);
});

test("the chosen cell is outlined where it lies, moves along, and is gone with the choice", async () => {
  const { props, changed } = linked({ mark: [2, 5] });
  const { shown } = figure();
  const outline = () => shown.querySelector(".xp-outline");
  await until(outline, "the outline");
  equal([outline().style.left, outline().style.width, outline().style.top, outline().style.height], ["143px", "14px", "23px", "14px"]);
  props.value = { mark: [0, 0] };
  changed();
  equal(outline().style.left, "93px");
  props.value = null;
  changed();
  equal(outline(), null);
});

test("a figure that is drawn anew is listened to again, once", async () => {
  const { trigger } = linked();
  const first = figure();
  await until(() => first.heard.plotly_click, "the first listener");
  first.host.remove();
  const second = figure();
  await until(() => second.heard.plotly_click, "the second listener");
  second.shown.on = spy(second.shown.on);
  mounted();
  await frames();
  second.heard.plotly_click({ points: [{ pointNumber: [1, 2] }] });
  equal(trigger.calls.length, 1);
});

test("a component that Gradio took off the page hears and outlines nothing any more", async () => {
  const old = linked({ mark: [2, 5] });
  const { shown, heard } = figure();
  await until(() => shown.querySelector(".xp-outline"), "the outline");
  old.element.remove();
  await until(() => !shown.querySelector(".xp-outline"), "that the outline is gone");
  heard.plotly_click({ points: [{ pointNumber: [1, 2] }] });
  const again = linked();
  const redrawn = figure("plot-new");
  shown.closest("#plot").remove();
  redrawn.host.id = "plot";
  mounted();
  await until(() => redrawn.heard.plotly_click, "the new component's listener");
  redrawn.heard.plotly_click({ points: [{ pointNumber: [4, 9] }] });
  equal([old.trigger.calls, again.trigger.calls], [[], [["cell", { at: [4, 9] }]]]);
});

// --- chips.js

function chipped(count) {
  const element = mounted();
  const draw = (n) => (element.innerHTML = Array.from({ length: n }, (_, i) => `<button data-i="${i}">${i}</button>`).join(""));
  draw(count);
  const trigger = spy();
  new Function("element", "trigger", "UNDO", chips)(element, trigger, "experiment-undo");
  return { element, trigger, draw };
}

test("a chip that is taken away is named, and the focus goes to the one in its place", async () => {
  const { element, trigger, draw } = chipped(3);
  element.children[1].click();
  equal(trigger.calls, [["remove", { i: 1 }]]);
  draw(2);
  await until(() => document.activeElement === element.children[1], "the focus on the next chip");
  element.children[1].click();
  draw(1);
  await until(() => document.activeElement === element.children[0], "the focus on the last chip");
});

test("after the last chip the focus is on undo, and chips that change by themselves take no focus", async () => {
  const { element, draw } = chipped(1);
  const undo = mounted("button");
  undo.id = "experiment-undo";
  draw(2);
  await frames();
  equal(document.activeElement, document.body);
  draw(1);
  element.children[0].click();
  draw(0);
  await until(() => document.activeElement === undo, "the focus on undo");
});
