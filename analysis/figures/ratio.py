"""Tables coloured by how many times chance they are, on the scale that load has everywhere: chance is its middle.

Knows values and their chance. Does not know what they measure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis.figures import style
from analysis.figures.style import Theme


def heat(
    made: go.Figure,
    values: np.ndarray,
    chance: np.ndarray,
    hover: str,
    facts: list[np.ndarray],
    bar: str,
    theme: Theme,
    **settings: Any,
) -> None:
    """A heatmap of log2(values / chance), from a quarter of chance to four times chance; gaps where values are NaN.

    Args:
        chance: broadcasts to ``values``.
        hover: text for the pointer: ``customdata[0]`` is the value, ``[1]`` its ratio to chance, ``[2]`` chance, and
            the ``facts``, which broadcast to the values, follow.
        bar: what the colour bar is called.
    """
    shape, level = values.shape, np.broadcast_to(chance, values.shape)
    ratio = np.divide(values, level, out=np.full(shape, np.nan), where=level > 0)
    with np.errstate(divide="ignore"):
        colour = np.clip(np.log2(ratio), -style.LOAD_SPAN, style.LOAD_SPAN)
    columns = [values, ratio, level, *(np.broadcast_to(fact, shape) for fact in facts)]
    made.add_heatmap(
        z=colour.astype(np.float32),
        meta={"log2": True},  # for whoever reads the cells as numbers, such as the table behind the picture
        customdata=np.stack(columns, -1).astype(np.float32),
        hovertemplate=hover + "<extra></extra>",
        hoverongaps=False,
        colorscale=style.scale(style.LOAD[theme]),
        zmid=0,
        zmin=-style.LOAD_SPAN,
        zmax=style.LOAD_SPAN,
        colorbar=style.colour_bar(bar, theme, tickvals=[-2, -1, 0, 1, 2], ticktext=["≤ ¼", "½", "1", "2", "≥ 4"]),
        **{"xgap": 1 if shape[-1] <= 64 else 0, "ygap": 1, **settings},
    )
