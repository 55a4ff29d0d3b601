// A table behind every picture: the numbers of a Plotly figure as rows, for those who cannot see it or want to copy them,
// and the picture's title as its name. Knows Plotly's figures once they are drawn; knows nothing of what they show.

export const MOST_ROWS = 600;
const MOST_COLUMNS = 512; // no known layer has more experts

/** Markup of a Plotly text as plain text, on one line. */
export function plain(text) {
  const spaced = String(text ?? "").replace(/<br\s*\/?>/gi, " ");
  return new DOMParser().parseFromString(spaced, "text/html").body.textContent.replace(/\s+/g, " ").trim();
}

const number = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4))));

const shown = (value) => (value === null || value === undefined || Number.isNaN(value) ? "" : typeof value === "number" ? number(value) : plain(value));

/** What stands at a value of an axis: the tick's own text where it has one. */
function ticks(axis) {
  const named = new Map();
  if (axis?.ticktext) [...axis.tickvals].forEach((value, i) => named.set(Number(value), plain(axis.ticktext[i])));
  return (value) => (typeof value === "number" && named.has(value) ? named.get(value) : shown(value));
}

const axisOf = (layout, reference, letter) => layout[reference?.replace(/^[xy]/, `${letter}axis`) ?? `${letter}axis`];
const titleOf = (axis, otherwise) => plain(axis?.title?.text) || otherwise;

/** One trace's points: [x, low and high of x, y, low and high of y]; lines that are cut by gaps give their pieces' ends. */
function points(trace) {
  const [xs, ys] = [Array.from(trace.x ?? []), Array.from(trace.y ?? [])];
  const reach = (bars, value, i) => {
    if (!bars?.visible || !bars.array) return "";
    const [up, down] = [bars.array[i], (bars.symmetric === false && bars.arrayminus ? bars.arrayminus : bars.array)[i]];
    return Number.isFinite(up) && Number.isFinite(down) ? ` [${number(value - down)}, ${number(value + up)}]` : "";
  };
  return ys.map((y, i) => ({ x: xs.length ? xs[i] : i, y, more: [reach(trace.error_x, xs[i], i), reach(trace.error_y, y, i)] })).filter((p) => ![p.x, p.y].some((value) => value === null || value === undefined || Number.isNaN(value)));
}

/**
 * The figure in words and numbers.
 * @param figure {_fullData, _fullLayout} as Plotly completes them
 * @returns {title, columns, rows, left} with `left` rows not listed
 */
export function tableOf(figure, words) {
  const layout = figure._fullLayout ?? {};
  const traces = (figure._fullData ?? []).filter((trace) => trace.visible === true);
  const matrix = traces.find((trace) => trace.z);
  const found = matrix ? grid(matrix, layout, words) : list(traces, layout, words);
  const title = [plain(layout.title?.text), found.measure].filter(Boolean).join(" · ");
  return { title, columns: found.columns, rows: found.rows.slice(0, MOST_ROWS), left: Math.max(0, found.rows.length - MOST_ROWS) };
}

function grid(trace, layout, words) {
  const [xAxis, yAxis] = [axisOf(layout, trace.xaxis, "x"), axisOf(layout, trace.yaxis, "y")];
  const [xName, yName] = [ticks(xAxis), ticks(yAxis)];
  const rows = Array.from(trace.z, (row) => Array.from(row));
  const cell = trace.meta?.log2 ? powers(trace.colorbar) : shown;
  const width = Math.min(MOST_COLUMNS, Math.max(0, ...rows.map((row) => row.length)));
  const at = (values, i) => (values?.length ? values[i] : i);
  const corner = `${titleOf(yAxis, words.row)} \\ ${titleOf(xAxis, words.column)}`;
  const columns = [corner, ...Array.from({ length: width }, (_, i) => xName(at(trace.x, i)))];
  return { columns, rows: rows.map((row, i) => [yName(at(trace.y, i)), ...row.slice(0, width).map(cell)]), measure: plain(trace.colorbar?.title?.text) };
}

