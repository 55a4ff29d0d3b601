import { attach, csvOf, MOST_ROWS, plain, tableOf, watch } from "/app/ui/plot_tables.js";
import { equal, frames, holds, mounted, test, until } from "./harness.js";

const WORDS = { table: "Table", series: "series", across: "across", up: "up", row: "row", column: "column", copy: "Copy", copied: "Copied", not_copied: "No", left: "{n} more" };

function figure(traces, layout = {}) {
  const made = mounted();
  made.className = "js-plotly-plot";
  made.innerHTML = '<svg class="main-svg"></svg>';
  made._fullData = traces.map((trace) => ({ visible: true, ...trace }));
  made._fullLayout = layout;
  made.heard = {};
  made.on = (name, run) => (made.heard[name] = run);
  return made;
}

test("markup becomes plain text and runs nothing", () => {
  equal(plain("a<br>b <b>c</b> &lt;d&gt;"), "a b c <d>");
  window.ran = false;
  plain('<img src=x onerror="window.ran = true"><script>window.ran = true</script>');
  equal(window.ran, false);
  equal(plain(undefined), "");
});

test("a heatmap is a table of its cells with the ticks' own names", () => {
  const layout = { title: { text: "Load<br>by layer" }, xaxis: { title: { text: "expert" } }, yaxis: { title: { text: "layer" }, tickvals: [0, 1], ticktext: ["L3", "L7"] } };
  const made = figure([{ type: "heatmap", z: [new Float32Array([0.015625, 1]), [NaN, null]], xaxis: "x", yaxis: "y" }], layout);
  equal(tableOf(made, WORDS), { title: "Load by layer", columns: ["layer \\ expert", "0", "1"], rows: [["L3", "0.01563", "1"], ["L7", "", ""]], left: 0 });
});

test("cells coloured by the logarithm of a ratio are told as the ratio, and what is measured is said", () => {
  const colorbar = { title: { text: "load ÷ uniform" }, tickvals: [-2, -1, 0, 1, 2], ticktext: ["≤ ¼", "½", "1", "2", "≥ 4"] };
  const made = figure([{ type: "heatmap", z: [[-2, -1, 0.5, 2, null]], meta: { log2: true }, colorbar }], { title: { text: "Load" } });
  equal(tableOf(made, WORDS).rows, [["0", "≤ ¼", "0.5", "1.414", "≥ 4", ""]]);
  equal(tableOf(made, WORDS).title, "Load · load ÷ uniform");
});

test("lines and bars are listed by series, with their intervals, and gaps are left out", () => {
  const traces = [
    { name: "thinking", x: [1, null, 3], y: [0, 1, 2], error_x: { visible: true, symmetric: false, array: [0.5, 0, 1], arrayminus: [0.25, 0, 2] } },
    { name: "chance", hoverinfo: "skip", x: [0.1, 0.1], y: [0, 1] },
    { hoverinfo: "skip", x: [9], y: [9] },
    { name: "hidden", visible: "legendonly", x: [9], y: [9] },
  ];
  const found = tableOf(figure(traces, { xaxis: { title: { text: "share" } }, yaxis: {} }), WORDS);
  equal(found.columns, ["series", "share", "up"]);
  equal(found.rows, [["thinking", "1 [0.75, 1.5]", "0"], ["thinking", "3 [1, 4]", "2"], ["chance", "0.1", "0"], ["chance", "0.1", "1"]]);
});

test("a second panel's points stand under its own axis", () => {
  const layout = { xaxis: { title: { text: "share" } }, yaxis: {}, xaxis2: { title: { text: "difference" } }, yaxis2: { tickvals: [0], ticktext: ["L0 · E5"] } };
  const made = figure([{ name: "trace 4", showlegend: false, x: [0.2], y: [0], xaxis: "x2", yaxis: "y2" }], layout);
  equal(tableOf(made, WORDS).rows, [["difference", "0.2", "L0 · E5"]]);
});

test("a long table is cut and says so", () => {
  const many = Array.from({ length: MOST_ROWS + 5 }, (_, i) => i);
  const found = tableOf(figure([{ name: "a", x: many, y: many }], {}), WORDS);
  equal([found.rows.length, found.left], [MOST_ROWS, 5]);
});

test("a figure without anything gives an empty table", () => {
  equal(tableOf(figure([], {}), WORDS), { title: "", columns: ["series", "across", "up"], rows: [], left: 0 });
});

test("cells that a spreadsheet would run are text", () => {
  const csv = csvOf({ columns: ["a,b", 'c"d'], rows: [["=1+1", "-2.5"], ["@x", "-x"], ["+1", "two\nlines"]] });
  equal(csv, '"a,b","c""d"\n\'=1+1,-2.5\n\'@x,\'-x\n\'+1,"two\nlines"');
});

test("the table is made when it is opened and follows the figure", async () => {
  const made = figure([{ name: "<b>a</b>", x: [1], y: [2] }], { title: { text: "One" } });
  attach(made, WORDS);
  attach(made, WORDS);
  equal(document.querySelectorAll(".plot-table").length, 1);
  const details = made.nextElementSibling;
  equal([made.querySelector("svg").getAttribute("role"), made.querySelector("svg").getAttribute("aria-label")], ["img", "One"]);
  equal(details.querySelector("table"), null);
  details.open = true;
  await until(() => details.querySelector("tbody tr"), "the table");
  equal([...details.querySelectorAll("tbody tr > *")].map((cell) => cell.textContent), ["a", "1", "2"]);
  made._fullData = [{ visible: true, name: "b", x: [3], y: [4] }];
  made.heard.plotly_afterplot();
  equal([...details.querySelectorAll("tbody tr > *")].map((cell) => cell.textContent), ["b", "3", "4"]);
});

test("where a table was open, that of the next figure is open, too", async () => {
  const place = mounted();
  place.id = "somewhere";
  const stop = watch(() => WORDS);
  place.append(figure([{ name: "a", x: [1], y: [2] }], {}));
  await until(() => place.querySelector(".plot-table"), "a table");
  place.querySelector(".plot-table").open = true;
  await until(() => place.querySelector("tbody tr"), "its rows");
  place.replaceChildren(figure([{ name: "b", x: [3], y: [4] }], {}));
  await until(() => place.querySelector("tbody th")?.textContent === "b", "the next table");
  place.querySelector(".plot-table").open = false;
  await frames();
  place.replaceChildren(figure([{ name: "c", x: [3], y: [4] }], {}));
  await until(() => place.querySelector(".plot-table"), "a third table");
  await frames();
  equal(place.querySelector(".plot-table").open, false);
  stop();
});

test("figures that come get a table, and one whose figure went goes", async () => {
  const stop = watch(() => WORDS);
  const made = figure([{ name: "a", x: [1], y: [2] }], {});
  await until(() => document.querySelector(".plot-table"), "a table");
  made.remove();
  await until(() => !document.querySelector(".plot-table"), "its end");
  stop();
  figure([{ name: "a", x: [1], y: [2] }], {});
  await frames();
  holds(!document.querySelector(".plot-table"), "it still watches");
});
