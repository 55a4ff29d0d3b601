"""The architecture, drawn from the loaded model's own config, beside the models one reads about."""

from __future__ import annotations

import html
from dataclasses import dataclass

import gradio as gr

from analysis.trace import RouterSpec
from analysis.words import Words
from app.engine.base import Architecture
from app.ui.context import Services, Shared
from app.ui.lessons.page_parts import paragraphs, table

NAME = "architecture"

FAMILIES: tuple[tuple[str, int, str, int, int, int], ...] = (
    ("Qwen2.5-72B", 80, "64 / 8", 0, 0, 0),
    ("Qwen3-0.6B", 28, "16 / 8", 0, 0, 0),
    ("Qwen3-1.7B", 28, "16 / 8", 0, 0, 0),
    ("Qwen3-4B", 36, "32 / 8", 0, 0, 0),
    ("Qwen3-8B", 36, "32 / 8", 0, 0, 0),
    ("Qwen3-14B", 40, "40 / 8", 0, 0, 0),
    ("Qwen3-32B", 64, "64 / 8", 0, 0, 0),
    ("Qwen3-30B-A3B", 48, "32 / 4", 128, 8, 0),
    ("Qwen3-235B-A22B", 94, "64 / 4", 128, 8, 0),
    ("Qwen3-Next-80B-A3B", 48, "16 / 2", 512, 10, 1),
    ("Qwen3.5-35B-A3B", 40, "16 / 2", 256, 8, 1),
    ("DeepSeek-V3", 61, "128 (MLA)", 256, 8, 1),
)
"""Name, layers, query / key-value heads, routed experts, experts a token uses, shared experts (0: none). From the
technical reports and the published configs; DeepSeek-V3's first 3 layers are dense."""


@dataclass(frozen=True)
class Lesson:
    drawing: gr.HTML


def build(services: Services, words: Words) -> Lesson:
    paragraphs(words("learn.architecture.text"))
    engine = services.engine
    name = engine.card.title or engine.card.name
    drawing = gr.HTML(drawing_html(engine.architecture, engine.spec, name, words), js_on_load=None)
    gr.HTML(family_html(engine.architecture, engine.spec, name, words), js_on_load=None)
    paragraphs(words("learn.architecture.beyond"))
    return Lesson(drawing)


def drawing_html(made: Architecture | None, spec: RouterSpec, name: str, words: Words) -> str:
    """One token's way from bottom to top as a list of boxes, the number of every part read from the model."""
    if made is None:
        return f"<p>{html.escape(words('learn.architecture.unknown'))}</p>"
    say = lambda key, **values: words(f"learn.architecture.{key}", **values)  # noqa: E731
    layers = made.layers or spec.num_moe_layers
    attention = say("attention", heads=_or_dash(made.heads), kv=_or_dash(made.kv_heads))
    if made.qk_norm:
        attention += say("qk_norm")
    if spec.layers:
        first = spec.layers[0]
        block = say("router", experts=first.num_experts, k=first.top_k, scoring=first.scoring)
        block += say("renormalised" if first.renormalised else "not_renormalised")
        shown = min(first.num_experts, 128)
        lit = {n * first.num_experts // first.top_k for n in range(first.top_k)}  # as many as a token uses, spread out
        cells = "".join(f"<i{' class=on' if n in lit else ''}></i>" for n in range(shown))
        experts = say("experts", experts=first.num_experts, width=_or_dash(made.expert_intermediate))
        experts += say("shared", n=first.shared_experts) if first.shared_experts else say("no_shared")
        inner = (
            f"<li class='router'>{html.escape(block)}</li>"
            f"<li class='experts'>{html.escape(experts)}<span class='cells' aria-hidden='true'>{cells}</span></li>"
        )
    else:
        inner = f"<li>{html.escape(say('dense', width=_or_dash(made.dense_intermediate)))}</li>"
    dense = layers - spec.num_moe_layers
    repeated = say("layers", n=layers) + (say("dense_layers", n=dense) if spec.layers and dense else "")
    embedding = say("embedding", vocabulary=_or_dash(made.vocabulary), hidden=_or_dash(made.hidden))
    output = say("output") + (say("tied") if made.tied_embeddings else "")
    sizes = ""
    if made.parameters and made.active_parameters:
        sizes = say("sizes", total=_short(made.parameters), active=_short(made.active_parameters))
    return (
        f"<figure class='tower'><figcaption>{html.escape(name)} · {html.escape(sizes)}</figcaption><ol>"
        f"<li>{html.escape(embedding)}</li>"
        f"<li class='stack'><span>{html.escape(repeated)}</span><ol><li>{html.escape(attention)}</li>{inner}</ol></li>"
        f"<li>{html.escape(output)}</li></ol></figure>"
    )


def family_html(made: Architecture | None, spec: RouterSpec, name: str, words: Words) -> str:
    """The loaded model above the models of the reports."""
    own: list[tuple[str, ...]] = []
    if made is not None:
        first = spec.layers[0] if spec.layers else None
        experts, k, shared = (first.num_experts, first.top_k, first.shared_experts) if first else (0, 0, 0)
        heads = f"{_or_dash(made.heads)} / {_or_dash(made.kv_heads)}"
        own = [(name, _or_dash(made.layers), heads, _or_none(experts), _or_none(k), _or_none(shared))]
    others = [
        (model, str(layers), heads, _or_none(experts), _or_none(k), _or_none(shared))
        for model, layers, heads, experts, k, shared in FAMILIES
    ]
    header = [
        words(f"learn.architecture.columns.{key}") for key in ("model", "layers", "heads", "experts", "k", "shared")
    ]
    return table(header, [*own, *others], [0] if own else [])


def _or_dash(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _or_none(value: int) -> str:
    return str(value) if value else "–"


def _short(number: int) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def wire(lesson: Lesson, services: Services, shared: Shared) -> None:
    """Nothing here changes while the model stays."""
