"""The tab "Library": recordings that come along, this session's and opened files; replay, download, delete, open.

Knows files, the store and the session's shelf. What the cards say is in ``cards``, how they look in
``shelves/web``. A file is written only when it is asked for.
"""

from __future__ import annotations

import functools
import html
import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from analysis.errors import UserError
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.engine.catalogue import Shipped
from app.server.store import TraceStore
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.conversation import Conversation
from app.ui.following import SO_FAR, ActiveRuns
from app.ui.live.wire import pointer
from app.ui.quiet import CHOOSING, HEARING, QUIET
from app.ui.shelves import cards, files
from app.ui.shelves.shelf import Item, Shelf, find, with_deleted, with_item, without_expired
from app.ui.shelves.view import action, build_carriers, build_library, parcel

log = logging.getLogger("expertscope")

NAME = "library"
SHELF = "shelf"
"""What writes the shelf runs one at a time, else two could read the same one and the first one's change is lost."""


@dataclass(frozen=True)
class LibraryTab:
    """Components of the tab.

    Attributes:
        shelf: state, a ``Shelf``; the visitor's own.
        listing: the cards; only what was pressed on them is heard of it.
        feed, courier: what carries the cards to it, and written files to the visitor; rendered outside the tabs.
        downloads: kind of file → its button.
    """

    shelf: gr.State
    listing: gr.HTML
    feed: gr.HTML
    courier: gr.HTML
    shown: gr.HTML
    downloads: dict[str, gr.Button]
    saved: gr.HTML
    about: gr.HTML
    upload: gr.File
    opened: gr.HTML


def build(services: Services, words: Words) -> LibraryTab:
    megabytes = services.settings.upload_megabytes
    shelf = gr.State(())
    with gr.Row(elem_id="library-row"):
        with gr.Column(scale=1, min_width=280, elem_id="library-side"):
            shown = gr.HTML(shown_html("", None, words), elem_id="library-shown", js_on_load=None)
            gr.HTML(f"<p class='hint'>{words('library.download_help')}</p>", js_on_load=None)
            with gr.Row(elem_id="downloads"):
                downloads = {
                    kind: gr.Button(
                        words(f"library.download.{kind}"),
                        size="sm",
                        min_width=60,
                        interactive=False,
                        elem_id=f"save-{kind}",
                    )
                    for kind in files.KINDS
                }
            saved = gr.HTML(status_html(), elem_id="save-status", js_on_load=None)
            upload = gr.File(
                label=words("library.open", megabytes=megabytes),
                file_types=[".safetensors"],
                file_count="multiple",
                elem_id="open",
                height=150,
            )
            opened = gr.HTML(status_html(), elem_id="open-status", js_on_load=None)
            with gr.Accordion(words("page.about_recording"), open=False, elem_id="about"):
                about = gr.HTML("", elem_id="about-recording", js_on_load=None)
        with gr.Column(scale=3, min_width=280):
            listing = build_library(cards.Thumbnails(services.store).get, words)
    return LibraryTab(shelf, listing, *build_carriers(), shown, downloads, saved, about, upload, opened)


def shown_html(title: str, trace: RoutingTrace | None, words: Words) -> str:
    """Which recording the views show: its prompt, mode, tokens and model."""
    heading = f"<h4>{html.escape(words('library.shown'))}</h4>"
    if trace is None:
        return f"{heading}<p class='shown-none'>{html.escape(words('library.shown_none'))}</p>"
    mode = words(f"library.mode.{cards.mode_of(trace)}")
    facts = [mode, words("library.tokens", n=trace.num_tokens), cards.model_of(trace), cards.shape(trace, words)]
    return (
        f"{heading}<p class='shown-prompt' dir='auto'>{html.escape(title[:200] or words('library.untitled'))}</p>"
        f"<p class='shown-facts'>{html.escape(' · '.join(filter(None, facts)))}</p>"
    )


def label_of(trace_id: str, shelf: Shelf, services: Services, words: Words) -> str:
    """What stands below the live view while a recording is shown that is no turn of the chat."""
    try:
        trace = services.store.peek(trace_id)
    except UserError:
        return words("library.label.gone")
    item, along = find(shelf, trace_id), _along(trace_id, services)
    title = title_of(trace_id, trace, services, words)[:80]
    if along and along.stage:
        return words("library.label.stage", stage=cards.stage_name(along.stage, words), prompt=title)
    kind = "shipped" if along else item.kind if item else "file"
    mode = words(f"library.mode.{cards.mode_of(trace)}")
    return words(f"library.label.{kind}", prompt=title, mode=mode)


