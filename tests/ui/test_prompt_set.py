"""A set of prompts on the page: both modes under the same conditions, the queue, stopping, and what is tested."""

from __future__ import annotations

import html
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import gradio as gr
import pytest

from analysis.comparing import compare_folders
from analysis.errors import BadValue
from analysis.findings import in_words
from analysis.pairs import PairSet
from analysis.words import Words
from app.engine.base import ChatRequest
from app.server.serve import make_services
from app.settings import Settings
from app.ui import compare_tab, set_files, set_tab
from app.ui.compare_run import Options
from app.ui.context import Services
from app.ui.prompt_set import SetView, run_set
from tests.fake_engine import FakeEngine
from tests.make_traces import make_trace
from tests.ui.tab_page import TabPage, is_shown, is_skipped

WORDS = Words("en")
PROMPTS = "\n".join(f"How much is {n} + 4, if one counts it out slowly and says every step?" for n in range(6))


def views(services: Services, prompts: Any = PROMPTS, **options: Any) -> list[SetView]:
    return list(run_set(services, Options(prompts, **options), threading.Event(), WORDS))


def test_every_prompt_is_answered_in_both_modes_under_the_same_conditions():
    engine = FakeEngine()
    services = make_services(engine, Settings())
    found = views(services, temperature=0.3, seed=7)
    last = found[-1]
    assert (last.done, last.total, last.running, last.problem) == (6, 6, False, False)
    assert [view.done for view in found] == sorted(view.done for view in found)
    assert [row[0] for row in last.rows] == PROMPTS.split("\n")
    modes = [request.mode for request in engine.requests]
    assert modes == ["thinking", "non-thinking"] * 6
    assert [request.seed for request in engine.requests] == [7 + n for n in range(6) for _ in range(2)]
    assert {request.sampling.temperature for request in engine.requests} == {0.3}
    pairs = services.sets.get(last.set_id)
    assert pairs.compare().finding.prompts == (6, 6)
    assert len(services.store) == 0


def test_time_left_is_said_once_it_can_be_known():
    services = make_services(FakeEngine(delay=0.01), Settings())
    lines = [view.status for view in views(services, "one\ntwo\nthree")]
    assert not any("left" in line for line in lines if "Prompt 1 of 3" in line)
    assert any("s left" in line for line in lines if "Prompt 3 of 3" in line)


def test_a_stopped_set_is_tested_with_what_is_whole():
    engine = FakeEngine()
    services = make_services(engine, Settings())
    stopped = threading.Event()
    found = []
    for view in run_set(services, Options(PROMPTS), stopped, WORDS):
        found.append(view)
        if view.done == 3:
            stopped.set()
    assert found[-1].set_id and "3 prompts" in found[-1].status
    assert len(services.sets.get(found[-1].set_id).pairs) == 3
    with services.scheduler.enter() as ticket:
        assert ticket.wait(5), "the engine was let go"


def test_a_prompt_that_is_refused_late_loses_none_that_were_answered(monkeypatch: pytest.MonkeyPatch):
    engine = FakeEngine()
    stream, asked = engine.stream, []

    def full(request: ChatRequest):
        asked.append(request)
        if len(asked) > 5:
            raise BadValue("The conversation is too long for the model.")
        return stream(request)

    monkeypatch.setattr(engine, "stream", full)
    services = make_services(engine, Settings())
    last = views(services)[-1]
    assert last.problem and not last.running and last.status.startswith("The conversation is too long")
    assert "2 prompts" in last.status and len(services.sets.get(last.set_id).pairs) == 2


def test_stopped_at_once_nothing_is_tested():
    services = make_services(FakeEngine(), Settings())
    stopped = threading.Event()
    stopped.set()
    last = list(run_set(services, Options(PROMPTS), stopped, WORDS))[-1]
    assert not last.set_id and not last.running and "at least 2" in last.status


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ("", "at least 2"),
        ("one\n\none\n", "at least 2"),
        (None, "must be text"),
        ("\n".join(map(str, range(50))), "at most 40"),
        ("fine\nnot fine /no_think", "/no_think"),
    ],
)
def test_bad_sets_are_one_sentence_and_run_nothing(prompts: Any, says: str):
    engine = FakeEngine()
    (only,) = views(make_services(engine, Settings()), prompts)
    assert says in only.status and only.problem and not only.running
    assert not engine.requests


def test_a_fault_of_the_engine_is_one_sentence():
    last = views(make_services(FakeEngine(fail_after=3), Settings()))[-1]
    assert last.problem and not last.running and not last.set_id


def test_a_set_that_is_refused_takes_nothing_away_and_one_that_runs_does():
    page = TabPage(compare_tab)
    fn = page.listener(page.tab.many.run, "click")
    at = fn.outputs.index(page.shared.set_id)
    given = {page.shared.language: "en"}
    values = [given.get(block, block.value) for block in fn.inputs]
    place = fn.inputs.index(page.tab.many.prompts)
    seen = {}
    for prompts in ("only one", PROMPTS):
        values[place] = prompts
        seen[prompts] = [update[at] for update in fn.fn(*values)]
    assert [is_skipped(value) for value in seen["only one"]] == [True]
    assert seen[PROMPTS][0] == "" and seen[PROMPTS][-1] and page.services.sets.get(seen[PROMPTS][-1])


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
def test_the_tab_draws_what_was_found_and_tests_again_under_a_control(language: str):
    page = TabPage(compare_tab, language=language)
    many = page.tab.many
    last = views(page.services)[-1]
    page.tab.__dict__.update(control=many.control)
    shown = page.call(page.shared.set_id, "change", set_id=last.set_id)
    assert is_shown(shown[many.drawn]) and is_shown(shown[many.dumbbell]) and is_shown(shown[many.map])
    assert shown[many.finding].count("<p>") == 3
    again = page.call(many.control, "input", set_id=last.set_id, control="token")
    assert again[many.finding] != shown[many.finding]
    gone = page.call(page.shared.set_id, "change", set_id="no such set")
    assert "problem" in gone[many.message] and not is_shown(gone[many.drawn])


