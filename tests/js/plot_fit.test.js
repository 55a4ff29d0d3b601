import { equal, holds, mounted, spy, test } from "./harness.js";
import { fit, lines, local, retitled } from "/app/ui/plot_fit.js";

const each = (text) => text.length; // a ruler of one pixel a character
const SPAN = "<span style='font-size:12px;color:#5b6270'>";

function drawn(width, { title = "Which experts differ", subtitle = "n = 22 prompts · phase: thinking · the 20 largest" } = {}) {
  const figure = mounted("div");
  figure.style.width = `${width}px`;
  const text = `<b>Which<br>experts differ</b><br>${SPAN}n = 22 prompts<br>phase: thinking<br>the 20 largest</span>`;
  figure.layout = { meta: { title, subtitle }, title: { text }, margin: { t: 116 }, height: 400, font: {} };
  figure._fullLayout = { height: 400 };
  return figure;
}

test("facts share a line where they fit, words of one that is too long do not", () => {
  equal(lines("a bb · cc · d", 20, each), ["a bb · cc · d"]);
  equal(lines("a bb · cc · d", 9, each), ["a bb · cc", "d"]);
  equal(lines("one two three · x", 9, each), ["one two", "three · x"]);
  equal(lines("アイウエオ、カキ", 5, each), ["アイウエ", "オ、カキ"]);
  equal([lines("", 9, each), lines("unbreakable", 3, each)], [[], ["unbreakable"]]);
});

test("a wide figure has its title in few lines and is lower by what it saves", () => {
  const [change, height] = retitled(drawn(600), () => each);
  equal(change["title.text"], `<b>Which experts differ</b><br>${SPAN}n = 22 prompts · phase: thinking · the 20 largest</span>`);
  equal([change["margin.t"], height, change.autosize], [66, 350, true]);
  holds(Math.abs(change["title.y"] - (1 - 16 / 350)) < 1e-9);
});

test("a title leaves room for the picture's buttons, where there are any", () => {
  const [figure, ruler] = [drawn(210), () => each];
  const heads = () => retitled(figure, ruler)[0]["title.text"].split("</b>")[0];
  equal(heads(), "<b>Which experts differ");
  figure.innerHTML = '<div class="modebar">buttons</div>';
  equal(heads(), "<b>Which<br>experts<br>differ");
  figure.firstChild.style.display = "none";
  equal(heads(), "<b>Which experts differ");
});

test("a title that stands as it should, one that is unknown and a figure without a width are left alone", () => {
  const figure = drawn(600);
  figure.layout.title.text = retitled(figure, () => each)[0]["title.text"];
  equal([retitled(figure, () => each), retitled(drawn(0)), retitled(Object.assign(drawn(600), { layout: {} }))], [null, null, null]);
});

test("gradients and clips are named without the page's address", () => {
  const figure = mounted("div");
  figure._context = { _baseUrl: "http://127.0.0.1/?present=1" };
  figure.innerHTML = `<svg><rect style="fill: url('http://127.0.0.1/?present=1#g1');"/><g clip-path="url('http://127.0.0.1/?present=1#c2')"/><g clip-path="url(#c3)"/></svg>`;
  local(figure);
  equal([figure._context._baseUrl, ...[...figure.querySelectorAll("g")].map((g) => g.getAttribute("clip-path"))], ["", "url('#c2')", "url(#c3)"]);
  equal(figure.querySelector("rect").getAttribute("style"), "fill: url('#g1');");
});

test("a figure is fitted when it is there and whenever it is drawn again, and heard only once", () => {
  const figure = drawn(600);
  figure.on = spy();
  const relayout = spy(Promise.resolve());
  window.Plotly = { relayout };
  fit(figure);
  fit(figure);
  equal([figure.on.calls.length, relayout.calls.length], [1, 1]);
  figure.on.calls[0][1]();
  equal(relayout.calls.length, 2);
  delete window.Plotly;
});