def title_of(trace_id: str, trace: RoutingTrace, services: Services, words: Words) -> str:
    """As its card says: what was asked, or the name of a text that every stage of training read."""
    along = _along(trace_id, services)
    return cards.text_name(along.prompt, words) if along and along.stage else cards.title_of(trace)


def _along(trace_id: str, services: Services) -> Shipped | None:
    return next((recording for recording in services.recordings if recording.id == trace_id), None)


def noted(trace_id: Any, shelf: Shelf, conversation: Conversation, store: TraceStore) -> Shelf:
    """The shelf with the recording that is shown, if it is the session's own."""
    if not trace_id or trace_id.endswith(SO_FAR) or store.is_permanent(trace_id) or trace_id not in store:
        return shelf
    turn = next((turn for turn in conversation if turn.trace_id == trace_id), None)
    if turn is not None:
        return with_item(shelf, Item(trace_id, "turn", turn.seconds or None))
    return with_item(shelf, Item(trace_id, "text"))


def content(shelf: Shelf, trace_id: Any, services: Services, words: Words) -> dict[str, Any]:
    """What the library draws."""
    return {
        "groups": cards.shipped_groups(services.recordings, words),
        "own": cards.own_cards(shelf, services.store, words),
        "shown": trace_id or "",
        "undo_seconds": services.store.undo_seconds,
    }


def opened_files(paths: Any, services: Services, words: Words) -> tuple[list[tuple[str, bool]], list[Item]]:
    """Open uploaded files. Returns a sentence for each with whether it is a refusal, and what was opened."""
    named = [str(path) for path in paths] if isinstance(paths, list) else [str(paths)]
    lines: list[tuple[str, bool]] = []
    items: list[Item] = []
    own_model = Path(services.engine.card.name).name
    for path in named[: files.MOST_FILES]:
        name = Path(path).name
        try:
            trace = files.read(path, services.settings.upload_megabytes, words)
        except UserError as error:
            lines.append((error.in_words(words), True))
            continue
        except Exception:
            log.exception("A file could not be opened.")
            lines.append((words("page.fault"), True))
            continue
        items.append(Item(services.store.put(trace), "file", name=name[:120]))
        lines.append((files.opened_line(trace, name, own_model, words), False))
    if len(named) > files.MOST_FILES:
        lines.append((words("library.too_many", most=files.MOST_FILES, left=len(named) - files.MOST_FILES), True))
    return lines, items


