"""What can go wrong in a browser, provoked with engines that do as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from app.server.serve import Served
from app.ui import chat
from app.ui.chat import as_updates
from app.ui.turn import TurnView, run_turn
from tests.e2e.watched_page import WatchedPage, wait_until
from tests.fake_engine import FakeEngine, experts_of

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]
Serve = Callable[..., Served]

HOSTILE = (
    "<img src=http://evil.test/a.png onerror=alert(1)> <script>alert(2)</script> ${alert(3)} {{constructor}} "
    "![leak](http://evil.test/b.png) <iframe src=http://evil.test></iframe> `<img src=http://evil.test/c.png>` "
    "<a href=javascript:alert(4)>x</a> <svg onload=alert(5)>\n```\n<img src=http://evil.test/d.png>\n"
)


def test_hostile_text_stays_text(serve: Serve, open_page: Open) -> None:
    """From the user, in the thinking, in the answer, in the live view and in an error."""
    engine = FakeEngine()
    engine.enqueue("hm " + HOSTILE, "well " + HOSTILE)
    visit = open_page(serve(engine).url)
    visit.send(HOSTILE)
    visit.wait_done()
    visit.thinking.locator("[role=button]").click()
    for place in (visit.page.locator('#chat [data-testid="user"]'), visit.answers.last, visit.thinking):
        expect(place).to_contain_text("<script>alert(2)</script>")
        expect(place).to_contain_text("${alert(3)} {{constructor}}")
        expect(place).to_contain_text("![leak](http://evil.test/b.png)")
        assert place.locator("img, script, iframe, svg[onload], a[href^=javascript]").count() == 0
    expect(visit.page.locator("#live-view")).to_contain_text("onerror")
    assert visit.page.locator("#live-view img, #live-view iframe, #live-view script").count() == 0
    visit.shot("hostile")


OVERLAY = '<h1 style="position:fixed;inset:0">gotcha</h1><form action=http://evil.test><button>x</button></form>'


TRICKS = (
    f"\\`{OVERLAY}\\` end",
    f"``` a`b\n{OVERLAY}\n```",
    f"- a\n  ```\n  x\n{OVERLAY}",
    f"$$\n```\n$$\n{OVERLAY}\n```",
    f"| a | b |\n|---|---|\n| `{OVERLAY} | x` |",
    f'```mermaid\ngraph TD; A["{OVERLAY}"]-->B\n```',
)


def test_what_only_looks_like_code_becomes_no_element(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine()
    visit = open_page(serve(engine).url)
    for turn, trick in enumerate(TRICKS, 1):
        engine.enqueue("hm", trick.replace("gotcha", f"gotcha {turn}"))
        visit.send("hello")
        visit.wait_done(turn)
        expect(visit.answers.last).to_contain_text(f"gotcha {turn}")
        assert visit.page.locator("#chat").locator("h1, form, svg.mermaid, .mermaid svg").count() == 0, trick


def test_a_message_is_edited_as_it_was_written(serve: Serve, open_page: Open) -> None:
    text = "is 2*3*4 < 5 & a&b? [x](y) `a<b>`"
    engine = FakeEngine()
    visit = open_page(serve(engine).url)
    visit.send(text)
    visit.wait_done()
    visit.page.locator("#chat").get_by_role("button", name="Edit").first.click()
    expect(visit.page.locator("#chat textarea")).to_have_value(text)
    visit.page.locator("#chat").get_by_role("button", name="Submit").click()
    assert wait_until(lambda: len(engine.requests) == 2)
    assert [m.content for r in engine.requests for m in r.messages] == [text, text]


def test_a_refused_retry_loses_no_turn(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine()).url)
    for turn in (1, 2):
        visit.send(f"number {turn}")
        visit.wait_done(turn)
    visit.page.get_by_role("button", name="Settings").click()
    visit.page.locator("#seed input, #seed textarea").fill("abc")
    visit.box.fill("a draft")
    visit.page.locator("#chat").get_by_role("button", name="Retry").last.click()
    expect(visit.page.locator("#status")).to_contain_text("Seed must be", timeout=30_000)
    expect(visit.page.locator('#chat [data-testid="user"]')).to_have_count(2)
    expect(visit.box).to_have_value("a draft")


def test_a_message_sent_while_the_event_of_the_last_one_ends_is_answered(
    serve: Serve, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def lingering(*args: Any) -> Iterator[tuple[Any, ...]]:
        yield from as_updates(*args)
        over.wait(120)

    monkeypatch.setattr(chat, "as_updates", lingering)
    engine = FakeEngine()
    visit = open_page(serve(engine).url)
    try:
        for turn in (1, 2, 3):
            visit.send(f"number {turn}")
            visit.wait_done(turn)
    finally:
        over.set()
    assert len(engine.requests) == 3


def begin_late(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Every turn of the chat begins so much later."""

    def late(*args: Any) -> Iterator[TurnView]:
        time.sleep(seconds)
        yield from run_turn(*args)

    monkeypatch.setattr(chat, "run_turn", late)


