// What a report does by itself: draws its pictures in the reader's colours, and searches and sorts the table of experts.
// Everything it shows is in the file; without it the tables are complete.
"use strict";
(() => {
  const pictures = JSON.parse(document.getElementById("pictures-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const PAPER = 640; // pixels of a printed picture

  function draw(theme, width) {
    for (const [id, themes] of Object.entries(pictures)) {
      const { data, layout } = structuredClone(themes[theme]);
      if (width) Object.assign(layout, { width, autosize: false });
      Plotly.react(id, data, layout, { responsive: true, displayModeBar: false, displaylogo: false });
    }
  }
  const redraw = () => draw(dark.matches ? "dark" : "light");
  redraw();
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => draw("light", PAPER));
  addEventListener("afterprint", redraw);
  for (const button of document.querySelectorAll("button[data-save]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const plot = document.getElementById(button.dataset.save);
      const { width, height } = plot.getBoundingClientRect();
      Plotly.downloadImage(plot, { format: "svg", filename: button.dataset.save, width, height });
    });
  }

  const table = document.getElementById("experts-table");
  if (!table) return;
  const FIRST = 50; // rows shown before someone asks for all
  const find = (id) => document.getElementById(`experts-${id}`);
  const [form, layer, expert, significant, count, more] = ["filter", "layer", "number", "significant", "count", "more"].map(find);
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const said = count.dataset.say;
  let all = false;

  const number = (row, column) => parseFloat(row.cells[column].textContent.replaceAll("−", "-"));
  function show() {
    const wanted = rows.filter((row) =>
      (!layer.value || row.cells[0].textContent === layer.value)
      && (!expert.value.trim() || row.cells[1].textContent === expert.value.trim())
      && !(significant && significant.checked && !row.querySelector("td:nth-last-child(2) strong")));
    const seen = new Set(all ? wanted : wanted.slice(0, FIRST));
    for (const row of rows) row.hidden = !seen.has(row);
    count.textContent = said.replace("{n}", seen.size).replace("{m}", rows.length);
    more.hidden = seen.size === wanted.length;
  }
  function sort(column, heading) {
    const up = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const keys = new Map(rows.map((row) => [row, number(row, column)]));
    rows.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return up ? x - y : y - x;
    });
    body.append(...rows);
    show();
  }
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(column, heading));
  });
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { all = true; show(); });
  show();
})();
