// Buttons, the scrub slider and the pace. Knows a player's state. What they do is given by the caller.

import { element, icon } from "./dom.js";

const ICONS = {
  first: "M3 3h2v10H3zM13 3v10L6 8z",
  previous: "M11 3v10L4 8z",
  play: "M4 2.5v11l9-5.5z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  next: "M5 3v10l7-5z",
  last: "M11 3h2v10h-2zM3 3v10l7-5z",
};
const PACES = [30, 10, 3, 0];

export class Controls {
  /** @param actions {first, previous, toggle, next, last, live, scrub(index, final), pace(tokens a second, 0 = step)} */
  constructor(actions) {
    this.buttons = {};
    const bar = element("div", { class: "xs-buttons" });
    for (const name of ["first", "previous", "toggle", "next", "last"]) {
      const button = element("button", { class: "xs-button", type: "button" }, icon(ICONS[name] || ICONS.play));
      button.addEventListener("click", () => actions[name]());
      this.buttons[name] = button;
      bar.append(button);
    }
    this.live = element("button", { class: "xs-button xs-live-button", type: "button" });
    this.live.addEventListener("click", () => actions.live());
    this.range = element("input", { class: "xs-range", type: "range", min: "0", max: "0", step: "1", value: "0" });
    this.range.addEventListener("input", () => actions.scrub(Number(this.range.value), false));
    this.range.addEventListener("change", () => actions.scrub(Number(this.range.value), true));
    this.position = element("span", { class: "xs-position" });
    this.pace = element("select", { class: "xs-pace" }, ...PACES.map((p) => element("option", { value: p })));
    this.pace.addEventListener("change", () => actions.pace(Number(this.pace.value)));
    this.paceLabel = element("span");
    const pace = element("label", { class: "xs-pace-label" }, this.paceLabel, this.pace);
    this.root = element("div", { class: "xs-controls", role: "group" }, bar, this.range, this.position, pace, this.live);
  }

  speak(words) {
    this.words = words;
    this.root.setAttribute("aria-label", words("controls"));
    for (const name of ["first", "previous", "next", "last"]) name_(this.buttons[name], words(name));
    this.range.setAttribute("aria-label", words("scrub"));
    this.live.textContent = words("live");
    name_(this.live, words("live_help"));
    this.paceLabel.textContent = words("pace");
    [...this.pace.options].forEach((option, i) => {
      option.textContent = PACES[i] ? words("pace_rate", { rate: PACES[i] }) : words("pace_step");
    });
  }

  /** @param state {player, newest, tokens, done} */
  update({ player, newest, tokens, done }) {
    const moving = player.playing || player.following;
    const action = moving ? "pause" : !done && player.token >= newest ? "follow" : "play";
    if (action !== this._action || this._spoken !== this.words) {
      [this._action, this._spoken] = [action, this.words];
      this.buttons.toggle.replaceChildren(icon(ICONS[moving ? "pause" : "play"]));
      name_(this.buttons.toggle, this.words(action));
    }
    const last = Math.max(0, tokens - 1);
    if (this.range.max !== String(last)) this.range.max = String(last);
    if (this.range.value !== String(player.token)) this.range.value = String(Math.max(0, player.token));
    const text = tokens ? this.words("position", { index: player.token, last }) : "";
    if (this.position.textContent !== text) this.position.textContent = text;
    if (this.range.getAttribute("aria-valuetext") !== text) this.range.setAttribute("aria-valuetext", text);
    this.pace.value = String(player.pace);
    this.live.hidden = done;
    this.live.setAttribute("aria-pressed", player.following ? "true" : "false");
    for (const name of ["first", "previous"]) this.buttons[name].disabled = !tokens || player.token <= 0;
    for (const name of ["next", "last"]) this.buttons[name].disabled = !tokens || player.token >= last;
    this.buttons.toggle.disabled = this.range.disabled = !tokens;
  }
}

function name_(button, text) {
  button.setAttribute("aria-label", text);
  button.title = text;
}
