// What comes for the view: takes chunks from the component's value, pulls what is missing, keeps runs over a remount.
// Knows chunks (wire.py) and a view to give them to. Does not know elements, nor how anything is drawn.

import { Player } from "./player.js";
import { RunStore } from "./store.js";

const KEPT = 3; // runs kept in the page, so that a remounted view needs no pull
const runs = new Map(); // run → {store, player}

/** The page's choice (data-lang on <html>) first, then the run's, then the component's. */
export function language(header, props) {
  return document.documentElement.dataset.lang || (header && header.lang) || props.lang || "en";
}

export class Link {
  /**
   * @param view a LiveView
   * @param gradio {props, server: {pull(run): promise of a chunk or null}}
   */
  constructor(view, gradio) {
    this.view = view;
    this.gradio = gradio;
    this.counters = view.counters;
    this.pulling = null;
  }

  /** A value of the component: a chunk, a pointer to a run, or nothing. */
  take(value) {
    const chunk = typeof value === "string" && value ? JSON.parse(value) : value;
    if (!chunk || !chunk.run) {
      if (this.view.store.run) this.view.show(new RunStore(""), this.player());
      return;
    }
    const another = this.view.store.run !== chunk.run;
    const { store } = this.open(chunk.run);
    if (chunk.select) this.view.follow(chunk.select);
    if (chunk.play) this.view.replay();
    if (!chunk.pull) this.merge(store, chunk);
    else if (!store.done) this.pull(store);
    else if (another && !chunk.select && !chunk.play) this.view.settled(); // it stands where it was left
  }

  /** A new player, at the pace that was chosen. */
  player() {
    return Object.assign(new Player(), { pace: this.view.player.pace });
  }

  open(run) {
    let kept = runs.get(run);
    if (!kept) {
      kept = { store: new RunStore(run), player: this.player() };
      runs.set(run, kept);
      for (const old of runs.keys()) if (runs.size > KEPT && old !== run) runs.delete(old);
    }
    if (this.view.store !== kept.store) this.view.show(kept.store, kept.player);
    return kept;
  }

  /** Take in a chunk; what is wrong or missing is pulled, unless the chunk is itself what was pulled. */
  merge(store, chunk, pulled = false) {
    let outcome;
    try {
      outcome = store.merge(chunk);
    } catch (error) {
      this.counters.errors += 1;
      console.error("live view:", error);
      if (!pulled) this.pull(store);
      return;
    }
    if (outcome === "gap") {
      this.counters.gaps += 1;
      if (!pulled) this.pull(store);
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
    const found = whole && whole.run === store.run;
    store.gone = !found && !store.header;
    if (found) this.merge(store, whole, true);
    this.view.invalidate("all");
  }
}
