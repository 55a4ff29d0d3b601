"""Two recordings beside each other: which there are, what is said of two, and the ways that lead there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from analysis.overlap import token_overlap
from analysis.words import LANGUAGES, Words
from app.server.serve import make_services
from app.settings import Settings
from app.ui import compare_tab, library_tab, pair_facts, pair_links, pair_tab
from app.ui.experts_pool import Session
from app.ui.following import ActiveRuns
from app.ui.shelves import cards, names
from app.ui.shelves.links import pair_link, pair_target
from app.ui.shelves.shelf import Item
from tests.fake_engine import FakeEngine
from tests.make_recording import both_modes, write_recording
from tests.make_stages import write_stages
from tests.make_traces import make_mixed_trace, make_trace
from tests.ui.tab_page import is_shown, is_skipped, shared_of

WORDS = Words("en")
STAGES = ("my-own", "pretraining", "cold-start", "general-rl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gallery, and two texts through the stages."""
    write_recording(
        tmp_path / "gallery", both_modes(2, language="en"), lambda n, line: make_trace(40, 3, 16, 4, seed=n)
    )
    return write_stages(tmp_path, STAGES)


class Page:
    """The tab with the library, on a folder of recordings."""

    def __init__(self, folder: Path) -> None:
        self.services = make_services(FakeEngine(), Settings(), folder)
        with gr.Blocks() as self.blocks:
            self.shared = shared_of(compare_tab.NAME)
            tabs, status = gr.Tabs(), gr.HTML()
            self.tab = compare_tab.build(self.services, WORDS)
            self.shelves = library_tab.build(self.services, WORDS)
            self.shelves.feed.render()
            self.shelves.courier.render()
            compare_tab.wire(self.tab, self.services, self.shared)
            library_tab.wire(self.shelves, self.services, ActiveRuns(), self.shared, gr.State(()), WORDS)
            two, kind = self.tab.two, self.tab.kind
            pair_tab.wire(two, kind, self.services, self.shared, self.shelves.shelf, compare_tab.NAME)
            pair_links.wire(self.blocks, self.services, self.shared, tabs, self.tab, self.shelves, status, WORDS)
        self.two = two

    def listeners(self, component: Any, event: str) -> list[Any]:
        return [fn for fn in self.blocks.fns.values() if (component._id, event) in fn.targets]

    def draw(self, first: str, second: str, *, phase: Any = "generated", layer: Any = None, kind: str = "two") -> Any:
        return self.show((first, second), (), Session(), phase, layer, kind)

    def offer(self, pair: tuple[str, str], shelf: Any = (), session: Session | None = None) -> list[Any]:
        shown = self.show(pair, shelf, session or Session())
        return [shown[self.two.first], shown[self.two.second]]

    def show(
        self, pair: Any, shelf: Any, session: Session, phase: Any = None, layer: Any = None, kind: str = "two"
    ) -> Any:
        (fn,) = self.listeners(self.two.pair, "change")
        got = fn.fn(compare_tab.NAME, "en", kind, shelf, session, pair, phase, layer, "light")
        return dict(zip(fn.outputs, got, strict=True))

    def act(self, what: str, trace_id: str, known: tuple[str, str] = ("", "")) -> Any:
        (fn,) = (fn for fn in self.listeners(self.shelves.listing, "act") if self.two.pair in fn.outputs)
        return fn.fn(gr.EventData(None, {"what": what, "id": trace_id}), known)


@pytest.fixture
def page(folder: Path) -> Page:
    return Page(folder)


def stage_id(stage: str, number: int = 0) -> str:
    return f"stages-{stage}-0000{number}-forced-0"


# which recordings there are


def test_stages_are_named_in_words_and_stand_in_the_order_of_training(page: Page) -> None:
    listed = [name for name, _ in names.choices(page.services, (), (), WORDS)]
    assert listed[:2] == ["prompt 0 · Thinking", "prompt 0 · Non-thinking"]
    assert listed[4:] == [
        f"{stage} · {text}"
        for stage in ("Pretraining", "Long-CoT cold start", "General RL", "my-own")
        for text in ("sums", "dates")
    ]
    groups = [group["title"] for group in cards.shipped_groups(page.services.recordings, WORDS)]
    assert "Pretraining" in groups[1] and "General RL" in groups[3] and "my-own" in groups[4]
    for language in LANGUAGES:
        for stage in cards.STAGES:
            assert cards.stage_name(stage, Words(language)) != stage


