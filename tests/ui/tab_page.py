"""A page that holds one tab and what it shares, so that its listeners can be called without a browser."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr

from analysis.words import Words
from app.engine.catalogue import TRACES
from app.server.serve import make_services
from app.settings import Settings
from app.ui.context import Services, Shared
from app.ui.experts_pool import Session
from tests.fake_engine import FakeEngine


def shared_of(open_tab: str, language: str = "en") -> Shared:
    """What the tabs of a page share, before anything was shown."""
    states = [gr.State(value) for value in (None, None, None, "light", language, "", open_tab, "", Session())]
    return Shared(*states, live=gr.HTML())


def listener(blocks: gr.Blocks, component: Any, event: str) -> Any:
    """What ``component.event`` runs; the first one registered."""
    for fn in blocks.fns.values():
        if (component._id, event) in fn.targets:
            return fn
    raise AssertionError(f"nothing listens to {event} of {component}")


class TabPage:
    """``page.call(component_event, …)`` runs the listener that a change of that component triggers."""

    def __init__(
        self, module: ModuleType, engine: FakeEngine | None = None, language: str = "en", traces: Path = TRACES
    ) -> None:
        self.services: Services = make_services(engine or FakeEngine(), Settings(), traces)
        with gr.Blocks() as self.blocks:
            self.shared = shared_of(module.NAME, language)
            self.tab: Any = module.build(self.services, Words(language))
            module.wire(self.tab, self.services, self.shared)

    def listener(self, component: Any, event: str) -> Any:
        return listener(self.blocks, component, event)

    def call(self, component: Any, event: str, **values: Any) -> dict[Any, Any]:
        """Run the listener with the components' own values, or ``values`` by attribute of the shared ones or the tab;
        gives what each output component gets."""
        fn = self.listener(component, event)
        given = {getattr(self.shared, k, None) or getattr(self.tab, k): v for k, v in values.items()}
        inputs = [given.get(block, block.value) for block in fn.inputs]
        results = fn.fn(*inputs)
        return dict(zip(fn.outputs, results if isinstance(results, tuple) else (results,), strict=True))


def is_skipped(value: Any) -> bool:
    return isinstance(value, dict) and value == gr.skip()


def is_shown(value: Any) -> bool:
    return isinstance(value, dict) and value.get("visible") is True
