"""How the live view keeps up with a large model: `python -m benchmarks.live_view [--seconds N] [--json]`.

A real browser follows an engine without weights: 48 layers, 128 experts, top-8, at 30 and at 100 tokens a second, as
the twenty-first turn of a chat. Latency is from a row's arrival on the server to its picture on the canvas. Then a
recording of 32,768 tokens is opened and scrubbed. For comparison the same load map is streamed into a `gr.Plot`, 30
times a second.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go
from playwright.sync_api import Browser, Page, sync_playwright

from analysis.trace import LayerSpec, Origin, Phase, RouterSpec, RoutingTrace, Step
from app.server.serve import Served, launch_demo, make_demo, make_services
from app.settings import Settings
from app.ui.context import EXAMPLE
from benchmarks.common import machine, report
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
SCRUB = """async (seconds) => {
  const range = document.querySelector("#live-view .xs-range"), most = Number(range.max), began = performance.now();
  const drawn = window.__expertscope_live.frames;
  let frames = 0, at = 0;
  while (performance.now() - began < 1000 * seconds) {
    at = (at + 997) % most;
    range.value = at;
    range.dispatchEvent(new Event("input"));
    await new Promise(requestAnimationFrame);
    frames += 1;
  }
  const took = (performance.now() - began) / 1000;
  return { fps: frames / took, drawn: (window.__expertscope_live.frames - drawn) / took };
}"""
PLOT = """() => {
  window.__latencies = [];
  let last = "";
  const look = () => {
    const title = document.querySelector("#plot .gtitle");
    if (title && title.textContent !== last) {
      last = title.textContent;
      window.__latencies.push(Date.now() - Number(last.split(" ")[1]));
    }
    requestAnimationFrame(look);
  };
  look();
}"""
OVER = "() => { const s = document.querySelector('#status .over'); return s && s.textContent.includes(' s · '); }"


class PacedEngine(FakeEngine):
    """Keeps its rate over a turn, however long a single token took."""

    rate = 0.0

    def stream(self, request: Any) -> Any:
        began = time.monotonic()
        for number, event in enumerate(super().stream(request)):
            if self.rate and event.origin == Origin.SAMPLED:
                time.sleep(max(0.0, began + number / self.rate - time.monotonic()))
            yield event


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
        served.close()


def send(page: Page, text: str) -> None:
    page.evaluate("() => document.querySelector('#status .over')?.classList.remove('over')")  # of the turn before
    page.fill("#box textarea", text)
    page.click("#send")
    page.wait_for_function(OVER, timeout=300_000)


def streamed(browser: Browser, rate: int, seconds: float) -> list[dict[str, Any]]:
    """Rows of one rate: frames a second, latencies, lost rows and the main thread's share of the time."""
    engine = PacedEngine(LAYERS, EXPERTS, TOP_K)
    with serving(engine) as served:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(served.url)
        page.wait_for_selector("#box textarea")
        for turn in range(TURNS):
            send(page, f"Question {turn}")
        engine.rate = rate
        engine.enqueue("so " * int(rate * seconds), "12")
        page.evaluate("() => { window.__expertscope_live.latencies = []; }")
        metrics = page.context.new_cdp_session(page)
        metrics.send("Performance.enable")
        before, began = _task_seconds(metrics), time.monotonic()
        page.evaluate(FRAMES)
        send(page, "Count")
        fps, took = page.evaluate(STOP_FRAMES), time.monotonic() - began
        busy = (_task_seconds(metrics) - before) / took
        expected = "() => [window.__expertscope_live.rows, window.__expertscope_live.tokens]"
        rows, tokens = page.evaluate(expected)
        latencies = sorted(page.evaluate("() => window.__expertscope_live.latencies"))
        page.close()
    at = lambda share: latencies[int(share * (len(latencies) - 1))] if latencies else None  # noqa: E731
    return [
        {"name": f"fps_{rate}", "value": round(fps, 1), "unit": "frames/s"},
        {"name": f"latency_p50_{rate}", "value": at(0.5), "unit": "ms", "n": len(latencies)},
        {"name": f"latency_p95_{rate}", "value": at(0.95), "unit": "ms"},
        {"name": f"main_thread_{rate}", "value": round(busy, 3), "unit": "share"},
        {"name": f"tokens_{rate}", "value": round(tokens / took, 1), "unit": "tokens/s", "note": "as they came"},
        {
            "name": "lost_rows" if rate == max(RATES) else f"lost_rows_{rate}",
            "value": tokens - 1 - rows,
            "unit": "rows",
        },
    ]


