import { Card } from "/app/ui/shelves/web/card.js";
import { take as courier } from "/app/ui/shelves/web/courier.js";
import { listen, take as feed } from "/app/ui/shelves/web/feed.js";
import { languagesOf, matches, plain, takesShown } from "/app/ui/shelves/web/filter.js";
import { Library } from "/app/ui/shelves/web/library.js";
import { mount } from "/app/ui/shelves/web/main.js";
import { Thumbnails } from "/app/ui/shelves/web/thumbnails.js";
import { base64 } from "./chunks.js";
import { equal, frames, holds, mounted, spy, test, until } from "./harness.js";

const HOSTILE = '<img src=x onerror="window.__hacked = 1">';
const COLOURS = { light: ["#000000", "#ffffff"], dark: ["#ff0000", "#0000ff"] };
const words = (key, values = {}) => `${key} ${Object.values(values).join(" ")}`.trim();
const taken = (id, more = {}) => ({ id, mode: "thinking", thinking: 3, answered: 2, read: 0, finish: "stop", answer: "812", seconds: 1, ...more });
const card = (id, more = {}) => ({ id, prompt: `What is ${id}?`, takes: [taken(`${id}-t`)], ...more });

// --- what a search finds

const ANY = { text: "", language: "", mode: "" };

test("an empty search finds everything, and so does one of spaces", () => {
  for (const text of ["", "  \t ", "\u3000"]) equal(matches(card("a"), "en", { ...ANY, text }), true);
  equal(matches({ takes: [] }, "", ANY), true);
});

test("every word has to stand somewhere on the card, in any case and width", () => {
  const one = card("a", { prompt: "Ｗｈａｔ is ５３８?", topic_name: "Sums", takes: [taken("t", { answer: "It is ÄRGER" })] });
  for (const text of ["538", "what SUMS", "ärger", "ＳＵＭＳ 538"]) equal(matches(one, "en", { ...ANY, text }), true, text);
  for (const text of ["539", "what minus"]) equal(matches(one, "en", { ...ANY, text }), false, text);
});

test("what a card lacks is not found as a word", () => {
  for (const text of ["undefined", "null"]) equal(matches(card("a", { model: null }), "en", { ...ANY, text }), false, text);
  equal([plain(null), plain(7)], ["", "7"]);
});

test("languages leave out the others, and a group without one is in all", () => {
  equal([matches(card("a"), "ja", { ...ANY, language: "en" }), matches(card("a"), "", { ...ANY, language: "en" })], [false, true]);
  equal(languagesOf([{ language: "ja" }, { language: "" }, { language: "en" }, { language: "ja" }]), ["ja", "en"]);
});

test("a mode leaves a card's takes of that mode", () => {
  const both = card("a", { takes: [taken("1"), taken("2", { mode: "forced" })] });
  equal(takesShown(both, { ...ANY, mode: "forced" }).map((t) => t.id), ["2"]);
  equal([matches(both, "", { ...ANY, mode: "non-thinking" }), takesShown(both, ANY).length], [false, 2]);
});

// --- the feed and the courier

test("whoever listens late hears the latest, and no more once it has ended", () => {
  feed({ n: 1 });
  const hear = spy();
  const end = listen(hear);
  feed({ n: 2 });
  end();
  feed({ n: 3 });
  equal(hear.calls, [[{ n: 1 }], [{ n: 2 }]]);
});

async function saved(run) {
  const links = [];
  const click = HTMLAnchorElement.prototype.click;
  HTMLAnchorElement.prototype.click = function () {
    links.push([this.href, this.download]);
  };
  try {
    await run();
  } finally {
    HTMLAnchorElement.prototype.click = click;
  }
  return links;
}

test("a parcel is saved once under its name, from the address the page has", async () => {
  const parcel = { nonce: "1", kind: "csv", name: "t.csv", file: { url: "http://localhost:9/file=t.csv" } };
  equal(await saved(async () => (await courier(parcel), await courier(parcel))), [["http://localhost/file=t.csv", "t.csv"]]);
  equal((await saved(() => courier({ ...parcel, nonce: "2" }))).length, 1);
});

