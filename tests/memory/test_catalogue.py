"""A document belongs to all files that hold it: records that move between files are never lost, nor kept too long."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import Toy

from memptm import Document, Memory
from memptm.memory.catalogue import Catalogue, FileRecord

NAMES = ["a.jsonl", "b.jsonl", "deep/c.jsonl", "deep/d.jsonl"]
RECORDS = range(5)
# what a folder holds: file → record → which text of it
layouts = st.dictionaries(
    st.sampled_from(NAMES), st.dictionaries(st.sampled_from(RECORDS), st.integers(0, 2), min_size=1), min_size=1
)


def write(folder, layout):
    """Make ``folder`` hold these files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, records in layout.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(line(number, text) for number, text in records.items()))


def line(number, text=0):
    row = {"id": str(number), "source": f"it's {number}", "text": f"Record number{number} stands in version{text}."}
    return json.dumps(row) + "\n"


def held(memory):
    return sorted((one.source, one.document, one.id, one.text) for one in memory.passages())


def counts(added):
    return (added.added, added.updated, added.unchanged, added.removed)


@pytest.fixture
def records(tmp_path):
    """A folder with three records in one file."""
    write(tmp_path / "docs", {"a.jsonl": dict.fromkeys(range(3), 0)})
    return tmp_path / "docs"


@given(steps=st.lists(st.tuples(layouts, st.booleans()), min_size=1, max_size=4), last=layouts)
@settings(max_examples=12, deadline=None)
def test_after_any_moves_between_files_a_build_equals_a_fresh_one(steps, last):
    with tempfile.TemporaryDirectory() as place:
        docs, toy = Path(place) / "docs", Toy()
        memory = Memory.open(Path(place) / "index", create=True, encoder=toy)
        for layout, prune in steps:
            write(docs, layout)
            memory.add(docs, prune=prune)
            numbers = {f"it's {number}" for records in layout.values() for number in records}
            assert numbers <= {one.source for one in memory.passages()}  # not lost until the next build either
        write(docs, last)
        added = memory.add(docs, prune=True)
        fresh = Memory.open(Path(place) / "fresh", create=True, encoder=toy)
        assert added.documents == fresh.add(docs).documents == sum(counts(added)[:3])
        assert held(memory) == held(fresh)
        assert {one.file for one in memory.documents()} <= {str(docs / name) for name in last}
        assert counts(memory.add(docs, prune=True)) == (0, 0, added.documents, 0)
        assert all(check.ok for check in memory.verify())


@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize(
    "after",
    [
        {"b.jsonl": [0, 1, 2]},
        {"deep/c.jsonl": [0, 1, 2]},
        {"a.jsonl": [1], "b.jsonl": [0, 2]},
        {"b.jsonl": [2], "deep/c.jsonl": [0], "deep/d.jsonl": [1]},
        {"a.jsonl": [0, 1, 2], "b.jsonl": [0, 1, 2]},
    ],
)
def test_a_renamed_split_or_copied_file_changes_nothing(memory, records, toy, after, prune):
    memory.add(records)
    before = held(memory)
    write(records, {name: dict.fromkeys(numbers, 0) for name, numbers in after.items()})
    added = memory.add(records, prune=prune)
    assert counts(added) == (0, 0, 3, 0)
    assert added.warnings == ()
    assert held(memory) == before
    assert len(toy.encoded) == 3
    assert {one.file for one in memory.documents()} <= {str(records / name) for name in after}


def test_of_two_files_merged_into_one_nothing_is_lost(memory, records, toy):
    write(records, {"a.jsonl": {0: 0, 1: 0}, "b.jsonl": {2: 0}})
    memory.add(records)
    write(records, {"b.jsonl": dict.fromkeys(range(3), 0)})
    assert counts(memory.add(records)) == (0, 0, 3, 0)
    (records / "b.jsonl").write_text(line(1))
    assert counts(memory.add(records)) == (0, 0, 1, 2)


def test_what_two_files_hold_goes_with_the_second(memory, records):
    (records / "b.jsonl").write_text(line(2))
    memory.add(records)
    (records / "b.jsonl").unlink()
    assert counts(memory.add(records, prune=True)) == (0, 0, 3, 0)
    (records / "b.jsonl").write_text(line(2))
    memory.add(records)
    (records / "a.jsonl").unlink()
    assert counts(memory.add(records, prune=True)) == (0, 0, 1, 2)
    (records / "b.jsonl").write_text(line(4))
    assert counts(memory.add(records, prune=True)) == (1, 0, 0, 1)