def _task_seconds(session: Any) -> float:
    found = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    return float(found["TaskDuration"])


def recorded(browser: Browser, seconds: float) -> list[dict[str, Any]]:
    """A long recording, from the first request of the page to its picture, and scrubbing it."""
    rows = []
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
                found = page.evaluate(SCRUB, seconds)
                rows.append({"name": "scrub_fps_32k", "value": round(found["fps"], 1), "unit": "frames/s"})
                rows.append({"name": "scrub_drawn_32k", "value": round(found["drawn"], 1), "unit": "pictures/s"})
            page.close()
    return rows


def with_plot(browser: Browser, seconds: float) -> list[dict[str, Any]]:
    """The load of all experts as a `gr.Plot`, sent anew 30 times a second."""
    load = np.random.default_rng(0).random((LAYERS, EXPERTS))

    def stream() -> Iterator[go.Figure]:
        began = time.monotonic()
        for number in range(int(30 * seconds)):
            time.sleep(max(0.0, began + number / 30 - time.monotonic()))
            load[number % LAYERS] = np.random.default_rng(number).random(EXPERTS)
            yield go.Figure(go.Heatmap(z=load), layout={"title": {"text": f"{number} {time.time() * 1000:.0f}"}})

    with gr.Blocks(analytics_enabled=False) as demo:
        plot, go_button, done = gr.Plot(elem_id="plot"), gr.Button("Go", elem_id="go"), gr.Textbox(elem_id="done")
        go_button.click(stream, None, plot).then(lambda: "over", None, done)
    with redirect_stdout(io.StringIO()):
        _, url, _ = demo.queue(api_open=False).launch(prevent_thread_lock=True, quiet=True, server_port=None)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(url)
    page.wait_for_selector("#go")
    page.evaluate(PLOT)
    page.click("#go")
    page.wait_for_function(
        "() => document.querySelector('#done textarea, #done input')?.value === 'over'", timeout=600_000
    )
    page.wait_for_timeout(2000)
    latencies = sorted(page.evaluate("() => window.__latencies"))
    page.close()
    demo.close()
    value = latencies[len(latencies) // 2] if latencies else None
    note = f"{len(latencies)} of {int(30 * seconds)} pictures were seen"
    return [{"name": "gr_plot_latency_p50_30", "value": value, "unit": "ms", "note": note}]


def measure(seconds: float) -> list[dict[str, Any]]:
    """The rows of the benchmark."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=LAUNCH_ARGS)
        rows = [row for rate in RATES for row in streamed(browser, rate, seconds)]
        rows += recorded(browser, min(seconds, 5))
        rows += with_plot(browser, seconds)
        browser.close()
    ours = next(row for row in rows if row["name"] == "latency_p50_30")
    if ours["value"] and rows[-1]["value"]:
        ours["ratio"] = round(ours["value"] / rows[-1]["value"], 4)
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_view", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of streaming at each rate (default 10)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    if not 0.5 <= given.seconds <= 600:
        parser.error(f"--seconds must be from 0.5 to 600, not {given.seconds}")
    report({"benchmark": "live_view", "machine": machine(), "rows": measure(given.seconds)}, as_json=given.json)


if __name__ == "__main__":
    main()
