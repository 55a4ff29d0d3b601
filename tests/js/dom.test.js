import { element, icon, setText, speaker, visible } from "/app/ui/live/web/dom.js";
import { equal, holds, mounted, test } from "./harness.js";

const HOSTILE = '<img src=x onerror="window.__hacked = 1"><script>window.__hacked = 1</script>${window.__hacked = 1}{{x}}&lt;';

test("text stays text, as a child, as an attribute and set later", () => {
  const made = element("p", { title: HOSTILE, "data-x": HOSTILE }, HOSTILE, element("b", {}, HOSTILE));
  mounted().append(made);
  equal([made.querySelectorAll("img, script").length, window.__hacked], [0, undefined]);
  equal([made.title, made.dataset.x, made.firstChild.textContent], [HOSTILE, HOSTILE, HOSTILE]);
  setText(made, HOSTILE);
  equal([made.childNodes.length, made.textContent, made.querySelector("img")], [1, HOSTILE, null]);
});

test("attributes that are absent are not set, true ones are empty, 0 is 0", () => {
  const made = element("button", { hidden: true, disabled: false, title: null, id: undefined, tabindex: 0 });
  equal([made.hasAttribute("hidden"), made.hasAttribute("disabled"), made.hasAttribute("title"), made.hasAttribute("id"), made.getAttribute("tabindex")], [true, false, false, false, "0"]);
});

test("text that is the same is left in place", () => {
  const made = element("p", {}, "same");
  const node = made.firstChild;
  setText(made, "same");
  holds(made.firstChild === node, "it was written again");
  setText(made, "other");
  equal(made.textContent, "other");
});

test("an icon is hidden from readers", () => equal([icon("M0 0").getAttribute("aria-hidden"), icon("M0 0").querySelector("path").getAttribute("d")], ["true", "M0 0"]));

const TABLES = { en: { a: "A {n} of {all}", b: "only English" }, ja: { a: "{all}の{n}" } };

test("words are those of the language, with English behind it, and then the key", () => {
  const speak = speaker(TABLES, "ja");
  equal([speak("a", { n: 1, all: 2 }), speak("b"), speak("none"), speak.language], ["2の1", "only English", "none", "ja"]);
  equal([speaker(TABLES, "xx").language, speaker(undefined, "en")("key")], ["en", "key"]);
});

test("values are put in once: what they hold is not filled in again", () => {
  equal(speaker(TABLES, "en")("a", { n: "{all}", all: "$&{n}" }), "A {all} of $&{n}");
  equal(speaker(TABLES, "en")("a", { n: 0 }), "A 0 of {all}");
});

test("what cannot be seen gets a sign", () => {
  equal([visible("\n"), visible("\t"), visible("a\r\n")], ["↵", "⇥", "a␍↵"]);
  equal([visible(" "), visible("   "), visible(" a")], ["␣", "␣␣␣", " a"]);
  equal([visible("\u0000"), visible("\u001b"), visible("\u007f")], ["␀", "␛", "‹007f›"]);
  equal(visible("\u202eabc\u200b"), "‹202e›abc‹200b›");
  equal([visible(""), visible("👍🏽"), visible("日本")], ["", "👍🏽", "日本"]);
});

test("what is endless gets an end, counted in characters and only where something is left out", () => {
  equal(visible("x".repeat(64)), "x".repeat(64));
  equal(visible("x".repeat(65)), `${"x".repeat(64)}…`);
  equal(visible("👍".repeat(40)), "👍".repeat(40));
  equal(visible("👍".repeat(65)), `${"👍".repeat(64)}…`);
});
