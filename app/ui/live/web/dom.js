// Small helpers for elements and words. Model and user text only ever goes through textContent.

/** element("button", {class: "xs-b", "aria-label": "…"}, child, "text", …) */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** A 16 × 16 icon of one path. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS(SVG, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

/** Set text only where it differs, so that nothing is laid out again for nothing. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Visible words in one language, with English behind it. `words(key, {name: value})` fills in {name}. */
export function speaker(tables, language) {
  const table = { ...(tables && tables.en), ...(tables && tables[language]) };
  const speak = (key, values = {}) =>
    (table[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
  speak.language = tables && tables[language] ? language : "en";
  return speak;
}

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const PICTURES = { "\n": "↵", "\t": "⇥", "\r": "␍" };
const LONGEST = 64;

/** A token's text as it is shown: what cannot be seen gets a sign, and what is endless an end. */
export function visible(text) {
  const signs = text.replace(HIDDEN, (c) => {
    const code = c.charCodeAt(0);
    if (PICTURES[c]) return PICTURES[c];
    return code < 32 ? String.fromCharCode(0x2400 + code) : `‹${code.toString(16).padStart(4, "0")}›`;
  });
  const shown = /^ +$/.test(signs) ? "␣".repeat(signs.length) : signs;
  if (shown.length <= LONGEST) return shown;
  const characters = [...shown]; // an emoji is one, though its length is 2
  return characters.length > LONGEST ? `${characters.slice(0, LONGEST).join("")}…` : shown;
}
