// Pictures fitted to the page once they are drawn: a title as wide as the picture, and parts that are found under any
// address. Knows Plotly's figures and the raw title in their layout's meta; knows nothing of what they show.

const [MARGIN, MODEBAR, HEAD_LINE, LINE] = [16, 240, 18, 16]; // pixels; heights as in analysis/figures/style.py
const PARTS = /(?<=\s)|(?<=[\u3000-\u9fff\uff00-\uffef])(?![\s。、，：；」）》])/u; // where a line may end

const bare = (text) => text.replace(/<[^>]*>/g, "").replace(/&\w+;|&#\d+;/g, "x");

/** A function that measures text in pixels, in a font. */
function ruler(font) {
  const context = document.createElement("canvas").getContext("2d");
  context.font = font;
  return (text) => context.measureText(bare(text)).width;
}

/** `text` in lines of at most `width`, broken between facts (" · ") where that is possible, else between words. */
export function lines(text, width, measure) {
  const made = [];
  const add = (part, joint) => {
    const joined = made.length ? `${made.at(-1)}${joint}${part}` : part;
    if (made.length && measure(joined.trimEnd()) <= width) made[made.length - 1] = joined;
    else if (measure(part.trimEnd()) <= width || !PARTS.test(part)) made.push(part);
    else {
      const [first, ...others] = part.split(PARTS);
      made.push(first);
      others.forEach((other) => add(other, ""));
    }
  };
  if (text) text.split(" · ").forEach((fact) => add(fact, " · "));
  return made.map((line) => line.trimEnd());
}

/** What is to change so that a figure's title takes the width there is, and the height then: null where it does. */
export function retitled(figure, measure = ruler) {
  const { layout } = figure;
  const { title, subtitle } = layout?.meta ?? {};
  const width = figure.clientWidth - MARGIN;
  if (!title || width < 80) return null;
  const family = layout.font?.family ?? "sans-serif";
  const buttons = figure.querySelector(".modebar")?.checkVisibility(); // on a phone there are none
  const head = lines(title, buttons ? width - MODEBAR : width, measure(`bold 14px ${family}`));
  const below = lines(subtitle ?? "", width, measure(`12px ${family}`));
  const colour = /<span style='[^']*'>/.exec(layout.title.text)?.[0] ?? "<span>";
  const text = `<b>${head.join("<br>")}</b><br>${colour}${below.join("<br>")}</span>`;
  if (text === layout.title.text) return null;
  const top = HEAD_LINE * head.length + LINE * below.length + 32;
  const height = (figure._fullLayout?.height ?? layout.height) - (layout.margin.t - top);
  return [{ "title.text": text, "title.y": 1 - 16 / height, "margin.t": top, autosize: true }, height];
}

/** Plotly names a picture's gradients by the page's address of that moment, and loses them when that changes. */
export function local(figure) {
  if (!figure._context?._baseUrl) return;
  figure._context._baseUrl = "";
  for (const name of ["style", "clip-path", "fill", "mask"]) {
    for (const part of figure.querySelectorAll(`[${name}*="url("]`)) {
      part.setAttribute(name, part.getAttribute(name).replace(/url\((["']?)[^"')]*#([^"')]*)\1\)/g, "url($1#$2$1)"));
    }
  }
}

const known = new WeakSet();

/** Fit `figure`, now and whenever it is drawn anew. */
export function fit(figure) {
  local(figure);
  if (known.has(figure)) return;
  known.add(figure);
  const title = () => {
    const change = figure.isConnected && window.Plotly && retitled(figure);
    if (!change) return;
    figure.style.height = `${change[1]}px`; // a height of the layout's own would keep the width as it is
    window.Plotly.relayout(figure, change[0]).finally(() => (figure.style.height = ""));
  };
  figure.on?.("plotly_afterplot", title);
  title();
}
