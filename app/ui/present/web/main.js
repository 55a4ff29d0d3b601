// Between Gradio and the view for a class: the button in the header opens it, and so does ?present=2 (its second slide).
// Knows the component's props, server and trigger. Does not know what is shown.

import { Join } from "./join.js";
import { Presenter } from "./presenter.js";

/**
 * @param element the component's element, holding the button
 * @param gradio {props, server, open(tab)}
 * @returns the view, once it has its style sheet
 */
export async function mount(element, { props, server, open }) {
  const opener = element.querySelector(".pr-open");
  const join = new Join(props.words, (seen) => server.join(seen));
  const presenter = new Presenter(props.words, props.slides, { open, join: () => join.show(), opener });
  await stylesheet();
  const asked = new URLSearchParams(location.search).get("present");
  if (asked !== null) whenReady(() => presenter.enter((Number.parseInt(asked, 10) || 1) - 1));
  return presenter;
}

/** Once the page's parts stand. */
function whenReady(then) {
  const ready = () => document.querySelector("#live-view .xs-live") && document.querySelector("#below > [role=tabpanel]");
  if (ready()) return then();
  const seen = new MutationObserver(() => ready() && (seen.disconnect(), then()));
  seen.observe(document.body, { childList: true, subtree: true });
}

function stylesheet() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("./present.css", import.meta.url).href;
  return new Promise((resolve) => {
    link.onload = link.onerror = resolve;
    document.head.append(link);
  });
}
