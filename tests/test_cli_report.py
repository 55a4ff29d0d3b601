"""``report`` from the command line: what is printed, what is written, and one line for a mistake."""

from __future__ import annotations

import html
import json
import re
import shlex

import pytest

from analysis.contrast import PERMUTATIONS
from tests.make_recording import both_modes, write_recording
from tests.make_traces import make_trace

QUICK = ("--permutations", 1000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    def trace(number, line):
        return make_trace(rows=80, seed=number, thinking=line["mode"] == "thinking")

    lines = both_modes(6)
    for number, line in enumerate(lines):
        line["topic"] = "abc"[number // 4]
    return write_recording(tmp_path_factory.mktemp("report") / "rec", lines, trace)


def test_json_says_what_was_written(run, folder, tmp_path):
    out = tmp_path / "report.html"
    code, printed, err = run("report", folder, "--out", out, *QUICK, "--json")
    summary = json.loads(printed)
    assert code == 0 and err == "" and summary["out"] == str(out) and summary["bytes"] == out.stat().st_size
    assert summary["traces"] == 12 and summary["prompts"] == 6 and summary["groups"] == ["thinking", "non-thinking"]
    compared = json.loads(run("compare", folder, *QUICK, "--json")[1])
    assert summary["compared"] is True and summary["significant"] == compared["significant"]
    assert compared["sentences"]["en"][0].split("(")[0] in out.read_text(encoding="utf-8")


def test_it_takes_the_options_of_compare(run, folder, tmp_path):
    out = tmp_path / "report.html"
    options = ("--by", "topic", "--groups", "a", "c", "--phase", "answer", "--seed", 3, "--language", "zh")
    code, printed, _ = run("report", folder, "--out", out, *options, *QUICK, "--title", "A & B")
    assert code == 0 and printed.count("\n") == 1 and "MB" in printed
    page = out.read_text(encoding="utf-8")
    assert '<html lang="zh">' in page and "<h1>A &amp; B</h1>" in page
    assert "--by topic --phase answer --permutations 1000 --seed 3 --groups a c --language=zh" in page
    code, printed, _ = run("report", folder, "--out", out, *QUICK, "--cluster", "topic", "--control", "position")
    assert code == 0 and "3 clusters" in out.read_text(encoding="utf-8")


def test_the_commands_in_it_give_the_same_numbers(run, folder, tmp_path):
    """What stands under "How to reproduce it" can be typed in."""
    out = tmp_path / "it's a report.html"
    run("report", folder, "--out", out, *QUICK, "--by", "topic", "--groups", "a", "b")
    shown = [
        html.unescape(code) for code in re.findall(r"<pre[^>]*><code>(.*?)</code>", out.read_text(encoding="utf-8"))
    ]
    commands = [shlex.split(line)[3:] for line in shown]
    assert [command[0] for command in commands] == ["record", "report", "compare"]
    before = out.stat().st_size
    assert run(*commands[1])[0] == 0 and out.stat().st_size == before
    data = json.loads(run(*commands[2])[1])
    assert data["groups"] == ["a", "b"] and data["permutations"] <= 1000 < PERMUTATIONS


def test_one_trace(run, folder, tmp_path):
    file = next(folder.glob("*.safetensors"))
    code, printed, _ = run("report", file, "--out", tmp_path / "r.html")
    assert code == 0 and "No comparison" in printed


def test_what_is_printed_is_the_first_sentence_of_compare(run, folder, tmp_path):
    """Where nothing could be tested that is said, not that no expert differs."""

    def short(number, line):
        return make_trace(rows=14, layers=2, experts=64, seed=number, thinking=line["mode"] == "thinking")

    few = write_recording(tmp_path / "few", both_modes(2), short)
    for place, options, says in (
        (few, (), "Nothing could be tested"),
        (few, ("--language", "ja"), "何も検定できません"),
        (folder, (), "experts"),
        (folder, ("--control", "token"), "among the same tokens"),
    ):
        printed = run("report", place, "--out", tmp_path / "r.html", *QUICK, *options)[1]
        said = run("compare", place, *QUICK, *options)[1]
        assert printed.count("\n") == 1 and printed.rstrip().endswith(said.splitlines()[0])
        assert says in printed and "0 experts" not in printed


def test_mistakes_are_one_line(run, folder, tmp_path):
    (tmp_path / "mine.html").write_text("mine")
    for arguments, message in (
        ([folder], "required: --out"),
        ([folder, "--out", tmp_path], "is a folder"),
        ([folder, "--out", tmp_path / "no" / "r.html"], "is not a folder"),
        ([folder, "--out", tmp_path / "mine.html"], "is not a report"),
        ([tmp_path / "none", "--out", tmp_path / "r.html"], "does not exist"),
        ([folder, "--out", tmp_path / "r.html", "--by", "colour"], "No trace has a label 'colour'"),
        ([folder, "--out", tmp_path / "r.html", "--by", "topic"], "choose two by --groups"),
        ([folder, "--out", tmp_path / "r.html", "--seed", -1], "--seed must be 0 or more"),
        ([folder, "--out", tmp_path / "r.html", "--permutations", 3], "--permutations must be from 100"),
        ([folder, "--out", tmp_path / "r.html", "--language", "de"], "invalid choice"),
    ):
        code, out, err = run("report", *arguments)
        assert code == 2 and out == "" and message in err and err.count("\n") == 1, (arguments, err)
    assert (tmp_path / "mine.html").read_text() == "mine" and not (tmp_path / "r.html").exists()