test("an SVG that is wanted as PNG is drawn at twice its size", async () => {
  const drawing = "data:image/svg+xml;utf8," + encodeURIComponent('<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"><rect width="30" height="20" fill="red"/></svg>');
  const links = await saved(() => courier({ nonce: "3", kind: "png", name: "a.svg.svg", file: { url: drawing } }));
  equal(links[0][1], "a.svg.png");
  const image = new Image();
  image.src = links[0][0];
  await image.decode();
  equal([image.naturalWidth, image.naturalHeight], [60, 40]);
});

// --- a card

function made(data, more = {}) {
  const options = { words, act: spy(), thumbnails: { watch: spy() }, say: spy(), expired: spy(), language: "ja", ...more };
  const one = new Card(options);
  mounted().append(one.element);
  const update = (next, state = {}) => one.update(next, { shown: "", filter: ANY, undoSeconds: 5, ...state });
  update(data);
  return { one, options, update, root: one.element };
}

test("text of models and visitors stays text on a card", () => {
  const { root } = made(card("a", { prompt: HOSTILE, model: HOSTILE, takes: [taken("t", { answer: HOSTILE, edited: HOSTILE, shape: HOSTILE })] }));
  equal([root.querySelector("img"), window.__hacked, root.querySelector(".lib-title").textContent, root.querySelector(".lib-title").lang], [null, undefined, HOSTILE, "ja"]);
});

test("a card's buttons act on their recording", async () => {
  window.expertscope = { copyLink: spy(async (link) => link === "gallery/1") };
  const { root, options } = made(card("a", { takes: [taken("1", { link: "gallery/1" }), taken("2")] }));
  equal([...root.querySelectorAll("button")].map((b) => b.textContent), ["replay", "copy_link", "replay", "delete"]);
  root.querySelectorAll("button")[0].click();
  root.querySelectorAll("button")[3].click();
  equal(options.act.calls, [[{ what: "open", id: "1" }], [{ what: "delete", id: "2" }]]);
  root.querySelectorAll("button")[1].click();
  await until(() => options.say.calls.length, "that it was copied");
  equal(options.say.calls, [["link_copied"]]);
});

test("a card says how many tokens its picture counts", () => {
  const { root, options } = made(card("a", { takes: [taken("t", { picture: true })] }));
  const [canvas, id, tell] = options.thumbnails.watch.calls[0];
  equal([canvas, id, root.querySelector(".lib-counted").textContent], [root.querySelector("canvas"), "t", ""]);
  tell(38);
  equal(root.querySelector(".lib-counted").textContent, "thumbnail_n 38");
});

test("a card that did not change is not drawn anew, and shows which recording is open", () => {
  const data = card("a", { takes: [taken("1"), taken("2")] });
  const { root, update } = made(data);
  const button = root.querySelector("button");
  button.focus();
  update(structuredClone(data), { shown: "2" });
  holds(document.activeElement === button, "the focus was lost");
  equal([...root.querySelectorAll("[aria-current]")].length, 1);
  equal([...root.querySelectorAll(".lib-shown")].map((s) => s.textContent), ["", "shown_now"]);
  update({ ...data, prompt: "another" }, { shown: "2" });
  holds(root.contains(document.activeElement) && document.activeElement !== button, "the focus left the card that was drawn anew");
});

test("a deleted card can be taken back for a while, and is gone after it", async () => {
  const { one, root, options, update } = made(card("a"));
  update(card("a", { deleted: true, number: 3 }), { undoSeconds: 0.05 });
  root.querySelector("button").click();
  equal([root.textContent, options.act.calls], ["deleted 3undo", [[{ what: "undo", id: "a" }]]]);
  await until(() => options.expired.calls.length, "that it is gone");
  equal(one.expired, true);
});

