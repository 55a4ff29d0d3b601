"""The words of all languages: the same keys, the same placeholders, none empty, and all that the code asks for."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

from analysis import words as module
from analysis.words import LANGUAGES, Words, locale

ROOT = Path(__file__).resolve().parents[2]


def placeholders(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("language", [code for code in LANGUAGES if code != "en"])
def test_every_language_says_everything(language):
    english, other = locale("en"), locale(language)
    assert set(english) == set(other)
    for key, text in other.items():
        assert placeholders(text) == placeholders(english[key]), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_empty(language):
    for key, text in locale(language).items():
        assert isinstance(text, str) and text.strip(), key


@pytest.mark.parametrize(("asks", "least"), [("words", 500), ("say", 100), ("said", 40)])
def test_keys_written_in_the_code_exist(asks, least):
    """Every literal ``words("…")``, ``say("…")`` and ``UserError.said("…")``; keys put together at run time are not
    seen. What ``say`` puts in front of a key is that of the page, or of a ``words(f"tabs.load.{key}")`` in its file."""
    known, asked, unknown = set(locale("en")), 0, []
    for path in [*(ROOT / "analysis").rglob("*.py"), *(ROOT / "app").rglob("*.py")]:
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        before = {"words": {""}, "said": {"errors."}, "say": {"", "page."} | set(map(beginning, calls))}[asks]
        for call in calls:
            for key in keys(call) if name_of(call).lstrip("_") == asks else ():
                asked += 1
                if not {part + key for part in before} & known:
                    unknown.append(f"{path.relative_to(ROOT)}:{call.lineno} {key}")
    assert asked > least and unknown == []


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "id", "") or getattr(call.func, "attr", "")


def keys(call: ast.Call) -> list[str]:
    """The literals of a call's key, which may stand after its words and be one of two."""
    first = next((a for a in call.args if not (isinstance(a, ast.Name) and a.id == "words")), None)
    parts = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def beginning(call: ast.Call) -> str:
    """``"tabs.load."`` of ``words(f"tabs.load.{key}")``, else nothing."""
    first = call.args[0] if call.args and name_of(call) == "words" else None
    match first:
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), ast.FormattedValue(value=ast.Name(id="key"))]):
            return text
    return ""


def test_values_are_put_in_and_never_read_as_placeholders():
    words = Words("en")
    assert words("tabs.layer_name", layer=3) == "Layer 3"
    assert words("tabs.layer_name", layer="{phase} %{x}") == "Layer {phase} %{x}"


def test_unknown_keys_are_errors_and_unknown_languages_are_english():
    with pytest.raises(KeyError):
        Words("ja")("tabs.no_such_text")
    for language in ("xx", None, 3, "", "EN-us"):
        assert Words(language).language == "en"
    assert Words("zh-CN").language == "zh"


def test_what_a_language_lacks_is_said_in_english(monkeypatch):
    texts = {"en": {"a.b": "English", "a.c": "sea {x}"}, "ja": {"a.b": "日本語"}}
    monkeypatch.setattr(module, "locale", texts.__getitem__)
    assert Words("ja")("a.b") == "日本語"
    assert Words("ja")("a.c", x=1) == "sea 1"


def test_marks_between_chinese_characters_are_full_width():
    """But not in what is sent to a model as it stands, nor in what is typed at a command line."""
    half = re.compile(r"[\u4e00-\u9fff“”][,:;?!()]|[,:;?!()] ?[\u4e00-\u9fff“”]")
    as_typed = ("learn.contexts.example_first", "learn.contexts.example_second", "errors.edit_text")
    assert [key for key, text in locale("zh").items() if half.search(text) and key not in as_typed] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_mode_has_one_name(language):
    words = Words(language)
    for mode, switch, column in (("thinking", "thinking", "first"), ("non-thinking", "direct", "second")):
        keys = (f"library.mode.{mode}", f"library.page.mode_{mode}", f"figures.contrast.group.{mode}")
        names = {words(key).lower() for key in (*keys, f"page.mode_{switch}", f"tabs.set.columns.{column}")}
        assert len(names) == 1, names


def test_letters_are_those_of_the_language():
    """A text of Japanese has kana and one of Chinese has none: texts were not put into the wrong file."""
    kana = re.compile("[ぁ-ヿ]")
    assert not [key for key, text in locale("zh").items() if kana.search(text.replace("日本語", "").replace("・", ""))]
    assert len([key for key, text in locale("ja").items() if kana.search(text)]) > len(locale("ja")) / 2
