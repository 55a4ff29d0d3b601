// What links pictures and cards with the page: a click on a cell of the figure in the plot with the id PLOT, or on a button of a
// card is handed to the server, and the cell at props.value.mark is outlined. Runs when its component loads, with
// Gradio's element, props, trigger and watch. Knows Plotly's figure as it stands on the page; sets no text, no markup.
const pair = (text) => text.split(",").map(Number);

element.addEventListener("click", (event) => {
  const expert = event.target.closest("button[data-expert]");
  const token = event.target.closest("button[data-token]");
  if (expert) trigger("expert", { at: pair(expert.dataset.expert) });
  if (token) trigger("token", { at: pair(token.dataset.token) });
});

if (PLOT) {
  const outline = document.createElement("div");
  outline.className = "xp-outline";
  const hooked = new WeakSet();
  const figure = () => document.querySelector(`#${PLOT} .js-plotly-plot`);

  // Where the chosen cell lies now; nowhere while there is no figure, or none is chosen.
  const place = () => {
    const shown = figure();
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
        if (Array.isArray(at)) trigger("cell", { at: [...at] });
      });
      shown.on("plotly_afterplot", place);
      place();
    }
  };

  new MutationObserver(hook).observe(document.body, { childList: true, subtree: true });
  watch("value", place);
  hook();
}
