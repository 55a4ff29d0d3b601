"""The header: which model this is, what it honestly is, whether its capture was verified, and the page's languages.

Built once per language when the server starts; nothing in it depends on a visitor.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from analysis.words import LANGUAGES
from app.engine.base import Engine
from app.engine.catalogue import BUNDLED_CARD
from app.ui.conversation import Say

PATHS = {"en": "", "ja": "ja", "zh": "zh"}
"""Language → the page's path; ``?lang=`` leads there too (``page.js``)."""


def header_html(engine: Engine, say: Say, language: str, offered: Sequence[str] = ()) -> str:
    """The header as HTML; the model's card is escaped. ``offered`` are larger models that this machine could run."""
    card = engine.card
    sentence = say("about_bundled") if card is BUNDLED_CARD and language != "en" else card.about
    about = f'<p class="about">{_e(sentence)}</p>' if sentence else ""
    if offered:
        about += f'<p class="about">{_e(say("offer", model=offered[-1]))}</p>'
    return (
        f'<a class="skip" href="#box">{_e(say("skip"))}</a>'
        '<header class="top"><div class="brand">'
        f"<h1>{_e(say('title'))}</h1>"
        f'<p class="model"><strong>{_e(card.title)}</strong> <span class="shape">{_e(shape(engine, say))}</span> '
        f"{badge(engine.provenance().get('capture_check'), say)}</p>{about}</div>"
        f'<nav class="languages" aria-label="{_e(say("language"))}">{_languages(language)}</nav></header>'
    )


def shape(engine: Engine, say: Say) -> str:
    """Such as "6 layers × 64 experts, each token uses 8"."""
    spec = engine.spec
    if not spec.num_moe_layers:
        return say("shape_dense")
    return say("shape", layers=spec.num_moe_layers, experts=spec.num_experts, top_k=spec.top_k)


def badge(check: Any, say: Say) -> str:
    """The outcome of the capture check; "" where the engine has made none."""
    if not isinstance(check, dict):
        return ""
    if check.get("ok") is not True:
        return f'<span class="badge bad" title="{_e(say("check_bad_title"))}">! {_e(say("check_bad"))}</span>'
    match = check.get("ids_match", 1.0)
    percent = f"{100 * match:.4g}" if isinstance(match, int | float) else "?"
    title = say("check_title", match=percent, layers=check.get("layers_captured", "?"))
    return f'<span class="badge good" title="{_e(title)}">✓ {_e(say("check_ok"))} {percent}%</span>'


def _languages(current: str) -> str:
    links = []
    for code, name in LANGUAGES.items():
        now = ' aria-current="page"' if code == current else ""
        links.append(f'<a href="./{PATHS[code]}" lang="{code}"{now}>{_e("EN" if code == "en" else name)}</a>')
    return "".join(links)


def _e(text: Any) -> str:
    return html.escape(str(text))
