// What links pictures and cards with the page: a click on a cell of the figure in the plot with the id PLOT, or on a button of a
// card is handed to the server, and the cell at props.value.mark is outlined. Runs when its component loads, with
// Gradio's element, props, trigger and watch. Also takes the arrow keys through grids of buttons. Knows Plotly's figure as it stands on the page; sets no text, no markup.
const pair = (text) => text.split(",").map(Number);

element.addEventListener("click", (event) => {
  const expert = event.target.closest("button[data-expert]");
  const token = event.target.closest("button[data-token]");
  if (expert) trigger("expert", { at: pair(expert.dataset.expert) });
  if (token) trigger("token", { at: pair(token.dataset.token) });
});

// In a grid of buttons, and in a text of them, the keyboard stops once, and the arrow keys go from one button to the next.
const GRIDS = ".xp-grid table, .pick-token";
const grid = (button) => {
  const around = button.closest(GRIDS);
  return [...(around.rows || [around])].map((row) => [...row.querySelectorAll("button")]).filter((row) => row.length);
};
const stop = () => {
  for (const around of element.querySelectorAll(GRIDS)) {
    const buttons = [...around.querySelectorAll("button")];
    const here = buttons.includes(document.activeElement) ? document.activeElement : around.querySelector('[aria-pressed="true"]');
    const at = Math.max(0, buttons.indexOf(here));
    buttons.forEach((button, i) => (button.tabIndex = i === at ? 0 : -1));
  }
};
element.addEventListener("focusin", stop);
element.addEventListener("keydown", (event) => {
  const button = event.target.closest("button");
  if (!button?.closest(GRIDS)) return;
  const rows = grid(button);
  const row = rows.findIndex((one) => one.includes(button));
  const place = rows[row].indexOf(button);
  const line = (by) => rows[Math.max(0, Math.min(rows.length - 1, row + by))];
  const next = {
    ArrowLeft: () => rows[row][Math.max(0, place - 1)],
    ArrowRight: () => rows[row][Math.min(rows[row].length - 1, place + 1)],
    ArrowUp: () => line(-1)[Math.min(place, line(-1).length - 1)],
    ArrowDown: () => line(1)[Math.min(place, line(1).length - 1)],
    Home: () => rows[row][0],
    End: () => rows[row].at(-1),
  }[event.key];
  if (!next) return;
  event.preventDefault();
  next().focus();
});
new MutationObserver(stop).observe(element, { childList: true, subtree: true });
stop();

if (PLOT) {
  const outline = document.createElement("div");
  outline.className = "xp-outline";
  const hooked = new WeakSet();
  const figure = () => document.querySelector(`#${PLOT} .js-plotly-plot`);

  // Where the chosen cell lies now; nowhere while there is no figure, or none is chosen.
  const place = () => {
    const shown = element.isConnected ? figure() : null;
    const axes = shown?._fullLayout;
    const at = props.value?.mark;
    const ground = shown?.querySelector(".svg-container");
    if (!ground || !at || !axes?.xaxis?.c2p || !axes.yaxis?.c2p) {
      outline.remove();
      return;
    }
    const span = (axis, middle) => [middle - 0.5, middle + 0.5].map((edge) => axis._offset + axis.c2p(edge)).sort((a, b) => a - b);
    const [left, right] = span(axes.xaxis, at[1]);
    const [top, bottom] = span(axes.yaxis, at[0]);
    Object.assign(outline.style, {
      left: `${left - 2}px`,
      top: `${top - 2}px`,
      width: `${Math.max(right - left, 3) + 4}px`,
      height: `${Math.max(bottom - top, 3) + 4}px`,
    });
    if (outline.parentElement !== ground) ground.appendChild(outline);
  };

  const hook = () => {
    const shown = figure();
    if (shown?.on && !hooked.has(shown.on)) {
      hooked.add(shown.on); // a figure drawn anew in the same place has lost its listeners and has another "on"
      shown.on("plotly_click", (event) => {
        const at = event.points[0]?.pointNumber;
        if (Array.isArray(at) && element.isConnected) trigger("cell", { at: [...at] });
      });
      shown.on("plotly_afterplot", place);
      place();
    }
  };

  // Gradio takes a hidden component off the page, and runs this anew when it is shown again.
  const seen = new MutationObserver(() => {
    if (element.isConnected) return hook();
    seen.disconnect();
    place();
  });
  seen.observe(document.body, { childList: true, subtree: true });
  watch("value", place);
  hook();
}
