// Colours. One meaning each, the same in light and dark: phase, gate weight, load against chance.
// Knows numbers to colours. Does not know where they are drawn. The values agree with analysis/figures/style.py.

export const PHASES = ["prompt", "thinking", "answer", "marker"];

export const PHASE_COLOURS = {
  light: { prompt: "#8a8f98", thinking: "#d98e04", answer: "#2f6fd6", marker: "#c3c7ce" },
  dark: { prompt: "#9aa0aa", thinking: "#eda521", answer: "#6c9ff0", marker: "#5c6370" },
};

/** The plot's ground: dark in both themes, so that "bright" means "now". */
export const GROUND = [15, 19, 30];
export const GAP = [9, 12, 20];
const INK = { axis: { light: "#5b6270", dark: "#a4abb8" }, strong: { light: "#14181f", dark: "#f2f4f8" } };

// Viridis without its darkest fifth, which would not show on the ground.
const GATE = ["#433e85", "#38588c", "#2d708e", "#25858e", "#1e9b8a", "#2ab07f", "#52c569", "#86d549", "#c2df23", "#fde725"];
// Less than chance, chance, more than chance.
const LOAD = ["#2166ac", "#4393c3", "#92c5de", "#f7f7f7", "#f4a582", "#d6604d", "#b2182b"];
const FAINT = 0.34; // how much of the load's colour shows on the ground
const LOAD_SPAN = 2; // the scale's ends: a quarter of chance, four times chance

export function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

export function css([r, g, b], alpha = 1) {
  return alpha === 1 ? `rgb(${r},${g},${b})` : `rgba(${r},${g},${b},${alpha})`;
}

function table(stops, change = (c) => c) {
  const anchors = stops.map(rgb);
  return Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (anchors.length - 1);
    const low = Math.min(anchors.length - 2, Math.floor(at));
    return change(anchors[low].map((v, c) => Math.round(v + (anchors[low + 1][c] - v) * (at - low))), i / 255);
  });
}

/** 256 colours [r, g, b] for gate weights from 0 to `gateTop`. */
export const GATE_TABLE = table(GATE);
export const GATE_CSS = GATE_TABLE.map((c) => css(c));

/** 256 faint colours for load, from a quarter of chance (0) over chance (the middle) to four times chance (255). */
export const LOAD_TABLE = table(LOAD, (colour, at) => {
  const strength = FAINT * (0.32 + 0.68 * Math.abs(2 * at - 1));
  return colour.map((v, c) => Math.round(GROUND[c] + (v - GROUND[c]) * strength));
});

/** The weight at the top of the gate scale: three times an equal share, at most what the routers can give. */
export function gateTop(k, weightMax = 1) {
  return Math.min(weightMax, (3 * weightMax) / Math.max(1, k));
}

export function gateIndex(weight, top) {
  return Math.max(0, Math.min(255, Math.round((weight / top) * 255)));
}

/**
 * Position on the load scale, 0 … 255. One imagined use per expert tempers the colour while few tokens are counted;
 * the figures in the tooltip are not tempered.
 */
export function loadIndex(count, slots, experts) {
  const ratio = ((count + 1) * experts) / (slots + experts);
  return Math.max(0, Math.min(255, Math.round(127.5 + (127.5 * Math.log2(ratio)) / LOAD_SPAN)));
}

/** A scale as a CSS gradient, for the legends. */
export function gradient(colours) {
  const stops = Array.from({ length: 17 }, (_, i) => css(colours[Math.round((i * 255) / 16)]));
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}

/** "dark" or "light", as Gradio shows the page. */
export function theme(element) {
  return element.closest(".dark") || document.body.classList.contains("dark") ? "dark" : "light";
}

export function ink(kind, themeName) {
  return INK[kind][themeName];
}
