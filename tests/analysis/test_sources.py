"""A recording and the collection packed from it give the same comparison; of the collection no trace is opened."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import collection_rows, packing
from analysis.collection import Collection
from analysis.collection_rows import CollectionRows
from analysis.comparing import compare_folders, to_json
from analysis.errors import BadValue, TraceError
from analysis.packing import pack
from analysis.recordings import plan
from analysis.sources import Sources, TraceReading, find_entries, sampled_apart
from analysis.storage import load
from tests.make_recording import both_modes, write_recording
from tests.make_traces import make_trace


def trace(number, line):
    made = make_trace(
        rows=40 + 11 * (number % 7), layers=3, first_layer=1, seed=number, thinking=line["mode"] == "thinking",
        sampling={"temperature": 0.6, "top_p": 0.95, "top_k": 20},
    )  # fmt: skip
    words = sorted({piece for piece in made.pieces} | {b"the"})
    names = {word: hash_of(word) for word in words}
    ids = np.array([names[piece] for piece in made.pieces], np.int32)
    return type(made)(**{**made.__dict__, "token_ids": ids})


def hash_of(word):
    return sum(word) % 1009


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A recording whose index is out of order, with two answers to each prompt, and its collection."""
    lines = [
        {**line, "sample": s, "topic": "ab"[n // 2 % 2], "group": f"g{n // 6}"}
        for n, line in enumerate(both_modes(12))
        for s in range(2)
    ]
    folder = write_recording(tmp_path_factory.mktemp("sources") / "rec", lines, trace)
    index = (folder / "index.jsonl").read_text().splitlines(keepends=True)
    (folder / "index.jsonl").write_text("".join(index[::-1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "ROW_GROUP", 100)
        patch.setattr(packing, "PART", 700)
        pack(folder, folder.parent / "collection")
    for file in (folder.parent / "collection").rglob("*.safetensors"):
        raise AssertionError(f"{file} is a trace")
    return folder, folder.parent / "collection"


CASES = [
    {},
    {"control": "token"},
    {"control": "position", "phase": "answer"},
    {"by": "phase", "control": "token"},
    {"by": "sample"},
    {"by": "topic"},
    {"by": "topic", "control": "token"},
    {"by": "topic", "control": "position", "cluster": "group"},
    {"confirmed": True, "cluster": "group"},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_collection_gives_the_same_numbers(both, case, monkeypatch):
    folder, collection = both
    monkeypatch.setattr(collection_rows, "BLOCK", 5)
    wanted = to_json(compare_folders([folder], permutations=999, **case))
    monkeypatch.setattr("analysis.sources.load", lambda path: pytest.fail(f"{path} was opened"))
    assert to_json(compare_folders([collection], permutations=999, **case)) == wanted


def test_a_trace_read_in_place_is_the_trace(both):
    folder, collection = both
    entries = find_entries([collection])
    assert [e.path.name for e in entries] == [e.path.name for e in find_entries([folder])]
    with Sources() as sources:
        for entry in (entries[7], entries[0], entries[-1]):
            kept, read = TraceReading(load(folder / entry.path.name)), sources.open(entry)
            assert read.spec == kept.spec
            for phase in ("thinking", "answer", "prompt"):
                assert read.rows(phase) == kept.rows(phase)
                np.testing.assert_array_equal(read.counts(phase), kept.counts(phase))
                for one, two in zip(read.routed(phase), kept.routed(phase), strict=True):
                    np.testing.assert_array_equal(one, two)
                assert kept.texts(phase).items() <= read.texts(phase).items()


def test_only_a_few_row_groups_are_held(both):
    with Collection.open(both[1]) as collection:
        rows = CollectionRows(collection)
        assert len(rows._groups) > 8
        for number in range(collection.manifest.traces):
            rows.rows(number)
        read = rows._group.cache_info()
        assert read.currsize <= 4 and read.misses == len(rows._groups), "in order, each is read once"


def test_tokens_of_another_order_are_refused(both, tmp_path):
    shutil.copytree(both[1], tmp_path / "copy")
    manifest = json.loads((tmp_path / "copy" / "collection.json").read_text())
    tokens = [name for name in manifest["files"] if name.startswith("tokens/")]
    turned = {name: manifest["files"][name] for name in [*tokens[::-1], *manifest["files"]]}
    (tmp_path / "copy" / "collection.json").write_text(json.dumps({**manifest, "files": turned}))
    with Collection.open(tmp_path / "copy") as collection, pytest.raises(TraceError, match="not in the order"):
        CollectionRows(collection).rows(0)


def overwritten(file):
    """The footer stays whole."""
    data = file.read_bytes()
    file.write_bytes(data[:4] + bytes(len(data) // 2) + data[4 + len(data) // 2 :])


def with_column(name, value):
    def write(file):
        table = pq.read_table(file)
        column = pa.array([value] * len(table))
        pq.write_table(table.set_column(table.column_names.index(name), name, column), file)

    return write


@pytest.mark.parametrize(
    "damage",
    [overwritten, with_column("provenance", "{"), with_column("provenance", "[]"), with_column("index_entry", "3"),
     with_column("index_entry", "[" * 100_000)],
)  # fmt: skip
def test_a_damaged_table_of_traces_is_one_sentence(both, tmp_path, damage):
    shutil.copytree(both[1], tmp_path / "copy")
    damage(tmp_path / "copy" / "traces.parquet")
    with pytest.raises(TraceError, match="is damaged") as error:
        compare_folders([tmp_path / "copy"], permutations=999)
    assert "\n" not in str(error.value)


def sampled(**of_mode):
    def recorded(number, line):
        return trace(number, line).with_provenance(sampling=of_mode[line["mode"].replace("-", "_")])

    return recorded


WARM, COOL = {"temperature": 1.0, "top_p": 0.95}, {"temperature": 0.7, "top_p": 0.95}


@pytest.mark.parametrize(
    "thinking, non_thinking, apart",
    [
        (WARM, WARM, False),
        (WARM, COOL, True),
        ({"temperature": 0.0, "top_p": 0.95}, {"temperature": 0.0, "top_p": 0.8}, False),  # nothing is drawn
        (WARM, None, False),  # nobody knows
    ],
)
def test_sides_that_were_sampled_apart_are_seen_in_folder_and_collection(tmp_path, thinking, non_thinking, apart):
    recorded = sampled(thinking=thinking, non_thinking=non_thinking)
    folder = write_recording(tmp_path / "rec", both_modes(2), recorded)
    pack(folder, tmp_path / "out")
    for place in (folder, tmp_path / "out"):
        assert sampled_apart(plan(find_entries([place]))) == apart
        assert bool(compare_folders([place], permutations=100).cautions) == apart


def test_sides_that_lie_in_two_folders_are_compared_too(tmp_path):
    recorded = sampled(thinking=WARM, non_thinking=COOL)
    by_mode = {mode: [line for line in both_modes(3) if line["mode"] == mode] for mode in ("thinking", "non-thinking")}
    folders = [write_recording(tmp_path / mode, lines, recorded) for mode, lines in by_mode.items()]
    assert sampled_apart(plan(find_entries(folders)))


def test_a_recording_counts_once_however_it_is_named(both, tmp_path):
    folder, collection = both
    alone = to_json(compare_folders([folder], permutations=999))
    assert to_json(compare_folders([folder, folder / ".." / folder.name], permutations=999)) == alone
    for copies in ([folder, collection], [collection, shutil.copytree(folder, tmp_path / "copy")]):
        with pytest.raises(BadValue, match="hold the same recording"):
            compare_folders(copies, permutations=999)


def test_the_same_texts_through_two_models_are_two_recordings(tmp_path):
    def routed(model):
        return lambda number, line: trace(number, line).with_provenance(model=model)

    folders = [write_recording(tmp_path / model, both_modes(3), routed(model)) for model in ("small", "large")]
    assert len(find_entries(folders)) == 12


def test_a_trace_under_the_name_of_another_is_refused(tmp_path):
    lines = [{**line, "answer": trace(n, line).text_of("answer")} for n, line in enumerate(both_modes(3))]
    folder = write_recording(tmp_path / "rec", lines, trace)
    assert compare_folders([folder], permutations=100).finding.prompts == (3, 3)
    shutil.copy(folder / "00000-thinking-0.safetensors", folder / "00002-thinking-0.safetensors")
    for reads in (lambda: compare_folders([folder], permutations=100), lambda: pack(folder, tmp_path / "out")):
        with pytest.raises(TraceError, match="00002-thinking-0.safetensors holds another answer than index.jsonl"):
            reads()
    assert not (tmp_path / "out").exists()
