import { bytes, expertIds, Growing } from "/app/ui/live/web/decode.js";
import { equal, test, throws } from "./harness.js";
import { base64 } from "./chunks.js";

/** Run with and without the browser's own decoder: older browsers have none. */
function bothWays(run) {
  run();
  const own = Uint8Array.fromBase64;
  if (!own) return;
  delete Uint8Array.fromBase64;
  try {
    run();
  } finally {
    Uint8Array.fromBase64 = own;
  }
}

test("base64 of every length comes back as its bytes, by the browser and by hand", () =>
  bothWays(() => {
    for (let length = 0; length < 70; length++) {
      const raw = Array.from({ length }, (_, i) => (i * 89 + length) % 256);
      equal(bytes(base64(raw)), raw, `${length} bytes`);
    }
  }));

test("base64 without padding is read too", () =>
  bothWays(() => {
    equal(bytes("AQI"), [1, 2]);
    equal(bytes("/w"), [255]);
    equal(bytes("+/+/"), [251, 255, 191]);
  }));

test("no text is no bytes", () => {
  equal(bytes("").length, 0);
  equal(bytes(null).length, 0);
  equal(expertIds("", "uint16").length, 0);
});

test("two-byte ids are little-endian, and 65,535 stays 65,535", () =>
  bothWays(() => equal(expertIds(base64([0, 1, 256, 511, 65535], 2), "uint16"), [0, 1, 256, 511, 65535])));

test("one-byte ids are the bytes themselves", () => equal(expertIds(base64([0, 127, 254, 255]), "uint8"), [0, 127, 254, 255]));

test("an unknown type of ids is refused", () => throws(() => expertIds("AAAA", "int32"), /unknown id type int32/));

test("a growing array keeps what it has when it grows, however much comes at once", () => {
  const growing = new Growing(Uint16Array, 2);
  growing.append([1]);
  growing.append([2, 3, 4, 5, 6, 7, 8]);
  growing.append([]);
  growing.append([65535]);
  equal(growing.length, 9);
  equal(growing.data.subarray(0, 9), [1, 2, 3, 4, 5, 6, 7, 8, 65535]);
});

test("many small appends grow seldom", () => {
  const growing = new Growing(Uint8Array, 1);
  let [grown, last] = [0, growing.data];
  for (let i = 0; i < 5000; i++) {
    growing.append([i % 256]);
    if (growing.data !== last) [grown, last] = [grown + 1, growing.data];
  }
  equal(growing.length, 5000);
  equal(growing.data[4999], 4999 % 256);
  equal(grown <= 13, true);
});
