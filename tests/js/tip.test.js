import { beside, Tip } from "/app/ui/live/web/tip.js";
import { equal, holds, mounted, test } from "./harness.js";

test("a tip stands beside and below the pointer, and never outside where there is room at all", () => {
  equal(beside([50, 40], [100, 30], [600, 400]), { left: 64, top: 58 });
  for (let x = 0; x <= 600; x += 25) {
    for (let y = 0; y <= 400; y += 25) {
      const { left, top } = beside([x, y], [180, 70], [600, 400]);
      holds(left >= 0 && left + 180 <= 600 && top >= 0 && top + 70 <= 400, `at ${x}, ${y}: ${left}, ${top}`);
      holds(!(x > left && x < left + 180 && y > top && y < top + 70), `it covers the pointer at ${x}, ${y}`);
    }
  }
});

test("a tip too large for its stage begins at the corner", () => equal(beside([10, 90], [500, 300], [300, 100]), { left: 0, top: 0 }));

test("lines are texts, and without lines there is no tip", () => {
  const tip = new Tip();
  mounted("div", "position: relative; width: 400px; height: 300px").append(tip.root);
  tip.show(["<b>one</b>", "two"], [10, 10]);
  equal([tip.root.hidden, [...tip.root.children].map((line) => line.textContent), tip.root.querySelector("b")], [false, ["<b>one</b>", "two"], null]);
  tip.show(null, null);
  equal(tip.root.hidden, true);
});
