// Where the view stands: which token is shown, and whether it follows the stream, plays, or rests.
// Knows numbers of tokens and the clock it is given. Does not know what is drawn.

export class Player {
  constructor() {
    this.reset();
    this.pace = 10;
  }

  reset() {
    this.token = -1;
    this.following = true;
    this.playing = false;
    this._since = 0;
  }

  /** Tokens or rows were added: the newest token that has something to show is `newest`. */
  grown(newest, done) {
    if (this.following) this.token = newest;
    if (done) this.following = false;
    else if (this.token < 0) this.token = newest;
  }

  /** Rest on `token`. */
  go(token, last) {
    this.following = this.playing = false;
    this.token = Math.max(0, Math.min(last, token));
  }

  /** Follow the stream again, or stand at its end. */
  live(newest, done) {
    this.playing = false;
    this.following = !done;
    this.token = newest;
  }

  /** The big button: pause what moves; else play on, or follow where the stream still runs and this is its end. */
  toggle(newest, done, now) {
    if (this.playing || this.following) {
      this.playing = this.following = false;
    } else if (this.pace === 0) {
      this.go(this.token + 1, newest);
    } else if (this.token >= newest && !done) {
      this.live(newest, done);
    } else {
      if (this.token >= newest) this.token = 0;
      this.play(now);
    }
  }

  play(now) {
    this.following = false;
    this.playing = true;
    this._since = now;
  }

  setPace(pace, now) {
    this.pace = pace;
    this._since = now;
    if (!pace) this.playing = false;
  }

  /** Let time pass. Returns whether another token is shown now. */
  tick(now, newest, done) {
    if (!this.playing) return false;
    const steps = Math.floor(((now - this._since) * this.pace) / 1000);
    if (steps < 1) return false;
    this._since += (steps * 1000) / this.pace;
    this.token = Math.min(newest, this.token + steps);
    if (this.token >= newest) {
      this.playing = false;
      this.following = !done; // caught up with the stream
    }
    return true;
  }
}
