import { meaning } from "/app/ui/live/web/keys.js";
import { equal, test } from "./harness.js";

const at = (more = {}) => ({ token: 3, tokens: 10, layers: 6, cell: null, onCanvas: false, inField: false, onButton: false, modified: false, shift: false, experts: (position) => (position === 4 ? 8 : 64), strongest: (position) => 10 + position, ...more });

test("arrows, Home and End go from token to token and no further", () => {
  equal(meaning("ArrowRight", at()), { what: "token", index: 4 });
  equal(meaning("ArrowLeft", at()), { what: "token", index: 2 });
  equal([meaning("Home", at()).index, meaning("End", at()).index], [0, 9]);
  equal([meaning("ArrowLeft", at({ token: 0 })).index, meaning("ArrowRight", at({ token: 9 })).index], [0, 9]);
});

test("space plays and pauses, but on a button it presses that button", () => {
  equal([meaning(" ", at()), meaning(" ", at({ onButton: true }))], [{ what: "toggle" }, null]);
});

test("up and down go from layer to layer on the canvas only, and keep the expert", () => {
  const cell = { position: 2, expert: 40 };
  equal(meaning("ArrowDown", at({ onCanvas: true, cell })), { what: "cell", cell: { position: 3, expert: 40 } });
  equal(meaning("ArrowUp", at({ onCanvas: true, cell })), { what: "cell", cell: { position: 1, expert: 40 } });
  equal(meaning("ArrowDown", at({ cell })), null);
  equal(meaning("ArrowUp", at({ onCanvas: true })), { what: "cell", cell: { position: 0, expert: null } });
});

test("at the first and the last layer up and down change nothing, and do not scroll the page either", () => {
  equal(meaning("ArrowUp", at({ onCanvas: true, cell: { position: 0, expert: 1 } })), { what: "stay" });
  equal(meaning("ArrowDown", at({ onCanvas: true, cell: { position: 5, expert: 1 } })), { what: "stay" });
});

test("shift with left and right goes from expert to expert, first to the one with the largest weight", () => {
  const on = (more) => at({ onCanvas: true, shift: true, ...more });
  equal(meaning("ArrowRight", on({ cell: { position: 2, expert: null } })), { what: "cell", cell: { position: 2, expert: 12 } });
  equal(meaning("ArrowLeft", on({})), { what: "cell", cell: { position: 0, expert: 10 } });
  equal(meaning("ArrowRight", on({ cell: { position: 2, expert: 40 } })), { what: "cell", cell: { position: 2, expert: 41 } });
  equal(meaning("ArrowRight", on({ cell: { position: 2, expert: 63 } })), { what: "stay" });
  equal(meaning("ArrowRight", at({ shift: true, cell: { position: 2, expert: 40 } })), { what: "token", index: 4 });
});

test("a layer with fewer experts has none of the same number, and ends the way to the right", () => {
  equal(meaning("ArrowDown", at({ onCanvas: true, cell: { position: 3, expert: 40 } })).cell, { position: 4, expert: null });
  equal(meaning("ArrowRight", at({ onCanvas: true, shift: true, cell: { position: 4, expert: 7 } })), { what: "stay" });
});

test("Enter on a chosen expert asks where else it is used", () => {
  equal(meaning("Enter", at({ onCanvas: true, cell: { position: 1, expert: 3 } })), { what: "elsewhere" });
  equal(meaning("Enter", at({ onCanvas: true, cell: { position: 1, expert: null } })), null);
  equal(meaning("Enter", at({ cell: { position: 1, expert: 3 } })), null);
});

test("a model without layers has no layers to go through", () => equal(meaning("ArrowDown", at({ onCanvas: true, layers: 0 })), null));

test("Escape clears a highlight wherever it is pressed, and is the page's where there is none", () => {
  const cell = { position: 0, expert: null };
  equal(meaning("Escape", at({ cell, inField: true, modified: true })), { what: "clear" });
  equal(meaning("Escape", at()), null);
});

test("keys in a field, with a modifier, or before there is a token are not the view's", () => {
  for (const more of [{ inField: true }, { modified: true }, { tokens: 0 }]) {
    for (const key of ["ArrowLeft", "ArrowRight", "Home", "End", " ", "ArrowDown"]) equal(meaning(key, at({ onCanvas: true, ...more })), null, key);
  }
  for (const key of ["a", "Enter", "Tab", "PageDown"]) equal(meaning(key, at({ onCanvas: true })), null, key);
});