test("a card that comes back in time stays", async () => {
  const { one, options, update } = made(card("a"));
  update(card("a", { deleted: true }), { undoSeconds: 0.05 });
  update(card("a"), { undoSeconds: 0.05 });
  await new Promise((resolve) => setTimeout(resolve, 120));
  equal([one.expired, options.expired.calls], [false, []]);
});

test("a moment that is none and an answer that is empty are left out", () => {
  const { root } = made(card("a", { takes: [taken("1", { created: "not a date", answer: "", seconds: null, finish: "weird" })] }));
  equal([root.querySelector(".lib-begin").textContent, root.querySelector(".lib-take .lib-facts").textContent], ["no_answer", "finish_other"]);
});

// --- the library

function library(groups, own = []) {
  const root = mounted("section", "width: 800px");
  const act = spy();
  const one = new Library(root, { words, languages: { en: "English" }, act, thumbnails: { watch: spy() }, filter: { ...ANY } });
  const show = (more = {}) => one.show({ groups, own, shown: "", undo_seconds: 5, ...more });
  show();
  const titles = () => [...root.querySelectorAll(".lib-title")].map((t) => t.textContent);
  const search = (text) => ((one.search.value = text), one.search.dispatchEvent(new Event("input")));
  return { one, root, act, show, titles, search };
}
const GROUPS = [
  { id: "g1", title: "Sums", language: "en", cards: [card("a"), card("b")] },
  { id: "g2", title: "算", language: "ja", cards: [card("c", { takes: [taken("c-t", { mode: "non-thinking" })] })] },
];

test("groups and their cards stand in order, one's own first", () => {
  const { root, titles } = library(GROUPS, [card("mine")]);
  equal([titles(), [...root.querySelectorAll("h4")].map((h) => h.textContent)], [["What is mine?", "What is a?", "What is b?", "What is c?"], ["own", "Sums", "算"]]);
});

test("a search leaves what matches, says how many, and says when nothing does", () => {
  const { root, titles, search, one } = library(GROUPS);
  search("what c");
  equal([titles(), one.count.textContent, one.none.hidden], [["What is c?"], "count_one 1", true]);
  search("zebra");
  equal([titles(), one.none.hidden], [[], false]);
  search("");
  equal([titles().length, one.count.textContent, root.querySelectorAll(".lib-group").length], [3, "count 3", 3]);
});

test("cards keep their elements while others come and go", () => {
  const { one, show, root } = library(GROUPS, [card("mine")]);
  const element = one.cards.get("mine").element;
  show({ own: [card("newer"), card("mine")] });
  holds(one.cards.get("mine").element === element, "it was made anew");
  equal([...root.querySelectorAll("ul")[0].children].indexOf(element), 1);
  show({ own: [] });
  equal([one.cards.has("mine"), element.isConnected], [false, false]);
});

test("a library without anything of one's own says so", () => {
  const { root } = library([]);
  equal([...root.querySelectorAll(".lib-empty")].filter((p) => !p.hidden).map((p) => p.textContent), ["own_empty"]);
});

test("after the last of one's own can no longer be taken back the library says so, and the focus of its button goes to the heading", async () => {
  const { root, show } = library(GROUPS, [card("mine")]);
  const [empty, heading] = ["p", "h4"].map((tag) => root.querySelector(`.lib-sections > section > ${tag}`));
  show({ own: [card("mine", { deleted: true })], undo_seconds: 0.05 });
  equal(empty.hidden, true);
  root.querySelector(".lib-undo").focus();
  await until(() => !empty.hidden, "the invitation");
  equal([root.querySelectorAll(".lib-sections > section li").length, document.activeElement === heading], [0, true]);
});

test("a mounted library shows what the feed has, and one mounted after it takes over", async () => {
  const gradio = { props: { words: {}, languages: {}, colours: COLOURS }, server: { thumbnails: async () => ({}) }, act: () => {} };
  const hosts = [mounted(), mounted()];
  for (const host of hosts) host.innerHTML = '<div class="lib"></div>';
  feed({ groups: [], own: [card("x")], shown: "", undo_seconds: 5 });
  await mount(hosts[0], gradio);
  equal(hosts[0].querySelectorAll(".lib-card").length, 1);
  await mount(hosts[1], gradio);
  feed({ groups: [], own: [card("x"), card("y")], shown: "", undo_seconds: 5 });
  equal(hosts.map((host) => host.querySelectorAll(".lib-card").length), [1, 2]);
});

