"""Each check notices what it is for, and says what to do."""

import os
import shutil

import pytest

from memptm import Document, Memory
from memptm.errors import BadIndex
from memptm.memory.values import Values


def failed(memory):
    return {check.name: check for check in memory.verify() if not check.ok}


@pytest.fixture
def filled(memory):
    text = "\n\n".join(f"Row {n} of the list." for n in range(9))
    memory.add([Document(text=text, id=name, source=f"{name}.txt") for name in "abc"], words=5, overlap=0)
    return memory


def test_a_good_index_passes_and_every_check_has_a_remedy(filled):
    checks = filled.verify()
    assert all(check.ok and check.detail and check.remedy for check in checks)
    assert len(checks) >= 9


@pytest.mark.parametrize("sign", ["keys.faiss", "files.json"])
def test_a_lost_table_is_no_empty_index_and_a_build_mends_it(memory, path, reopened, tmp_path, sign):
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.txt").write_text("Row 1 of the list.")
    memory.add(tmp_path / "documents")
    shutil.rmtree(path / "passages.lance")
    for other in {"keys.faiss", "files.json"} - {sign}:
        (path / other).unlink()
    lost = reopened()
    for repair in (False, True):
        (check,) = lost.verify(repair=repair)
        assert (check.name, check.ok) == ("table", False)
        assert "memptm build" in check.remedy
    for read in (lambda: lost.search("row"), lost.info, lambda: len(lost), lambda: list(lost.passages())):
        with pytest.raises(BadIndex, match=r"passages\.lance is missing or empty\. Restore .* memptm build again"):
            read()
    assert reopened().add(tmp_path / "documents").added == 1
    assert failed(reopened()) == {}
    assert len(reopened().search("row")) == 1


def test_keys_of_a_lost_table_are_not_those_of_a_table_made_after_it(memory, path, reopened, monkeypatch):
    memory.add(Document(text="Row 1 of the list."))
    shutil.rmtree(path / "passages.lance")
    again = reopened()
    with monkeypatch.context() as killed:
        killed.setattr(Memory, "_finish_write", lambda *_, **__: None)  # before it could write its keys
        again.add(Document(text="Another row."))
    with pytest.warns(UserWarning, match="it is made anew"):
        assert failed(reopened()) == {}
    assert [hit.passage.text for hit in reopened().search("row")] == ["Another row."]


def test_an_index_that_never_held_a_passage_has_lost_nothing(memory, tmp_path):
    (tmp_path / "blank.txt").write_text(" \n ")
    memory.add(tmp_path / "blank.txt")
    assert failed(memory) == {}
    assert memory.search("row") == []


def test_a_missing_text_index_is_noticed_and_made_by_repair(filled, reopened):
    filled._values._table.drop_index("lexical_idx")
    memory = reopened()
    assert "--repair" in failed(memory)["full text"].remedy
    assert memory.search("row list", mode="lexical")
    assert all(check.ok for check in memory.verify(repair=True))
    assert failed(reopened()) == {}


def test_a_document_that_is_not_whole_is_noticed_by_name(filled, reopened):
    filled._values._table.delete("document = 'b' AND ordinal = 2")
    found = failed(reopened())
    assert list(found) == ["documents"]
    assert ": b" in found["documents"].detail


def test_wrong_offsets_and_keys_of_wrong_length_are_noticed(filled, reopened):
    table = filled._values._table
    table.update(where="document = 'a' AND ordinal = 1", values={"start": 0})
    table.update(where="document = 'c' AND ordinal = 0", values={"key": [2.0] * 64})
    assert {"rows", "keys"} <= failed(reopened()).keys()


def test_what_a_killed_build_leaves_is_a_notice_and_goes_with_the_next_build(filled, path):
    (path / "keys.faiss.1234.tmp").write_bytes(b"half")
    check = next(check for check in filled.verify() if check.name == "left over files")
    assert check.ok
    assert "keys.faiss.1234.tmp" in check.detail
    filled.add(Document(text="More."))
    assert not list(path.glob("*.tmp"))


def test_a_lost_counter_never_gives_an_id_that_is_stored(filled, path):
    (path / "next-id").unlink()
    assert "ids" in failed(filled)
    filled.add(Document(text="More."))
    assert failed(filled) == {}


def test_a_version_that_is_cleared_away_while_reading_is_read_again(filled, monkeypatch):
    scan, calls = Values.scan, []

    def vanishing(self, *columns, **options):
        calls.append(columns)
        if len(calls) == 1:
            raise RuntimeError("lance error: Not found: data/x.lance")
        return scan(self, *columns, **options)

    filled.close()
    monkeypatch.setattr(Values, "scan", vanishing)
    assert len(filled.search("row", mode="lexical")) == 5


@pytest.mark.filterwarnings("ignore:.*made anew")
@pytest.mark.parametrize("name", ["keys.faiss", "files.json", "next-id", "unfinished.json"])
@pytest.mark.parametrize("thing", ["folder", "pipe", "link"])
def test_what_stands_in_place_of_a_small_file_is_noticed_and_put_aside_by_repair(filled, path, reopened, name, thing):
    (path / name).unlink(missing_ok=True)
    if thing == "folder":
        (path / name).mkdir()
        (path / name / "mine.txt").write_text("mine")
    elif thing == "pipe":
        os.mkfifo(path / name)
    else:
        (path / name).symlink_to(path / "passages.lance")
    found = failed(reopened())
    assert name in found["small files"].detail
    assert "--repair" in found["small files"].remedy
    assert len(reopened().search("row", k=50)) == 9
    assert all(check.ok for check in reopened().verify(repair=True))
    assert failed(reopened()) == {}
    aside = path / f"{name}.aside"
    assert os.path.lexists(aside)
    if thing == "folder":
        assert (aside / "mine.txt").read_text() == "mine"
    memory = reopened()
    memory.add(Document(text="One more row."))
    assert len(memory) == 28


def test_a_manifest_or_a_table_that_is_something_else_is_one_clear_error(filled, path, reopened):
    (path / "passages.lance").rename(path / "elsewhere")
    (path / "passages.lance").write_text("mine")
    with pytest.raises(BadIndex, match="missing or empty"):
        reopened().search("row")
    (path / "memptm.json").unlink()
    (path / "memptm.json").mkdir()
    with pytest.raises(BadIndex, match="is damaged"):
        reopened()