def wire(
    tab: LibraryTab, services: Services, runs: ActiveRuns, shared: Shared, conversation: gr.State, words: Words
) -> None:
    """Every listener of the tab."""
    cache, store = Path(tab.upload.GRADIO_CACHE), services.store
    read: dict[str, list[tuple[str, list[Item]]]] = {}  # by session: sentences and items, until they are on its shelf
    buttons = list(tab.downloads.values())
    refreshed = [tab.shelf, tab.feed, tab.shown, tab.about, *buttons]

    def refresh(*given: Any) -> tuple[Any, ...]:
        try:
            return fresh(*given)
        except Exception:
            log.exception("The library could not be drawn.")
            skipped = [gr.skip()] * len(refreshed)
            return *skipped[:2], status_html(words("page.fault"), True), *skipped[3:]

    def fresh(trace_id: Any, open_tab: Any, shelf: Shelf, turns: Conversation) -> tuple[Any, ...]:
        kept = noted(trace_id, shelf, turns, store)
        kept = without_expired(kept, time.monotonic(), store.undo_seconds)
        shelf_now: Any = gr.skip() if kept == shelf else kept
        if open_tab != NAME:
            return (shelf_now, *(gr.skip(),) * (len(refreshed) - 1))
        trace = trace_or_none(trace_id)
        about = "" if trace is None else files.provenance_html(trace, words)
        able = [gr.update(interactive=trace is not None)] * len(buttons)
        title = "" if trace is None else title_of(trace_id, trace, services, words)
        return shelf_now, content(kept, trace_id, services, words), shown_html(title, trace, words), about, *able

    def trace_or_none(trace_id: Any) -> RoutingTrace | None:
        try:
            return store.get(trace_id) if trace_id else None
        except UserError:
            return None

    def on_act(event: gr.EventData, trace_id: Any, shelf: Shelf, run_id: Any) -> tuple[Any, ...]:
        """Outputs: shown trace, token, live view, shelf, library, status."""
        chosen = action(event)
        if chosen is None:
            return (gr.skip(),) * 6
        what, about = chosen
        does = {"open": replay, "delete": delete, "undo": undo}
        return does[what](about, trace_id, shelf, run_id) if what in does else (gr.skip(),) * 6

    def replay(chosen: str, trace_id: Any, shelf: Shelf, run_id: Any) -> tuple[Any, ...]:
        if runs.get(run_id) is not None:
            return refused(words("page.still_running"))
        try:
            store.get(chosen)
        except UserError as error:
            return refused(error.in_words(words))
        return chosen, None, pointer(chosen, play=True), gr.skip(), gr.skip(), status_html(words("library.replaying"))

    def refused(why: str) -> tuple[Any, ...]:
        gr.Info(html.escape(why))  # by now the live view is in sight, and the tab's own line is not
        return *(gr.skip(),) * 5, status_html(why, True)

    def delete(chosen: str, trace_id: Any, shelf: Shelf, run_id: Any) -> tuple[Any, ...]:
        if find(shelf, chosen) is None:
            return (gr.skip(),) * 6
        if store.discard(chosen):
            kept = with_deleted(shelf, chosen, time.monotonic())
            said = words("library.deleted", seconds=f"{store.undo_seconds:g}")
        else:  # it had to make room before
            kept = tuple(item for item in shelf if item.id != chosen)
            said = words("library.removed")
        gone = isinstance(trace_id, str) and trace_id == chosen
        now: tuple[Any, ...] = (None, None, None) if gone else (gr.skip(),) * 3
        value = content(kept, None if gone else trace_id, services, words)
        return *now, kept, value, status_html(said)

    def undo(chosen: str, trace_id: Any, shelf: Shelf, run_id: Any) -> tuple[Any, ...]:
        if find(shelf, chosen) is None:
            return (gr.skip(),) * 6
        back = store.restore(chosen)
        kept = with_deleted(shelf, chosen, None) if back else tuple(item for item in shelf if item.id != chosen)
        line = status_html(words("library.restored" if back else "library.undo_late"), not back)
        return *(gr.skip(),) * 3, kept, content(kept, trace_id, services, words), line

    def on_upload(visitor: gr.Request, paths: Any) -> None:
        if paths:
            lines, items = opened_files(paths, services, words)
            said = "".join(status_html(line, problem) for line, problem in lines)
            read.setdefault(str(visitor.session_hash), []).append((said, items))

    def on_read(visitor: gr.Request, trace_id: Any, shelf: Shelf, run_id: Any) -> tuple[Any, ...]:
        """Outputs: shown trace, token, live view, shelf, library, status."""
        found = read.pop(str(visitor.session_hash), [])
        if not found:
            return (gr.skip(),) * 6
        items = [item for _, opened in found for item in opened]
        kept, status = functools.reduce(with_item, items, shelf), "".join(said for said, _ in found)
        if not items or runs.get(run_id) is not None:
            return *(gr.skip(),) * 3, kept, content(kept, trace_id, services, words), status
        first = items[0].id
        return first, None, pointer(first), kept, content(kept, first, services, words), status

    def on_save(kind: str, trace_id: Any) -> tuple[Any, ...]:
        if not trace_id:
            return gr.skip(), status_html(words("library.shown_none"), True)
        try:
            path = files.write(store.get(trace_id), kind, cache, words)
        except UserError as error:
            return gr.skip(), status_html(error.in_words(words), True)
        except Exception:
            log.exception("A file could not be written.")
            return gr.skip(), status_html(words("page.fault"), True)
        name = f"{path.stem}.{kind}" if kind == "png" else path.name
        return parcel(path, kind, secrets.token_hex(4)), status_html(words("library.saved", name=name))

    in_turn: dict[str, Any] = {"concurrency_id": SHELF, "concurrency_limit": 1}
    gr.on(
        [shared.trace_id.change, shared.open_tab.change],
        refresh,
        [shared.trace_id, shared.open_tab, tab.shelf, conversation],
        refreshed,
        **CHOOSING | in_turn,
    )
    shown = [shared.trace_id, shared.token, shared.live]
    acted = [*shown, tab.shelf, tab.feed, tab.opened]
    asked = [shared.trace_id, tab.shelf, shared.run_id]
    tab.listing.act(on_act, asked, acted, **HEARING | in_turn)  # type: ignore[attr-defined]
    reading = tab.upload.upload(on_upload, tab.upload, None, **HEARING | {"concurrency_limit": 2})
    reading.then(on_read, asked, acted, **HEARING | in_turn).then(lambda: None, None, tab.upload, **QUIET)
    for kind, button in tab.downloads.items():
        button.click(
            functools.partial(on_save, kind),
            shared.trace_id,
            [tab.courier, tab.saved],
            concurrency_id="downloads",
            concurrency_limit=2,
            **QUIET,
        )