// --- thumbnails

test("thumbnails in view are asked for together, drawn in the theme's colours, and asked for once", async () => {
  const levels = base64([0, 254, 255, 127]);
  const fetched = spy(async (ids) => Object.fromEntries(ids.map((id) => [id, { rows: 2, columns: 2, n: 7, levels }])));
  const known = new Map();
  const thumbnails = new Thumbnails(fetched, COLOURS, known);
  const tell = spy();
  const canvases = ["a", "b", "a"].map((id) => {
    const canvas = mounted("canvas", "width: 40px; height: 20px");
    thumbnails.watch(canvas, id, tell);
    return canvas;
  });
  await until(() => canvases.every((c) => c.classList.contains("lib-drawn")), "three pictures");
  equal([fetched.calls.length, [...fetched.calls[0][0]].sort(), tell.calls], [1, ["a", "b"], [[7], [7], [7]]]);
  const pixels = () => [...canvases[0].getContext("2d").getImageData(0, 0, 2, 2).data];
  equal(pixels(), [0, 0, 0, 255, 255, 255, 255, 255, 0, 0, 0, 0, 128, 128, 128, 255]);
  document.body.className = "dark";
  await frames();
  equal(pixels().slice(0, 8), [255, 0, 0, 255, 0, 0, 255, 255]);
  canvases[0].remove(); // as a search does
  document.body.className = "";
  await frames();
  document.body.append(canvases[0]);
  await until(() => pixels()[4] === 255 && pixels()[5] === 255, "the light theme's colours on what came back");
  const later = mounted("canvas", "width: 40px; height: 20px");
  thumbnails.watch(later, "a");
  await until(() => later.classList.contains("lib-drawn"), "the fourth picture");
  equal(fetched.calls.length, 1);
  thumbnails.stop();
});

test("thumbnails out of view, unknown ones and a server that fails draw nothing and break nothing", async () => {
  const told = console.warn;
  console.warn = () => {};
  const fetched = spy(async (ids) => {
    if (ids.includes("bad")) throw new Error("no network");
    return {};
  });
  const thumbnails = new Thumbnails(fetched, COLOURS, new Map());
  mounted("div", "height: 3000px");
  const far = mounted("canvas", "width: 40px; height: 20px");
  thumbnails.watch(far, "far");
  await frames();
  equal(fetched.calls, []);
  for (const id of ["bad", "none"]) {
    document.body.replaceChildren();
    const canvas = mounted("canvas", "width: 40px; height: 20px");
    thumbnails.watch(canvas, id);
    await until(() => fetched.calls.flat(2).includes(id), id);
    await frames();
    equal(canvas.classList.contains("lib-drawn"), false);
  }
  console.warn = told;
  thumbnails.stop();
});

test("thumbnails that could not be fetched are asked for again with the next", async () => {
  const told = console.warn;
  console.warn = () => {};
  const fetched = spy(async (ids) => {
    if (fetched.calls.length === 1) throw new Error("no network");
    return Object.fromEntries(ids.map((id) => [id, { rows: 1, columns: 1, n: 1, levels: base64([127]) }]));
  });
  const thumbnails = new Thumbnails(fetched, COLOURS, new Map());
  const canvases = ["a", "b"].map(() => mounted("canvas", "width: 40px; height: 20px"));
  thumbnails.watch(canvases[0], "a");
  await until(() => fetched.calls.length === 1, "the first request");
  await frames();
  thumbnails.watch(canvases[1], "b");
  await until(() => canvases.every((canvas) => canvas.classList.contains("lib-drawn")), "both pictures");
  equal(fetched.calls, [[["a"]], [["a", "b"]]]);
  console.warn = told;
  thumbnails.stop();
});
