"""Files and folders in a memory: what changed, what is gone, what cannot be read, and writes that fail midway."""

import errno
import json
import os
import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from toy import Toy

from memptm import Document, Memory
from memptm.errors import InputError, MemptmError
from memptm.memory.ingest import Ingest
from memptm.memory.values import Values
from memptm.progress import silent
from memptm.types import Passage


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "docs"
    path.mkdir()
    (path / "a.txt").write_text("The door is red.")
    (path / "b.txt").write_text("The lamp is green.")
    return path


def counts(added):
    return (added.added, added.updated, added.unchanged, added.removed)


def test_unchanged_files_are_not_parsed_again(memory, folder, toy, monkeypatch):
    assert counts(memory.add(folder)) == (2, 0, 0, 0)
    monkeypatch.setattr("memptm.memory.ingest.load", lambda *_, **__: pytest.fail("parsed again"))
    assert counts(memory.add(folder)) == (0, 0, 2, 0)
    assert len(toy.encoded) == 2


def test_without_its_notes_on_files_a_memory_reads_again_and_encodes_nothing(memory, folder, path, toy):
    memory.add(folder)
    (path / "files.json").unlink()
    assert counts(memory.add(folder)) == (0, 0, 2, 0)
    assert len(toy.encoded) == 2


def test_a_changed_file_is_updated(memory, folder, found):  # F27
    memory.add(folder)
    (folder / "a.txt").write_text("The door is blue.")
    added = memory.add(folder)
    assert counts(added) == (0, 1, 1, 0)
    assert added.passages == 2
    assert found(memory, "door", mode="lexical") == ["The door is blue."]


def test_a_removed_file_comes_back_with_the_next_build(memory, folder, found):  # F28
    memory.add(folder)
    assert memory.remove(source=folder / "a.txt") == 1
    assert counts(memory.add(folder)) == (1, 0, 1, 0)
    assert found(memory, "door", mode="lexical") == ["The door is red."]


def test_a_gone_file_is_reported_and_pruned_on_request(memory, folder, found):  # F29
    memory.add(folder)
    (folder / "a.txt").unlink()
    added = memory.add(folder)
    assert counts(added) == (0, 0, 1, 0)
    assert "a.txt" in added.warnings[0]
    assert "--prune" in added.warnings[0]
    sources = next(check for check in memory.verify() if check.name == "sources")
    assert sources.ok
    assert "a.txt" in sources.detail
    assert found(memory, "door", mode="lexical") == ["The door is red."]
    assert counts(memory.add(folder, prune=True)) == (0, 0, 1, 1)
    assert found(memory, "door", mode="lexical") == []
    assert len(memory) == 1


def test_pruning_leaves_other_folders_and_given_documents_alone(memory, folder, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("The roof is flat.")
    memory.add([folder, other])
    memory.add(Document(text="The wall is high.", source="nowhere.txt"))
    other.unlink()
    assert memory.add(folder, prune=True).removed == 0
    with pytest.raises(InputError):
        memory.add(tmp_path / "never.txt", prune=True)
    assert memory.add(other, prune=True).removed == 1
    assert len(memory) == 3


def test_files_of_one_name_in_two_folders_are_two_sources(memory, tmp_path, found):  # F30
    for name, colour in (("x", "red"), ("y", "blue")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "readme.md").write_text(f"The door is {colour}.")
    memory.add([tmp_path / "x", tmp_path / "y" / ".." / "y"])
    assert len(found(memory, "door")) == 2
    assert memory.remove(source=str(tmp_path / "x" / ".." / "x" / "readme.md")) == 1
    assert found(memory, "door") == ["The door is blue."]


def test_a_record_that_left_its_file_leaves_the_memory(memory, tmp_path, found):
    file = tmp_path / "records.jsonl"
    rows = [{"id": str(n), "text": f"Record number{n} stands."} for n in range(5)]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert memory.add(file).added == 5
    file.write_text("\n".join(map(json.dumps, rows[1:])))
    assert counts(memory.add(file)) == (0, 0, 4, 1)
    assert all("number0" not in text for text in found(memory, "number0"))


def test_what_cannot_be_read_is_listed_and_the_rest_goes_in(memory, folder):  # F99
    (folder / "broken").symlink_to(folder / "nowhere")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.txt")
    (folder / ".hidden.txt").write_text("hidden")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 40)
    added = memory.add(folder)
    assert added.added == 2
    names = {Path(one.path).name for one in added.refused}
    assert names == {"broken", "pipe.txt", "binary.txt"}
    assert set(added.to_json()) == {
        "added", "updated", "unchanged", "removed", "refused", "warnings", "documents", "passages", "seconds",
    }  # fmt: skip


def test_a_path_that_is_not_there_is_refused_before_anything_is_written(memory, folder):
    with pytest.raises(InputError):
        memory.add([folder, folder / "missing"])
    assert len(memory) == 0


