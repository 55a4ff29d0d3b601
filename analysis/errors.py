"""Every error a user can cause, in one tree. A message is one sentence with the bad value and what was expected.

::

    UserError                 bad input; shown as it stands, on the page or on standard error (exit code 2)
    ├── BadValue              a number, name or text outside what is accepted
    │   └── NoComparison      recordings that hold only one side, or too few prompts, for a comparison
    ├── TraceError            a trace that is malformed, foreign or of another format version
    ├── ModelError            a checkpoint that is missing, incomplete or of a kind that cannot be run
    │   └── CaptureError      a model whose routing cannot be captured faithfully
    └── Busy                  the queue is full, or the server is shutting down

Anything else that is raised is a fault of the program, not of its user.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

from analysis.words import Words

Error = TypeVar("Error", bound="UserError")


class UserError(Exception):
    """Bad input. ``str(error)`` is a sentence fit for a person, in English; where the error was made by ``said``,
    ``in_words`` says it in their language."""

    key: str = ""
    values: dict[str, Any] = {}

    @classmethod
    def said(cls: type[Error], key: str, **values: Any) -> Error:
        """The error whose sentence is the text ``errors.<key>`` of the locales."""
        error = cls(Words("en")(f"errors.{key}", **values))
        error.key, error.values = key, values
        return error

    def in_words(self, words: Words) -> str:
        """The sentence in the language of ``words``, and so are the errors among its values."""
        if not self.key:
            return str(self)
        values = {k: v.in_words(words) if isinstance(v, UserError) else v for k, v in self.values.items()}
        label = "errors.name." + re.sub(r"\W+", "_", str(values.get("name", ""))).lower()
        if label in words:
            values["name"] = words(label)
        return words(f"errors.{self.key}", **values)


class BadValue(UserError):
    """A value outside what is accepted."""


class NoComparison(BadValue):
    """Recordings that are sound but hold only one side of a comparison, or too few prompts; they can be described."""


class TraceError(UserError):
    """A trace that is malformed, foreign or of another format version."""


class ModelError(UserError):
    """A checkpoint that is missing, incomplete or of a kind that cannot be run."""


class CaptureError(ModelError):
    """A model whose routing cannot be captured faithfully."""


class Busy(UserError):
    """The queue is full, or the server is shutting down."""
