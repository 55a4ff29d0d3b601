"""Every setting of the server, built from an injected environment. Knows no engine and no page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from analysis.errors import BadValue


def _setting(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"help": help, "low": low, "high": high})


@dataclass(frozen=True)
class Settings:
    """Read with ``Settings.from_env(os.environ)``: ``max_waiting`` is the variable ``EXPERTSCOPE_MAX_WAITING``."""

    model: str = _setting("", "folder or hub name of the model; empty for the bundled one")
    quantize: str = _setting("", "4bit or 8bit; empty for none")
    compile: int = _setting(0, "1 compiles the decode step: faster tokens, after a first one that takes a while", 0, 1)
    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for everyone on the network")
    port: int = _setting(7860, "port to listen on; the next free one is taken if it is in use", 0, 65535)
    max_waiting: int = _setting(32, "requests that may wait; more are turned away", 1, 10_000)
    max_chars: int = _setting(20_000, "longest message or text, in characters", 1, 10_000_000)
    max_new_tokens: int = _setting(4096, "most tokens generated in a turn", 1, 2**20)
    turn_seconds: float = _setting(300.0, "a turn is ended after this many seconds", 1, 86_400)
    kept_traces: int = _setting(256, "traces kept in memory, the least recently used leave first", 1, 1_000_000)
    kept_megabytes: int = _setting(512, "memory for kept traces, in MB", 1, 1_000_000)
    upload_megabytes: int = _setting(20, "largest trace file that can be opened, in MB", 1, 10_000)
    set_prompts: int = _setting(40, "most prompts of a set that is compared on the page", 2, 10_000)
    updates_per_second: float = _setting(12.0, "how often the page is redrawn while tokens stream", 1, 60)

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", without_brackets(self.host))
        if self.quantize not in ("", "4bit", "8bit"):
            raise BadValue(f"Unknown quantization {self.quantize!r}; expected 4bit or 8bit.")

    @property
    def followed(self) -> int:
        """How many runs the page follows at once: those that wait, and the many whose answer is still being shown,
        slower than the model wrote it."""
        return 4 * self.max_waiting + 32

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
        """Defaults, then the environment, then ``overrides`` that are not None.

        Raises:
            BadValue: a variable cannot be read as its setting's type or is out of range.
        """
        values: dict[str, Any] = {}
        for setting in fields(cls):
            name = f"EXPERTSCOPE_{setting.name.upper()}"
            if name in environ:
                values[setting.name] = _parse(name, environ[name], type(setting.default))
            if overrides.get(setting.name) is not None:
                name, values[setting.name] = setting.name, overrides[setting.name]
            low, high = setting.metadata["low"], setting.metadata["high"]
            if setting.name in values and low is not None and not low <= values[setting.name] <= high:
                raise BadValue(f"{name} must be from {low:g} to {high:g}, not {values[setting.name]}.")
        return replace(cls(), **values)


def without_brackets(host: str) -> str:
    """An IPv6 address as sockets know it: "::1" for "[::1]"; any other host as it is."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _parse(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise BadValue(f"{name} must be {'a whole number' if kind is int else 'a number'}, not {text!r}.") from None
