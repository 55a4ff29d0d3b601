"""The view for a class as a Gradio component: its button in the header, and what its modules (``web/``) ask the server.

Knows the slides and the page's address. Does not know the components that a slide is made of. The button and all words
are the program's own; the address that a browser names is checked and comes back as text and as a QR code.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from analysis.errors import UserError
from analysis.words import Words
from app.server import address
from app.ui.context import Services
from app.ui.live.view import module_file
from app.ui.present.slides import described, slides_of
from app.ui.quiet import HEARING
from app.ui.shelves.view import ADDRESS

WEB = Path(__file__).parent / "web"
BAR = ("where", "previous", "next", "join", "fullscreen", "leave", "label", "go", "wait")
DIALOG = ("join_title", "close", "failed")

LOADER = ADDRESS + (
    " const open = (name) => trigger('tab', {name});"
    " const view = import(address).then((m) => m.mount(element, {props, server, open}))"
    ".catch((error) => console.error(error));"
    # Heard from the first: who presses before the modules are there is not left without an answer. Heard at the
    # component, whose own parts Gradio may draw anew.
    " element.addEventListener('click', async (event) => event.target.closest('.pr-open') && (await view)?.enter());"
)


def build_present(services: Services, words: Words) -> gr.HTML:
    """The button that opens the view. ``present.tab(handler)`` hears which tab a slide stands in: see ``wanted``."""
    gr.set_static_paths([WEB])

    def join(seen: Any, request: gr.Request) -> dict[str, str]:
        return joined(seen, services.settings.host, _network(request), words)

    name = words("present.open")
    return gr.HTML(
        value=None,
        html_template=f'<button type="button" class="pr-open" title="{html.escape(words("present.open_title"))}">'
        f"{html.escape(name)}</button>",
        js_on_load=LOADER,
        apply_default_css=False,
        elem_id="present",
        server_functions=[join],
        module=module_file(WEB / "main.js"),
        words={key: words(f"present.{key}") for key in (*BAR, *DIALOG)},
        slides=[described(slide, words) for slide in slides_of(services.engine)],
    )


def _network(request: gr.Request) -> str | None:
    """This machine's address in its network, for those who sit at it: others need not know it."""
    at_it = request.client is not None and address.is_this_machine(request.client.host)
    return address.network_address() if at_it and "x-forwarded-for" not in request.headers else None


def joined(seen: Any, host: str, network: str | None, words: Words) -> dict[str, str]:
    """How others join: ``address`` ("" for none), ``code`` (an SVG of ours, or "") and ``note``, a sentence."""
    try:
        found = address.invitation(seen, host, network)
    except UserError as error:
        return {"address": "", "code": "", "note": error.in_words(words)}
    code = address.qr_code(found.address) if found.address else ""
    return {"address": found.address, "code": code, "note": words(f"present.join_{found.kind}")}


def wire_present(present: gr.HTML, tabs: gr.Tabs, open_tab: gr.State, names: tuple[str, ...]) -> None:
    """Opens the tab of a slide; ``names`` of all tabs, any of which may have been open before."""

    def on_tab(event: gr.EventData) -> tuple[Any, Any]:
        name = wanted(event, names)
        return (gr.update(selected=name), name) if name else (gr.skip(), gr.skip())

    present.tab(on_tab, None, [tabs, open_tab], **HEARING)  # type: ignore[attr-defined]


def wanted(event: gr.EventData, names: tuple[str, ...]) -> str:
    """The tab an event asks for; "" where there is none of that name. It comes from outside."""
    data = event._data if isinstance(event._data, dict) else {}
    name = data.get("name")
    return name if isinstance(name, str) and name in names else ""
