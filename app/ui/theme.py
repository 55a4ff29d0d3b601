"""How the page looks: Gradio's theme with system fonts (nothing is fetched from elsewhere), and the style sheet.

The colours of phases and experts are not here: they mean something and live with the views.
"""

from __future__ import annotations

import html
import json
from pathlib import Path

import gradio as gr

from analysis.words import section
from app.ui.live.view import WEB, module_file

FOLDER = Path(__file__).parent
STYLE = FOLDER / "style.css"
SCRIPT, TABLES, FIT = FOLDER / "page.js", FOLDER / "plot_tables.js", FOLDER / "plot_fit.js"

SANS = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK JP", "Hiragino Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Noto Sans Mono CJK JP", "monospace"]


def head() -> str:
    """The page's scripts, for the document's head, and links to those of the first picture: the browser fetches them
    while Gradio builds the page, all at once instead of import by import."""
    words = json.dumps(section("plot_table")).replace("<", "\\u003c")
    start = f"const said = {words}; watch(() => said[document.documentElement.dataset.lang] ?? said.en, document, fit);"
    script, *modules = (path.read_text(encoding="utf-8") for path in (SCRIPT, FIT, TABLES))
    return f'{_early_links()}<script>{script}</script><script type="module">{"".join(modules)}\n{start}</script>'


def _early_links() -> str:
    kinds = {".js": 'rel="modulepreload"', ".css": 'rel="preload" as="style"'}
    return "".join(
        f'<link {kinds[path.suffix]} href=".{html.escape(module_file(path)["url"])}">'
        for path in sorted(WEB.iterdir())
        if path.suffix in kinds
    )


def make_theme() -> gr.themes.Base:
    """Slate on white or near-black, blue for what can be done, few borders."""
    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        font=SANS,
        font_mono=MONO,
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
    )
    return theme.set(
        body_background_fill="#f7f8fa",
        body_background_fill_dark="#0d1118",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#151b26",
        background_fill_secondary="#f1f3f6",
        background_fill_secondary_dark="#10151e",
        block_background_fill="#ffffff",
        block_background_fill_dark="#151b26",
        border_color_primary="#dfe3ea",
        border_color_primary_dark="#2b3444",
        block_border_width="1px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        input_background_fill="#ffffff",
        input_background_fill_dark="#10151e",
        button_primary_background_fill="#2456b8",
        button_primary_background_fill_hover="#1c4799",
        button_primary_background_fill_dark="#3a6fd8",
        button_primary_background_fill_hover_dark="#4a7de0",
        button_primary_text_color="#ffffff",
        body_text_color_subdued="#556070",
        body_text_color_subdued_dark="#a3adbd",
    )
