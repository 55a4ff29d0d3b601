"""``python -m tests.make_figures`` draws every figure from real recordings: docs/images/figures/ and docs/figures.md.

``python -m tests.make_figures NAME …`` draws some again. What is drawn is in ``figure_list``, from what in
``figure_recordings``.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path

import plotly

from analysis.figures import style
from analysis.figures.style import Theme
from analysis.words import Words
from tests.figure_list import CHAPTERS
from tests.figure_recordings import Recordings

DOCS = Path(__file__).parents[1] / "docs"
PAGE, IMAGES = DOCS / "figures.md", DOCS / "images" / "figures"
THEMES: tuple[Theme, ...] = ("light", "dark")
WIDTH, SCALE, COLOURS = 640, 1.5, 256  # pixels of the page, pixels of the image for each, colours of its palette
FIGURES = tuple(drawn for chapter in CHAPTERS.values() for drawn in chapter)
HEAD = """# Figures

Every figure is a function from statistics, words (`Words("en")`) and a theme ("light" or "dark") to a Plotly figure, in
`analysis/figures/`; it needs no page. Each says its sample, its phase and what chance would give, and names numbers
when pointed at. `traces` are recordings, one or several; `found` is what `compare_folders` gives. The pictures are
drawn from recordings that come along (`python -m tests.make_figures` draws them and writes this page): a small model
and few prompts, so they show how to read a figure, not what large models do.
"""


def page() -> str:
    """The text of docs/figures.md."""
    parts = [HEAD]
    for chapter, drawn in CHAPTERS.items():
        parts.append(f"## {chapter}\n")
        for each in drawn:
            dark, light = (f"images/figures/{each.name}-{theme}.png" for theme in ("dark", "light"))
            parts.append(
                f"### `{each.function}`\n\n{each.read}\n\n```python\n{each.call}\n```\n\n"
                f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
                f'<img src="{light}" alt="{each.read.replace(chr(34), "")}" width="{WIDTH}"></picture>\n'
            )
    return "\n".join(parts)


def write_images(names: list[str]) -> None:
    """Draw the figures with these names, in both themes, as a browser shows them."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    from tests.browser import LAUNCH_ARGS, find_chromium

    recordings, words = Recordings(), Words("en")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=LAUNCH_ARGS)
        tab = browser.new_page(viewport={"width": WIDTH, "height": 900}, device_scale_factor=SCALE)
        tab.set_content('<body style="margin:0"><div id="figure"></div></body>')
        tab.add_script_tag(path=str(Path(plotly.__file__).parent / "package_data" / "plotly.min.js"))
        for drawn in FIGURES:
            if drawn.name not in names:
                continue
            for theme in THEMES:
                made = drawn.draw(recordings, words, theme)
                made.update_layout(width=WIDTH, paper_bgcolor=style.INK[theme]["ground"])
                tab.evaluate(
                    "f => Plotly.newPlot('figure', f.data, f.layout, {staticPlot: true})", json.loads(made.to_json())
                )
                whole = {"x": 0, "y": 0, "width": WIDTH, "height": made.layout.height}
                image = Image.open(BytesIO(tab.screenshot(clip=whole, full_page=True))).convert("RGB")
                image.quantize(COLOURS, dither=Image.Dither.NONE).save(
                    IMAGES / f"{drawn.name}-{theme}.png", optimize=True
                )
            print(drawn.name, flush=True)
        browser.close()


if __name__ == "__main__":
    write_images(sys.argv[1:] or [drawn.name for drawn in FIGURES])
    PAGE.write_text(page(), encoding="utf-8")
