"""A report: recordings, and what a comparison of them found, as one HTML file that needs nothing else.

Knows the order of the parts and how the file is written. Each part is in a file of its own: ``report_gather`` (what was
recorded) → ``report_sections``, ``report_recorded``, ``report_pictures``, ``report_experts``, ``report_method`` →
``assets/report/``.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from analysis.comparing import Comparison, compare_plan
from analysis.contrast import PERMUTATIONS
from analysis.errors import BadValue, NoComparison
from analysis.findings import in_words
from analysis.recordings import Entry, plan
from analysis.report_experts import experts
from analysis.report_gather import Recorded, find_entries, gather, merged
from analysis.report_html import Html, items, join, json_in_script, tag, text
from analysis.report_method import limits, method, reproduce
from analysis.report_pictures import pictures
from analysis.report_recorded import recorded, sizes
from analysis.report_sections import Content, finding, title
from analysis.storage import write_whole
from analysis.words import Words

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "report"
GENERATOR = "ExpertScope"
_NO_PLOTS = Html("<style>.plot { display: none; }</style>")


@dataclass(frozen=True)
class Options:
    """What to report on; fields as the options of ``compare`` and ``report``."""

    by: str = "mode"
    phase: str = "generated"
    control: str = "none"
    cluster: str | None = None
    groups: tuple[str, ...] = ()
    permutations: int = PERMUTATIONS
    seed: int = 0
    confirmed: bool = False
    language: str = "en"
    title: str = ""
    places: tuple[str, ...] = ()  # what the commands call the recordings and their report; their paths if empty

    def arguments(self) -> list[str]:
        """Those of ``compare`` that are not its defaults, as on the command line."""
        said: list[str] = []
        for name in ("by", "phase", "control", "cluster", "permutations", "seed"):
            value = getattr(self, name)
            if value != getattr(Options, name):
                said += [f"--{name}", str(value)]
        if self.confirmed:
            said.append("--confirm")
        return said + (["--groups", *self.groups] if self.groups else [])


def write_report(paths: Sequence[Path], out: Path, options: Options, version: str = "") -> dict[str, Any]:
    """Write the report on recorded folders and trace files to ``out``, whole or not at all. A report of ours that is
    there already is replaced; any other file is left alone.

    Returns:
        ``{"out", "bytes", "traces", "prompts", "groups", "compared", "significant", "finding", "why_not"}``;
        ``finding`` is the first of the sentences that ``compare`` says, None where nothing was compared.

    Raises:
        UserError: a path, label or number that cannot be used, a damaged trace, or ``out`` cannot be written.
    """
    _expect_ours(out)
    content, entries = read(paths, options)
    page = render(content, entries, paths, out, options, version)
    size = _write_whole(out, page)
    found, whole = content.comparison, merged(content.recorded.groups)
    return {
        "out": str(out),
        "bytes": size,
        "traces": whole.traces,
        "prompts": len(whole.prompts),
        "groups": [group.name for group in content.recorded.groups],
        "compared": found is not None,
        "significant": None if found is None else found.finding.significant,
        "finding": None if found is None else in_words(found.finding, Words(options.language))[0],
        "why_not": str(content.why_not) if content.why_not else None,
    }


def read(paths: Sequence[Path], options: Options) -> tuple[Content, list[Entry]]:
    """Compare, where there is something to compare, and gather the rest."""
    entries = find_entries(paths)
    found: Comparison | None = None
    why_not: NoComparison | None = None
    try:
        made = plan(entries, options.by, options.phase, options.groups, options.cluster)
        found = compare_plan(
            made,
            options.by,
            options.control,
            options.cluster,
            options.permutations,
            options.seed,
            confirmed=options.confirmed,
        )
    except NoComparison as reason:
        why_not = reason
    names = found.plan.groups if found else options.groups
    gathered = gather(entries, options.by, names)
    return Content(options.by, _phase(gathered, options.phase), gathered, found, why_not), entries


def _phase(gathered: Recorded, wanted: str) -> str:
    """The phase wanted; all rows where none is in it, as with text that was routed without generating."""
    return wanted if any(group.rows_in(wanted) for group in gathered.groups) else "all"


def render(
    content: Content, entries: Sequence[Entry], paths: Sequence[Path], out: Path, options: Options, version: str
) -> str:
    """The whole file."""
    words = Words(options.language)
    drawn = pictures(content, entries, words)
    heading = options.title or title(content, words)
    places = list(options.places or map(str, paths))
    out = Path(out.name) if options.places else out
    compare = ["compare", *places, *options.arguments(), "--json"] if _comparable(content, paths) else []
    report = ["report", *places, "--out", str(out), *options.arguments()]
    report += [f"--language={options.language}"] if options.language != "en" else []
    report += [f"--title={options.title}"] if options.title else []
    sections = {
        "finding": finding(content, words),
        "recorded": recorded(content, words),
        "sizes": sizes(content, words),
        "pictures": join(
            [tag("noscript", _NO_PLOTS, tag("p", words("report.noscript"))), *(p.in_page(words) for p in drawn)]
        ),
        "experts": experts(content, words),
        "method": method(content, words),
        "limits": limits(content, words),
        "reproduce": reproduce(report, compare, entries, words),
    }
    by = f"{GENERATOR} {version}".strip()
    made = words("report.made", by=by, date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"))
    links = [tag("a", words(f"report.section.{name}"), href=f"#{name}") for name in sections]
    parts = [
        tag("section", tag("h2", words(f"report.section.{name}"), id=f"{name}-heading"), part, id=name,
            aria_labelledby=f"{name}-heading")
        for name, part in sections.items()
    ]  # fmt: skip
    body = join(
        [
            tag("header", tag("h1", heading), tag("p", made, class_="made")),
            tag("nav", items(links), aria_label=words("report.contents")),
            tag("main", *parts),
        ]
    )
    data = ", ".join(f'"{picture.name}": {picture.as_json()}' for picture in drawn)
    return _page(words.language, heading, body, json_in_script("{" + data + "}"))


def _comparable(content: Content, paths: Sequence[Path]) -> bool:
    return content.comparison is not None and all(path.is_dir() for path in paths)


def _page(language: str, heading: str, body: Html, data: Html) -> str:
    scripts = {"plotly": _plotly(), "script": _asset("report.js")}
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts.values())
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "form-action 'none'; base-uri 'none'"
    )
    return Template(_asset("page.html")).substitute(
        language=language,
        generator=GENERATOR,
        title=text(heading),
        policy=policy,
        style=_asset("report.css"),
        body=body,
        pictures=data,
        **scripts,
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    """plotly.js as it can stand in a page: without carriage returns, which a browser would turn into line feeds before
    it takes the digest."""
    return get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()


def _expect_ours(out: Path) -> None:
    """
    Raises:
        BadValue: there is something else at ``out``, or no folder to put it in; said before any work is done.
    """
    try:
        if out.is_dir():
            raise BadValue(f"{out} is a folder; give --out a file name such as report.html.")
        if not out.parent.is_dir():
            raise BadValue(f"{out.parent} is not a folder, so {out.name} cannot be written there.")
        if not os.access(out.parent, os.W_OK):
            raise BadValue(f"{out} could not be written: {out.parent} is read-only.")
        if out.exists() and not out.is_file():
            raise BadValue(f"{out} is not a file that can be replaced; give --out a file name such as report.html.")
        if out.exists() and f'name="generator" content="{GENERATOR}"' not in _beginning(out):
            raise BadValue(f"{out} exists and is not a report of this program; choose another name or remove it.")
    except (OSError, ValueError) as error:
        raise BadValue(f"{out} could not be written: {getattr(error, 'strerror', None) or error}.") from None


def _beginning(path: Path) -> str:
    with open(path, "rb") as file:
        return file.read(4096).decode("utf-8", "replace")


def _write_whole(out: Path, page: str) -> int:
    """Returns the bytes of the file."""
    data = page.encode("utf-8", "replace")
    try:
        write_whole(out, data)
    except (OSError, ValueError) as error:
        raise BadValue(f"{out} could not be written: {getattr(error, 'strerror', None) or error}.") from None
    return len(data)