def few_of(short: int, language: str) -> str:
    """The finding of 8 pairs, ``short`` of which have a direct answer of 2 tokens."""
    made = []
    for n in range(8):
        asked = [{"role": "user", "content": f"<b>Prompt {n}</b> " + "and a long tail " * 9}]
        made.append(
            tuple(
                make_trace(rows, 2, 8, 2, 2 * n + t, bool(t), skew=0, messages=asked)
                for t, rows in ((1, 120), (0, 5 if n < short else 60))
            )
        )
    return set_tab.finding_html(PairSet(made).compare(), Words(language))


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
def test_every_prompt_that_could_not_be_counted_is_named_by_its_text(language: str):
    said = few_of(2, language)
    lines = re.findall("<li>(.*?)</li>", said)
    assert len(lines) == 2 and all(f"&lt;b&gt;Prompt {n}&lt;/b&gt;" in line for n, line in enumerate(lines))
    assert all("…" in line and len(line) < 140 for line in lines), "shortened"
    assert "<b>" not in said and "non-thinking: " not in said and "generated:" not in said and " rows" not in said
    if language == "en":
        assert "2 of the prompts answered could not be counted:" in said
        assert re.search(r"\(non-thinking\): \d generated tokens, fewer than 4$", lines[0])


def test_a_prompt_that_only_the_control_leaves_out_is_named_too():
    made = []
    for n in range(8):
        asked = [{"role": "user", "content": f"Prompt {n}"}]
        pair = [
            make_trace(rows, 2, 8, 2, 2 * n + t, bool(t), skew=0, messages=asked) for t, rows in ((1, 120), (0, 60))
        ]
        if n == 3:  # no word in common
            pair[1] = replace(pair[1], token_ids=pair[1].token_ids + 1_000_000)
        made.append(tuple(pair))
    lines = re.findall("<li>(.*?)</li>", set_tab.finding_html(PairSet(made).compare(control="token"), WORDS))
    assert lines == ["“Prompt 3”: fewer than 4 tokens that the control could match"]
    assert "<li>" not in set_tab.finding_html(PairSet(made).compare(), WORDS)


def test_where_all_were_counted_nothing_is_said_and_many_become_a_number():
    assert "<li>" not in few_of(0, "en") and "could not be counted" not in few_of(0, "en")
    lines = re.findall("<li>(.*?)</li>", few_of(6, "en"))
    assert len(lines) == set_tab.NAMED + 1 and lines[-1] == "1 more"


def test_prompts_come_along_in_every_language():
    for language in ("en", "ja", "zh"):
        lines = (set_tab.PROMPTS / f"{language}.txt").read_text(encoding="utf-8").splitlines()
        assert len(set(lines)) == len(lines) == 24


def test_sets_make_room_for_others():
    from app.server.sets import SetStore

    services = make_services(FakeEngine(), Settings())
    pairs = services.sets.get(views(services)[-1].set_id)
    store = SetStore(max_megabytes=0)
    first, second = store.put(pairs), store.put(pairs)
    assert store.get(second) is pairs
    with pytest.raises(BadValue):
        store.get(first)


def test_a_set_can_be_taken_along_and_says_the_same_at_home(tmp_path: Path):
    page = TabPage(compare_tab)
    many, services = page.tab.many, page.services
    with page.blocks:
        courier = gr.HTML()
        set_tab.wire_downloads(many, services, page.shared, courier)
    set_id = views(services)[-1].set_id
    found = services.sets.get(set_id).compare("answer", "token")

    def save(kind: str, **changes: Any) -> list[Any]:
        given = {"language": "en", "set_id": set_id, "phase": "answer", "control": "token", **changes}
        return list(page.listener(many.downloads[kind], "click").fn(*given.values()))

    *_, (sent, line) = save("zip")
    assert "compared-prompts.zip is on its way" in line
    with ZipFile(sent["file"]["path"]) as archive:
        assert not [name for name in archive.namelist() if name.startswith(("/", ".."))]
        archive.extractall(tmp_path)
    again = compare_folders([tmp_path / "compared-prompts"], phase="answer", control="token")
    assert again.finding == found.finding and len(list(tmp_path.rglob("*.safetensors"))) == 2 * len(again.plan.units)
    *_, (report, _) = save("html")
    page_text = Path(report["file"]["path"]).read_text(encoding="utf-8")
    assert in_words(found.finding, WORDS)[0] in html.unescape(page_text)
    assert "--control token" in page_text and str(Path(report["file"]["path"]).parent) not in page_text
    assert "/tmp" not in page_text
    *_, (none, problem) = save("zip", set_id="gone")
    assert is_skipped(none) and "no longer in memory" in problem
    *_, (none, problem) = save("html", control="<b>")
    assert is_skipped(none) and "problem" in problem and "<b>" not in problem
    with pytest.raises(BadValue):
        set_files.write(services.sets.get(set_id), "html", tmp_path / "cache", "en", "answer", "<b>")
    assert list((tmp_path / "cache").iterdir()) == []
