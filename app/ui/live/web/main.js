// Between Gradio and the view: mounts the view in its component and hands on the component's values.
// Knows the component's props, server and trigger. Does not know chunks (link.js), nor how anything is drawn.

import { language, Link } from "./link.js";
import { LiveView } from "./view.js";

/** What a measurement can read; nothing depends on it. */
const counters = (window.__expertscope_live ??= { rows: 0, tokens: 0, frames: 0, lastLatencyMs: null, gaps: 0, errors: 0 });

/**
 * Mount the view in a component.
 * @param element the component's element, holding `.xs-live`
 * @param gradio {props, server, watch, select, elsewhere}
 */
export async function mount(element, gradio) {
  const root = element.querySelector(".xs-live");
  if (root.__view) root.__view.destroy();
  await stylesheet();
  const { props, watch } = gradio;
  const view = new LiveView(root, {
    words: props.words,
    language: language(null, props),
    select: gradio.select,
    elsewhere: (chosen) => {
      document.dispatchEvent(new CustomEvent("expertscope:lead", { detail: "experts" }));
      gradio.elsewhere(chosen);
    },
    counters,
  });
  root.__view = view;
  const link = new Link(view, gradio);
  const take = () => {
    if (!view.destroyed) link.take(props.value);
  };
  watch("value", take);
  const spoken = new MutationObserver(() => view.speak(language(view.store.header, props)));
  spoken.observe(document.documentElement, { attributes: true, attributeFilter: ["data-lang"] });
  take();
  return view;
}

let styled = null;

function stylesheet() {
  const href = new URL("./view.css", import.meta.url).href;
  styled ??= new Promise((resolve) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = href;
    link.onload = link.onerror = resolve;
    document.head.append(link);
  });
  return styled;
}
