"""What a figure says in words, for tests. Knows Plotly's figures; does not know what they show."""

from __future__ import annotations

import plotly.graph_objects as go


def said(figure: go.Figure) -> str:
    """Title, axis titles, legend, hover texts, annotations and labels of ticks, as one text on one line."""
    layout = figure.layout
    axes = [*figure.select_xaxes(), *figure.select_yaxes()]
    texts = [layout.title.text, *(a.text for a in layout.annotations), *(axis.title.text for axis in axes)]
    texts += [label for axis in axes for label in (axis.ticktext if axis.ticktext is not None else ())]
    for trace in figure.data:
        texts += [trace.name, trace.hovertemplate, *_listed(getattr(trace, "text", None))]
    return " ".join(str(text) for text in texts if text is not None).replace("<br>", " ")


def _listed(text: object) -> list[object]:
    if text is None or isinstance(text, str):
        return [text]
    return [label for part in text for label in (_listed(part) if not isinstance(part, str) else [part])]
