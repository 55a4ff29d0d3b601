import { Layout, plotHeight, ticks } from "/app/ui/live/web/layout.js";
import { equal, holds, test } from "./harness.js";

const SIZES = [[6, 64], [48, 128], [94, 128], [60, 512], [1, 1], [3, 7]];

test("every cell is hit at its middle and at its own corner, whatever the size, width and pixel ratio", () => {
  for (const [layers, experts] of SIZES) {
    for (const width of [320, 400, 731, 1440]) {
      for (const ratio of [1, 1.25, 2]) {
        const layout = new Layout(width, layers, experts, ratio);
        for (let position = 0; position < layers; position += Math.ceil(layers / 7)) {
          for (let expert = 0; expert < experts; expert += Math.ceil(experts / 11)) {
            const x = layout.left + (expert + 0.5) * layout.cellWidth;
            const y = layout.top + (position + 0.5) * layout.cellHeight;
            equal(layout.hit(x, y), { position, expert }, `${layers}×${experts} in ${width} at ${ratio}`);
          }
        }
      }
    }
  }
});

test("cells stand side by side: no gap, no overlap, the last ends at the plot's edge", () => {
  for (const [layers, experts] of SIZES) {
    const layout = new Layout(900, layers, experts, 2);
    for (let e = 0; e < experts; e++) holds(layout.x(e + 1) >= layout.x(e), `expert ${e} ends before it begins`);
    for (let l = 0; l < layers; l++) holds(layout.y(l + 1) > layout.y(l), `layer ${l} has no height`);
    equal(layout.x(0), layout.left);
    equal(Math.abs(layout.x(experts) - layout.left - layout.plotWidth) <= 0.5, true);
    equal(layout.y(layers), layout.top + layout.plotHeight);
  }
});

test("edges lie on device pixels", () => {
  const layout = new Layout(777, 48, 128, 1.5);
  for (let e = 0; e <= 128; e++) equal(Math.abs((layout.x(e) * 1.5) % 1) < 1e-9 || Math.abs((layout.x(e) * 1.5) % 1) > 1 - 1e-9, true, `expert ${e}`);
});

test("a label is its layer without an expert; beside the plot is nothing", () => {
  const layout = new Layout(500, 6, 64);
  const middle = layout.top + 2.5 * layout.cellHeight;
  equal(layout.hit(layout.left - 1, middle), { position: 2, expert: null });
  equal(layout.hit(-1, middle), null);
  equal(layout.hit(layout.left + layout.plotWidth, middle), null);
  equal(layout.hit(layout.left + 10, layout.top - 1), null);
  equal(layout.hit(layout.left + 10, layout.top + layout.plotHeight), null);
});

test("without layers, experts or room there is nothing to hit and no height", () => {
  equal([new Layout(900, 0, 0).height, new Layout(900, 0, 0).empty, new Layout(900, 0, 0).hit(100, 10)], [0, true, null]);
  for (const width of [0, -5, 40]) equal([new Layout(width, 6, 64).empty, new Layout(width, 6, 64).hit(36, 10)], [true, null]);
});

test("few layers are tall, many are thin, none so low that it cannot be seen", () => {
  for (const width of [400, 1000]) {
    let before = 0;
    for (let layers = 1; layers < 200; layers++) {
      const height = plotHeight(layers, width);
      holds(height >= before, `${layers} layers are lower than ${layers - 1}`);
      before = height;
    }
    holds(plotHeight(94, width) / 94 >= 3, "94 layers have less than three pixels each");
  }
});

test("a canvas is no higher than its room, as long as its rows can be seen", () => {
  equal([plotHeight(6, 1000, 260), plotHeight(6, 1000, 4000), plotHeight(6, 1000)], [220, 288, 288]);
  equal([plotHeight(48, 1000, 260), plotHeight(94, 1000, 260), plotHeight(2, 1000, 0)], [220, 282, 120]);
  const layout = new Layout(1000, 6, 64, 1, 260);
  equal([layout.height, layout.hit(layout.left, layout.top + 219).position], [260, 5]);
});

test("labels do not touch, begin at 0 and stay below the count", () => {
  for (const count of [1, 2, 6, 48, 60, 94, 128, 512]) {
    for (const size of [0.8, 1.5, 3, 7, 12, 40]) {
      const found = ticks(count, size, 13);
      equal(found[0], 0);
      holds(found.at(-1) < count, `${found.at(-1)} of ${count}`);
      if (found.length > 1) holds((found[1] - found[0]) * size >= 13, `${count} of ${size} px: ${found}`);
    }
  }
  equal(ticks(0, 10, 13), []);
});
