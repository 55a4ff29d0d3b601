"""What the live view is compared with: the load of all experts as a `gr.Plot`, sent anew 30 times a second.

Called by `benchmarks.live_view`. Knows Gradio and Plotly only; nothing of ExpertScope's page.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go
from playwright.sync_api import Browser

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


def with_plot(browser: Browser, seconds: float, layers: int, experts: int) -> list[dict[str, Any]]:
    """The row of the comparison: milliseconds from a figure's making to its title on the page, of those that came."""
    load = np.random.default_rng(0).random((layers, experts))

    def stream() -> Iterator[go.Figure]:
        began = time.monotonic()
        for number in range(int(30 * seconds)):
            time.sleep(max(0.0, began + number / 30 - time.monotonic()))
            load[number % layers] = np.random.default_rng(number).random(experts)
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
    with redirect_stdout(io.StringIO()):
        demo.close()
    value = latencies[len(latencies) // 2] if latencies else None
    note = f"{len(latencies)} of {int(30 * seconds)} pictures were seen"
    return [{"name": "gr_plot_latency_p50_30", "value": value, "unit": "ms", "note": note}]
