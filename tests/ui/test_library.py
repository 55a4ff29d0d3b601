"""The library through its functions: cards, files, deleting and undoing, links, and what its listeners answer."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import orjson
import pytest

from analysis import metrics, storage
from analysis.errors import BadValue, TraceError, UserError
from analysis.figures.load import levels
from analysis.trace import RoutingTrace
from analysis.words import LANGUAGES, Words
from app.engine.catalogue import TRACES, shipped
from app.server.serve import make_services
from app.server.store import TraceStore
from app.settings import Settings
from app.ui import gates_tab, library_tab, load_tab, token_tab
from app.ui.context import Services
from app.ui.conversation import Turn
from app.ui.following import ActiveRuns
from app.ui.live.wire import snapshot
from app.ui.shelves import cards, files, names, view
from app.ui.shelves.links import target
from app.ui.shelves.shelf import Item, Shelf, find, with_deleted, with_item, without_expired
from tests.fake_engine import FakeEngine
from tests.make_recording import both_modes, write_recording
from tests.make_traces import make_mixed_trace, make_trace, without_rows
from tests.ui.tab_page import TabPage, is_shown, is_skipped, shared_of

WORDS = Words("en")
HOSTILE = "<script>alert(1)</script>"
OTHER_MODELS = {
    "48 layers": lambda: make_trace(12, 48, 128, 8, model="Qwen/Qwen3-30B-A3B"),
    "94 layers": lambda: make_trace(12, 94, 128, 8, model="Qwen/Qwen3-235B-A22B"),
    "layers that differ": lambda: make_mixed_trace(12),
}


class Page:
    """A page of the library alone; ``act``, ``upload``, ``refresh`` and ``save`` are its listeners."""

    def __init__(self, **settings: Any) -> None:
        self.services: Services = make_services(FakeEngine(), Settings(**settings))
        self.runs = ActiveRuns()
        with gr.Blocks() as self.blocks:
            self.shared = shared_of(library_tab.NAME)
            conversation = gr.State(())
            self.tab = library_tab.build(self.services, WORDS)
            self.tab.feed.render()
            self.tab.courier.render()
            library_tab.wire(self.tab, self.services, self.runs, self.shared, conversation, WORDS)

    @property
    def store(self) -> TraceStore:
        return self.services.store

    def call(self, component: Any, event: str, *values: Any) -> dict[Any, Any]:
        fn = next(fn for fn in self.blocks.fns.values() if (component._id, event) in fn.targets)
        return dict(zip(fn.outputs, fn.fn(*values), strict=True))

    def act(self, what: Any, trace_id: Any, shown: Any = None, shelf: Any = (), run_id: str = "") -> dict[Any, Any]:
        event = gr.EventData(None, {"what": what, "id": trace_id})
        return self.call(self.tab.listing, "act", event, shown, shelf, run_id)

    def refresh(self, shown: Any, shelf: Any = (), turns: Any = (), open_tab: str = library_tab.NAME) -> dict[Any, Any]:
        return self.call(self.shared.trace_id, "change", shown, open_tab, shelf, turns)

    def upload(self, *paths: Path, shelf: Any = ()) -> dict[Any, Any]:
        visitor = gr.Request(session_hash="a visitor")
        read = next(fn for fn in self.blocks.fns.values() if (self.tab.upload._id, "upload") in fn.targets)
        then = next(fn for fn in self.blocks.fns.values() if fn.trigger_after == read._id)
        read.fn(visitor, [str(path) for path in paths])
        return dict(zip(then.outputs, then.fn(visitor, None, shelf, ""), strict=True))

    def save(self, kind: str, trace_id: Any) -> dict[Any, Any]:
        return self.call(self.tab.downloads[kind], "click", trace_id)


@pytest.fixture
def page() -> Page:
    return Page()


def is_sentence(line: str) -> bool:
    return bool(line) and "\n" not in line and "Traceback" not in line and line.rstrip()[-1] in ".…"


# what comes along


def test_every_recording_of_the_index_is_there_once_and_none_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "load", lambda path: pytest.fail(f"{path} was opened"))
    found = shipped()
    lines = [json.loads(line) for line in (TRACES / "gallery" / "index.jsonl").read_text().splitlines()]
    gallery = [recording for recording in found if recording.group == "gallery"]
    assert [recording.path.name for recording in gallery] == [line["file"] for line in lines]
    assert len({recording.id for recording in found}) == len({recording.link for recording in found}) == len(found)
    assert all(view.RUN_ID.fullmatch(recording.id) for recording in found)
    groups = cards.shipped_groups(shipped(), WORDS)
    assert sum(len(card["takes"]) for group in groups for card in group["cards"]) == len(found)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_visitors_language_comes_first_and_both_modes_share_a_card(language: str) -> None:
    groups = cards.shipped_groups(shipped(), Words(language))
    assert groups[0]["language"] == language and {group["language"] for group in groups[:3]} == set(LANGUAGES)
    for card in groups[0]["cards"]:
        assert [take["mode"] for take in card["takes"]] == ["thinking", "non-thinking"]
        assert card["topic_name"] and card["model"] == "mini-qwen3-moe"
        thinking, direct = card["takes"]
        assert thinking["thinking"] > 0 and direct["thinking"] == 0 and direct["answered"] > 0 and thinking["answer"]
    topics = [card["topic"] for card in groups[0]["cards"]]
    assert topics == sorted(topics, key=topics.index)  # those of one topic stand together


def test_what_a_card_counts_is_what_its_trace_holds(page: Page) -> None:
    for group in cards.shipped_groups(shipped(), WORDS):
        for card in group["cards"]:
            for take in card["takes"]:
                counts = page.store.peek(take["id"]).phase_counts()
                assert (take["thinking"], take["answered"]) == (counts["thinking"], counts["answer"])


def test_texts_of_training_stages_are_groups_of_their_own(tmp_path: Path) -> None:
    lines = [{"prompt": "What is 2 + 2? 4", "mode": "forced", "text": "addition en"}]
    write_recording(tmp_path / "stages" / "pretraining", lines, lambda number, line: make_trace())
    write_recording(tmp_path / "gallery", both_modes(2, language="en"), lambda number, line: make_trace())
    found = shipped(tmp_path)
    assert len(found) == 5
    stage = found[-1]
    assert (stage.group, stage.prompt, stage.answer) == ("pretraining", "addition en", "What is 2 + 2? 4")
    assert stage.link == "stages/pretraining/00000-forced-0"


@pytest.mark.parametrize("folder", ["mine", "pretraining"])
def test_a_folder_of_ones_own_is_no_stage(tmp_path: Path, folder: str) -> None:
    lines = [{"prompt": "x", "mode": "forced", "text": "multiplication en"}]
    write_recording(tmp_path / "stages" / "pretraining", lines, lambda number, line: make_trace())
    write_recording(tmp_path / folder, both_modes(1, language="ja"), lambda number, line: make_trace())
    services = make_services(FakeEngine(), Settings(), tmp_path)
    own, stage = cards.shipped_groups(services.recordings, WORDS)
    assert own["title"] == f"{folder} · 日本語" and stage["title"] == WORDS("library.stage", stage="Pretraining")
    assert own["id"] != stage["id"]
    label = library_tab.label_of(f"{folder}-00000-thinking-0", (), services, WORDS)
    assert label.startswith("Gallery")
    label = library_tab.label_of("stages-pretraining-00000-forced-0", (), services, WORDS)
    assert label == "After the stage “Pretraining” · “Multiplication · English”"


# thumbnails


@pytest.mark.parametrize("make", OTHER_MODELS.values(), ids=OTHER_MODELS)
def test_a_thumbnail_is_the_load_of_the_trace(make: Any) -> None:
    trace = make()
    small = cards.thumbnail(trace)
    shades = np.frombuffer(base64.b64decode(small["levels"]), np.uint8).reshape(small["rows"], small["columns"])
    level = levels(metrics.expert_load(trace))
    absent = np.isnan(level)
    assert ((shades == cards.NO_EXPERT) == absent).all()
    back = shades[~absent] / 254 * 4 - 2
    assert np.abs(back - level[~absent]).max() < 0.01 and small["n"] == trace.num_rows


@pytest.mark.parametrize("trace", [make_trace(6, 0), without_rows(make_trace(6))])
def test_without_routing_there_is_nothing_to_draw(trace: RoutingTrace) -> None:
    assert cards.thumbnail(trace)["levels"] == ""


def test_a_thumbnail_of_a_huge_model_stays_small() -> None:
    small = cards.thumbnail(make_trace(2, 300, 512, 2, scores=False))
    assert small["rows"] * small["columns"] <= cards.MAX_CELLS and small["columns"] == 512


def test_thumbnails_are_made_once_and_given_only_for_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    store, opened = TraceStore(), []
    store.offer("a", lambda: opened.append("a") or make_trace())  # type: ignore[func-returns-value]
    thumbnails = cards.Thumbnails(store)
    assert set(thumbnails.get(["a", "b", 7, None])) == {"a"} and set(thumbnails.get(["a"])) == {"a"}
    assert opened == ["a"] and len(store) == 0
    own = store.put(make_trace())
    assert set(thumbnails.get([own])) == {own}
    store.discard(own)
    assert thumbnails.get([own]) == {}  # nothing of what was deleted is kept
    for foreign in (None, "a", {"a": 1}, 3):
        assert thumbnails.get(foreign) == {}
    assert len(thumbnails.get(["a"] * 1000)) == 1


# the session's own


def test_turns_texts_and_files_are_listed_in_order(page: Page, tmp_path: Path) -> None:
    turn, text = (
        page.store.put(make_trace(edits=[{"kind": "mask", "layer": 1, "experts": [3]}])),
        page.store.put(make_trace(messages=None, mode=None)),
    )
    turns = (Turn("What is 8 + 4?", seconds=1.23, done=True, trace_id=turn),)
    shelf = page.refresh(turn, turns=turns)[page.tab.shelf]
    shelf = page.refresh(text, shelf, turns)[page.tab.shelf]
    storage.save(make_trace(), tmp_path / "a.safetensors")
    result = page.upload(tmp_path / "a.safetensors", shelf=shelf)
    shelf, value = result[page.tab.shelf], result[page.tab.feed]
    assert [item.kind for item in shelf] == ["turn", "text", "file"]
    first, second, third = value["own"]
    assert first["prompt"] == "What is 8 + 4?" and first["takes"][0]["seconds"] == 1.2
    assert first["takes"][0]["edited"] == "mask:1:3" and not third["takes"][0]["edited"]
    assert second["takes"][0]["mode"] == "forced" and second["takes"][0]["seconds"] is None
    assert third["file"] == "a.safetensors" and value["shown"] == third["id"] == result[page.shared.trace_id]
    assert is_skipped(page.refresh(turn, shelf, turns)[page.tab.shelf])  # looked at again: not twice in the list


def test_what_is_shown_so_far_and_what_came_along_is_not_the_sessions() -> None:
    store = TraceStore()
    store.keep(make_trace(), "example")
    running = store.put(make_trace(), "run-now")
    for trace_id in ("example", running, "unknown", None, ""):
        assert library_tab.noted(trace_id, (), (), store) == ()


def test_a_closed_tab_is_not_redrawn_but_the_shelf_is_kept(page: Page) -> None:
    trace_id = page.store.put(make_trace())
    result = page.refresh(trace_id, open_tab="load")
    assert find(result[page.tab.shelf], trace_id)
    assert all(is_skipped(value) for part, value in result.items() if part is not page.tab.shelf)


def test_a_recording_that_had_to_make_room_says_so() -> None:
    card = cards.own_cards((Item("gone", "file", name="x.safetensors"),), TraceStore(), WORDS)[0]
    assert card["prompt"] == "x.safetensors" and "no longer in memory" in card["gone"] and not card["takes"]


def test_which_recording_is_shown_is_said(page: Page) -> None:
    result = page.refresh("gallery-00000-thinking-0")
    assert "What is 538 + 274?" in result[page.tab.shown] and "Thinking" in result[page.tab.shown]
    assert all(result[button]["interactive"] for button in page.tab.downloads.values())
    nothing = page.refresh(None)
    assert "Nothing yet" in nothing[page.tab.shown]
    assert not any(nothing[button]["interactive"] for button in page.tab.downloads.values())
    label = library_tab.label_of("gallery-00000-thinking-0", (), page.services, WORDS)
    assert label == "Gallery · Thinking · “What is 538 + 274?”"
    own = page.store.put(make_trace())
    for kind, shown in (("turn", "An earlier turn"), ("text", "Pasted text"), ("file", "From a file")):
        assert shown in library_tab.label_of(own, (Item(own, kind),), page.services, WORDS)  # type: ignore[arg-type]
    assert "no longer in memory" in library_tab.label_of("x", (), page.services, WORDS)


# replaying, deleting, undoing


def test_a_card_is_replayed_without_the_model(page: Page) -> None:
    result = page.act("open", "gallery-00003-thinking-0")
    assert result[page.shared.trace_id] == "gallery-00003-thinking-0" and result[page.shared.token] is None
    live = result[page.shared.live]
    assert live["run"] == "gallery-00003-thinking-0" and live["play"] and live["pull"]
    assert page.services.engine.requests == []  # type: ignore[attr-defined]
    assert page.act("open", "gallery-00003-thinking-0")[page.shared.live] != live  # the same once more


def test_while_an_answer_is_written_nothing_else_is_replayed(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    page.runs.add("run", object())  # type: ignore[arg-type]
    result = page.act("open", "gallery-00003-thinking-0", run_id="run")
    assert is_skipped(result[page.shared.live]) and "still being written" in result[page.tab.opened]
    assert "still being written" in capsys.readouterr().out  # where it is seen, the live view being in sight
    page.act("open", "unknown")
    assert "no longer in memory" in capsys.readouterr().out


def test_deleting_what_is_shown_empties_the_views_and_undo_brings_it_back(page: Page) -> None:
    trace_id = page.store.put(make_trace())
    shelf = with_item((), Item(trace_id, "turn"))
    result = page.act("delete", trace_id, shown=trace_id, shelf=shelf)
    assert [result[part] for part in (page.shared.trace_id, page.shared.token, page.shared.live)] == [None] * 3
    assert trace_id not in page.store and result[page.tab.feed]["own"][0]["deleted"]
    assert "undo" in result[page.tab.opened]
    result = page.act("undo", trace_id, shelf=result[page.tab.shelf])
    assert trace_id in page.store and result[page.tab.shelf] == shelf
    assert result[page.tab.feed]["own"][0]["takes"]


def test_deleting_another_one_leaves_the_views_alone(page: Page) -> None:
    shown, other = page.store.put(make_trace()), page.store.put(make_trace())
    shelf = (Item(shown, "turn"), Item(other, "turn"))
    result = page.act("delete", other, shown=shown, shelf=shelf)
    assert is_skipped(result[page.shared.trace_id]) and is_skipped(result[page.shared.live])
    assert shown in page.store and result[page.tab.feed]["shown"] == shown


def test_undo_that_comes_too_late_is_one_sentence(page: Page) -> None:
    trace_id = page.store.put(make_trace())
    result = page.act("delete", trace_id, shelf=(Item(trace_id, "turn"),))
    page.store._forget(trace_id)
    result = page.act("undo", trace_id, shelf=result[page.tab.shelf])
    assert result[page.tab.shelf] == () and "too late" in result[page.tab.opened]


def test_only_the_sessions_own_can_be_deleted(page: Page) -> None:
    foreign = page.store.put(make_trace())
    for trace_id in (foreign, "gallery-00000-thinking-0", "example"):
        assert all(is_skipped(value) for value in page.act("delete", trace_id, shelf=()).values())
        assert trace_id == "example" or trace_id in page.store
    kept = page.act("delete", "gallery-00000-thinking-0", shelf=(Item("gallery-00000-thinking-0", "file"),))
    assert "gallery-00000-thinking-0" in page.store and kept[page.tab.shelf] == ()


@pytest.mark.parametrize(
    "data", [None, {}, {"what": "open"}, {"what": "drop", "id": "a"}, {"what": "open", "id": 7}, "x"]
)
def test_what_is_no_action_changes_nothing(page: Page, data: Any) -> None:
    result = page.call(page.tab.listing, "act", gr.EventData(None, data), None, (), "")
    assert all(is_skipped(value) for value in result.values())
    assert "no longer in memory" in page.act("open", "unknown")[page.tab.opened]


def test_a_deleted_recording_disturbs_no_other_tab() -> None:
    for module in (token_tab, load_tab, gates_tab):
        page = TabPage(module)
        trace_id = page.services.store.put(make_trace())
        page.services.store.discard(trace_id)
        result = page.call(page.shared.trace_id, "change", trace_id=trace_id, token=3)
        assert "no longer in memory" in result[page.tab.status]
        empty = page.call(page.shared.trace_id, "change", trace_id=None, token=None)
        assert "Send a message" in empty[page.tab.status]


def test_the_shelf_forgets_what_can_no_longer_come_back() -> None:
    shelf = with_deleted((Item("a", "turn"), Item("b", "file")), "a", 100.0)
    assert without_expired(shelf, 110.0, 15) == shelf
    assert [item.id for item in without_expired(shelf, 116.0, 15)] == ["b"]
    assert with_item(shelf, Item("b", "text")) == shelf


def test_a_recording_keeps_its_number_when_others_leave(page: Page) -> None:
    shelf: Shelf = ()
    for _ in range(3):
        shelf = with_item(shelf, Item(page.store.put(make_trace()), "file"))
    left = without_expired(with_deleted(shelf, shelf[1].id, 0.0), 100.0, 15)
    assert [card["number"] for card in cards.own_cards(left, page.store, WORDS)] == [1, 3]
    assert [name.split(" · ")[0] for name, _ in names.choices(page.services, left, (), WORDS)[:2]] == ["#3", "#1"]
    assert with_item(left, Item("new", "text"))[-1].number == 4


def test_what_writes_the_shelf_runs_one_at_a_time(page: Page) -> None:
    writers = [fn for fn in page.blocks.fns.values() if page.tab.shelf in fn.outputs]
    assert len(writers) == 3
    assert {(fn.concurrency_id, fn.concurrency_limit) for fn in writers} == {(library_tab.SHELF, 1)}
    assert sorted(fn.trigger_mode for fn in writers) == ["always_last", "multiple", "multiple"]  # none is dropped


# files


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    trace = make_trace()
    again = files.read(files.write(trace, "trace", tmp_path, WORDS), 20, WORDS)
    assert np.array_equal(again.expert_ids, trace.expert_ids) and again.pieces == trace.pieces


@pytest.mark.parametrize("kind", files.KINDS)
@pytest.mark.parametrize(
    "make", [make_trace, make_mixed_trace, lambda: make_trace(3, 0), lambda: without_rows(make_trace())]
)
def test_every_kind_can_be_downloaded_of_every_trace(page: Page, kind: str, make: Any) -> None:
    trace = make()
    result = page.save(kind, page.store.put(trace))
    if kind == "html" and not trace.spec.layers:
        assert WORDS("tabs.dense") in result[page.tab.saved]
        return
    parcel = result[page.tab.courier]
    path = Path(parcel["file"]["path"])
    assert path.stat().st_size > 100 and path.name == parcel["name"] and parcel["kind"] == kind
    assert parcel["file"]["meta"] == {"_type": "gradio.FileData"} and path.name.split(".")[0] in result[page.tab.saved]


def test_a_download_of_nothing_or_of_what_is_gone_is_one_sentence(page: Page) -> None:
    for trace_id, said in ((None, "Nothing yet"), ("gone", "no longer in memory")):
        result = page.save("csv", trace_id)
        assert is_skipped(result[page.tab.courier]) and said in result[page.tab.saved]
    with pytest.raises(BadValue, match="kind exe"):
        files.write(make_trace(), "exe", Path("/nowhere"), WORDS)


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(TraceError, match="could not be written"):
        files.write(make_trace(), "csv", blocked / "below", WORDS)


def test_a_download_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blocks(trace: Any) -> Any:
        yield "half\n"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "csv_blocks", blocks)
    with pytest.raises(TraceError, match="No space left"):
        files.write(make_trace(), "csv", tmp_path, WORDS)
    assert list(tmp_path.iterdir()) == []


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    first, second = (files.write(make_trace(seed=seed), "trace", tmp_path, WORDS) for seed in (1, 2))
    assert first != second


@pytest.mark.parametrize("model", ["../../etc/passwd", "Qwen/Qwen3-30B-A3B", "", "日本", "a" * 300, "C:\\x"])
def test_the_file_name_is_plain_whatever_the_model_is_called(model: str) -> None:
    name = files.file_name(make_trace(model=model)) + ".safetensors"
    assert "/" not in name and "\\" not in name and ".." not in name
    assert name.isascii() and len(name) < 120


def foreign_files(folder: Path) -> dict[str, Path]:
    whole = storage.to_bytes(make_trace())
    made = {
        "empty": b"",
        "hello": b"hello",
        "noise": b"\xff" * 64,
        "other safetensors": b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ",
        "cut": whole[: len(whole) // 2],
        "another version": whole.replace(b'\\"format_version\\": 1', b'\\"format_version\\": 9'),
        "no tokens": storage.to_bytes(no_tokens()),
    }
    for name, content in made.items():
        (folder / f"{name}.safetensors").write_bytes(content)
    return {name: folder / f"{name}.safetensors" for name in made}


def no_tokens() -> RoutingTrace:
    trace = without_rows(make_trace(3, scores=False, summaries=False))
    nothing = {name: getattr(trace, name)[:0] for name in ("token_ids", "phase", "origin", "turn", "pieces")}
    return replace(trace, **nothing)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_foreign_file_gets_one_sentence_and_the_good_ones_are_opened(tmp_path: Path, language: str) -> None:
    services, words = make_services(FakeEngine(), Settings()), Words(language)
    bad = foreign_files(tmp_path)
    storage.save(make_trace(), tmp_path / "good.safetensors")
    paths = [*bad.values(), tmp_path / "good.safetensors", tmp_path / "gone.safetensors"]
    lines, items = library_tab.opened_files([str(path) for path in paths], services, words)
    assert len(lines) == len(paths) and [problem for _, problem in lines] == [True] * len(bad) + [False, True]
    assert [item.name for item in items] == ["good.safetensors"] and items[0].id in services.store
    for line, _ in lines:
        assert "\n" not in line and len(line) < 300
    if language == "en":
        assert "format version 9; this program reads version 1" in lines[5][0] and "nothing to show" in lines[6][0]
        assert all(is_sentence(line) for line, _ in lines)
    else:
        assert not any(line.startswith("The ") or "cannot be" in line for line, _ in lines)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("found", "instead"),
    [
        (b'\\"row_start\\": 0', b'\\"row_start\\": 9'),  # found when the trace is made
        (b'\\"row_start\\": 0', b'\\"row_start\\": x'),
        (b'\\"top_k\\": 2', b'\\"top_k\\": 9'),
        (b'"piece_ends"', b'"piece_endx"'),
    ],
)
def test_contents_that_do_not_fit_are_one_sentence_in_the_visitors_language(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, language: str, found: bytes, instead: bytes
) -> None:
    whole, words = storage.to_bytes(make_trace()), Words(language)
    assert found in whole
    (tmp_path / "a.safetensors").write_bytes(whole.replace(found, instead))
    with pytest.raises(TraceError) as raised:
        files.read(tmp_path / "a.safetensors", 20, words)
    why = words("errors.contents_unfit")
    assert raised.value.in_words(words) == words("errors.cannot_open", name="a.safetensors", why=why)
    assert "a.safetensors cannot be opened. " in caplog.text and "Its contents" not in caplog.text


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    big = tmp_path / "big.safetensors"
    with big.open("wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(BadValue, match="30.0 MB; at most 20 MB"):
        files.read(big, 20, WORDS)


def test_only_so_many_files_are_opened_at_once(page: Page, tmp_path: Path) -> None:
    path = storage.save(make_trace(3), tmp_path / "a.safetensors")
    result = page.upload(*[path] * (files.MOST_FILES + 3))
    assert len(result[page.tab.shelf]) == files.MOST_FILES and "3 were left out" in result[page.tab.opened]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: make_trace(model="fake"), "opened, 41 tokens."),
        (OTHER_MODELS["94 layers"], "94 layers × 128 experts, top-8"),
        (OTHER_MODELS["layers that differ"], "3 layers × 4–16 experts, top-1–4"),
        (lambda: make_trace(5, 0), "dense"),
        (lambda: without_rows(make_trace()), "no routing was recorded"),
    ],
)
def test_what_a_file_holds_is_said_in_one_sentence(page: Page, tmp_path: Path, make: Any, said: str) -> None:
    storage.save(make(), tmp_path / "a.safetensors")
    result = page.upload(tmp_path / "a.safetensors")
    assert said in result[page.tab.opened] and result[page.tab.opened].count("<p") == 1


@pytest.mark.parametrize("make", OTHER_MODELS.values(), ids=OTHER_MODELS)
def test_the_views_show_other_models_with_their_own_spec(make: Any) -> None:
    trace = make()
    head = snapshot(trace, "x")["header"]
    assert head["layers"] == trace.spec.layer_numbers
    assert head["experts"] == [layer.num_experts for layer in trace.spec.layers]
    for module in (token_tab, load_tab, gates_tab):
        page = TabPage(module)
        trace_id = page.services.store.put(trace)
        for layer in trace.spec.layer_numbers[:3]:
            result = page.call(page.shared.trace_id, "change", trace_id=trace_id, token=7, layer=layer)
            assert any(is_shown(value) for value in result.values()), result[page.tab.status]
            choices = result[page.tab.layer]["choices"]
            assert [number for _, number in choices] == trace.spec.layer_numbers


def test_provenance_is_readable_and_escaped() -> None:
    trace = make_trace(model=HOSTILE, versions={"<b>": HOSTILE}, capture_check={"ok": True, "ids_match": 0.998})
    shown = files.provenance_html(trace, WORDS)
    assert "<script" not in shown and "<b>" not in shown and "&lt;script" in shown
    assert "99.8% of ids agree" in shown


def test_provenance_is_said_in_the_visitors_language() -> None:
    for mode in ("thinking", "non-thinking", "forced"):
        shown = files.provenance_html(make_trace(mode=mode, finish_reason="length", revision="fusion"), Words("zh"))
        for key in (f"library.mode.{mode}", "tabs.compare.reason.length", "stages.fusion"):
            assert f"<td>{Words('zh')(key)}</td>" in shown


@pytest.mark.parametrize("match", [int("9" * 400), -1, 1.5, "all", None])
def test_a_match_that_is_no_share_is_not_said(match: object) -> None:
    assert "?% of ids agree" in files.provenance_html(make_trace(capture_check={"ok": True, "ids_match": match}), WORDS)


def test_a_hostile_file_leaves_the_library_working(page: Page, tmp_path: Path) -> None:
    deep: Any = "\ud800"
    for _ in range(400):
        deep = {"\udfff": [deep]}
    check = {"ok": True, "ids_match": int("9" * 400)}
    trace = make_trace(model="a\ud800", created="\udfff", sampling=deep, capture_check=check)
    storage.save(trace, tmp_path / "a.safetensors")
    result = page.upload(tmp_path / "a.safetensors")
    result |= page.refresh(result[page.shared.trace_id], result[page.tab.shelf])
    sent = [value for value in result.values() if isinstance(value, str | dict) and not is_skipped(value)]
    assert result[page.tab.feed]["own"][0]["model"] == "a�" and "sampling" in result[page.tab.about].lower()
    orjson.dumps(sent)


def test_what_cannot_be_drawn_is_said_and_logged(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "provenance_html", lambda *given: 1 / 0)
    result = page.refresh("gallery-00000-thinking-0")
    assert WORDS("page.fault") in result.pop(page.tab.shown)
    assert all(is_skipped(value) for value in result.values())


@pytest.mark.parametrize("check", [{"ok": False}, {"ok": "yes"}, "passed", ["ok"]])
def test_only_a_check_that_passed_is_called_so(check: object) -> None:
    assert "not passed" in files.provenance_html(make_trace(capture_check=check), WORDS)


def test_hostile_provenance_is_text_or_left_out(page: Page) -> None:
    messages = [{"role": "user", "content": HOSTILE}]
    trace = make_trace(
        model=HOSTILE,
        model_name=["x"],
        mode={"a": 1},
        created=7,
        finish_reason=None,
        messages=messages,
        edits=[HOSTILE, None, 3],
    )
    trace_id = page.store.put(trace)
    assert "<script" not in library_tab.shown_html(cards.title_of(trace), trace, WORDS)
    card = cards.own_cards((Item(trace_id, "file"),), page.store, WORDS)[0]
    assert card["prompt"] == HOSTILE and card["takes"][0]["mode"] == "forced"  # the page shows it by textContent
    json.dumps(card)


# links


def test_an_address_opens_a_recording_at_a_token() -> None:
    found = target("?lang=ja&trace=gallery/00000-thinking-0&token=12", shipped(), WORDS)
    assert found is not None and (found.id, found.token, found.problem) == ("gallery-00000-thinking-0", 12, "")
    encoded = target("trace=gallery%2F00001-non-thinking-0", shipped(), WORDS)
    assert encoded is not None and encoded.id == "gallery-00001-non-thinking-0" and encoded.token is None


@pytest.mark.parametrize("query", ["", "?", "?lang=ja", None, 7, "?token=3", "?__theme=dark"])
def test_an_address_without_a_recording_opens_none(query: Any) -> None:
    assert target(query, shipped(), WORDS) is None


@pytest.mark.parametrize(
    "query",
    [
        "?trace=gallery/nothing",
        "?trace=../../etc/passwd",
        "?trace=" + "x" * 5000,
        f"?trace={HOSTILE}",
        "?trace=gallery/00000-thinking-0&token=abc",
        "?trace=gallery/00000-thinking-0&token=-1",
        "?trace=gallery/00000-thinking-0&token=１２",
        "?trace=gallery/00000-thinking-0&token=" + "9" * 50,
    ],
)
def test_a_bad_address_is_one_sentence(query: str) -> None:
    found = target(query, shipped(), WORDS)
    assert found is not None and is_sentence(found.problem) and found.token is None and len(found.problem) < 200


def test_every_link_that_is_copied_opens_its_recording() -> None:
    for recording in shipped():
        found = target(f"?trace={recording.link}&token=0", shipped(), WORDS)
        assert found is not None and found.id == recording.id and found.token == 0


def test_a_recording_can_be_deleted_while_the_tab_lists_it(page: Page) -> None:
    """From another tab of the same session, or because it had to make room: the list says so."""
    trace_id = page.store.put(make_trace())
    shelf = (Item(trace_id, "turn"),)
    page.store.drop(trace_id)
    value = page.refresh(None, shelf)[page.tab.feed]
    assert value["own"][0]["gone"]
    removed = page.act("delete", trace_id, shelf=shelf)
    assert removed[page.tab.shelf] == () and removed[page.tab.feed]["own"] == []
    assert "undo" not in removed[page.tab.opened] and "Removed" in removed[page.tab.opened]
    old = with_deleted(shelf, trace_id, time.monotonic() - 60)
    assert page.refresh(None, old)[page.tab.shelf] == ()


def test_errors_inside_errors_are_said_in_the_visitors_language(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"hello")
    with pytest.raises(UserError) as raised:
        files.read(tmp_path / "x.safetensors", 20, Words("ja"))
    assert (
        raised.value.in_words(Words("ja"))
        == "x.safetensors は開けません。.safetensors ファイルではないか、途中で切れています。"
    )
    assert str(raised.value) == "x.safetensors cannot be opened. It is not a .safetensors file, or it is cut short."
