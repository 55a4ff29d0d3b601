// How to join: the page's address, large enough to be read from the back row, and its QR code.
// Knows what the server answers: {address, code, note}. The code is an SVG of ours; everything else is set as text.

import { element } from "../../live/web/dom.js";

export class Join {
  /**
   * @param words key → text
   * @param ask (address) => Promise of {address, code, note}
   */
  constructor(words, ask) {
    [this.words, this.ask] = [words, ask];
    this.code = element("div", { class: "pr-code", role: "img" });
    this.address = element("p", { class: "pr-address" });
    this.note = element("p", { class: "pr-note", role: "status" });
    const heading = element("h2", { id: "pr-join-title" }, words.join_title);
    const close = element("button", { type: "button", class: "pr-button" }, words.close);
    close.addEventListener("click", () => this.dialog.close());
    this.dialog = element("dialog", { class: "pr-dialog", "aria-labelledby": "pr-join-title" }, heading, this.code, this.address, this.note, close);
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    document.body.append(this.dialog);
  }

  async show() {
    if (!this.dialog.open) this.dialog.showModal();
    let found;
    try {
      found = await this.ask(location.href);
    } catch (error) {
      console.error(error);
      found = { address: "", code: "", note: this.words.failed };
    }
    this.address.textContent = found.address;
    this.note.textContent = found.note;
    this.code.hidden = !found.code;
    this.address.hidden = !found.address;
    this.code.setAttribute("aria-label", `QR: ${found.address}`);
    const drawn = new DOMParser().parseFromString(found.code || "<svg/>", "text/html").querySelector("svg");
    this.code.replaceChildren(...(found.code && drawn ? [drawn] : []));
  }
}
