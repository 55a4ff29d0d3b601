// Which cards a search shows. Pure functions of cards and a filter {text, language, mode}.

/** Lower case, and full-width letters and digits as the plain ones. */
export function plain(text) {
  return String(text ?? "").normalize("NFKC").toLowerCase();
}

/** Whether `card`, in a group of `language`, is shown: every word of the text stands somewhere on it. */
export function matches(card, language, filter) {
  if (filter.language && language && language !== filter.language) return false;
  if (filter.mode && !card.takes.some((take) => take.mode === filter.mode)) return false;
  const words = plain(filter.text).split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const all = [card.prompt, card.topic_name, card.model, card.file, ...card.takes.map((take) => take.answer)];
  const text = plain(all.join("\n"));
  return words.every((word) => text.includes(word));
}

/** Takes of a matching card that the filter's mode leaves. */
export function takesShown(card, filter) {
  return filter.mode ? card.takes.filter((take) => take.mode === filter.mode) : card.takes;
}

/** Languages that groups have, in their order. */
export function languagesOf(groups) {
  return [...new Set(groups.map((group) => group.language).filter(Boolean))];
}
