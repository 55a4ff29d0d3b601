// What the library draws, from the component that carries it to whoever draws it, now or later.
// Knows one value and who wants to hear of it. Does not know what is in it.

let latest = null;
const hearers = new Set();

/** A new value has come. */
export function take(value) {
  latest = value;
  hearers.forEach((hear) => hear(value));
}

/** Hear of the value that is there and of every later one; gives what ends that. */
export function listen(hear) {
  hearers.add(hear);
  if (latest) hear(latest);
  return () => hearers.delete(hear);
}
