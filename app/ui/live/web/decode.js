// Bytes: base64 to typed arrays, and arrays that grow. Knows nothing of routing.

const CODE = new Uint8Array(128);
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".split("").forEach((c, i) => (CODE[c.charCodeAt(0)] = i));

/** Base64 text to bytes. */
export function bytes(text) {
  if (!text) return new Uint8Array(0);
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  let length = text.length;
  while (length && text[length - 1] === "=") length--;
  const out = new Uint8Array((length * 3) >> 2);
  for (let i = 0, o = 0; i < length; i += 4) {
    const a = CODE[text.charCodeAt(i)];
    const b = CODE[text.charCodeAt(i + 1)];
    const c = i + 2 < length ? CODE[text.charCodeAt(i + 2)] : 0;
    const d = i + 3 < length ? CODE[text.charCodeAt(i + 3)] : 0;
    out[o++] = (a << 2) | (b >> 4);
    if (o < out.length) out[o++] = ((b & 15) << 4) | (c >> 2);
    if (o < out.length) out[o++] = ((c & 3) << 6) | d;
  }
  return out;
}

/** Expert ids, little-endian whatever the machine is. */
export function expertIds(text, dtype) {
  const raw = bytes(text);
  if (dtype === "uint8") return raw;
  if (dtype !== "uint16") throw new Error(`unknown id type ${dtype}`);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const ids = new Uint16Array(raw.length >> 1);
  for (let i = 0; i < ids.length; i++) ids[i] = view.getUint16(2 * i, true);
  return ids;
}

/** A typed array that doubles when it is full. */
export class Growing {
  constructor(Type, capacity = 1024) {
    this.data = new Type(capacity);
    this.length = 0;
  }

  append(values) {
    const need = this.length + values.length;
    if (need > this.data.length) {
      const grown = new this.data.constructor(Math.max(need, 2 * this.data.length));
      grown.set(this.data.subarray(0, this.length));
      this.data = grown;
    }
    this.data.set(values, this.length);
    this.length = need;
  }
}