def test_a_disk_that_fills_up_midway_is_one_clear_line_and_keeps_what_was_stored(
    memory, path, toy, texts, monkeypatch, found
):
    monkeypatch.setattr("memptm.memory.ingest.BATCH", 10)
    commit, calls = Values.commit, []

    def full(self, rows, keys, *, replaced):
        calls.append(len(rows))
        if len(calls) == 3:
            monkeypatch.setattr(type(self._table), "add", lambda *_: raise_full())
        commit(self, rows, keys, replaced=replaced)

    def raise_full():
        raise RuntimeError(
            "lance error: LanceError(IO): Generic LocalFileSystem error: No space left on device (os error 28)"
        )

    documents = texts(*(f"Record number{n} stands." for n in range(50)))
    with monkeypatch.context() as patched:
        patched.setattr(Values, "commit", full)
        with pytest.raises(MemptmError, match=r"disk .* full") as caught:
            memory.add(documents)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 1
    monkeypatch.undo()
    again = Memory.open(path, encoder=toy)
    with pytest.warns(UserWarning, match="made anew"):
        assert len(found(again, "number7 record", k=50)) == 20
    assert all(check.ok for check in again.verify())
    encoded = len(toy.encoded)
    assert counts(again.add(documents)) == (30, 0, 20, 0)
    assert len(toy.encoded) - encoded == 30


def test_a_full_disk_is_known_by_its_number_too(memory, texts, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Memory, "_synced", lambda self, **_: None)
    monkeypatch.setattr("memptm.memory.folder.replace", full)
    with pytest.raises(MemptmError, match="full"):
        memory.add(texts("One."))


def test_an_interrupted_build_keeps_whole_documents_and_goes_on(path, texts, monkeypatch, found):  # F37
    class Interrupted(Toy):
        def encode_passages(self, texts, **options):
            if len(self.encoded) >= 20:
                raise KeyboardInterrupt
            return super().encode_passages(texts, **options)

    monkeypatch.setattr("memptm.memory.ingest.BATCH", 10)
    documents = texts(*(f"Record number{n} stands." for n in range(50)))
    with pytest.raises(KeyboardInterrupt):
        Memory.open(path, create=True, encoder=Interrupted()).add(documents)
    toy = Toy()
    memory = Memory.open(path, encoder=toy)
    with pytest.warns(UserWarning, match="made anew"):
        hits = found(memory, "number3", mode="lexical")
    assert "number3" in hits[0]
    assert len(memory) == 20
    assert all(check.ok for check in memory.verify())
    assert memory.add(documents).unchanged == 20
    assert len(toy.encoded) == 30


def test_a_long_document_is_one_commit(memory, monkeypatch):
    monkeypatch.setattr("memptm.memory.ingest.BATCH", 4)
    text = "\n\n".join(f"Row {n} of the list." for n in range(50))
    sizes, commit = [], Values.commit
    monkeypatch.setattr(
        Values, "commit", lambda self, rows, *rest, **more: (sizes.append(len(rows)), commit(self, rows, *rest, **more))
    )
    memory.add([Document(text=text, id=name, source="s") for name in "ab"], words=5, overlap=0)
    assert len(sizes) == 2
    assert sizes[0] == sizes[1] > 4


def test_progress_is_told_of_reading_and_encoding(memory, folder):
    events = []
    memory.add(folder, progress=events.append)
    assert {"read", "encode"} <= {event.stage for event in events}
    assert [event.done for event in events if event.stage == "read"] == [0, 1, 2]


@pytest.mark.parametrize("value", [date(2026, 1, 2), {1, 2}, b"a", np.float32(1), object()])
def test_metadata_that_is_no_json_is_refused_by_name_and_nothing_is_lost(memory, value):  # A12
    memory.add([Document(text="Kept.")])
    with pytest.raises(InputError, match=r"The metadata of 'mill' cannot be kept"):
        memory.add([Document(text="A mill.", id="mill", metadata={"deep": [value]})])
    assert [passage.text for passage in memory.passages()] == ["Kept."]


def test_an_index_that_stands_among_the_documents_is_no_document(path, toy, tmp_path):
    (tmp_path / "note.txt").write_text("The door is red.")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "memptm.json").write_text('{"reader": "mine"}')  # a file of that name, and no index
    other = Memory.open(tmp_path / "deep" / "other", create=True, encoder=toy)
    other.add(Document(text="The lamp is green."))
    memory = Memory.open(path, create=True, encoder=toy)
    for _ in range(2):
        memory.add(tmp_path)
        assert {Path(one.file).name for one in memory.documents()} == {"note.txt", "memptm.json"}
    added = memory.add([other.path, tmp_path])
    assert [(one.path, one.reason) for one in added.refused] == [(str(other.path), "an index, not documents")]
    assert len(memory) == 2


def test_keys_of_many_passages_take_time_in_proportion_to_them(memory, toy):
    ingest = Ingest(
        values=memory._values, folder=memory._folder, encoder=lambda: toy, words=120, overlap=20, progress=silent
    )

    def seconds(count):
        passages = [Passage(id=str(n), document="d", text=f"Part {n}", start=n, end=n + 1) for n in range(count)]
        began = time.process_time()
        assert len(ingest._keys(passages)[1]) == count
        return time.process_time() - began

    seconds(10)
    few, many = seconds(1_500), seconds(30_000)
    assert many < 100 * few  # twenty times as many; in their square, four hundredfold
