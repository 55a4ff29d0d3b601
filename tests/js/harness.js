// A test is a name and a function that throws. Knows nothing of what is tested. Test files call `test`; the Python file
// beside this one loads each in a page of its own, calls `runAll`, and reports every name.

const tests = [];

/** Names must be plain strings in double quotes: they are also read from the file's text. */
export function test(name, run) {
  tests.push({ name, run });
}

/** [{name, problem: null | what went wrong}], one after the other, each in an empty page. */
export async function runAll() {
  const results = [];
  for (const { name, run } of tests) {
    document.body.replaceChildren();
    document.body.className = "";
    delete document.documentElement.dataset.lang;
    let problem = null;
    try {
      await run();
    } catch (error) {
      problem = error instanceof Error ? `${error.message}\n${error.stack}` : String(error);
    }
    results.push({ name, problem });
  }
  return results;
}

/** Equal in value: typed arrays as arrays, objects and Maps by what they hold, NaN equal to NaN. */
export function equal(got, wanted, about = "") {
  const [a, b] = [shown(got), shown(wanted)];
  if (a !== b) throw new Error(`${about && `${about}: `}got ${a}, wanted ${b}`);
}

export function near(got, wanted, within = 1e-9) {
  if (!(Math.abs(got - wanted) <= within)) throw new Error(`got ${got}, wanted ${wanted} within ${within}`);
}

export function holds(condition, about) {
  if (!condition) throw new Error(about);
}

export function throws(run, pattern) {
  try {
    run();
  } catch (error) {
    if (!pattern.test(error.message)) throw new Error(`threw "${error.message}", wanted ${pattern}`);
    return;
  }
  throw new Error(`nothing was thrown, wanted ${pattern}`);
}

/** Until `condition()` holds; fails with `about` after five seconds. */
export async function until(condition, about) {
  const began = performance.now();
  while (!condition()) {
    if (performance.now() - began > 5000) throw new Error(`waited in vain: ${about}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Two frames: what was drawn in the first stands in the second. */
export function frames() {
  return new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
}

/** An element on the page. */
export function mounted(tag = "div", style = "") {
  const made = document.createElement(tag);
  made.style.cssText = style;
  document.body.append(made);
  return made;
}

/** A function that keeps what it was called with in `.calls`. */
export function spy(result = undefined) {
  const called = (...values) => (called.calls.push(values), typeof result === "function" ? result(...values) : result);
  called.calls = [];
  return called;
}

function shown(value) {
  return JSON.stringify(value, (_, v) => {
    if (ArrayBuffer.isView(v)) return [...v];
    if (v instanceof Map) return [...v];
    if (typeof v === "number" && !Number.isFinite(v)) return String(v);
    return v === undefined ? "undefined" : v;
  });
}
