import { LineBreaker, PADDING } from "/app/ui/live/web/strip_layout.js";
import { equal, holds, test } from "./harness.js";

const breaker = (width) => {
  const made = new LineBreaker((text) => 10 * text.length);
  made.reset(width);
  return made;
};
const lines = (made) => made.starts.map((_, line) => made.range(line));

test("no tokens are no lines", () => {
  const made = breaker(100);
  equal([made.extend([]), made.starts, made.count, made.lineOf(0)], [0, [], 0, 0]);
});

test("tokens fill a line until the next one has no room", () => {
  const made = breaker(2 * (20 + PADDING));
  made.extend(["ab", "cd", "ef", "gh", "ij"]);
  equal(lines(made), [[0, 2], [2, 4], [4, 5]]);
});

test("a token wider than the strip has a line of its own and does not push later ones away", () => {
  const made = breaker(60);
  made.extend(["a", "x".repeat(500), "b", "c"]);
  equal(lines(made), [[0, 1], [1, 2], [2, 4]]);
});

test("added token by token or all at once, the lines are the same", () => {
  const texts = Array.from({ length: 500 }, (_, i) => "w".repeat(1 + ((i * 7) % 9)));
  const [whole, bit] = [breaker(333), breaker(333)];
  whole.extend(texts);
  for (let i = 1; i <= texts.length; i++) bit.extend(texts.slice(0, i));
  equal(bit.starts, whole.starts);
});

test("what changed begins at the last line there was", () => {
  const made = breaker(60);
  equal(made.extend(["aa", "bb"]), 0);
  equal(lines(made), [[0, 2]]);
  equal(made.extend(["aa", "bb", "cc"]), 0);
  equal(made.extend(["aa", "bb", "cc", "dd", "ee"]), 1);
});

test("every token is found in its line", () => {
  const made = breaker(120);
  const texts = Array.from({ length: 3000 }, (_, i) => "w".repeat(1 + (i % 5)));
  made.extend(texts);
  for (let token = 0; token < texts.length; token++) {
    const [from, to] = made.range(made.lineOf(token));
    holds(from <= token && token < to, `token ${token} is not in [${from}, ${to})`);
  }
});

test("a text is measured once, and anew in another font", () => {
  let measured = 0;
  const made = new LineBreaker(() => (measured += 1));
  made.reset(1000);
  made.extend(["a", "b", "a", "a"]);
  equal(measured, 2);
  made.reset(500);
  made.extend(["a", "b"]);
  equal(measured, 2);
  made.reset(500, true);
  made.extend(["a", "b"]);
  equal(measured, 4);
});
