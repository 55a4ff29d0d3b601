// What a key means in the view. Pure: a key and where it was pressed → what is wanted. Knows no elements.

/**
 * @param key as in KeyboardEvent
 * @param at {token, tokens, layers, cell, onCanvas, inField, onButton, modified, shift, experts(position): their number,
 *   strongest(position): the expert with the token's largest gate weight}
 * @returns {what: "clear" | "toggle" | "stay" | "elsewhere"}, {what: "token", index},
 *   {what: "cell", cell: {position, expert|null}}, or null where the key is not the view's
 */
export function meaning(key, at) {
  if (key === "Escape" && at.cell) return { what: "clear" };
  if (at.inField || at.modified || !at.tokens) return null;
  if (at.onCanvas && at.layers) {
    if (key === "Enter") return at.cell && at.cell.expert !== null ? { what: "elsewhere" } : null;
    const cell = nextCell(key, at);
    if (cell) return at.cell && cell.position === at.cell.position && cell.expert === at.cell.expert ? { what: "stay" } : { what: "cell", cell };
  }
  const jump = { ArrowLeft: at.token - 1, ArrowRight: at.token + 1, Home: 0, End: at.tokens - 1 }[key];
  if (jump !== undefined) return { what: "token", index: within(jump, at.tokens) };
  return key === " " && !at.onButton ? { what: "toggle" } : null;
}

/** Up and down choose a layer, shift with left and right an expert of it, at first the one with the largest weight. */
function nextCell(key, { cell, layers, shift, experts, strongest }) {
  const down = { ArrowUp: -1, ArrowDown: 1 }[key];
  const right = shift ? { ArrowLeft: -1, ArrowRight: 1 }[key] : undefined;
  if (!down && !right) return null;
  const position = cell ? within(cell.position + (down || 0), layers) : 0;
  const there = cell && cell.expert !== null && cell.expert < experts(position);
  if (!right) return { position, expert: there ? cell.expert : null };
  return { position, expert: there ? within(cell.expert + right, experts(position)) : strongest(position) };
}

function within(value, count) {
  return Math.max(0, Math.min(count - 1, value));
}
