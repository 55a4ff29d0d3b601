"""Words for people, in their language. Text is data (``assets/locales/*.json``); knows no page and no figure."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = {"en": "English", "ja": "日本語", "zh": "中文"}
LOCALES = Path(__file__).resolve().parent.parent / "assets" / "locales"


class Words:
    """Usage::

        words = Words("ja")
        words("figures.load.title", layer=3)

    Keys are paths into the nested JSON. What a language lacks is said in English.
    """

    def __init__(self, language: Any = "en") -> None:
        """``language`` is a code such as "ja" or "zh-CN"; English for anything unknown."""
        code = language.split("-")[0].lower() if isinstance(language, str) else "en"
        self.language = code if code in LANGUAGES else "en"

    def __call__(self, key: str, **values: Any) -> str:
        """The text under ``key``, with ``values`` in its ``{placeholders}``.

        Raises:
            KeyError: there is no such text, or a placeholder has no value.
        """
        texts = locale(self.language)
        text = texts[key] if key in texts else locale("en")[key]
        return text.format(**values) if values else text

    def __contains__(self, key: str) -> bool:
        return key in locale("en")

    def __repr__(self) -> str:
        return f"Words({self.language!r})"


@cache
def locale(code: str) -> dict[str, str]:
    """Every text of one language, by its full key."""
    return dict(_flatten(json.loads((LOCALES / f"{code}.json").read_text(encoding="utf-8")), ""))


def section(name: str) -> dict[str, dict[str, str]]:
    """Language → the texts of one section, by their keys in it: what the browser is given to say for itself."""
    prefix = f"{name}."
    return {
        code: {key.removeprefix(prefix): text for key, text in locale(code).items() if key.startswith(prefix)}
        for code in LANGUAGES
    }


def _flatten(tree: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in tree.items():
        found += _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return found