def test_what_is_sent_twice_at_once_is_one_turn(serve: Serve, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_late(monkeypatch, 0.5)
    engine = FakeEngine()
    visit = open_page(serve(engine).url)
    visit.box.fill("only once")
    visit.page.locator("#send").evaluate("button => { button.click(); button.click(); }")
    visit.wait_done()
    visit.send("and again")
    visit.wait_done(2)
    assert [request.messages[-1].content for request in engine.requests] == ["only once", "and again"]


def test_what_is_written_before_the_last_message_is_taken_stays(
    serve: Serve, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_late(monkeypatch, 1)
    engine = FakeEngine()
    visit = open_page(serve(engine).url)
    visit.send("the first")
    visit.box.fill("the second")
    visit.box.press("Enter")  # too early: nothing is asked, nothing is lost
    visit.wait_done()
    expect(visit.box).to_have_value("the second")
    visit.box.press("Enter")
    visit.wait_done(2)
    expect(visit.box).to_have_value("")
    assert [request.messages[-1].content for request in engine.requests] == ["the first", "the second"]
    visit.box.fill("a draft")
    visit.page.locator("#chat").get_by_role("button", name="Undo").last.click()
    expect(visit.box).to_have_value("the second\na draft", timeout=30_000)


def test_a_cleared_chat_is_cleared_everywhere(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine()
    visit = open_page(serve(engine).url)
    page = visit.page
    visit.send("for my eyes only")
    visit.wait_done()
    visit.wait_live("live.rows > 5")
    visit.token(3).click()
    expect(page.locator("#token-about")).to_contain_text("Token 3 of", timeout=30_000)
    page.locator("#clear").click()
    expect(page.locator("#live-view .xs-live")).to_have_attribute("data-state", "empty", timeout=30_000)
    expect(page.locator("#turn-label")).to_have_text("No recording yet")
    expect(page.locator("#token-message")).to_contain_text("Send a message")
    expect(page.get_by_text("my eyes only")).to_have_count(0)


def test_undo_shows_the_turn_before(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine()).url)
    for turn, text in ((1, "first words"), (2, "second and longer words")):
        visit.send(text)
        visit.wait_done(turn)
    visit.wait_live("live.rows > 5 && live.rows === live.tokens - 1")
    rows = visit.live()["rows"]
    visit.page.locator("#chat").get_by_role("button", name="Undo").last.click()
    expect(visit.page.locator("#turn-label")).to_have_text("Turn 1 of 1", timeout=30_000)
    visit.wait_live(f"live.rows > 5 && live.rows < {rows}")


def test_pasted_text_waits_for_the_chat(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(delay=0.03)
    engine.enqueue("long " * 1000, "never")
    visit = open_page(serve(engine).url)
    visit.send("go on")
    visit.wait_live("live.rows > 5")
    visit.tab("Route text")
    visit.page.locator("#forced-text textarea").fill("some text")
    visit.page.locator("#forced-go").click()
    expect(visit.page.get_by_text("An answer is still being written")).to_be_visible(timeout=30_000)
    visit.page.locator("#stop").click()
    expect(visit.status).to_contain_text("Stopped", timeout=30_000)
    visit.page.locator("#forced-go").click()
    expect(visit.page.locator("#forced-status")).to_contain_text("Done", timeout=30_000)


def test_a_new_chat_while_pasted_text_is_read_clears_the_chat(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine()
    visit = open_page(serve(engine).url)
    visit.send("hello")
    visit.wait_done()
    engine.may_begin.clear()
    visit.tab("Route text")
    visit.page.locator("#forced-text textarea").fill("some text")
    expect(visit.page.locator("#forced-go")).to_be_enabled(timeout=30_000)
    visit.page.locator("#forced-go").click()
    expect(visit.page.locator("#forced-stop")).to_be_enabled(timeout=30_000)
    visit.page.locator("#clear").click()
    expect(visit.page.locator('#chat [data-testid="user"]')).to_have_count(0)
    assert engine.running == 1
    engine.may_begin.set()
    expect(visit.page.locator("#forced-go")).to_be_enabled(timeout=30_000)
    assert wait_until(lambda: engine.running == 0)


def test_the_token_tab_takes_the_live_view_along(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine(layers=4)).url)
    page = visit.page
    visit.send("Hello, how are you?")
    visit.wait_done()
    visit.token(4).click()
    expect(page.locator("#token-about")).to_contain_text("Token 4 of", timeout=30_000)
    page.locator("#token-previous").click()
    expect(page.locator("#token-about")).to_contain_text("Token 3 of", timeout=30_000)
    visit.wait_live("live.token === 3")
    expect(visit.token(3)).to_have_attribute("aria-selected", "true")
    visit.token(4).click()  # and once more the same way
    expect(page.locator("#token-about")).to_contain_text("Token 4 of", timeout=30_000)
    page.locator("#token-previous").click()
    visit.wait_live("live.token === 3")


def test_code_that_markdown_reads_otherwise_loads_nothing(serve: Serve, open_page: Open) -> None:
    """Where our idea of code and Markdown's differ, the page's own policy still keeps pictures from loading."""
    tricks = (
        "`a\n![x](http://evil.test/1.png)\nb`\n\n    ```\n![y](http://evil.test/2.png)\n\n"
        "~~~\n![z](http://evil.test/3.png)\n"
    )
    engine = FakeEngine()
    engine.enqueue(tricks, tricks)
    visit = open_page(serve(engine).url)
    loaded: list[str] = []
    visit.page.on("requestfinished", lambda r: loaded.append(r.url) if "evil" in r.url else None)
    visit.send(tricks)
    visit.wait_done()
    visit.page.wait_for_timeout(300)
    assert loaded == []


def test_stop_ends_the_run_and_keeps_what_came(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(delay=0.03)
    engine.enqueue("long " * 1000, "never")
    visit = open_page(serve(engine).url)
    visit.send("go on and on")
    visit.wait_live("live.rows > 10")
    expect(visit.page.locator("#send")).to_be_disabled()
    before = visit.live()["rows"]
    visit.wait_live(f"live.rows > {before}")
    visit.page.locator("#stop").click()
    expect(visit.status).to_contain_text("Stopped", timeout=30_000)
    expect(visit.page.locator("#send")).to_be_enabled()
    expect(visit.page.locator("#stop")).to_be_disabled()
    expect(visit.thinking.locator('[role="button"]')).to_have_attribute("aria-busy", "false")
    assert wait_until(lambda: engine.running == 0 and engine.streams_closed == 1)
    expect(visit.page.locator("#turn-label")).to_have_text("Turn 1 of 1")
    visit.send("again")
    visit.wait_done(2)
    expect(visit.answers.last).to_contain_text("You wrote: again")


def test_clearing_in_mid_stream_leaves_an_empty_chat_and_a_free_model(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(delay=0.03)
    engine.enqueue("long " * 1000, "never")
    served = serve(engine)
    visit = open_page(served.url)
    visit.send("go on and on")
    visit.wait_live("live.rows > 10")
    visit.page.locator("#clear").click()
    expect(visit.page.locator('#chat [data-testid="user"]')).to_have_count(0)
    assert wait_until(lambda: engine.running == 0 and served.services.scheduler.length == 0)
    visit.page.wait_for_timeout(400)
    expect(visit.page.locator('#chat [data-testid="user"]')).to_have_count(0)
    visit.send("afresh")
    visit.wait_done()
    assert [m.content for m in engine.requests[-1].messages] == ["afresh"]


def test_a_token_clicked_in_mid_stream_is_shown_and_the_whole_turn_afterwards(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(delay=0.1)
    engine.enqueue("long " * 2000, "the end")
    served = serve(engine)
    visit = open_page(served.url)
    visit.send("hello there")
    visit.wait_live("live.rows > 8")
    visit.token(5).click()
    expect(visit.page.locator("#token-about")).to_contain_text("5", timeout=30_000)
    assert engine.running == 1
    visit.page.locator("#stop").click()
    visit.wait_done()
    expect(visit.page.locator("#turn-label")).to_have_text("Turn 1 of 1")


def test_a_closed_tab_lets_the_next_visitor_run(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(delay=0.03)
    engine.enqueue("long " * 1000, "never")
    served = serve(engine)
    leaving, staying = open_page(served.url), open_page(served.url)
    leaving.send("leaving soon")
    leaving.wait_live("live.rows > 5")
    staying.send("patient")
    expect(staying.status).to_contain_text("1 before you", timeout=30_000)
    leaving.page.close()
    staying.wait_done()
    expect(staying.answers.last).to_contain_text("You wrote: patient")
    assert wait_until(lambda: engine.running == 0 and served.services.scheduler.length == 0)
    assert engine.streams_closed == engine.streams_open == 2


def test_two_visitors_at_once_see_only_their_own(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(experts=64, delay=0.01)
    served = serve(engine)
    visits = {text: open_page(served.url) for text in ("first visitor", "second visitor")}
    for text, visit in visits.items():
        visit.send(text)
    shown = "(chips) => chips.filter((c) => c.checkVisibility()).map((c) => [Number(c.dataset.l), Number(c.dataset.e)])"
    for text, visit in visits.items():
        visit.wait_done()
        visit.wait_live("live.rows > 5 && live.rows === live.tokens - 1")
        other = next(t for t in visits if t != text)
        expect(visit.answers.last).to_contain_text(f"You wrote: {text}")
        expect(visit.page.locator("body")).not_to_contain_text(other)
        chips = visit.page.locator("#live-view .xs-chip").evaluate_all(shown)
        own = [[layer, expert] for layer, row in enumerate(experts_of(text, engine.spec).tolist()) for expert in row]
        assert sorted(chips) == sorted(own)


def test_a_fault_of_the_program_is_one_sentence_and_the_text_is_back(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine(fail_after=0)).url)
    visit.send("precious text")
    expect(visit.status).to_contain_text("Something went wrong", timeout=30_000)
    expect(visit.box).to_have_value("precious text")
    expect(visit.page.locator("#send")).to_be_enabled()


def test_settings_are_what_they_show(serve: Serve, open_page: Open) -> None:
    """Opening the settings changes nothing; what is set there is what the engine is asked for."""
    engine = FakeEngine()
    visit = open_page(serve(engine).url)
    page = visit.page
    page.get_by_role("button", name="Settings").click()
    expect(page.locator("#seed input, #seed textarea")).to_have_value("")
    visit.send("untouched")
    visit.wait_done()
    asked = engine.requests[-1]
    assert asked.thinking_budget is None and asked.mode == "thinking" and asked.sampling is not None
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.top_k) == (0.6, 0.95, 20)

    page.locator("#budget input, #budget textarea").fill("3")
    page.locator("#seed input, #seed textarea").fill("42")
    page.locator("#temperature input").fill("0.9")
    page.locator("#system textarea").fill("Be brief.")
    visit.send("touched")
    visit.wait_done(2)
    asked = engine.requests[-1]
    assert asked.sampling is not None and asked.sampling.temperature == 0.9
    assert (asked.thinking_budget, asked.seed) == (3, 42)
    assert (asked.messages[0].role, asked.messages[0].content) == ("system", "Be brief.")

    page.locator("#temperature input").fill("99")
    visit.send("too hot")
    expect(visit.status).to_contain_text("Temperature must be a number from 0 to 5, not 99", timeout=30_000)
    expect(visit.box).to_have_value("too hot")
    page.locator("#temperature input").fill("0.6")
    page.locator("#budget input, #budget textarea").fill("six")
    page.locator("#send").click()
    expect(visit.status).to_contain_text("Thinking budget must be a number", timeout=30_000)
    assert len(engine.requests) == 2


def test_a_foreign_file_is_one_sentence(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine()).url)
    visit.tab("Library")
    visit.page.locator("#open input[type=file]").set_input_files(
        {"name": "x.safetensors", "mimeType": "application/octet-stream", "buffer": b"not a trace at all"}
    )
    expect(visit.page.locator("#open-status .problem")).to_be_visible(timeout=30_000)


def test_the_streaming_screen_does_not_jump(serve: Serve, open_page: Open) -> None:
    """The box stays where it is from before the first message until the answer is done."""
    engine = FakeEngine(delay=0.02)
    engine.enqueue("some thinking " * 20, "some answer " * 40)
    visit = open_page(serve(engine).url)
    expect(visit.page.locator("#live-view .xs-live")).to_have_attribute("data-state", "empty")
    visit.page.evaluate("() => document.fonts.ready.then(() => true)")
    visit.still("#box", 1000)
    place = visit.page.locator("#box").bounding_box()
    visit.send("hello")
    visit.wait_live("live.rows > 10")
    assert visit.page.locator("#box").bounding_box() == place
    visit.shot("streaming")
    visit.wait_done()
    assert visit.page.locator("#box").bounding_box() == place
