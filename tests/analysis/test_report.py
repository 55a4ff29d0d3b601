"""Reports: what they say comes from the data, what is in a recording stays text, and the file needs nothing else."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from analysis import report_gather, report_provenance, report_sample, storage
from analysis.coactivation import coactivation_lift
from analysis.comparing import compare_folders, to_json
from analysis.errors import BadValue, TraceError, UserError
from analysis.findings import in_words
from analysis.metrics import expert_load, max_violation
from analysis.report import Options, read, write_report
from analysis.report_html import foreign, items, json_in_script, table, tag
from analysis.report_provenance import Facts
from analysis.token_metrics import uncertainty_quantiles
from analysis.trace import Phase
from analysis.words import LANGUAGES, Words
from tests.make_recording import both_modes, write_recording
from tests.make_traces import make_trace

HOSTILE = '</script><script>hacked = 1</script><img src=x onerror="hacked=1"> & <!-- \u202e {n} %{x}'
QUICK = Options(permutations=2000)


class Parsed(HTMLParser):
    """A page's elements, texts and tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.scripts: list[str] = []
        self.said = ""
        self._inside = ""
        self._cell = self._caption = False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "script":
            self._inside = "script"
            self.scripts.append("")
        elif tag == "style":
            self._inside = "style"
        elif tag == "table":
            self._rows: list[list[str]] = []
            self._name = ""
        elif tag == "caption":
            self._caption = True
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside = ""
        elif tag == "caption":
            self._caption = False
        elif tag in ("td", "th"):
            self._cell = False
        elif tag == "table":
            self.tables[self._name] = self._rows

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.said += data
            if self._caption:
                self._name += data
            elif self._cell:
                self._rows[-1][-1] += data

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


