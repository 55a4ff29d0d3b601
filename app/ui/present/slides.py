"""What the view for a class shows, one after the other: which parts of the page make a slide, and which tab has them.

Knows ids of the page's components and what an engine can do. Does not know how a slide is laid out (``web/``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analysis.words import Words
from app.engine.base import MODES, Engine

LIVE = "live"


@dataclass(frozen=True)
class Slide:
    """One slide.

    Attributes:
        name: of the tab it stands in; ``LIVE`` is in none.
        parts: ids of what is shown together, in tuples of which the first that has something to show is taken.
        message: id of the tab's own sentence about what is missing; "" where the slide has one of its own.
        wide: the least width in pixels that its parts are laid out in, before they are enlarged.
        legible: on a wide window what is too long for it is scrolled rather than enlarged by less than this.
    """

    name: str
    parts: tuple[tuple[str, ...], ...]
    message: str = ""
    wide: int = 760
    legible: float = 1.3


SLIDES = (
    Slide(LIVE, (("live-view", "ask", "status", "chat-edits"),), wide=1000, legible=1.1),
    Slide("token", (("token-ladder",),), "token-message"),
    Slide("load", (("load-map",),), "load-message"),
    Slide("gates", (("gates-ranks",),), "gates-message"),
    Slide("compare", (("set-finding", "set-dumbbell"), ("compare-divergence", "compare-caution"))),
    Slide("experts", (("experts-map", "experts-card"),), "experts-message", wide=1000),
    Slide("experiment", (("experiment-arms", "experiment-found", "experiment-caution"),), wide=900),
)


def slides_of(engine: Engine) -> tuple[Slide, ...]:
    """Those that can ever have something to show with this engine's model."""
    able = engine.capabilities
    if not engine.spec.layers:
        return SLIDES[:1]
    without = {"compare"} if set(able.modes) != set(MODES) else set()
    without |= set() if able.edits else {"experiment"}
    return tuple(slide for slide in SLIDES if slide.name not in without)


def described(slide: Slide, words: Words) -> dict[str, Any]:
    """A slide as the browser gets it: with its title, the question that it answers, and what is said where it is
    empty."""
    own = f"present.{slide.name}"
    return {
        "name": slide.name,
        "parts": [list(part) for part in slide.parts],
        "message": slide.message,
        "wide": slide.wide,
        "legible": slide.legible,
        "title": words(f"{own}.title") if slide.name == LIVE else words(f"page.tab_{slide.name}"),
        "question": words(f"{own}.question"),
        "empty": words(f"{own}.empty"),
    }
