"""How the live view keeps up with a large model: `python -m benchmarks.live_view [--seconds N] [--part PART] [--json]`.

A real browser follows an engine without weights: 48 layers, 128 experts, top-8, at 30 and at 100 tokens a second, after
twenty other turns of a chat. The latency of every token is from the moment the engine gives its row to the picture that
shows it, the wait for the next update of the page included. Then a recording of 32,768 tokens is opened, its token
strip scrolled, and scrubbed. For comparison the same load map is streamed into a `gr.Plot`, 30 times a second.

The browser is headless and draws in software, on the same cores as the server; what else runs there counts.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from analysis.trace import LayerSpec, Origin, Phase, RouterSpec, RoutingTrace, Step
from app.server.serve import Served, launch_demo, make_demo, make_services
from app.settings import Settings
from app.ui.context import EXAMPLE
from benchmarks.common import machine, report
from benchmarks.live_plot import with_plot
from tests.browser import LAUNCH_ARGS, find_chromium
from tests.fake_engine import FakeEngine

LAYERS, EXPERTS, TOP_K = 48, 128, 8
TURNS = 20
RATES = (30, 100)
LONG = 32_768

FRAMES = """() => {
  const seen = (window.__frames = { began: performance.now(), count: 0, on: true });
  const tick = () => { if (seen.on) { seen.count += 1; requestAnimationFrame(tick); } };
  requestAnimationFrame(tick);
}"""
STOP_FRAMES = """() => {
  const seen = window.__frames;
  seen.on = false;
  return (1000 * seen.count) / (performance.now() - seen.began);
}"""
MOVE = """async ([seconds, what]) => {
  const live = window.__expertscope_live, drawn = live.frames, began = performance.now();
  const range = document.querySelector("#live-view .xs-range"), most = Number(range.max);
  const strip = document.querySelector("#live-view .xs-strip");
  const moves = {
    scrub: (i) => ((range.value = (i * 997) % most), range.dispatchEvent(new Event("input"))),
    drag: (i) => ((range.value = (i * 23) % most), range.dispatchEvent(new Event("input"))),
    scroll: (i) => (strip.scrollTop = (i * 60) % (strip.scrollHeight - strip.clientHeight)),
  };
  let frames = 0;
  while (performance.now() - began < 1000 * seconds) {
    moves[what](++frames);
    await new Promise(requestAnimationFrame);
  }
  const took = (performance.now() - began) / 1000;
  return { fps: frames / took, drawn: (live.frames - drawn) / took };
}"""
OVER = "() => { const s = document.querySelector('#status .over'); return s && s.textContent.includes(' s · '); }"


class PacedEngine(FakeEngine):
    """Keeps its rate over a turn, however long a token took; ``given`` is (rows so far, when) of a paced turn."""

    rate = 0.0
    given: list[tuple[int, float]]

    def stream(self, request: Any) -> Any:
        began = time.monotonic()
        self.given = []
        for number, event in enumerate(super().stream(request)):
            if self.rate and event.origin == Origin.SAMPLED:
                time.sleep(max(0.0, began + number / self.rate - time.monotonic()))
                if event.rows is not None:
                    self.given.append((event.rows.start + len(event.rows), time.time() * 1000))
            yield event


def waits(given: list[tuple[int, float]], drawn: list[tuple[int, float]]) -> list[float]:
    """Milliseconds from each row that was given to the first picture that has it; rows that never had one are left out.

    Args:
        given: (rows so far, ms since 1970), rising.
        drawn: (rows of the picture, ms since 1970), rising.
    """
    found, at = [], 0
    for rows, when in given:
        while at < len(drawn) and drawn[at][0] < rows:
            at += 1
        if at < len(drawn):
            found.append(max(0.0, drawn[at][1] - when))
    return found


def long_trace(tokens: int = LONG) -> RoutingTrace:
    """Random routing of ``tokens`` tokens; each row has distinct experts."""
    random = np.random.default_rng(0)
    shape = tokens - 1, LAYERS, 1
    first, step = random.integers(0, EXPERTS, shape), 2 * random.integers(0, EXPERTS // 2, shape) + 1
    ids = ((first + step * np.arange(TOP_K)) % EXPERTS).astype(np.uint8)
    phase = np.full(tokens, Phase.THINKING, np.uint8)
    phase[:64], phase[-2000:] = Phase.PROMPT, Phase.ANSWER
    words = [b" so", b" the", b" sum", b" is", b" 12", b",", b" carry", b" 1"]
    return RoutingTrace(
        spec=RouterSpec(tuple(LayerSpec(i, EXPERTS, TOP_K) for i in range(LAYERS))),
        token_ids=(np.arange(tokens) % len(words)).astype(np.int32),
        phase=phase,
        origin=np.full(tokens, Origin.SAMPLED, np.uint8),
        turn=np.zeros(tokens, np.uint16),
        pieces=tuple(words[i % len(words)] for i in range(tokens)),
        row_start=0,
        step=np.full(tokens - 1, Step.DECODE, np.uint8),
        expert_ids=ids,
        expert_weights=np.full(ids.shape, 1 / TOP_K, np.float16),
        provenance={"model": "random"},
    )


@contextmanager
def serving(engine: FakeEngine, example: RoutingTrace | None = None) -> Iterator[Served]:
    services = make_services(engine, Settings(port=0))
    if example is not None:
        services.store.keep(example, EXAMPLE)
    with redirect_stdout(io.StringIO()):
        served = launch_demo(make_demo(services), services, block=False)
    try:
        yield served
    finally:
        with redirect_stdout(io.StringIO()):
            served.close()


def send(page: Page, text: str) -> None:
    page.evaluate("() => document.querySelector('#status .over')?.classList.remove('over')")  # of the turn before
    page.fill("#box textarea", text)
    page.click("#send")


def settled(page: Page) -> None:
    """Until the page has had next to nothing to do for a second."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    for _ in range(30):
        before = _task_seconds(session)
        page.wait_for_timeout(1000)
        if _task_seconds(session) - before < 0.1:
            return


