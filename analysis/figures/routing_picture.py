"""The routing of a trace as one SVG file: for each phase a map of all experts, with title, scale, n and chance level.

A picture to keep: plain shapes and text, the same on every machine, without a browser or a drawing library. Knows load
statistics and words. The scale and its colours are those of ``figures.load``.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence

import numpy as np

from analysis import metrics
from analysis.figures import style
from analysis.figures.load import levels, uniform_share
from analysis.statistic import Statistic
from analysis.trace import RoutingTrace
from analysis.words import Words

PHASES = ("thinking", "answer")
WIDTH = 960
LEFT, RIGHT = 64, 24
PLOT = WIDTH - LEFT - RIGHT
STEPS = 64  # shades of the scale
TITLE_WIDTH = 96  # characters of a line of the title
INK = style.INK["light"]


def routing_picture(trace: RoutingTrace, title: str, facts: str, words: Words) -> str:
    """An SVG document ``WIDTH`` pixels wide, its height as the layers need.

    Args:
        title: what was asked; any text.
        facts: a line below it, such as model and mode.
    """
    loads = [metrics.expert_load(trace, phase) for phase in PHASES if trace.rows_in(phase).any()]
    loads = loads or [metrics.expert_load(trace)]
    head = _title_lines(title, facts)
    y = 24.0
    parts = []
    for line in head:
        parts.append(_text(16, y, line, INK["text"], 16, weight=600))
        y += 22
    parts.append(_text(16, y, f"{words('figures.load.map_title')} · {facts}", INK["soft"], 12))
    y += 18
    for load in loads:
        drawn, y = _panel(load, y, words)
        parts += drawn
    drawn, y = _scale(y, words)
    parts += drawn
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y:.0f}" viewBox="0 0 {WIDTH} {y:.0f}" '
        f'font-family="{html.escape(style.FONT)}" role="img"><title>{html.escape(_plain(" ".join(head)))}</title>'
        f'<rect width="{WIDTH}" height="{y:.0f}" fill="{INK["ground"]}"/>{"".join(parts)}</svg>\n'
    )


def _title_lines(title: str, otherwise: str) -> list[str]:
    """``title`` in at most three lines; what does not fit is left out."""
    lines = style.wrap(_plain(title) or otherwise, TITLE_WIDTH)
    cut = [line if len(line) <= TITLE_WIDTH else line[: TITLE_WIDTH - 1] + "…" for line in lines[:3]]
    return cut if len(lines) <= 3 else [*cut[:2], cut[2].rstrip("…") + "…"]


def _panel(load: Statistic, y: float, words: Words) -> tuple[list[str], float]:
    """One phase: its name, n and chance, then the map. Returns the shapes and where the next panel begins."""
    layers = load.along("layer")
    facts = f"{style.sample(load, words)} · {words('figures.load.uniform', share=uniform_share(load))}"
    parts = [
        f'<rect x="16" y="{y:.1f}" width="4" height="14" fill="{style.phase_colour(load.phase, "light")}"/>',
        _text(26, y + 11, facts if layers else words("tabs.dense"), INK["text"], 12),
    ]
    y += 22
    if not layers or not load.n:
        return parts, y + 8
    height = style.layers_height(len(layers), least=60, each=16)
    cell_w, cell_h = PLOT / load.values.shape[1], height / len(layers)
    parts.append(f'<rect x="{LEFT}" y="{y:.1f}" width="{PLOT}" height="{height}" fill="{INK["cell"]}"/>')
    parts += [
        f'<path transform="translate({LEFT} {y:.2f}) scale({cell_w:.5f} {cell_h:.5f})" fill="{colour}" d="{path}"/>'
        for colour, path in _cells(levels(load), cell_w, cell_h)
    ]
    step = max(1, -(-len(layers) // max(1, int(height // 13))))
    for position in range(0, len(layers), step):
        at = y + (position + 0.5) * cell_h + 4
        parts.append(_text(LEFT - 8, at, str(layers[position]), INK["soft"], 10.5, anchor="end"))
    parts.append(
        f'<text transform="translate(18 {y + height / 2:.1f}) rotate(-90)" text-anchor="middle" font-size="11" '
        f'fill="{INK["soft"]}">{html.escape(words("figures.axis.layer"))}</text>'
    )
    experts = load.values.shape[1]
    each = next(n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2**17) if experts / n <= 20)
    for expert in range(0, experts, each):
        parts.append(
            _text(LEFT + (expert + 0.5) * cell_w, y + height + 13, str(expert), INK["soft"], 10.5, anchor="middle")
        )
    parts.append(
        _text(LEFT + PLOT / 2, y + height + 28, words("figures.axis.expert"), INK["soft"], 11, anchor="middle")
    )
    return parts, y + height + 44


def _cells(level: np.ndarray, cell_w: float, cell_h: float) -> list[tuple[str, str]]:
    """A path of unit squares for each shade that occurs; cells that are wide enough stand a little apart."""
    span = style.LOAD_SPAN
    shade = np.where(np.isfinite(level), np.rint((np.nan_to_num(level) + span) / (2 * span) * (STEPS - 1)), -1)
    gap_x, gap_y = (min(0.3, 1 / size) if size > 5 else 0.0 for size in (cell_w, cell_h))
    across, down = f"{1 - gap_x:.3g}", f"{1 - gap_y:.3g}"
    paths = []
    for index in np.unique(shade[shade >= 0]).astype(int).tolist():
        rows, columns = np.nonzero(shade == index)
        squares = [f"M{x} {y}h{across}v{down}h-{across}z" for y, x in zip(rows.tolist(), columns.tolist(), strict=True)]
        paths.append((_shade(style.LOAD["light"], index / (STEPS - 1)), "".join(squares)))
    return paths


def _shade(colours: Sequence[str], at: float) -> str:
    """The colour at ``at`` (0 … 1) of an even scale."""
    place = at * (len(colours) - 1)
    low = min(int(place), len(colours) - 2)
    return style.mixed(colours[low], colours[low + 1], place - low)


def _scale(y: float, words: Words) -> tuple[list[str], float]:
    colours = style.LOAD["light"]
    stops = "".join(f'<stop offset="{i / (len(colours) - 1):.4f}" stop-color="{c}"/>' for i, c in enumerate(colours))
    parts = [
        f'<defs><linearGradient id="scale">{stops}</linearGradient></defs>',
        f'<rect x="{LEFT}" y="{y:.1f}" width="320" height="9" fill="url(#scale)"/>',
    ]
    for place, name in zip((0, 0.25, 0.5, 0.75, 1), ("≤ ¼", "½", "1", "2", "≥ 4"), strict=True):
        parts.append(_text(LEFT + 320 * place, y + 22, name, INK["soft"], 10.5, anchor="middle"))
    parts.append(_text(LEFT + 344, y + 9, words("figures.load.bar"), INK["soft"], 11))
    return parts, y + 36


def _plain(text: str) -> str:
    """One line without characters that an SVG file may not hold."""
    return "".join(c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cs", "Cn", "Co"))


def _text(x: float, y: float, text: str, colour: str, size: float, *, anchor: str = "start", weight: int = 400) -> str:
    bold = f' font-weight="{weight}"' if weight != 400 else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}"{bold}>'
        f"{html.escape(_plain(text))}</text>"
    )
