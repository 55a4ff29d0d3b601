import { language, Link } from "/app/ui/live/web/link.js";
import { Player } from "/app/ui/live/web/player.js";
import { RunStore } from "/app/ui/live/web/store.js";
import { chunk, header, whole } from "./chunks.js";
import { equal, holds, spy, test, until } from "./harness.js";

let runs = 0;

/** A view that only remembers, a server that answers with `pulled`, and a name no other test has used for a run. */
function made(pulled = null) {
  const view = {
    store: new RunStore(""),
    player: new Player(),
    words: null,
    counters: { gaps: 0, errors: 0 },
    show: spy((store, player) => Object.assign(view, { store, player })),
    speak: spy((name) => (view.words = { language: name })),
    grown: spy(),
    follow: spy(),
    replay: spy(),
    settled: spy(),
    invalidate: spy(),
  };
  const server = { pull: spy(async (run) => (typeof pulled === "function" ? pulled(run) : pulled && { ...pulled, run })) };
  return { view, server, run: `run-${++runs}`, link: new Link(view, { props: { lang: "en" }, server }) };
}

test("a chunk opens its run and is merged, as a value or as text", () => {
  for (const form of [(one) => one, JSON.stringify]) {
    const { link, view, run, server } = made();
    link.take(form(whole(3, { run })));
    equal([view.store.run, view.store.tokens, view.grown.calls.length, server.pull.calls.length], [run, 3, 1, 0]);
  }
});

test("no value and one without a run show nothing, once", () => {
  const { link, view, run } = made();
  for (const nothing of [null, "", undefined, {}]) link.take(nothing);
  equal(view.show.calls.length, 0);
  link.take(whole(1, { run }));
  link.take(null);
  link.take(null);
  equal([view.show.calls.length, view.store.run, view.player.following], [2, "", true]);
});

test("a chunk that was known already draws nothing", () => {
  const { link, view, run } = made();
  link.take(whole(3, { run }));
  link.take(whole(3, { run }));
  equal(view.grown.calls.length, 1);
});

test("a gap is filled by one pull, however many chunks come meanwhile", async () => {
  const { link, view, run, server } = made(whole(9));
  const late = (seq, first) => ({ ...whole(9), header: undefined, run, seq, first, tokens: whole(9).tokens.slice(first), row_start: first, rows: 0, ids: "", weights: null, done: false });
  link.take(late(5, 4));
  link.take(late(6, 5));
  link.take(late(7, 6));
  equal([view.counters.gaps, view.store.tokens], [3, 0]);
  await until(() => view.store.tokens === 9, "the pulled run");
  equal([server.pull.calls, view.store.done, view.store.waiting.length], [[[run]], true, 0]);
});

test("a pointer pulls its run, and not again once that is whole", async () => {
  const { link, view, run, server } = made(whole(4));
  link.take({ run, pull: true });
  await until(() => view.store.tokens === 4, "the pulled run");
  link.take({ run, pull: true, nonce: "2" });
  equal(server.pull.calls.length, 1);
});

test("a pointer's token and replay are handed on", () => {
  const { link, view, run } = made(whole(4));
  link.take({ run, pull: true, select: { index: 2, layer: null }, play: true });
  equal([view.follow.calls, view.replay.calls.length], [[[{ index: 2, layer: null }]], 1]);
});

test("a run that the server no longer has is gone", async () => {
  const { link, view, run } = made(null);
  link.take({ run, pull: true });
  await until(() => view.store.gone, "that it is gone");
  holds(view.invalidate.calls.length >= 1, "it was not drawn");
});

test("a pull that fails leaves what is there, and the next one may succeed", async () => {
  let fail = true;
  const { link, view, run } = made((id) => {
    if (fail) throw new Error("no network");
    return whole(6, { run: id });
  });
  link.take(whole(2, { run, done: false }));
  link.take({ run, pull: true });
  await until(() => view.invalidate.calls.length === 1, "the end of the first pull");
  equal([view.store.tokens, view.store.gone], [2, false]);
  fail = false;
  link.take({ run, pull: true, nonce: "2" });
  await until(() => view.store.tokens === 6, "the second pull");
});

test("a recording that could not be fetched once is not gone once it has come", async () => {
  let fail = true;
  const { link, view, run } = made((id) => {
    if (fail) throw new Error("no network");
    return whole(6, { run: id });
  });
  link.take({ run, pull: true });
  await until(() => view.store.gone, "that it is gone");
  fail = false;
  link.take({ run, pull: true, nonce: "2" });
  await until(() => view.store.tokens === 6, "the second pull");
  equal(view.store.gone, false);
});

test("the answer for another run is not taken", async () => {
  const { link, view, run } = made(() => whole(6, { run: "somebody-else" }));
  link.take({ run, pull: true });
  await until(() => view.store.gone, "that it is gone");
  equal(view.store.tokens, 0);
});

test("a damaged chunk is counted and pulled anew; a damaged answer is not asked for again and again", async () => {
  const { link, view, run, server } = made((id) => ({ ...whole(3, { run: id }), rows: 7 }));
  const told = console.error;
  console.error = () => {};
  try {
    link.take({ ...whole(3, { run }), rows: 7 });
    await until(() => view.invalidate.calls.length >= 1, "the end of the pull");
    await new Promise((resolve) => setTimeout(resolve, 50));
  } finally {
    console.error = told;
  }
  equal([server.pull.calls.length, view.counters.errors], [1, 2]);
});

test("a run that is shown again is still there, at its token; three are kept", () => {
  const { link, view, run } = made();
  link.take(whole(5, { run }));
  view.player.go(1, 4);
  link.take(whole(2, { run: `${run}-b` }));
  link.take(whole(5, { run }));
  equal([view.store.tokens, view.player.token, view.grown.calls.length], [5, 1, 2]);
  for (const name of "cde") link.take(whole(1, { run: `${run}-${name}` }));
  link.take({ run, seq: -1, pull: true });
  equal(view.store.tokens, 0);
});

test("the page hears at which token a run stands that it shows again, unless it said which", () => {
  const { link, view, run } = made();
  link.take(whole(5, { run }));
  const told = (pointer) => {
    link.take(whole(2, { run: `${run}-b` }));
    view.settled.calls.length = 0;
    link.take({ run, pull: true, ...pointer });
    return view.settled.calls.length;
  };
  equal([told({}), told({ select: { index: 2, layer: null } }), told({ play: true })], [1, 0, 0]);
  link.take({ run, pull: true, nonce: "2" });
  equal(view.settled.calls.length, 0);
});

test("the pace that was chosen holds for the next run, and for none", () => {
  const { link, view, run } = made();
  link.take(whole(1, { run }));
  view.player.pace = 3;
  link.take(whole(1, { run: `${run}-b` }));
  equal(view.player.pace, 3);
  link.take(null);
  equal([view.store.run, view.player.pace], ["", 3]);
});

test("the page's language comes first, then the run's, then the component's", () => {
  const props = { lang: "zh" };
  equal([language(null, props), language({ lang: "ja" }, props), language(null, {})], ["zh", "ja", "en"]);
  document.documentElement.dataset.lang = "en";
  equal(language({ lang: "ja" }, props), "en");
});

test("a run in another language is spoken in it", () => {
  const { link, view, run } = made();
  link.take(chunk({ head: header({ lang: "ja" }), texts: ["a"], run }));
  equal(view.speak.calls, [["ja"]]);
  link.take(chunk({ first: 1, texts: ["b"], run }));
  equal(view.speak.calls.length, 1);
});