def streamed(browser: Browser, seconds: float) -> list[dict[str, Any]]:
    """Turns at each rate after ``TURNS`` others in the same chat."""
    engine = PacedEngine(LAYERS, EXPERTS, TOP_K)
    with serving(engine) as served:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(served.url)
        page.wait_for_selector("#box textarea")
        page.wait_for_function("() => window.__expertscope_live", timeout=120_000)
        for turn in range(TURNS):
            send(page, f"Question {turn}")
            page.wait_for_function(OVER, timeout=300_000)
        rows = [row for rate in RATES for row in at_rate(page, engine, rate, seconds)]
        page.close()
    return rows


def at_rate(page: Page, engine: PacedEngine, rate: int, seconds: float) -> list[dict[str, Any]]:
    """Rows of one turn: frames a second, latencies, lost rows and the main thread's share of the time."""
    settled(page)
    engine.rate = rate
    engine.enqueue("so " * int(rate * seconds), "12")
    page.evaluate("() => { window.__expertscope_live.drawn = []; }")
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
    before, began = _task_seconds(metrics), time.monotonic()
    page.evaluate(FRAMES)
    send(page, "Count")
    page.wait_for_function("() => window.__expertscope_live.drawn.some(([rows]) => rows > 100)", timeout=300_000)
    page.wait_for_function(
        "() => document.querySelector('#live-view .xs-live').dataset.state === 'done'", timeout=300_000
    )
    fps, took = page.evaluate(STOP_FRAMES), time.monotonic() - began
    busy = (_task_seconds(metrics) - before) / took
    page.wait_for_function(OVER, timeout=300_000)
    given, rows = engine.given, page.evaluate("() => window.__expertscope_live.rows")
    latencies = sorted(waits(given, page.evaluate("() => window.__expertscope_live.drawn")))
    real = 1000 * (len(given) - 1) / (given[-1][1] - given[0][1])
    return [
        {"name": f"fps_{rate}", "value": round(fps, 1), "unit": "frames/s"},
        {"name": f"latency_p50_{rate}", "value": quantile(latencies, 0.5), "unit": "ms", "n": len(latencies)},
        {"name": f"latency_p95_{rate}", "value": quantile(latencies, 0.95), "unit": "ms"},
        {"name": f"main_thread_{rate}", "value": round(busy, 3), "unit": "share", "note": "processor time of the page"},
        {"name": f"tokens_{rate}", "value": round(real, 1), "unit": "tokens/s", "note": "as the engine gave them"},
        {"name": f"lost_rows_{rate}", "value": given[-1][0] - rows, "unit": "rows"},
    ]


def quantile(ordered: list[float], share: float) -> float | None:
    return round(ordered[int(share * (len(ordered) - 1))], 1) if ordered else None


def _task_seconds(session: Any) -> float:
    found = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    return float(found["TaskDuration"])


def recorded(browser: Browser, seconds: float) -> list[dict[str, Any]]:
    """A long recording, from the first request of the page to its picture; then its strip is scrolled and it is dragged
    and leapt through, a frame after the other."""
    rows: list[dict[str, Any]] = []
    for name, tokens in (("open_small", 128), ("open_32k", LONG)):
        with serving(FakeEngine(LAYERS, EXPERTS, TOP_K), long_trace(tokens)) as served:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            began = time.monotonic()
            page.goto(served.url)
            page.wait_for_function(
                f"() => window.__expertscope_live?.rows === {tokens - 1} && window.__expertscope_live.frames > 0",
                timeout=120_000,
            )
            rows.append(
                {"name": name, "value": round(time.monotonic() - began, 3), "unit": "s", "note": "page and all"}
            )
            if tokens == LONG:
                settled(page)
                for what, note in (
                    ("scroll", "the token strip, 60 pixels a frame"),
                    ("drag", "23 tokens a frame"),
                    ("scrub", "997 tokens a frame"),
                ):
                    found = page.evaluate(MOVE, [seconds, what])
                    rows.append(
                        {"name": f"{what}_fps_32k", "value": round(found["fps"], 1), "unit": "frames/s", "note": note}
                    )
                rows.append({"name": "scrub_drawn_32k", "value": round(found["drawn"], 1), "unit": "pictures/s"})
            page.close()
    return rows


PARTS = ("streamed", "recorded", "plot")


def measure(seconds: float, parts: Sequence[str] = PARTS) -> list[dict[str, Any]]:
    """The rows of the benchmark."""
    run: dict[str, Callable[[Browser], list[dict[str, Any]]]] = {
        "streamed": lambda browser: streamed(browser, seconds),
        "recorded": lambda browser: recorded(browser, min(seconds, 5)),
        "plot": lambda browser: with_plot(browser, seconds, LAYERS, EXPERTS),
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=LAUNCH_ARGS)
        rows = [row for part in parts for row in run[part](browser)]
        browser.close()
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_view", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of streaming at each rate (default 10)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    given = parser.parse_args(arguments)
    if not 0.5 <= given.seconds <= 600:
        parser.error(f"--seconds must be from 0.5 to 600, not {given.seconds}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    about = machine(load is not None and f"load before it began {load:.1f}")
    report(
        {"benchmark": "live_view", "machine": about, "rows": measure(given.seconds, given.part or PARTS)},
        as_json=given.json,
    )


if __name__ == "__main__":
    main()
