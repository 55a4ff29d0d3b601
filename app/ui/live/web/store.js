// One run: its tokens and routing rows as they arrive, and the load of every expert up to any token.
// Knows the wire format (see wire.py). Does not know the page, the canvas or where chunks come from.

import { bytes, expertIds, Growing } from "./decode.js";

const CHECKPOINT = 1024; // rows between kept copies of the counts

export class RunStore {
  constructor(run) {
    this.run = run;
    this.header = null;
    this.texts = [];
    this.phases = new Growing(Uint8Array);
    this.origins = new Growing(Uint8Array);
    this.rowStart = 0;
    this.rows = 0;
    this.done = false;
    this.finishReason = null;
    this.time = null;
    this.gone = false;
    this.waiting = []; // chunks that came before what they follow
  }

  get tokens() {
    return this.texts.length;
  }

  /** Index after the last token that has a row. */
  get rowEnd() {
    return this.rowStart + this.rows;
  }

  /**
   * Take from `chunk` what is new. Chunks may repeat, overlap, or arrive in any order.
   * @returns {"new" | "known" | "gap"} "gap": something before it is missing; it is kept until that has come.
   */
  merge(chunk) {
    const outcome = this._take(chunk);
    if (outcome === "gap") {
      if (!this.waiting.some((c) => c.seq === chunk.seq)) this.waiting.push(chunk);
      return "gap";
    }
    this.waiting.sort((a, b) => a.first - b.first || a.seq - b.seq);
    this.waiting = this.waiting.filter((waiting) => this._take(waiting) === "gap");
    return outcome;
  }

  _take(chunk) {
    if (!this.header) {
      if (!chunk.header) return "gap";
      this._open(chunk);
    }
    const newToken = this.tokens - chunk.first;
    if (newToken >= 0 && chunk.rows > 0 && !this.rows) this.rowStart = chunk.row_start; // rows may begin late: a cached prefix
    const newRow = this.rowEnd - chunk.row_start;
    if (newToken < 0 || (chunk.rows > 0 && newRow < 0 && this._layers > 0)) return "gap";
    let outcome = "known";
    const fresh = chunk.tokens.slice(newToken);
    for (const [text] of fresh) this.texts.push(String(text));
    this.phases.append(fresh.map((token) => token[1]));
    this.origins.append(fresh.map((token) => token[2]));
    if (fresh.length) outcome = "new";
    if (chunk.rows > newRow && this._takeRows(chunk, Math.max(0, newRow))) outcome = "new";
    if (chunk.done && !this.done) {
      this.done = true;
      this.finishReason = chunk.finish_reason;
      outcome = "new";
    }
    return outcome;
  }

  _open(chunk) {
    const h = (this.header = chunk.header);
    this._layers = h.layers.length;
    this._experts = Math.max(0, ...h.experts);
    this._width = this._layers * h.k;
    this._ids = new Growing(h.dtype === "uint8" ? Uint8Array : Uint16Array);
    this._weights = h.gate_weights ? new Growing(Uint8Array) : null;
    this._counts = new Uint32Array(this._layers * this._experts);
    this._countedTo = 0; // rows that are in _counts
    this._checkpoints = [this._counts.slice()];
    this._newest = { rows: 0, counts: this._counts.slice() };
  }

  _takeRows(chunk, skip) {
    if (!this._layers) {
      this.rows = Math.max(this.rows, chunk.row_start + chunk.rows - this.rowStart);
      return true;
    }
    const ids = expertIds(chunk.ids, this.header.dtype);
    if (ids.length !== chunk.rows * this._width) throw new Error(`${ids.length} ids for ${chunk.rows} rows`);
    const weights = chunk.weights === null ? null : bytes(chunk.weights);
    this._ids.append(ids.subarray(skip * this._width));
    if (this._weights && weights) this._weights.append(weights.subarray(skip * this._width));
    else this._weights = null; // an engine that gave none for some rows gives none
    this.rows += chunk.rows - skip;
    this._countNewest();
    if (chunk.t) this.time = chunk.t;
    return true;
  }

