"""What every tab of the page is given: the services behind it, and the components all tabs share."""

from __future__ import annotations

from dataclasses import dataclass, field

import gradio as gr

from app.engine.base import Engine
from app.engine.catalogue import Shipped, shipped
from app.engine.scheduler import Scheduler
from app.server.sets import SetStore
from app.server.store import TraceStore
from app.settings import Settings

EXAMPLE = "example"
"""Id of the recording that the page plays before the first message, where there is one."""


@dataclass(frozen=True)
class Services:
    """Made once a server. Holds nothing that belongs to a visitor, but for traces and sets under their ids.

    Attributes:
        recordings: those that come along; the store opens them when they are asked for.
    """

    engine: Engine
    scheduler: Scheduler
    store: TraceStore
    settings: Settings
    sets: SetStore = field(default_factory=SetStore)
    recordings: tuple[Shipped, ...] = field(default_factory=shipped)


@dataclass(frozen=True)
class Shared:
    """Components that link the tabs.

    Attributes:
        trace_id: state, the id in the store of the trace that every tab shows; None before the first.
        token: state, index of the selected token; None for none.
        layer: state, the model's number of the selected layer; None for none.
        theme: state, "light" or "dark", as the browser shows the page; "" before it has told.
        language: state, "en", "ja" or "zh".
        run_id: state, id of the visitor's run under way, chat or pasted text; "" for none.
        set_id: state, id of the set of prompts that was answered last in Compare; "" for none.
        open_tab: state, the name of the tab below that is open.
        session: state, an ``experts_pool.Session``: ids of the visitor's recordings.
        live: the live view (an ``gr.HTML`` with the canvas).
    """

    trace_id: gr.State
    token: gr.State
    layer: gr.State
    theme: gr.State
    language: gr.State
    run_id: gr.State
    open_tab: gr.State
    set_id: gr.State
    session: gr.State
    live: gr.HTML