def test_the_sessions_own_come_first_and_what_is_gone_is_left_out(page: Page) -> None:
    file, turn = (page.services.store.put(make_trace(seed=seed)) for seed in (1, 2))
    compared = page.services.store.put(make_trace(thinking=False))
    shelf = (Item(turn, "turn"), Item(file, "file", name="mine.safetensors"), Item("gone", "turn"))
    found = page.offer((file, "gone"), shelf, Session((), (turn, compared, "gone-too")))
    first, second = ([one for _, one in update["choices"]] for update in found)
    assert first == second and first[:3] == [compared, file, turn] and "gone" not in first
    assert "mine.safetensors" in dict((one, name) for name, one in found[0]["choices"])[file]
    assert [update["value"] for update in found] == [file, None]


def test_a_stage_that_is_shown_is_named(page: Page) -> None:
    label = library_tab.label_of(stage_id("cold-start"), (), page.services, WORDS)
    assert label.startswith("After the stage “Long-CoT cold start”")
    assert library_tab.label_of(stage_id("my-own"), (), page.services, WORDS).startswith("After the stage “my-own”")


# what is said of two


def test_two_stages_of_one_text_are_compared_token_by_token(page: Page) -> None:
    a, b = stage_id("pretraining"), stage_id("general-rl")
    drawn = page.draw(a, b)
    two = page.two
    assert is_shown(drawn[two.whole]) and is_shown(drawn[two.routed]) and is_shown(drawn[two.same])
    facts = drawn[two.facts]
    assert "<td>Pretraining</td><td>General RL</td>" in facts
    assert 'data-link="stages/pretraining/00000-forced-0,stages/general-rl/00000-forced-0"' in facts
    overlap = token_overlap(page.services.store.get(a), page.services.store.get(b))
    assert overlap is not None
    figure, text = drawn[two.shared]["value"], drawn[two.text]
    np.testing.assert_allclose(figure.data[-1].x, 100 * overlap.values.mean(axis=0))
    assert f"{100 * overlap.values.mean():.3g} %" in text and "would give 25 %" in text
    assert text.count("<span") == 41 and text.count("not routed in one of the two") == 1
    assert drawn[two.tinted[0]] == "" and is_shown(drawn[two.view.difference])
    one_layer = page.draw(a, b, layer=2)
    assert one_layer[two.layer]["value"] == 2 and "layer 2" in one_layer[two.text]


def test_two_answers_are_tinted_in_a_phase_that_both_have(page: Page) -> None:
    drawn = page.draw("gallery-00000-thinking-0", "gallery-00001-non-thinking-0")
    two = page.two
    assert drawn[two.same]["visible"] is False and 'class="lean"' in drawn[two.tinted[0]]
    mixed = page.draw("gallery-00000-thinking-0", page.services.store.put(make_trace(6, 3, 16, 4, thinking=False)))
    assert mixed[two.view.phase]["value"] in dict((p, n) for n, p in mixed[two.view.phase]["choices"])
    assert "no address" not in mixed[two.facts] and mixed[two.link]["visible"] is False


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda: make_mixed_trace(12), "Their routers differ (A: 3 layers × 16 experts, top-4; B: 3 layers × 4–16"),
        (lambda: make_trace(12, 0), "B comes from a dense model"),
    ],
)
def test_other_routers_get_one_sentence_and_their_facts(page: Page, other: Any, says: str) -> None:
    drawn = page.draw(stage_id("pretraining"), page.services.store.put(other()))
    assert says in drawn[page.two.message] and is_shown(drawn[page.two.whole]) and "Routers" in drawn[page.two.facts]
    assert drawn[page.two.routed]["visible"] is False


