// Between Gradio and the view: takes chunks from the component's value, pulls what is missing, keeps runs over a remount.
// Knows the component's props, server and trigger. Does not know how anything is drawn.

import { Player } from "./player.js";
import { RunStore } from "./store.js";
import { LiveView } from "./view.js";

const KEPT = 3; // runs kept in the page, so that a remounted view needs no pull
const runs = new Map(); // run → {store, player}

/** What a measurement can read; nothing depends on it. */
const counters = (window.__expertscope_live ??= { rows: 0, tokens: 0, frames: 0, lastLatencyMs: null, gaps: 0, errors: 0 });

/**
 * Mount the view in a component.
 * @param element the component's element, holding `.xs-live`
 * @param gradio {props, server, watch, select}
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

/** The page's choice (data-lang on <html>) first, then the run's, then the component's. */
function language(header, props) {
  return document.documentElement.dataset.lang || (header && header.lang) || props.lang || "en";
}

class Link {
  constructor(view, gradio) {
    this.view = view;
    this.gradio = gradio;
    this.pulling = null;
  }

  /** A value of the component: a chunk, a pointer to a run, or nothing. */
  take(value) {
    const chunk = typeof value === "string" && value ? JSON.parse(value) : value;
    if (!chunk || !chunk.run) {
      if (this.view.store.run) this.view.show(new RunStore(""), new Player());
      return;
    }
    const { store } = this.open(chunk.run);
    if (chunk.select) this.view.follow(chunk.select);
    if (chunk.play) this.view.replay();
    if (chunk.pull) {
      if (!store.done) this.pull(store);
    } else this.merge(store, chunk);
  }

  open(run) {
    let kept = runs.get(run);
    if (!kept) {
      kept = { store: new RunStore(run), player: new Player() };
      kept.player.pace = this.view.player.pace; // as it was chosen
      runs.set(run, kept);
      for (const old of runs.keys()) if (runs.size > KEPT && old !== run) runs.delete(old);
    }
    if (this.view.store !== kept.store) this.view.show(kept.store, kept.player);
    return kept;
  }

  merge(store, chunk) {
    let outcome;
    try {
      outcome = store.merge(chunk);
    } catch (error) {
      counters.errors += 1;
      console.error("live view:", error);
      return this.pull(store);
    }
    if (outcome === "gap") {
      counters.gaps += 1;
      this.pull(store);
    }
    if (outcome !== "known" && this.view.store === store) {
      if (!this.view.words || this.view.words.language !== language(store.header, this.gradio.props)) {
        this.view.speak(language(store.header, this.gradio.props));
      }
      this.view.grown();
    }
  }

  /** Fetch everything known of a run; one fetch at a time. */
  async pull(store) {
    if (this.pulling === store.run) return;
    this.pulling = store.run;
    let whole = null;
    try {
      whole = await this.gradio.server.pull(store.run);
    } catch (error) {
      console.warn("live view: pull failed:", error);
    }
    this.pulling = null;
    if (whole && whole.run === store.run) this.merge(store, whole);
    else if (!store.header) store.gone = true;
    this.view.invalidate("all");
  }
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
