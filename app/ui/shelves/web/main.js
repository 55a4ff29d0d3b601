// Between Gradio and the library: draws what the feed brings, asks for thumbnails, passes on what was pressed.
// Knows the component's props, server and trigger. Does not know what a card looks like (card.js).

import { element, speaker } from "../../live/web/dom.js";
import { listen } from "./feed.js";
import { Library } from "./library.js";
import { Thumbnails } from "./thumbnails.js";

const kept = { filter: { text: "", language: "", mode: "" }, thumbnails: new Map(), stop: () => {} }; // over a remount

/**
 * Mount the library in a component.
 * @param host the component's element, holding `.lib`
 * @param gradio {props, server, act: ({what, id}) => void}
 */
export async function mount(host, { props, server, act }) {
  const root = host.querySelector(".lib");
  await stylesheet();
  const words = speaker({ en: props.words }, "en");
  const thumbnails = new Thumbnails((ids) => server.thumbnails(ids), props.colours, kept.thumbnails);
  const library = new Library(root, { words, languages: props.languages, act, thumbnails, filter: kept.filter });
  kept.stop(); // the one before is no longer on the page
  const deaf = listen((value) => library.show(value));
  kept.stop = () => (deaf(), thumbnails.stop());
}

let styled = null;

function stylesheet() {
  styled ??= new Promise((resolve) => {
    const href = new URL("./library.css", import.meta.url).href;
    const link = element("link", { rel: "stylesheet", href });
    link.onload = link.onerror = resolve;
    document.head.append(link);
  });
  return styled;
}