def test_what_is_missing_is_said(page: Page) -> None:
    a = stage_id("pretraining")
    assert "Choose two recordings" in page.draw("", "")[page.two.message]
    assert "to compare it with" in page.draw(a, "")[page.two.message]
    gone = page.draw(a, "gone")
    assert "no longer in memory" in gone[page.two.message] and gone[page.two.whole]["visible"] is False
    assert "the same recording" in page.draw(a, a)[page.two.message]
    assert all(is_skipped(value) for value in page.draw(a, a, kind="one").values())


def test_a_side_is_named_by_its_checkpoint_where_the_other_is_another() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    a, b = (make_trace(revision=commit, thinking=thinking) for thinking in (True, False))
    assert [pair_tab.side_name("A", a, b, WORDS), pair_tab.side_name("B", b, a, WORDS)] == [
        "A · Thinking",
        "B · Non-thinking",
    ]
    stage = make_trace(revision="pretraining")
    assert pair_tab.side_name("B", stage, a, WORDS) == "B · Pretraining"
    assert pair_tab.side_name("A", a, stage, WORDS) == f"A · {commit}"


def test_what_a_tint_shows_can_be_read(page: Page) -> None:
    drawn = page.draw(stage_id("pretraining"), stage_id("general-rl"))
    text = drawn[page.two.text]
    assert '<p class="lean" role="region" tabindex="0" aria-label="Text">' in text
    assert text.count("<th scope='row'>") == 41 and text.count("<td>–</td>") == 1
    tinted = page.draw("gallery-00000-thinking-0", "gallery-00001-non-thinking-0")[page.two.tinted[0]]
    assert 'role="region" tabindex="0" aria-label="Text A · Thinking"' in tinted
    assert tinted.count("<th scope='row'>") == tinted.count("<span") > 0


def test_foreign_text_stays_text() -> None:
    hostile = b"<img src=x onerror=alert(1)>"
    a = make_trace(20, 2, 8, 2).with_provenance(revision=hostile.decode(), model="<b>")
    object.__setattr__(a, "pieces", (hostile,) * a.num_tokens)
    b = replace(a, provenance={"model": "<i>"})
    found = token_overlap(a, b)
    assert found is not None
    shown = pair_facts.facts_html(a, b, '"><script>', WORDS) + pair_facts.shared_html(a, found, -1, WORDS)
    assert "<img" not in shown and "<script" not in shown and "<i>" not in shown


# the ways that lead there


def test_an_address_names_two_recordings(page: Page) -> None:
    found = pair_target(
        "?compare=gallery/00000-thinking-0,stages/my-own/00001-forced-0", page.services.recordings, WORDS
    )
    assert found is not None and found.ids == ("gallery-00000-thinking-0", stage_id("my-own", 1)) and not found.problem
    assert pair_link(found.ids, page.services.recordings) == "gallery/00000-thinking-0,stages/my-own/00001-forced-0"
    assert pair_link((found.ids[0], "own"), page.services.recordings) == ""
    for query, says in (("?compare=a", "two recordings"), ("?compare=a,b", "“a”"), ("compare=a,b,c", "two recordings")):
        wrong = pair_target(query, page.services.recordings, WORDS)
        assert wrong is not None and says in wrong.problem
    for other in (None, 3, "", "?trace=a", "?compare="):
        assert pair_target(other, page.services.recordings, WORDS) is None


