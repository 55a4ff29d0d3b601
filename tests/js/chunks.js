// Runs made by hand, as the server would send them (app/ui/live/wire.py).

export const NONE_16 = 65535;
export const NONE_8 = 255;

/** A header for `experts` and `top_k` a layer; rows are as wide as the largest top-k. */
export function header({ experts = [8, 8], topK = experts.map(() => 2), dtype = "uint8", weights = true, max = 1, ...more } = {}) {
  const k = Math.max(0, ...topK);
  return {
    layers: experts.map((_, i) => i),
    experts,
    top_k: topK,
    k,
    dtype,
    no_expert: dtype === "uint8" ? NONE_8 : NONE_16,
    gate_weights: weights,
    weight_max: max,
    even_weight: k ? max / k : null,
    title: "made by hand",
    lang: null,
    autoplay: null,
    ...more,
  };
}

export function base64(numbers, width = 1) {
  const bytes = new Uint8Array(numbers.length * width);
  const view = new DataView(bytes.buffer);
  numbers.forEach((n, i) => (width === 1 ? view.setUint8(i, n) : view.setUint16(2 * i, n, true)));
  return btoa(String.fromCharCode(...bytes));
}

/**
 * @param rows [[id, …], …], a row all layers one after the other
 * @param weights the same in bytes, or null
 */
export function chunk({ head, first = 0, texts = [], phase = 1, rowStart = 0, rows = [], weights = null, width = 1, ...more } = {}) {
  return {
    run: "r",
    seq: 0,
    ...(head ? { header: head } : {}),
    first,
    tokens: texts.map((text) => [text, phase, 2]),
    row_start: rowStart,
    rows: rows.length,
    ids: base64(rows.flat(), width),
    weights: weights && base64(weights.flat()),
    t: null,
    done: false,
    finish_reason: null,
    ...more,
  };
}

/** `count` tokens, each with a row of two layers of eight experts, top-2: token i uses i and i + 1 (modulo 8). */
export function whole(count, more = {}) {
  const rows = Array.from({ length: count }, (_, i) => [i % 8, (i + 1) % 8, i % 8, (i + 1) % 8]);
  const texts = rows.map((_, i) => `t${i}`);
  return chunk({ head: header(), texts, rows, weights: rows.map(() => [153, 102, 204, 51]), done: true, finish_reason: "stop", ...more });
}
