// Chips of edits: a chip's button says which edit it takes away, and the focus stays among them, or goes to the button with
// the id UNDO after the last. Runs in the gr.HTML that holds them, where `element` and `trigger` are given; the chips are made on the server.
let removed = -1;
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-i]");
  if (!button) return;
  removed = Number(button.dataset.i);
  trigger("remove", { i: removed });
});
new MutationObserver(() => {
  if (removed < 0) return;
  const left = element.querySelectorAll("button[data-i]");
  const next = left[Math.min(removed, left.length - 1)] ?? document.getElementById(UNDO)?.closest("button");
  removed = -1;
  next?.focus();
}).observe(element, { childList: true, subtree: true });