def test_a_renamed_folder_keeps_its_records(memory, records):
    memory.add(records)
    records.rename(records.with_name("renamed"))
    assert counts(memory.add(records.with_name("renamed"))) == (0, 0, 3, 0)
    assert counts(memory.add(records, prune=True)) == (0, 0, 0, 0)
    assert len(memory) == 3


def test_a_folder_that_cannot_be_looked_into_is_not_taken_for_gone(memory, records, monkeypatch):
    memory.add(records)
    (records / "a.jsonl").rename(records / "elsewhere")

    def denied(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("memptm.memory.ingest.find", lambda *_, **__: iter(()))
        patched.setattr("memptm.memory.ingest.os.lstat", denied)
        assert memory.add(records, prune=True).removed == 0
    assert len(memory) == 3


def test_a_document_given_by_hand_stays_when_the_file_that_holds_it_too_goes(memory, records):
    row = json.loads(line(1))
    memory.add(records)
    assert counts(memory.add(Document(**row))) == (0, 0, 1, 0)
    (records / "a.jsonl").unlink()
    assert counts(memory.add(records, prune=True)) == (0, 0, 0, 2)
    assert [one.source for one in memory.passages()] == ["it's 1"]


def test_a_build_that_died_between_two_files_of_a_move_loses_nothing(memory, path, records, monkeypatch):
    memory.add(records)
    write(records, {"a.jsonl": {0: 0, 3: 0}, "b.jsonl": {1: 0, 2: 0}})
    with monkeypatch.context() as patched:
        patched.setattr("memptm.memory.ingest.BATCH", 1)
        patched.setattr("memptm.memory.ingest.SECONDS", 0)
        patched.setattr("memptm.memory.ingest.Ingest._drop", lambda _: pytest.fail("came to its end"))
        patched.setattr(Toy, "encode_passages", dying_after(1, Toy.encode_passages))
        (records / "b.jsonl").write_text(line(4) + line(1) + line(2))
        with pytest.raises(KeyboardInterrupt):
            memory.add(records)
    assert {one.source for one in memory.passages()} >= {f"it's {n}" for n in range(4)}
    with pytest.warns(UserWarning, match="interrupted"):
        again = Memory.open(path, encoder=Toy())
    assert counts(again.add(records)) == (1, 0, 4, 0)
    assert len(again) == 5


def dying_after(calls, encode):
    left = [calls]

    def die(self, texts, **options):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return encode(self, texts, **options)

    return die


def test_a_catalogue_of_before_is_read_and_no_file_is_parsed_again(memory, path, records, monkeypatch):
    (records / "b.jsonl").write_text(line(7))
    memory.add(records)
    files = json.loads((path / "files.json").read_bytes())
    old = {file: {**row, "documents": len(row["documents"])} for file, row in files.items()}
    (path / "files.json").write_text(json.dumps(old))
    with monkeypatch.context() as patched:
        patched.setattr("memptm.memory.ingest.load", lambda *_, **__: pytest.fail("parsed again"))
        assert counts(memory.add(records)) == (0, 0, 4, 0)
    (records / "b.jsonl").rename(records / "c.jsonl")
    assert counts(memory.add(records, prune=True)) == (0, 0, 4, 0)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"x": 3}', '{"x": {"hash": "1"}}', '{"x": {"documents": [[]], "hash": 1, "settings": 1}}']
)
def test_a_damaged_catalogue_only_makes_files_be_read_again(memory, path, records, text):
    memory.add(records)
    (path / "files.json").write_text(text)
    assert counts(memory.add(records)) == (0, 0, 3, 0)
    assert len(memory) == 3


def test_files_under_a_folder_are_those_of_its_name_alone(tmp_path):
    catalogue = Catalogue(tmp_path / "files.json", {"1": "/x/y/a", "2": "/x/yy/a", "3": "/x/y", "4": ""})
    assert catalogue.under([Path("/x/y")]) == ["/x/y", "/x/y/a"]
    assert catalogue.under([Path("/")]) == ["/x/y", "/x/y/a", "/x/yy/a"]
    catalogue.put("/x/yy/a", FileRecord(hash="h", settings="s", documents=frozenset("12")))
    assert catalogue.holders("1") == {"/x/y/a", "/x/yy/a"}
    assert catalogue.release("/x/y/a", ["1"]) == {"1"}
    assert catalogue.holders("1") == {"/x/yy/a"}
