"""Colours, fonts and layout that all figures share; each colour means one thing, in light and in dark.

Phase: prompt grey, thinking amber, answer blue, marker faint. Gate weight: one sequential scale. Load against chance: a
diverging scale centred on the uniform share. A and B: two colours used for nothing else. The live view's
``palette.js`` holds the same values. Does not know what is drawn.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from analysis.errors import BadValue
from analysis.statistic import Statistic
from analysis.words import Words

Theme = Literal["light", "dark"]

PHASE: dict[str, dict[str, str]] = {
    "light": {"prompt": "#8a8f98", "thinking": "#d98e04", "answer": "#2f6fd6", "marker": "#c3c7ce"},
    "dark": {"prompt": "#9aa0aa", "thinking": "#eda521", "answer": "#6c9ff0", "marker": "#5c6370"},
}
# Viridis without its darkest fifth, on a dark ground in both themes, so that bright means much.
GATE = ("#433e85", "#38588c", "#2d708e", "#25858e", "#1e9b8a", "#2ab07f", "#52c569", "#86d549", "#c2df23", "#fde725")
GATE_GROUND = "#0f131e"
LOAD: dict[str, tuple[str, ...]] = {  # less than chance, chance, more than chance
    "light": ("#2166ac", "#4393c3", "#92c5de", "#f7f7f7", "#f4a582", "#d6604d", "#b2182b"),
    "dark": ("#6cb0ee", "#4a86b8", "#35546f", "#2b313d", "#7b463b", "#c96750", "#f59077"),
}
LOAD_SPAN = 2.0  # log2 of load / chance at the ends of the scale: a quarter of chance, four times chance
PAIR: dict[str, dict[str, str]] = {
    "light": {"a": "#c51b7d", "b": "#4d9221"},
    "dark": {"a": "#f07fc0", "b": "#a3d977"},
}
INK: dict[str, dict[str, str]] = {
    "light": {
        "text": "#14181f",
        "soft": "#5b6270",
        "grid": "#e3e6ea",
        "ground": "#ffffff",
        "cell": "#f1f3f5",
        "group": "#3d4656",
    },
    "dark": {
        "text": "#f2f4f8",
        "soft": "#a4abb8",
        "grid": "#333a47",
        "ground": "#161a22",
        "cell": "#232936",
        "group": "#cfd5df",
    },
}
FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK JP', sans-serif"
LINE_WIDTH = 40  # characters of a title that fit on a phone; wide characters count twice
MARGIN = {"l": 56, "r": 16, "b": 48}


def theme_of(theme: Any) -> Theme:
    """``theme`` where it is one, else "light"."""
    return "dark" if theme == "dark" else "light"


def phase_colour(phase: str, theme: Theme) -> str:
    """The colour of a phase; a dark slate (light, on dark) for groups of phases ("all", "generated")."""
    return PHASE[theme].get(phase, INK[theme]["group"])


def scale(colours: Sequence[str]) -> list[list[Any]]:
    """``colours`` as a Plotly colour scale, evenly spaced."""
    return [[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)]


def figure(title: str, subtitle: str, theme: Theme, plot_height: int, *, below: int = 0) -> go.Figure:
    """An empty figure: its title, ``plot_height`` pixels, the axis, and ``below`` pixels for a bar or a legend."""
    if theme not in INK:
        raise BadValue(f"Unknown theme {str(theme)[:40]!r}; choose from {', '.join(INK)}.")
    head, lines = wrap(title), wrap_facts(subtitle)
    top = 18 * len(head) + 16 * len(lines) + 32
    ink = INK[theme]
    made = go.Figure()
    made.update_layout(
        template=None,
        height=top + plot_height + MARGIN["b"] + below,
        autosize=True,
        meta={"title": title, "subtitle": subtitle},  # for a page, which knows how wide it is
        margin={**MARGIN, "t": top, "b": MARGIN["b"] + below},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12, "color": ink["text"]},
        hoverlabel={"font": {"family": FONT, "size": 12}, "align": "left"},
        title={
            "text": f"<b>{'<br>'.join(head)}</b><br>"
            f"<span style='font-size:12px;color:{ink['soft']}'>{'<br>'.join(lines)}</span>",
            "font": {"size": 14, "color": ink["text"]},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1 - 16 / (top + plot_height + MARGIN["b"] + below),
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 8},
        },
        legend={
            "orientation": "h",
            "traceorder": "normal",
            "x": 0,
            "xref": "container",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "font": {"size": 11},
        },
        bargap=0.15,
        dragmode=False,
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": ink["soft"], "activecolor": ink["text"]},
    )
    return style_axes(made, theme)


def style_axes(made: go.Figure, theme: Theme) -> go.Figure:
    """The look of all axes; again after subplots were added."""
    made.update_xaxes(**_axis(theme))
    made.update_yaxes(**_axis(theme))
    return made


def _axis(theme: Theme) -> dict[str, Any]:
    ink = INK[theme]
    return {
        "gridcolor": ink["grid"],
        "linecolor": ink["grid"],
        "zeroline": False,
        "tickfont": {"size": 11, "color": ink["soft"]},
        "title": {"font": {"size": 12, "color": ink["soft"]}, "standoff": 6},
        "ticks": "",
    }


def layer_axis(layers: Sequence[int], words: Words) -> dict[str, Any]:
    """A vertical axis of layers by the model's own numbers, the first on top; every number where there is room."""
    step = max(1, -(-len(layers) // 24))
    return {
        "tickvals": list(range(0, len(layers), step)),
        "ticktext": [str(layer) for layer in layers[::step]],
        "range": [len(layers) - 0.5, -0.5],
        "title": {"text": words("figures.axis.layer")},
    }


def layers_height(layers: int, least: int = 140, most: int = 900, each: int = 26) -> int:
    """Pixels for a picture with a row a layer."""
    return int(min(most, max(least, layers * (each if layers <= 24 else 13))))


def colour_bar(title: str, theme: Theme, **settings: Any) -> dict[str, Any]:
    """A horizontal bar below the picture: it takes no width from a phone."""
    soft = INK[theme]["soft"]
    return {
        "orientation": "h",
        "thickness": 8,
        "len": 0.8,
        "x": 0.5,
        "y": 0,
        "ypad": 34,
        "yanchor": "top",
        "outlinewidth": 0,
        "tickfont": {"size": 10, "color": soft},
        "title": {"text": title, "side": "bottom", "font": {"size": 11, "color": soft}},
        **settings,
    }


FEW = {"prompts": 10}  # the sample size below which a picture warns, by what is counted; 30 of anything else
BAR_ROOM = 38  # pixels below a picture that a colour bar needs
LEGEND_ROOM = 24


def sample(statistic: Statistic, words: Words) -> str:
    """ "answer, n = 120 tokens", and a warning where that is few; what every subtitle begins with."""
    phase, n = phases(statistic.phase, words), f"{statistic.n:,}"
    least = FEW.get(statistic.n_unit, 30)
    if statistic.n_unit == "tokens":
        text = words("figures.sample.one" if statistic.n == 1 else "figures.sample.many", phase=phase, n=n)
    else:
        text = words(f"figures.sample.{statistic.n_unit.replace(' ', '_')}", phase=phase, n=n)
    if statistic.n >= least or (statistic.n == 1 and statistic.n_unit == "tokens"):
        return text
    return f"{text} · {words('figures.sample.few' if statistic.n_unit == 'tokens' else 'figures.sample.few_of')}"


def samples(statistics: Sequence[Statistic], words: Words) -> str:
    """The sample of each, one after the other."""
    return " · ".join(sample(statistic, words) for statistic in statistics)


def phases(name: str, words: Words) -> str:
    """The name of a phase, or of several joined by ", " or " − ", in the reader's language."""
    for mark in (", ", " − "):
        if mark in name:
            return mark.join(phases(part, words) for part in name.split(mark))
    return words(f"figures.phase.{name}")


def note(made: go.Figure, text: str, theme: Theme) -> go.Figure:
    """Say ``text`` in the middle of an empty figure."""
    made.update_xaxes(visible=False)
    made.update_yaxes(visible=False)
    return made.add_annotation(
        text="<br>".join(wrap(text, 44)),
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        showarrow=False,
        font={"size": 13, "color": INK[theme]["soft"]},
    )


def cell_text(made: go.Figure, x: np.ndarray, values: np.ndarray, labels: Sequence[Sequence[str]], top: float) -> None:
    """Write ``labels`` into the cells of a heatmap of gate weights, dark on bright cells and white on dark ones."""
    lines, columns = values.shape
    bright = np.nan_to_num(values).ravel() > 0.5 * top
    made.add_scatter(
        x=np.tile(x, lines),
        y=np.repeat(np.arange(lines), columns),
        text=[label for line in labels for label in line],
        mode="text",
        textfont={"size": 11, "color": np.where(bright, "#10141c", "#ffffff").tolist()},
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )


def level(
    made: go.Figure,
    value: float,
    text: str,
    theme: Theme,
    dash: str = "dash",
    log: bool = False,
    at: float | None = None,
) -> None:
    """A broken horizontal line with its name on it: at the right end, or around ``at``.

    Args:
        log: the vertical axis is logarithmic.
    """
    soft = INK[theme]["soft"]
    made.add_hline(y=value, line={"color": soft, "width": 1.5, "dash": dash})
    made.add_annotation(
        text=text,
        x=1 if at is None else at,
        xref="x domain" if at is None else "x",
        xanchor="right" if at is None else "center",
        y=np.log10(value) if log else value,
        yanchor="bottom",
        showarrow=False,
        font={"size": 11, "color": soft},
    )


def mixed(colour: str, other: str, share: float) -> str:
    """``colour`` with a ``share`` of ``other`` in it; both as "#rrggbb"."""
    pairs = ((int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def faint(colour: str, opacity: float = 0.2) -> str:
    """``colour`` as something to see through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def number(value: float, digits: int = 3) -> str:
    """A number for people; "–" where there is none."""
    return f"{value:.{digits}g}" if np.isfinite(value) else "–"


def percent(value: float) -> str:
    """A share for people; "–" where there is none. What is less than the whole is never called 100 %."""
    shown = min(value, 0.999) if round(value, 9) < 1 else value
    return f"{100 * shown:.3g} %" if np.isfinite(value) else "–"


def one_line(text: str) -> str:
    """``text`` in one line: what cannot be seen has a sign. Not escaped."""
    text = text.replace("\n", "↵").replace("\t", "⇥")
    return "".join(c if unicodedata.category(c)[0] != "C" or c == "\u200d" else "·" for c in text)


def shown(text: str, most: int = 24) -> str:
    """A token's text as it can stand in a figure: one line, visible blanks, no markup, at most ``most`` characters."""
    text = one_line(text)
    if text[:1] == " ":
        text = "␣" + text[1:]
    if len(text) > most:
        text = text[: most - 1] + "…"
    return html.escape(text).replace("$", "$\u200b")


def shown_apart(texts: Sequence[str], most: int = 24) -> list[str]:
    """``shown`` for names that must stay different: where their beginnings are the same, their ends are shown, and
    where that does not help either, their number stands behind them."""
    found = [shown(text, most) for text in texts]
    if len(set(found)) < len(set(texts)):
        found = [shown(text if len(text) <= most else "…" + text[1 - most :], most) for text in texts]
    alike = [name for name in found if found.count(name) > 1]
    return [f"{name} ({n})" if name in alike else name for n, name in enumerate(found, 1)]


def wrap(text: str, width: int = LINE_WIDTH) -> list[str]:
    """``text`` in lines of at most ``width``, broken at spaces, or anywhere between wide characters."""
    if not text:
        return []
    lines, line, used = [], "", 0
    for part in _parts(text):
        size = sum(_width(c) for c in part)
        if used and used + size - (part[-1:] == " ") > width:
            lines.append(line.rstrip())
            line, used = "", 0
        line, used = line + part, used + size
    return [*lines, line.rstrip()]


def wrap_facts(text: str, width: int = LINE_WIDTH + 10) -> list[str]:
    """Facts joined by " · " in lines of at most ``width``, broken between facts where that is possible."""
    lines: list[str] = []
    for fact in text.split(" · ") if text else []:
        joined = f"{lines[-1]} · {fact}" if lines else fact
        if lines and sum(map(_width, joined)) <= width:
            lines[-1] = joined
        else:
            lines += wrap(fact, width)
    return lines


def _parts(text: str) -> list[str]:
    parts: list[str] = []
    word = ""
    for c in text:
        if c in "。、，：；」）》" and not word and parts:
            parts[-1] += c
            continue
        word += c
        if c == " " or (_width(c) == 2 and c not in "「（《"):
            parts.append(word)
            word = ""
    return [*parts, word] if word else parts


def _width(c: str) -> int:
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def gate_top(even: np.ndarray, values: np.ndarray) -> float:
    """The weight at the top of the gate scale: three times an even share, at most the largest weight possible."""
    known = even[np.isfinite(even)]
    largest = float(np.nanmax(values, initial=0.0))
    return min(1.0, 3 * float(known.max())) if len(known) and known.max() <= 1 else max(largest, 1e-9)