  _countNewest() {
    const newest = this._newest;
    while (newest.rows < this.rows) {
      const next = Math.min(this.rows, (Math.floor(newest.rows / CHECKPOINT) + 1) * CHECKPOINT);
      this._tally(newest.counts, newest.rows, next, 1);
      newest.rows = next;
      if (next % CHECKPOINT === 0) this._checkpoints[next / CHECKPOINT] = newest.counts.slice();
    }
  }

  _tally(counts, from, to, sign) {
    const { k, no_expert: none } = this.header;
    const [ids, layers, experts] = [this._ids.data, this._layers, this._experts];
    let at = from * this._width;
    for (let row = from; row < to; row++) {
      for (let layer = 0; layer < layers; layer++) {
        const base = layer * experts;
        for (let j = 0; j < k; j++) {
          const id = ids[at++];
          if (id !== none && id < experts) counts[base + id] += sign;
        }
      }
    }
  }

  /** Tokens counted when token `token` is the current one: those with a row, itself included. */
  countedAt(token) {
    return Math.max(0, Math.min(this.rows, token + 1 - this.rowStart));
  }

  /** Uint32Array [L × E]: how often each expert was used by the tokens up to `token`. Valid until the next call. */
  countsAt(token) {
    const rows = this.countedAt(token);
    const nearest = Math.min(Math.round(rows / CHECKPOINT), this._checkpoints.length - 1);
    if (Math.abs(nearest * CHECKPOINT - rows) < Math.abs(this._countedTo - rows)) {
      this._counts.set(this._checkpoints[nearest]);
      this._countedTo = nearest * CHECKPOINT;
    }
    if (rows === this._newest.rows) this._counts.set(this._newest.counts);
    else if (rows > this._countedTo) this._tally(this._counts, this._countedTo, rows, 1);
    else this._tally(this._counts, rows, this._countedTo, -1);
    this._countedTo = rows;
    return this._counts;
  }

  hasRow(token) {
    return token >= this.rowStart && token < this.rowEnd;
  }

  /** The experts of one token in the layer at `position`, in the router's order: [{expert, weight, rank}]. */
  used(token, position) {
    if (!this.hasRow(token) || position < 0 || position >= this._layers) return [];
    const { k, no_expert: none, weight_max: max } = this.header;
    const at = (token - this.rowStart) * this._width + position * k;
    const found = [];
    for (let j = 0; j < k; j++) {
      const expert = this._ids.data[at + j];
      if (expert === none) continue;
      found.push({ expert, weight: this._weights ? (this._weights.data[at + j] / 255) * max : null });
    }
    if (this._weights) found.sort((a, b) => b.weight - a.weight);
    found.forEach((entry, i) => (entry.rank = i + 1));
    return found;
  }

  /** Ids and weight bytes of one token, [L × K] each, or null; the canvas reads these. */
  rawRow(token) {
    if (!this.hasRow(token) || !this._layers) return null;
    const at = (token - this.rowStart) * this._width;
    return {
      ids: this._ids.data.subarray(at, at + this._width),
      weights: this._weights ? this._weights.data.subarray(at, at + this._width) : null,
    };
  }

  get hasWeights() {
    return this._weights !== null && this._weights !== undefined;
  }

  get layers() {
    return this._layers || 0;
  }

  get experts() {
    return this._experts || 0;
  }

  /** Whether `token` used `expert` in the layer at `position`. */
  uses(token, position, expert) {
    if (!this.hasRow(token)) return false;
    const at = (token - this.rowStart) * this._width + position * this.header.k;
    for (let j = 0; j < this.header.k; j++) if (this._ids.data[at + j] === expert) return true;
    return false;
  }

  /** Share of the layer's slots that `expert` had up to `token`, its chance level, and the sample size. */
  load(token, position, expert) {
    const n = this.countedAt(token);
    const count = this.countsAt(token)[position * this._experts + expert];
    const slots = n * this.header.top_k[position];
    return { count, n, share: slots ? count / slots : null, uniform: 1 / this.header.experts[position] };
  }
}
