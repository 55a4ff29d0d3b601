import { css, GATE_CSS, GATE_TABLE, gateIndex, gateTop, gradient, GROUND, ink, LOAD_TABLE, loadIndex, PHASE_COLOURS, PHASES, rgb, theme } from "/app/ui/live/web/palette.js";
import { equal, holds, mounted, near, test } from "./harness.js";

const light = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
const away = (colour) => Math.hypot(...colour.map((v, c) => v - GROUND[c]));

test("colours are read and written", () => {
  equal(rgb("#0f131e"), [15, 19, 30]);
  equal([css([1, 2, 3]), css([1, 2, 3], 0.5)], ["rgb(1,2,3)", "rgba(1,2,3,0.5)"]);
});

test("the gate scale only grows brighter", () => {
  equal(GATE_TABLE.length, 256);
  for (let i = 1; i < 256; i++) holds(light(GATE_TABLE[i]) >= light(GATE_TABLE[i - 1]) - 0.6, `step ${i} is darker than the one before`);
  equal(GATE_CSS.every((c) => CSS.supports("color", c)), true);
});

test("the load scale is faintest at chance and strongest at its ends", () => {
  equal(LOAD_TABLE.length, 256);
  for (const end of [0, 255]) holds(away(LOAD_TABLE[end]) > away(LOAD_TABLE[128]) * 0.7, `end ${end} is not seen`);
  for (const colour of LOAD_TABLE) holds(light(colour) < 0.45 * 255, "the load is brighter than what happens now");
});

test("chance is the middle, four times chance one end, a quarter the other", () => {
  const slots = 1e6;
  const of = (times) => loadIndex((times * slots) / 128, slots, 128);
  near(of(1), 127.5, 0.5);
  equal([of(4), of(100)], [255, 255]);
  equal([of(0.25), of(0)], [0, 0]);
  near(of(2), 191, 1);
  near(of(0.5), 64, 1);
});

test("with no or few tokens no expert looks extreme", () => {
  near(loadIndex(0, 0, 128), 127.5, 0.5);
  holds(loadIndex(0, 8, 128) > 100, "one token makes an unused expert look avoided");
  holds(Number.isFinite(loadIndex(0, 0, 1)), "one expert alone");
});

test("more uses are never less load", () => {
  let before = -1;
  for (let count = 0; count < 400; count++) {
    const now = loadIndex(count, 3000, 64);
    holds(now >= before, `${count} uses`);
    before = now;
  }
});

test("the gate scale ends at three equal shares, or at what the routers can give", () => {
  near(gateTop(8), 0.375);
  equal([gateTop(1), gateTop(2), gateTop(3)], [1, 1, 1]);
  near(gateTop(8, 2.5), 0.9375);
  equal(gateTop(0), 1);
});

test("weights below and above the scale take its ends", () => {
  equal([gateIndex(0, 0.375), gateIndex(0.375, 0.375), gateIndex(1, 0.375), gateIndex(-1, 0.375)], [0, 255, 255, 0]);
});

test("a gradient is one that browsers know", () => {
  for (const table of [GATE_TABLE, LOAD_TABLE]) holds(CSS.supports("background", gradient(table)), gradient(table));
});

test("every phase has a colour in light and in dark, and no two the same", () => {
  for (const name of ["light", "dark"]) {
    equal(Object.keys(PHASE_COLOURS[name]), PHASES);
    equal(new Set(Object.values(PHASE_COLOURS[name])).size, PHASES.length);
    holds(CSS.supports("color", ink("axis", name)), name);
  }
});

test("the theme is the nearest one", () => {
  const root = mounted();
  const inner = root.appendChild(document.createElement("div"));
  equal(theme(inner), "light");
  root.className = "dark";
  equal(theme(inner), "dark");
  root.className = "";
  document.body.className = "dark";
  equal(theme(inner), "dark");
});
