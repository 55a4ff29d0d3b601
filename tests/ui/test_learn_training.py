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
RECORDED = ("pretraining", "fusion", "teacher", "distillation-off", "distillation-on", "general-rl", "my-own")
CHAIN_NAMES = ("pretraining", "fusion", "general-rl")
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


def drawn(page: TabPage, text: Any = None, pressed: Any = ("", -1), layer: Any = None) -> dict[Any, Any]:
    fn = page.listener(lesson_of(page).text, "input")
    return dict(zip(fn.outputs, fn.fn("learn", "en", text, pressed, layer, "light"), strict=True))


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
    assert press(gr.EventData(None, {"at": [0, 7]}), "sums") == ("sums", 7)
    seen = drawn(page, text="sums", pressed=("sums", 7), layer=1)
    last = page.services.store.get("stages-general-rl-00000-forced-0")
    figure = seen[lesson.experts]["value"]
    assert "Layer 1" in figure.layout.title.text and "token 7" in figure.layout.title.text
    assert list(figure.data[0].x[:4]) == [str(e) for e in _by_weight(last, 7, 1)]
    tokens = seen[lesson.tokens]
    assert tokens.count("<button") == 40 and 'data-token="0,7" aria-pressed="true"' in tokens
    assert tokens.count('aria-pressed="true"') == 1
    wrong = (("<b>", -1), ("<b>", 40), ("<b>", "x"), press(gr.EventData(None, {"at": "x"}), "<b>"))
    for pressed in wrong:
        assert 'data-token="0,20" aria-pressed="true"' in drawn(page, "<b>", pressed)[lesson.tokens]


def test_a_token_pressed_in_one_text_is_not_pressed_in_another(folder: Path) -> None:
    page = TabPage(learn_tab, traces=folder)
    seen = drawn(page, text="dates", pressed=("sums", 7))
    assert 'data-token="0,20" aria-pressed="true"' in seen[lesson_of(page).tokens]


def _by_weight(trace: Any, token: int, layer: int) -> list[int]:
    ids, weights = trace.expert_ids[token, layer], trace.expert_weights[token, layer]
    return [int(ids[i]) for i in np.argsort(-weights.astype(float), kind="stable")]


def test_hostile_tokens_stay_text() -> None:
    trace = make_trace(rows=20)
    object.__setattr__(trace, "pieces", (b"<img src=x onerror=alert(1)>\n",) * trace.num_tokens)
    assert "<img" not in training.tokens_html(trace, 3, WORDS)


def test_other_texts_under_one_name_are_left_out(tmp_path: Path) -> None:
    for stage, prompts in (("pretraining", "xy"), ("fusion", "ay"), ("general-rl", "ab")):
        lines = [{"prompt": prompt, "mode": "forced", "text": f"text {n}"} for n, prompt in enumerate(prompts)]
        write_recording(tmp_path / "stages" / stage, lines, _lonely)
    found = training.staged(shipped(tmp_path))
    assert {text: [one.stage for one in line] for text, line in found.items()} == {"text 0": ["fusion", "general-rl"]}


def test_texts_are_named_in_words(tmp_path: Path) -> None:
    write_stages(tmp_path, CHAIN_NAMES, ("dates ja", "sums"))
    page = TabPage(learn_tab, language="zh", traces=tmp_path)
    assert lesson_of(page).text.choices == [("日期 · 日本語", "dates ja"), ("sums", "sums")]


def test_one_text_that_cannot_be_compared_does_not_lock_out_the_others(tmp_path: Path) -> None:
    lines = [{"prompt": "x", "mode": "forced", "text": "same name"}]
    for seed, stage in enumerate(("pretraining", "fusion")):
        write_recording(tmp_path / "stages" / stage, lines, lambda n, line, seed=seed: make_trace(40, seed=seed))
    page = TabPage(learn_tab, traces=tmp_path)
    seen, lesson = drawn(page), lesson_of(page)
    assert "same texts" in seen[lesson.message] and not is_shown(seen[lesson.shown])
    assert lesson.text.visible and lesson.text.parent is not lesson.shown and lesson.text not in seen


def test_without_recordings_it_says_how_to_make_them(tmp_path: Path) -> None:
    page = TabPage(learn_tab, traces=tmp_path)
    lesson = lesson_of(page)
    heard = [fn for fn in page.blocks.fns.values() if lesson.shown in fn.outputs]
    assert heard == [] and lesson.shown.visible is False and lesson.text.visible is False
    said = [block.value for block in page.blocks.blocks.values() if isinstance(block, gr.HTML)]
    assert any("python -m training" in str(value) for value in said)