def test_a_card_leads_to_its_partner(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    assert page.act("compare", "gallery-00002-thinking-0")[0] == (
        "gallery-00002-thinking-0",
        "gallery-00003-non-thinking-0",
    )
    pair, _, open_tab, _, kind = page.act("compare", stage_id("pretraining", 1))
    assert pair == (stage_id("pretraining", 1), stage_id("cold-start", 1))
    assert (open_tab, kind) == (compare_tab.NAME, pair_tab.KIND)
    assert page.act("compare", stage_id("general-rl"))[0][1] == stage_id("cold-start")
    assert page.act("compare", stage_id("my-own"))[0][1] == ""
    own = page.services.store.put(make_trace())
    assert page.act("compare", own)[0] == (own, "")
    assert page.act("compare", own, ("", stage_id("my-own")))[0] == (own, stage_id("my-own"))
    for what, one in (("open", own), ("compare", "gone"), ("compare", "<b>")):
        assert all(is_skipped(value) for value in page.act(what, one))
    assert "no longer in memory" in capsys.readouterr().out


def test_a_stage_beside_the_way_goes_with_its_own_partner(tmp_path: Path) -> None:
    services = Page(write_stages(tmp_path, ("my-own", *cards.STAGES))).services
    partners = {stage: names.partner(stage_id(stage, 1), services) for stage in ("my-own", *cards.STAGES)}
    assert partners == {
        "my-own": "",
        "pretraining": stage_id("cold-start", 1),
        "cold-start": stage_id("reasoning-rl", 1),
        "reasoning-rl": stage_id("fusion", 1),
        "fusion": stage_id("general-rl", 1),
        "general-rl": stage_id("fusion", 1),
        "teacher": stage_id("general-rl", 1),
        "distillation-off": stage_id("distillation-on", 1),
        "distillation-on": stage_id("distillation-off", 1),
    }
    assert names.example_pair(services.recordings) == (stage_id("pretraining"), stage_id("general-rl"))


def test_another_text_under_the_same_name_is_no_partner(tmp_path: Path) -> None:
    for stage, prompt in (("pretraining", "x"), ("cold-start", "y")):
        lines = [{"prompt": prompt, "mode": "forced", "text": "same name"}]
        write_recording(tmp_path / "stages" / stage, lines, lambda n, line: make_trace(40, 3, 16, 4))
    services = Page(tmp_path).services
    assert names.partner(stage_id("pretraining"), services) == ""
    assert names.example_pair(services.recordings) == ("", "")


def test_texts_of_the_stages_are_named_in_words() -> None:
    said = [cards.text_name("dates ja", Words(code)) for code in LANGUAGES]
    assert said == ["Dates · 日本語", "日付 · 日本語", "日期 · 日本語"]
    for other in ("sums", "dates", "dates xx", "my own en", "", "ja"):
        assert cards.text_name(other, WORDS) == other


def test_a_stages_text_begins_on_its_card_with_what_was_asked(tmp_path: Path) -> None:
    asked = "<|im_start|>user\n2 + 3?<|im_end|>\n<|im_start|>assistant\n<think>\n5\n</think>\n\n5<|im_end|>"
    lines = [{"prompt": asked, "mode": "forced", "text": "capitals zh"}]
    write_recording(tmp_path / "stages" / "fusion", lines, lambda n, line: make_trace(40, 3, 16, 4))
    ((card,),) = (group["cards"] for group in cards.shipped_groups(Page(tmp_path).services.recordings, WORDS))
    assert card["prompt"] == "Capitals · 中文"
    assert card["takes"][0]["answer"] == "2 + 3?\n<think>\n5\n</think>\n\n5"


def test_the_library_leaves_comparing_to_the_tab(page: Page) -> None:
    (fn,) = (fn for fn in page.listeners(page.shelves.listing, "act") if page.shelves.shelf in fn.outputs)
    event = gr.EventData(None, {"what": "compare", "id": stage_id("pretraining")})
    assert all(is_skipped(value) for value in fn.fn(event, None, (), ""))


def test_the_example_is_the_first_and_the_last_stage_of_one_text_else_two_modes(page: Page) -> None:
    found = {r.id: r for r in page.services.recordings}
    first, last = (found[one] for one in names.example_pair(found.values()))
    assert first.prompt == last.prompt and first.stage == "pretraining" and last.stage == "general-rl"
    gallery = [r for r in found.values() if not r.stage]
    a, b = (found[one] for one in names.example_pair(gallery))
    assert a.prompt == b.prompt and {a.mode, b.mode} == {"thinking", "non-thinking"}
    assert names.example_pair(gallery[:1]) == ("", "")


def test_a_swap_turns_the_pair_round(page: Page) -> None:
    (fn,) = page.listeners(page.two.swap, "click")
    assert fn.fn(("a", "b")) == ("b", "a")
    assert pair_tab.pair_of(None, 7) == ("", "")
