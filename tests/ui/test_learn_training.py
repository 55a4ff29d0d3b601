"""The lesson on training: it shows the stages that were recorded, in their order, and nothing where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from analysis import metrics
from analysis.overlap import saturation
from analysis.words import Words
from app.engine.catalogue import shipped
from app.ui import learn_tab
from app.ui.lessons import training
from tests.make_recording import write_recording
from tests.make_stages import write_stages
from tests.make_traces import make_trace
from tests.ui.tab_page import TabPage, is_shown

WORDS = Words("en")
RECORDED = ("pretraining", "fusion", "distillation-on", "general-rl")
CHAIN = ["Pretraining", "Thinking mode fusion", "General RL"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_stages(tmp_path, RECORDED)
    write_recording(tmp_path / "stages" / "alone", [{"prompt": "x", "mode": "forced", "text": "lonely"}], _lonely)
    return tmp_path


def _lonely(number: int, line: dict[str, Any]) -> Any:
    return make_trace(40, 3, 16, 4)


def lesson_of(page: TabPage) -> training.Lesson:
    return page.tab.lessons[learn_tab.LESSONS.index(training)]


def drawn(page: TabPage, text: Any = None, token: Any = None, layer: Any = None) -> dict[Any, Any]:
    fn = page.listener(lesson_of(page).text, "input")
    return dict(zip(fn.outputs, fn.fn("learn", "en", text, token, layer, "light"), strict=True))


def test_texts_are_those_that_several_stages_routed(folder: Path) -> None:
    found = training.staged(shipped(folder))
    assert list(found) == ["sums", "dates"]
    assert [recording.stage for recording in found["dates"]] == ["pretraining", "fusion", "general-rl"]


def test_the_stages_are_measured_against_the_last(folder: Path) -> None:
    page = TabPage(learn_tab, traces=folder)
    lesson = lesson_of(page)
    seen = drawn(page, text="dates")
    first, second, last = (page.services.store.get(r.id) for r in training.staged(page.services.recordings)["dates"])
    share = saturation(first, last)
    curve = seen[lesson.saturation]["value"].data[-1]
    np.testing.assert_allclose(curve.y, [100 * saturation(t, last).values.mean() for t in (first, second)])
    assert [name.replace("<br>", " ") for name in curve.x] == CHAIN[:-1]
    loads = seen[lesson.balance]["value"].data[-1]
    np.testing.assert_allclose(loads.y, [metrics.max_violation(t).values.mean() for t in (first, second, last)])
    assert f"{100 * share.values.mean():.3g} %" in seen[lesson.said] and "would give 25 %" in seen[lesson.said]
    assert "n = 40 tokens" in seen[lesson.saturation]["value"].layout.title.text


def test_a_pressed_token_is_followed(folder: Path) -> None:
    page = TabPage(learn_tab, traces=folder)
    lesson = lesson_of(page)
    press = page.listener(lesson.tokens, "token").fn
    assert press(gr.EventData(None, {"at": [0, 7]})) == 7
    seen = drawn(page, text="sums", token=7, layer=1)
    last = page.services.store.get("stages-general-rl-00000-forced-0")
    figure = seen[lesson.experts]["value"]
    assert "Layer 1" in figure.layout.title.text and "token 7" in figure.layout.title.text
    assert list(figure.data[0].x[:4]) == [str(e) for e in _by_weight(last, 7, 1)]
    tokens = seen[lesson.tokens]
    assert tokens.count("<button") == 40 and 'data-token="0,7" aria-pressed="true"' in tokens
    assert tokens.count('aria-pressed="true"') == 1
    for wrong in (-1, 40, "x", None, press(gr.EventData(None, {"at": "x"}))):
        assert drawn(page, text="<b>", token=wrong)[lesson.tokens].count('data-token="0,20" aria-pressed="true"') == 1


def _by_weight(trace: Any, token: int, layer: int) -> list[int]:
    ids, weights = trace.expert_ids[token, layer], trace.expert_weights[token, layer]
    return [int(ids[i]) for i in np.argsort(-weights.astype(float), kind="stable")]


def test_hostile_tokens_stay_text() -> None:
    trace = make_trace(rows=20)
    object.__setattr__(trace, "pieces", (b"<img src=x onerror=alert(1)>\n",) * trace.num_tokens)
    assert "<img" not in training.tokens_html(trace, 3, WORDS)


def test_other_texts_under_one_name_are_said(tmp_path: Path) -> None:
    lines = [{"prompt": "x", "mode": "forced", "text": "same name"}]
    for seed, stage in enumerate(("pretraining", "fusion")):
        write_recording(tmp_path / "stages" / stage, lines, lambda n, line, seed=seed: make_trace(40, seed=seed))
    page = TabPage(learn_tab, traces=tmp_path)
    seen = drawn(page)
    assert "same texts" in seen[lesson_of(page).message] and not is_shown(seen[lesson_of(page).shown])


def test_without_recordings_it_says_how_to_make_them(tmp_path: Path) -> None:
    page = TabPage(learn_tab, traces=tmp_path)
    lesson = lesson_of(page)
    heard = [fn for fn in page.blocks.fns.values() if lesson.shown in fn.outputs]
    assert heard == [] and lesson.shown.visible is False
    said = [block.value for block in page.blocks.blocks.values() if isinstance(block, gr.HTML)]
    assert any("python -m training" in str(value) for value in said)
