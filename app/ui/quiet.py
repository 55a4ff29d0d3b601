"""How listeners are registered with Gradio: out of the public API, and without its progress overlay.

After every message of a running event, Gradio's page looks up each component that an event ever showed progress on, in
a search through the whole page. Naming none (``show_progress_on``) spares a busy page that work.
"""

from __future__ import annotations

from typing import Any

QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
"""Keywords of a listener for the page alone; its parts say themselves what they wait for."""

CHOOSING: dict[str, Any] = QUIET | {"trigger_mode": "always_last"}
"""Keywords of a quick listener that reads what a field holds: while one event is on its way others wait, and the last
value is heard, too."""

DRAWING: dict[str, Any] = CHOOSING | {
    "concurrency_id": "figures",
    "concurrency_limit": 4,
}
"""Keywords of a listener that draws: the last change wins."""

HEARING: dict[str, Any] = QUIET | {"trigger_mode": "multiple", "concurrency_limit": 1}
"""Keywords of a quick listener of which every press counts: none is dropped while an earlier one is on its way, and
they are heard in their order."""