def trace(number, line, **options):
    """Thinking has other experts than answering."""
    thinking = line["mode"] == "thinking"
    sampling = {"temperature": 0.6, "top_p": 0.95 if thinking else 0.8}
    made = make_trace(rows=80 + number, layers=2, first_layer=1, seed=number, thinking=thinking, skew=0, **options)
    ids = made.expert_ids.copy()
    ids[:, 1] = np.where((made.row_phase == Phase.ANSWER)[:, None], [3, 5], ids[:, 1])
    return replace(made, expert_ids=ids).with_provenance(
        sampling=sampling, capture_check={"ok": True, "ids_match": 1.0}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    lines = both_modes(8)
    for number, line in enumerate(lines):
        line["topic"] = "ab"[number // 2 % 2]
    return write_recording(tmp_path_factory.mktemp("report") / "rec", lines, trace)


def write(paths, out: Path, **options) -> tuple[dict, Parsed, str]:
    summary = write_report(paths, out, replace(QUICK, **options), "1.2.3")
    page = out.read_text(encoding="utf-8")
    return summary, Parsed(page), page


def test_it_says_what_the_comparison_found(folder, tmp_path):
    summary, page, _ = write([folder], tmp_path / "r.html")
    found = compare_folders([folder], permutations=2000)
    data = to_json(found)
    assert summary["compared"] and summary["significant"] == data["significant"] > 0
    assert summary["bytes"] == (tmp_path / "r.html").stat().st_size
    for sentence in in_words(found.finding):
        assert sentence in page.said
    rows = page.tables["Experts of all layers"][1:]
    assert len(rows) == 16 and len([row for row in rows if row[-1] != "–"]) == data["tested"]
    for row, expert in zip(rows, data["experts"], strict=False):
        assert [int(row[0]), int(row[1])] == [expert["layer"], expert["expert"]]
        assert row[2:4] == [f"{expert['first']:.3%}", f"{expert['second']:.3%}"]
        assert float(row[5].replace("−", "-")) == pytest.approx(100 * expert["difference"], abs=6e-4)
        assert float(row[7]) == pytest.approx(expert["p"], rel=0.06)
        assert float(row[8]) == pytest.approx(expert["q"], rel=0.06)
    depth = page.tables["At which depth?"][1:]
    assert [float(row[1]) for row in depth] == pytest.approx(data["js_divergence"], abs=6e-5)
    sizes = page.tables["Tokens with a known routing, by phase"]
    assert [row[:3] for row in sizes[1:]] == [["thinking", "8", "8"], ["non-thinking", "8", "8"]]
    assert "All 128 there are" in page.said
    assert "ExpertScope 1.2.3" in page.said and "--permutations 2000" in page.said


def test_it_says_where_the_recordings_come_from_and_what_differs(folder, tmp_path):
    _, page, _ = write([folder], tmp_path / "r.html")
    apart = page.tables["What differs between recordings"]
    assert ["Sampling: top_p", "0.95", "0.8"] in apart
    assert ["Model", "random-router"] in page.tables["What all recordings have in common"]
    assert "The two sides differ in more than what is compared: Sampling: top_p (0.95 / 0.8)." in page.said
    assert "passed in 16 of 16" in page.said
    assert all(f"prompt {number}" in page.said for number in range(8)) and "topic: a" in page.said


def test_cautions_follow_from_the_recordings(tmp_path):
    def odd(number, line):
        made = trace(number, line)
        return made.with_provenance(
            capture_check=None,
            quantization="4bit",
            finish_reason="length" if number == 1 else "stop",
            edits=[{"kind": "mask", "layer": 1, "experts": [3]}],
            dtype="float32" if number < 4 else "bfloat16",
        )

    folder = write_recording(tmp_path / "rec", both_modes(4), odd)
    _, page, _ = write([folder], tmp_path / "r.html")
    for said in (
        "8 of 8 recordings carry no passed capture check",
        "quantized (4bit)",
        "edited (mask:1:3)",
        "1 of 8 answers were cut off",
        "Not all recordings of a side were made alike: Number format.",
        "record --samples 2",
    ):
        assert said in page.said


def test_text_of_others_stays_text(tmp_path):
    lines = [{**line, "topic": HOSTILE} for line in both_modes(4)]
    for line in lines:
        line["prompt"] += HOSTILE
        line["kind"] = "first " + HOSTILE if line["mode"] == "thinking" else "second " + HOSTILE

    def hostile(number, line):
        return trace(number, line).with_provenance(
            model=HOSTILE, dtype=HOSTILE, **{HOSTILE: HOSTILE, "sampling": {HOSTILE: 1}}
        )

    folder = write_recording(tmp_path / "rec", lines, hostile)
    summary, page, text = write([folder], tmp_path / "r.html", by="kind", title=HOSTILE)
    assert summary["compared"] and summary["groups"] == ["first " + HOSTILE, "second " + HOSTILE]
    assert len(page.scripts) == 3 and page.of("img") == []
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    assert page.said.count(HOSTILE) > 20
    drawn = json.loads(page.scripts[0])
    assert len(drawn) > 5 and set(drawn["picture-map"]) == {"light", "dark"}
    assert "<img" not in page.scripts[0] and "</" not in page.scripts[0]
    texts = json.dumps([figure["layout"] for themes in drawn.values() for figure in themes.values()])
    assert "<img" not in texts and "<script" not in texts, "what Plotly would read as markup is escaped"


def test_nothing_is_loaded_from_elsewhere(folder, tmp_path):
    _, page, text = write([folder], tmp_path / "r.html")
    plotly = page.scripts[1]
    assert plotly.count("plotly.js v") == 1 and text.count("plotly.js v") == 1
    rest = text.replace(plotly, "")
    assert not re.search(r"https?:|//cdn|@import|url\(", rest)
    links = [a.get("href") for a in page.of("a")]
    assert links and all(link.startswith("#") for link in links)
    ids = {a["id"] for _, a in page.elements if "id" in a}
    assert {link[1:] for link in links} <= ids and not [a for _, a in page.elements if "src" in a]
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv"))
    allowed = set(re.findall(r"'sha256-(.+?)'", policy))
    digests = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in page.scripts[1:]}
    assert allowed == digests and "default-src 'none'" in policy and "\r" not in plotly


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_and_headings(folder, tmp_path, language):
    _, page, text = write([folder], tmp_path / "r.html", language=language, control="token")
    assert page.of("html") == [{"lang": language}]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert Words(language)("report.section.method") in page.said
    assert Words(language)("report.point.coverage") in page.said
    assert not re.search(r"report\.\w+\.|\{\w+\}", page.said)
    assert all(a.get("aria-label") for a in page.of("div") if a.get("role") in ("img", "region"))
    assert len(page.of("caption")) == len(page.of("table"))


def test_one_group_is_described_and_says_why(tmp_path):
    lines = [line for line in both_modes(3) if line["mode"] == "thinking"]
    made = []

    def keep(number, line):
        made.append(trace(number, line))
        return made[-1]

    folder = write_recording(tmp_path / "rec", lines, keep)
    summary, page, _ = write([folder], tmp_path / "r.html")
    assert not summary["compared"] and summary["significant"] is None and summary["traces"] == 3
    assert "Every trace has mode 'thinking'" in page.said and "tests nothing" in page.said
    load = expert_load(made, "generated")
    rows = page.tables["Experts of all layers"][1:]
    assert [row[3] for row in rows] == [f"{v:.3%}" for v in load.values.ravel()]
    violation = max_violation(made, "thinking").values
    first = [row[2] for row in page.tables["Balance by layer; in brackets uniform random routing"][1:]]
    assert [float(cell.split()[0]) for cell in first] == pytest.approx(violation, rel=0.006)
    assert "Benjamini" not in page.said and "compare " not in page.said.split("How to reproduce it")[-1]


def test_one_trace_alone(folder, tmp_path):
    file = sorted(folder.glob("*.safetensors"))[0]
    summary, page, _ = write([file, file], tmp_path / "r.html")
    assert (summary["traces"], summary["prompts"], summary["groups"]) == (1, 1, [storage.load(file).provenance["mode"]])
    assert "What is 8 + 4?" in page.said


def test_text_that_was_only_routed_and_traces_without_a_mode(tmp_path):
    made = make_trace(rows=40, weights=False, scores=False, summaries=False)
    made = replace(made, phase=np.full_like(made.phase, Phase.PROMPT), provenance={"model": "elsewhere"})
    storage.save(made, tmp_path / "a.safetensors")
    summary, page, _ = write([tmp_path / "a.safetensors"], tmp_path / "r.html")
    assert "No trace says in which mode" in summary["why_not"] and "(all tokens): 40" in page.said
    assert "1 of 1 recordings carry no passed capture check" in page.said


def test_too_few_prompts_and_groups_that_are_not_compared(folder, tmp_path):
    few = write_recording(tmp_path / "few", both_modes(1), trace)
    summary, page, _ = write([few], tmp_path / "r.html")
    assert summary["why_not"].endswith("a comparison needs at least 2.") and summary["groups"] == [
        "thinking",
        "non-thinking",
    ]
    third = [{"prompt": f"more {i}", "mode": "forced"} for i in range(2)]
    more = write_recording(tmp_path / "more", third, trace)
    with pytest.raises(BadValue, match="choose two by --groups"):
        read([folder, more], QUICK)
    summary, page, _ = write([folder, more], tmp_path / "r.html", groups=("non-thinking", "thinking"))
    assert summary["groups"] == ["non-thinking", "thinking"] and summary["traces"] == 16
    assert "2 recordings belong to neither" in page.said


def test_by_phase_both_sides_are_of_one_group(folder, tmp_path):
    summary, page, _ = write([folder], tmp_path / "r.html", by="phase")
    assert summary["compared"] and summary["groups"] == [""]
    assert "Thinking comes before the answer" in page.said and "picture-balance-0" in str(page.elements)


def test_what_cannot_be_reported_is_one_sentence(folder, tmp_path):
    storage.save(make_trace(layers=0), tmp_path / "dense.safetensors")
    storage.save(make_trace(layers=5), tmp_path / "other.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"{}")
    (tmp_path / "mine.html").write_text("<p>mine")
    file = next(folder.glob("*.safetensors"))
    for paths, out, said in (
        ([tmp_path / "none"], "r.html", "does not exist"),
        ([tmp_path], "r.html", "is not a recording"),
        ([folder / "index.jsonl"], "r.html", "is an index"),
        ([tmp_path / "dense.safetensors"], "r.html", "dense model"),
        ([file, tmp_path / "other.safetensors"], "r.html", "other routers"),
        ([tmp_path / "bad.safetensors"], "r.html", "bad.safetensors cannot be opened"),
        ([folder], "mine.html", "is not a report of this program"),
        ([folder], ".", "is a folder"),
        ([folder], os.devnull, "is not a file that can be replaced"),
        ([folder], "none/r.html", "is not a folder"),
        ([folder], "n" * 300, "could not be written"),
        ([folder], "\0", "could not be written"),
    ):
        with pytest.raises(UserError, match=re.escape(said)) as found:
            write_report(paths, tmp_path / out, QUICK)
        assert "\n" not in str(found.value)
    assert (tmp_path / "mine.html").read_text() == "<p>mine" and not (tmp_path / "r.html").exists()


def test_a_full_disk_leaves_the_old_report(folder, tmp_path, monkeypatch):
    file, out = next(folder.glob("*.safetensors")), tmp_path / "r.html"
    write_report([file], out, QUICK)
    before = out.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        with pytest.raises(BadValue, match="could not be written: No space left"):
            write_report([file], out, replace(QUICK, title="new"))
    assert out.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["r.html"]
    write_report([file], out, replace(QUICK, title="new"))
    assert b"<h1>new</h1>" in out.read_bytes()


def test_a_damaged_trace_is_named(folder, tmp_path):
    copy = write_recording(tmp_path / "copy", both_modes(3), trace)
    (copy / "00003-non-thinking-0.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(TraceError, match="00003-non-thinking-0.safetensors"):
        write_report([copy], tmp_path / "r.html", QUICK)


def test_gathered_sums_are_those_of_the_traces(folder):
    content, entries = read([folder], QUICK)
    thinking = content.recorded.groups[0]
    traces = [storage.load(e.path) for e in entries if e.label("mode") == thinking.name]
    for phase in ("prompt", "generated", "all"):
        np.testing.assert_array_equal(thinking.load(phase).values, expert_load(traces, phase).values)
        assert thinking.rows_in(phase) == sum(int(t.rows_in(phase).sum()) for t in traces)
        lift = coactivation_lift(traces, phase, report_gather.PAIR_TOKENS).values[1:]
        np.testing.assert_array_equal(report_gather.pair_lift(entries, "mode", "thinking", phase, 2).values, lift)
    for name, wanted in uncertainty_quantiles(traces, "answer").items():
        np.testing.assert_allclose(thinking.summaries["answer"].quantiles(thinking.spec)[name].values, wanted.values)


def test_many_rows_are_sampled_evenly(monkeypatch):
    monkeypatch.setattr(report_sample, "MOST", 1000)
    traces = [make_trace(rows=400, layers=1, seed=seed) for seed in range(40)]
    sample = report_sample.SummarySample("answer")
    for each in traces:
        sample.add(each)
    found, wanted = sample.quantiles(traces[0].spec), uncertainty_quantiles(traces, "answer")
    assert len(sample._keys) == 1000 < sample.seen == found["entropy"].n == wanted["entropy"].n
    np.testing.assert_allclose(found["entropy"].values, wanted["entropy"].values, atol=0.06)
    sample.add(make_trace(rows=40, layers=1, summaries=False))
    assert sample.quantiles(traces[0].spec) == {}


def test_html_helpers_escape():
    assert (
        tag("p", "a<b", title='"x"', class_="c", hidden=True, id=None)
        == '<p title="&quot;x&quot;" class="c" hidden>a&lt;b</p>'
    )
    assert foreign("<i>" + "x" * 9, 4) == "<bdi>&lt;i&gt;…</bdi>"
    assert items(["<", tag("b", ">")]) == "<ul><li>&lt;</li><li><b>&gt;</b></li></ul>"
    assert "&lt;b&gt;" in table("<b>", ["<b>"], [["<b>"]]) and "<b>" not in table("<b>", ["<b>"], [["<b>"]])
    assert tag("p", "a\x00\ud800b") == "<p>a��b</p>"
    data = json.dumps({"x": "</script><!-- \u2028&"}, ensure_ascii=False)
    assert json.loads(json_in_script(data)) == json.loads(data) and "<" not in json_in_script(data)


def test_facts_may_hold_anything():
    facts = Facts()
    facts.add(
        {"sampling": {"top_p": [1, {"a": None}]}, "edits": "text", "versions": 3, "created": 5, "capture_check": "no"}
    )
    facts.add({"model": None, "edits": [{"kind": "top_k", "amount": 4}, 7]})
    assert report_provenance.names([facts])[:2] == ["model", "sampling.top_p"]
    assert facts.counted("edits") == [("text", 1), ("top_k:all:4, 7", 1)]
    assert facts.counted("sampling.top_p")[-1] == ("", 1) and facts.checked == 0 and facts.created is None
    greedy, other = Facts(), Facts()
    greedy.add({"sampling": {"temperature": 0.0, "top_p": 0.9}})
    other.add({"sampling": {"temperature": 0.0, "top_p": 0.8}})
    assert report_provenance.differing([greedy, other]) == []