/** Of cells that are coloured by log2 of a ratio: the ratio; the ends of the scale, where it is cut, by their own names. */
function powers(bar) {
  const ends = bar?.tickvals ? [0, bar.tickvals.length - 1].map((i) => [Number(bar.tickvals[i]), plain(bar.ticktext[i])]) : [];
  const named = new Map(ends);
  return (value) => (value === null || Number.isNaN(value) ? "" : named.get(value) ?? shown(2 ** value));
}

function list(traces, layout, words) {
  const told = traces.filter((trace) => trace.name || trace.hoverinfo !== "skip").filter((trace) => trace.y?.length);
  const bases = told.map((trace) => [axisOf(layout, trace.xaxis, "x"), axisOf(layout, trace.yaxis, "y")]);
  const first = bases[0] ?? [];
  const columns = [words.series, titleOf(first[0], words.across), titleOf(first[1], words.up)];
  const rows = told.flatMap((trace, i) => {
    const [xName, yName] = bases[i].map(ticks);
    const name = trace.showlegend === false && /^trace \d+$/.test(trace.name ?? "") ? titleOf(bases[i][0], "") : plain(trace.name);
    return points(trace).map(({ x, y, more }) => [name, xName(x) + more[0], yName(y) + more[1]]);
  });
  return { columns, rows };
}

/** Comma-separated, for a spreadsheet; a cell that would be read as a formula is written as text. */
export function csvOf({ columns, rows }) {
  const cell = (text) => {
    const safe = /^[=+@]/.test(text) || /^-[^\d.]/.test(text) ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\n");
}

function element(tag, text, settings = {}) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  return Object.assign(made, settings);
}

function drawn(table, words) {
  const made = element("table");
  if (table.title) made.append(element("caption", table.title));
  const head = made.createTHead().insertRow();
  for (const name of table.columns) head.append(element("th", name, { scope: "col" }));
  const body = made.createTBody();
  for (const row of table.rows) {
    const line = body.insertRow();
    row.forEach((text, i) => line.append(i ? element("td", text) : element("th", text, { scope: "row" })));
  }
  const copy = element("button", words.copy, { type: "button" });
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(csvOf(table));
      copy.textContent = words.copied;
    } catch {
      copy.textContent = words.not_copied;
    }
  });
  const scroll = element("div", "", { className: "scroll", tabIndex: 0 });
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", table.title || words.table);
  scroll.append(made);
  const more = table.left ? [element("p", words.left.replace("{n}", String(table.left)))] : [];
  return [copy, scroll, ...more];
}

/** Ids of the places whose table is open: a figure that is drawn anew there has its table open, too. */
const opened = new Set();

/** Puts the table behind `figure`, once; it is made when it is opened, and made anew when the figure changes. */
export function attach(figure, words) {
  const title = plain(figure._fullLayout?.title?.text);
  const picture = figure.querySelector(".main-svg");
  picture?.setAttribute("role", "img");
  picture?.setAttribute("aria-label", title || words.table);
  if (figure.nextElementSibling?.classList.contains("plot-table")) return;
  const details = element("details", "", { className: "plot-table" });
  details.append(element("summary", words.table));
  const fill = () => {
    if (details.open) details.replaceChildren(details.firstChild, ...drawn(tableOf(figure, words), words));
    else details.replaceChildren(details.firstChild);
  };
  const place = figure.closest("[id]")?.id;
  details.open = opened.has(place);
  details.addEventListener("toggle", () => {
    opened[details.open ? "add" : "delete"](place);
    fill();
  });
  figure.on?.("plotly_afterplot", fill);
  figure.after(details);
}

/** From now on every figure that appears gets its table and what `more` does to it, and a table whose figure went goes too. */
export function watch(words, root = document.body, more = () => {}) {
  let [waiting, over] = [false, false];
  const look = () => {
    waiting = false;
    if (over) return;
    for (const left of root.querySelectorAll(".plot-table")) {
      if (!left.previousElementSibling?.classList.contains("js-plotly-plot")) left.remove();
    }
    for (const figure of root.querySelectorAll(".js-plotly-plot")) {
      if (!figure._fullLayout) continue;
      more(figure);
      attach(figure, words());
    }
  };
  const observer = new MutationObserver(() => {
    if (!waiting) requestAnimationFrame(look);
    waiting = true;
  });
  observer.observe(root, { childList: true, subtree: true });
  look();
  return () => {
    over = true;
    observer.disconnect();
  };
}
