"""The library in a real browser: cards are replayed, filtered, downloaded, deleted and shared, without an error."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from analysis import storage
from app.engine.catalogue import shipped
from app.server.serve import Served
from tests.e2e.watched_page import WatchedPage, screenshot, wait_until
from tests.fake_engine import FakeEngine
from tests.make_traces import make_mixed_trace, make_trace, without_rows

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]
Serve = Callable[..., Served]
FIRST = shipped()[0]
GENERATED = sum(storage.load(FIRST.path).phase_counts()[name] for name in ("thinking", "answer"))
TOKENS = storage.load(FIRST.path).num_tokens
PNG = b"\x89PNG\r\n\x1a\n"


def open_library(visit: WatchedPage) -> Page:
    page = visit.page
    name = re.compile("^(Library|ライブラリ|记录库)$")
    if page.evaluate("window.innerWidth") > 600:
        page.get_by_role("tab", name=name).click()
    else:  # there is no room for its name
        page.locator("#below .overflow-menu > button").click()
        page.locator("#below .overflow-dropdown button", has_text=name).click()
    expect(page.locator(".lib-card").first).to_be_visible(timeout=30_000)
    return page


def card(page: Page, prompt: str) -> Locator:
    return page.locator(".lib-card", has=page.locator(".lib-title", has_text=re.compile(f"^{re.escape(prompt)}$")))


def download(page: Page, kind: str, folder: Path) -> Path:
    button = page.locator(f"#save-{kind}")
    expect(button).to_be_enabled(timeout=30_000)
    with page.expect_download() as begun:
        button.click()
    file = folder / begun.value.suggested_filename
    begun.value.save_as(file)
    return file


def drawn(page: Page) -> None:
    """Thumbnails come when they are scrolled into view."""
    page.locator(".lib-thumb").first.scroll_into_view_if_needed()
    expect(page.locator(".lib-thumb.lib-drawn").first).to_be_visible(timeout=30_000)


def without_thinking(page: Page) -> Locator:
    return page.locator(".lib-take", has_text="Non-thinking")


@pytest.fixture
def quiet(serve: Serve) -> Iterator[tuple[FakeEngine, Served]]:
    """A server whose model must not be asked anything."""
    engine = FakeEngine()
    yield engine, serve(engine)
    assert engine.requests == []


def test_a_card_is_replayed_and_every_tab_follows(quiet: tuple[FakeEngine, Served], open_page: Open) -> None:
    visit = open_page(quiet[1].url)
    page = open_library(visit)
    expect(page.locator(".lib-card")).to_have_count(
        sum(1 if one.stage else 0.5 for one in shipped())
    )  # a text of a stage, or both modes
    drawn(page)
    chosen = card(page, FIRST.prompt)
    chosen.get_by_role("button", name="Replay").first.click()
    visit.wait_live(
        f"live.run === '{FIRST.id}' && live.token > 0 && live.token < live.rows - 1"
    )  # it plays from its start
    before = visit.live()["token"]
    visit.wait_live(f"live.token > {before}")
    expect(page.locator("#turn-label")).to_have_text("Gallery · Thinking · “What is 538 + 274?”")
    expect(page.locator("#library-shown")).to_contain_text(FIRST.prompt)
    expect(chosen.locator(".lib-take[aria-current=true]")).to_contain_text("shown now")
    page.locator(".xs-pace").select_option("30")
    visit.tab("Load")
    expect(page.locator("#load-map .gtitle")).to_contain_text("Load of every expert", timeout=30_000)
    expect(page.locator("#load-map .gtitle")).to_contain_text(f"n = {GENERATED} tokens")
    visit.tab("Token")
    expect(page.locator("#token-about")).to_contain_text(f"of 0–{TOKENS - 1}", timeout=30_000)
    visit.wait_live("live.token === live.rows - 1", timeout=30_000)  # it plays to its end


def test_a_selection_that_is_overtaken_does_not_win(quiet: tuple[FakeEngine, Served], open_page: Open) -> None:
    """The page selects its first tab itself; that may reach the server after the tab the visitor pressed."""
    visit = open_page(quiet[1].url)
    page, held = visit.page, []

    def hold(route: Route) -> None:
        event = (route.request.post_data_json or {}).get("event_data") or {}
        held.append(route) if event.get("value") == "Token" else route.continue_()

    page.route("**/queue/join*", hold)
    with page.expect_request(lambda request: '"value":"Token"' in (request.post_data or "")):
        visit.reload()
    open_library(visit)
    with page.expect_response(lambda response: response.request == held[0].request):
        held[0].continue_()
    card(page, FIRST.prompt).get_by_role("button", name="Replay").first.click()
    expect(page.locator("#library-shown")).to_contain_text(FIRST.prompt, timeout=30_000)


def test_the_same_card_again_plays_again_at_the_pace_that_was_set(
    quiet: tuple[FakeEngine, Served], open_page: Open
) -> None:
    visit = open_page(quiet[1].url)
    page = open_library(visit)
    replay = card(page, FIRST.prompt).get_by_role("button", name="Replay").nth(1)
    replay.click()
    visit.wait_live("live.run === 'gallery-00000-non-thinking-0' && live.token > 0")
    page.locator(".xs-pace").select_option("0")  # step by step
    page.get_by_role("button", name="Last token").click()
    visit.wait_live("live.token === live.tokens - 1")
    replay.click()
    visit.wait_live("live.token === 0")
    page.wait_for_timeout(600)
    assert visit.live()["token"] == 0
    page.get_by_role("button", name="Next token", exact=True).first.click()
    visit.wait_live("live.token === 1")


def test_cards_are_found_by_text_language_and_mode(quiet: tuple[FakeEngine, Served], open_page: Open) -> None:
    visit = open_page(quiet[1].url)
    page = open_library(visit)
    search, shown = page.locator(".lib-search"), page.locator(".lib-card:visible")
    search.fill("tokyo")
    expect(shown).to_have_count(1)
    expect(shown).to_contain_text("What is the capital of Japan?")
    search.fill("５３８")  # full-width digits
    expect(page.locator(".lib-count")).to_have_text("3 cards")
    page.locator(".lib").get_by_label("Language", exact=True).select_option("ja")
    expect(page.locator(".lib-count")).to_have_text("1 card")
    page.locator(".lib").get_by_label("Mode", exact=True).select_option("non-thinking")
    expect(shown.locator(".lib-take")).to_have_count(1)
    found = next(r.answer for r in shipped() if r.mode == "non-thinking" and r.prompt == "538 + 274 は?")
    expect(shown.locator(".lib-take")).to_contain_text(found)
    search.fill("nothing like it")
    expect(page.locator(".lib > .lib-empty")).to_be_visible()
    visit.tab("Load")
    open_library_again = page.get_by_role("tab", name="Library", exact=True)
    open_library_again.click()
    expect(page.locator(".lib-search")).to_have_value("nothing like it")  # a search outlives a visit to another tab


def test_each_kind_of_download(quiet: tuple[FakeEngine, Served], open_page: Open, tmp_path: Path) -> None:
    visit = open_page(quiet[1].url, accept_downloads=True)
    page = open_library(visit)
    for kind in ("trace", "csv", "svg", "png"):
        expect(page.locator(f"#save-{kind}")).to_be_disabled()
    card(page, FIRST.prompt).get_by_role("button", name="Replay").first.click()
    trace = storage.load(FIRST.path)
    saved = storage.load(download(page, "trace", tmp_path))
    assert (saved.expert_ids == trace.expert_ids).all() and saved.provenance == trace.provenance
    table = download(page, "csv", tmp_path)
    assert table.name == f"mini-qwen3-moe-thinking-{TOKENS}-tokens.csv"
    lines = list(csv.DictReader(io.StringIO(table.read_text("utf-8-sig"), newline="")))
    assert len(lines) == trace.num_rows * 6 + 1 and int(lines[7]["expert_1"]) == trace.expert_ids[1, 1, 0]
    picture = download(page, "svg", tmp_path)
    size = ElementTree.fromstring(picture.read_text("utf-8")).attrib
    image = download(page, "png", tmp_path)
    assert image.suffix == ".png" and image.stem == picture.stem
    data = image.read_bytes()
    assert data.startswith(PNG) and len(data) > 10_000
    assert int.from_bytes(data[16:20], "big") == 2 * int(size["width"])
    expect(page.locator("#save-status")).to_contain_text("on its way")


def test_a_turn_is_deleted_while_it_plays_and_comes_back(serve: Serve, open_page: Open) -> None:
    served = serve(FakeEngine(), own=True)
    store = served.services.store
    store.undo_seconds = 120.0
    visit = open_page(served.url)
    for number, text in enumerate(("first question", "second question"), 1):
        visit.send(text)
        visit.wait_done(number)
    page = open_library(visit)
    second = card(page, "second question")
    expect(second).to_contain_text("#2 · Turn · fake")
    trace_id = list(store._traces)[-1]
    page.locator(".xs-pace").select_option("3")
    second.get_by_role("button", name="Replay").click()
    visit.wait_live("live.token >= 0 && live.token < live.rows - 1")
    second.get_by_role("button", name="Delete").click()
    expect(page.locator("#live-view .xs-message")).to_contain_text("Send a message", timeout=30_000)
    assert trace_id not in store
    expect(page.locator("#turn-label")).to_have_text("No recording yet")
    undo = page.get_by_role("button", name="Undo", exact=True).and_(page.locator(".lib-button"))
    expect(undo).to_be_focused()
    for tab in ("Token", "Load", "Compare"):
        visit.tab(tab)
        page.wait_for_timeout(200)
    expect(page.locator("#load-message")).to_contain_text("Send a message")
    open_library(visit)
    undo.click()
    expect(second).to_be_visible(timeout=30_000)
    assert trace_id in store
    second.get_by_role("button", name="Replay").click()
    expect(page.locator("#turn-label")).to_have_text("Turn 2 of 2", timeout=30_000)

    card(page, "first question").get_by_role("button", name="Delete").click()  # another one than is shown
    expect(page.locator("#turn-label")).to_have_text("Turn 1 of 1", timeout=30_000)
    expect(page.locator("#turn-previous")).to_be_disabled()
    expect(page.locator("#library-shown")).to_contain_text("second question")
    visit.send("third question")
    visit.wait_done(3)
    expect(page.locator("#turn-label")).to_have_text("Turn 2 of 2", timeout=30_000)


def test_what_was_deleted_is_soon_gone_from_the_list(serve: Serve, open_page: Open) -> None:
    served = serve(FakeEngine(), own=True)
    served.services.store.undo_seconds = 5.0
    visit = open_page(served.url)
    visit.send("hello")
    visit.wait_done()
    page = open_library(visit)
    card(page, "hello").get_by_role("button", name="Delete").click()
    expect(page.locator(".lib-deleted")).to_be_visible(timeout=30_000)
    expect(page.locator(".lib-deleted")).to_have_count(0, timeout=30_000)
    page.locator(".lib-search").fill("a")
    expect(page.locator(".lib-deleted")).to_have_count(0)
    assert wait_until(lambda: served.services.store._discarded == {})


def test_files_of_other_models_are_dropped_in_and_shown(
    quiet: tuple[FakeEngine, Served], open_page: Open, tmp_path: Path
) -> None:
    visit = open_page(quiet[1].url)
    page = open_library(visit)
    made = {
        "large": make_trace(30, 94, 128, 8, model="Qwen/Qwen3-235B-A22B", scores=False),
        "mixed": make_mixed_trace(30),
        "dense": make_trace(10, 0, model="dense"),
        "unrouted": without_rows(make_trace(10)),
    }
    files = [storage.save(trace, tmp_path / f"{name}.safetensors") for name, trace in made.items()]
    (tmp_path / "broken.safetensors").write_bytes(b"nothing of the kind")
    page.locator("#open input[type=file]").set_input_files([*files, tmp_path / "broken.safetensors"])
    expect(page.locator("#open-status .status")).to_have_count(5, timeout=30_000)
    expect(page.locator("#open-status .problem")).to_have_text(re.compile("broken.safetensors cannot be opened"))
    expect(page.locator("#open-status")).to_contain_text("94 layers × 128 experts")
    visit.wait_live("live.rows === 30")
    missing = {  # of a trace without rows: where what is said
        "dense": ("#load-message", "there are no experts to choose from"),
        "unrouted": ("#load-map .main-svg", "No token of this phase has a routing row."),
    }
    for name, rows in (("mixed", 30), ("dense", 0), ("unrouted", 0), ("large", 30)):
        opened = page.locator(".lib-card", has_text=f"{name}.safetensors")
        opened.get_by_role("button", name="Replay").click()
        expect(opened.locator(".lib-take")).to_have_attribute("aria-current", "true", timeout=30_000)
        visit.wait_live(f"live.tokens === {made[name].num_tokens}" + (f" && live.rows === {rows}" if rows else ""))
        visit.tab("Load")
        if rows:
            expect(page.locator("#load-map .main-svg").first).to_be_visible(timeout=30_000)
        else:
            part, said = missing[name]
            expect(page.locator(part, has_text=said)).to_be_visible(timeout=30_000)
        open_library(visit)


def test_hostile_text_on_a_card_stays_text(serve: Serve, open_page: Open, tmp_path: Path) -> None:
    text = "<img src=x onerror=alert(1)>${alert(2)}{{value}}<b>bold</b>"
    trace = make_trace(model=text, messages=[{"role": "user", "content": text}], edits=[text])
    storage.save(trace, tmp_path / "x.safetensors")
    visit = open_page(serve(FakeEngine()).url)
    page = open_library(visit)
    page.locator("#open input[type=file]").set_input_files(tmp_path / "x.safetensors")
    expect(card(page, text)).to_be_visible(timeout=30_000)
    expect(page.locator("#library-shown")).to_contain_text(text)
    expect(page.locator("#turn-label")).to_contain_text("<img src=x onerror")
    assert page.locator(".lib img, .lib b:has-text('bold'), #library-shown img, #turn-label img").count() == 0


def test_a_link_opens_a_recording_at_a_token(quiet: tuple[FakeEngine, Served], open_page: Open) -> None:
    visit = open_page(f"{quiet[1].url}/?trace={FIRST.link}&token=30")
    page = visit.page
    visit.wait_live(f"live.run === '{FIRST.id}' && live.token === 30")
    expect(page.locator("#turn-label")).to_contain_text("Gallery")
    expect(page.locator("#token-about")).to_contain_text(f"Token 30 of 0–{TOKENS - 1}", timeout=30_000)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Next token", exact=True).first.click()
    visit.wait_live("live.token === 31")
    page.locator("#turn-link").click()
    expect(page.get_by_text("The link is copied.")).to_be_visible(timeout=30_000)
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"{quiet[1].url}/?trace={FIRST.link}&token=31"
    open_library(visit)
    card(page, FIRST.prompt).get_by_role("button", name="Copy a link").nth(1).click()
    expect(page.locator(".lib-said")).to_have_text("The link is copied.")
    assert page.evaluate("navigator.clipboard.readText()").endswith("?trace=gallery/00000-non-thinking-0")


def test_a_link_without_a_token_plays_and_in_another_language(
    quiet: tuple[FakeEngine, Served], open_page: Open
) -> None:
    visit = open_page(f"{quiet[1].url}/ja?trace={FIRST.link}")
    visit.wait_live(f"live.run === '{FIRST.id}' && live.token > 3")
    expect(visit.page.locator("#turn-label")).to_contain_text("ギャラリー · 思考")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("trace=gallery/none", "does not come along"),
        (
            f"trace={FIRST.link}&token=99999",
            f"this recording has tokens 0 to {TOKENS - 1}",
        ),
    ],
)
def test_a_bad_link_is_one_sentence(quiet: tuple[FakeEngine, Served], open_page: Open, query: str, said: str) -> None:
    visit = open_page(f"{quiet[1].url}/?{query}")
    expect(visit.page.locator("#status .problem")).to_contain_text(said, timeout=30_000)


def test_by_keyboard_alone(quiet: tuple[FakeEngine, Served], open_page: Open) -> None:
    visit = open_page(quiet[1].url)
    page = open_library(visit)
    page.locator(".lib-search").focus()
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")
        )
    assert any(name.startswith("Replay: What is 538 + 274?, Thinking") for name in seen), seen
    page.locator(".lib-open").first.focus()
    page.keyboard.press("Enter")
    visit.wait_live(f"live.run === '{FIRST.id}'")
    unnamed = page.evaluate(
        "() => [...document.querySelectorAll('#tab-library button, .lib :is(input, select, canvas, summary)')]"
        ".filter(e => e.offsetParent && !(e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_how_it_looks_by_day_by_night_and_on_a_phone(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url)
    visit.page.locator(".suggestion").first.click()
    visit.wait_live("live.run !== 'example' && live.rows > 20")
    expect(visit.page.locator("#send")).to_be_enabled(timeout=20_000)
    page = open_library(visit)
    drawn(page)
    paper = "getComputedStyle(document.querySelector('.lib-card')).backgroundColor"
    light = page.evaluate(paper)
    nothing_jumps(visit, "library-light")
    page.locator("#theme").click()
    page.wait_for_function(f"(light) => {paper} !== light", arg=light)
    screenshot(page, "library-dark", 800)
    page.set_viewport_size({"width": 400, "height": 800})
    visit.fits(400)
    nothing_jumps(visit, "library-phone")


def test_it_fits_a_phone_in_another_language(bundled: Served, open_page: Open) -> None:
    visit = open_page(f"{bundled.url}/zh", width=400, height=800)
    drawn(open_library(visit))
    visit.fits(400)
    nothing_jumps(visit, "library-phone-zh")


def nothing_jumps(visit: WatchedPage, name: str) -> None:
    """The list is as high whichever recording is shown."""
    page = visit.page
    heights = []
    for number in (1, 2):
        before = visit.live()["run"]
        page.locator(".lib-open").nth(number).click()
        visit.wait_live(f"live.run !== '{before}'")
        expect(page.locator(".lib-take[aria-current=true]")).to_have_count(1, timeout=30_000)
        visit.still(".lib")
        heights.append(page.locator(".lib").bounding_box()["height"])  # type: ignore[index]
    assert heights[0] == heights[1]
    visit.fits(page.viewport_size["width"])  # type: ignore[index]
    page.locator("#below").evaluate("element => element.scrollIntoView()")
    visit.shot(name, wait=800)
    visit.shot(f"{name}-whole", full=True)
