"""Pieces of HTML that lessons share. Everything that goes in is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import gradio as gr


def paragraphs(*texts: str) -> gr.HTML:
    """The lesson's own words."""
    lines = "".join(f"<p>{html.escape(text)}</p>" for text in texts)
    return gr.HTML(f"<div class='lesson'>{lines}</div>", js_on_load=None)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], marked: Sequence[int] = (), caption: str = "") -> str:
    """A table whose first column names the row; rows in ``marked`` stand out."""
    head = "".join(f"<th scope='col'>{html.escape(cell)}</th>" for cell in header)
    body = []
    for number, row in enumerate(rows):
        first, *others = (html.escape(cell) for cell in row)
        cells = f"<th scope='row'>{first}</th>" + "".join(f"<td>{cell}</td>" for cell in others)
        body.append(f"<tr{' class=marked' if number in marked else ''}>{cells}</tr>")
    above = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f"<div class='lesson-table' tabindex='0' role='group'><table>{above}<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
