"""How the page looks: Gradio's theme with system fonts (nothing is fetched from elsewhere), and the style sheet.

The colours of phases and experts are not here: they mean something and live with the views.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

FOLDER = Path(__file__).parent
STYLE = FOLDER / "style.css"
SCRIPT = FOLDER / "page.js"

SANS = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK JP", "Hiragino Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Noto Sans Mono CJK JP", "monospace"]


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
