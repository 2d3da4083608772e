"""The same passages under another encoder: what is known is not encoded again, and the new index is one like any other."""

import numpy as np
import pytest

from memptm import Document, Memory
from memptm.encoders.base import embedding_text
from memptm.errors import BadIndex, InputError
from memptm.memory import rekey as module
from memptm.memory.rekey import KeyCache, Stopped, rekey
from tests.memory.toy import Toy

TEXTS = [
    f"Passage {n} tells of the {name} and its ways." for n, name in enumerate(["otter", "kelp", "gull", "crab"] * 5)
]
OTHER = Toy(32, name="other", fingerprint="other-1", scale=3.0)


@pytest.fixture
def memory(tmp_path):
    memory = Memory.open(tmp_path / "index", create=True, encoder=Toy())
    memory.add([Document(text=text, title=f"T{n}", metadata={"n": n}) for n, text in enumerate(TEXTS)])
    memory.remove(where="n = 3")
    return memory


def test_the_new_index_holds_the_same_passages_in_the_same_order_under_the_new_keys(memory, tmp_path):
    made = rekey(memory, tmp_path / "new", OTHER)
    passages, keys = made.keys()
    assert passages == memory.keys()[0]
    lengths = np.linalg.norm(keys, axis=1)
    assert np.allclose(lengths, 1, atol=1e-5)
    alone = OTHER.encode_passages([embedding_text(passage) for passage in passages]) / 3
    assert np.allclose(keys, alone, atol=1e-5)
    assert made.manifest.encoder == "other"
    assert made.manifest.fingerprint == "other-1"


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_it_is_searched_filtered_changed_and_verified_like_any_other(memory, tmp_path, mode):
    made = rekey(memory, tmp_path / "new", OTHER)
    assert "gull" in made.search("gull", k=1, mode=mode)[0].passage.text
    assert [hit.passage.metadata["n"] for hit in made.search("gull", k=1, mode=mode, where="n = 6")] == [6]
    made.add([Document(text="A heron came later.", title="Late")])
    assert made.search("heron", k=1, mode=mode)[0].passage.title == "Late"
    assert len(made) == len(memory) + 1
    assert all(check.ok for check in made.verify())


def test_a_document_given_again_is_unchanged_there(memory, tmp_path):
    made = rekey(memory, tmp_path / "new", OTHER)
    added = made.add([Document(text=TEXTS[0], title="T0", metadata={"n": 0})])
    assert (added.added, added.unchanged) == (0, 1)


def test_an_index_of_that_encoder_is_kept_and_one_of_another_is_refused(memory, tmp_path):
    rekey(memory, tmp_path / "new", OTHER).add([Document(text="A heron came later.")])
    assert len(rekey(memory, tmp_path / "new", OTHER)) == len(memory) + 1
    with pytest.raises(InputError, match="another encoder"):
        rekey(memory, tmp_path / "new", Toy(name="third", fingerprint="third"))
    with pytest.raises(InputError, match="the index itself"):
        rekey(memory, memory.path, OTHER)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(BadIndex):
        rekey(memory, tmp_path / "full", OTHER)
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_an_index_that_was_made_before_the_passages_changed_is_refused(memory, tmp_path):
    rekey(memory, tmp_path / "new", OTHER)
    memory.add([Document(text="A heron came later.")])
    with pytest.raises(InputError, match="lacks 1 passages"):
        rekey(memory, tmp_path / "new", OTHER)


def test_what_changes_while_it_encodes_is_not_mixed_in(memory, tmp_path, monkeypatch):
    def meanwhile(texts):
        writer = Memory.open(memory.path, encoder=Toy())
        writer.remove(where="n = 1")
        writer.add([Document(text="A heron came later.")])
        return type(OTHER).encode_passages(OTHER, texts)

    before = memory.keys()[0]
    slow = Toy(32, name="other", fingerprint="other-1", scale=3.0)
    monkeypatch.setattr(slow, "encode_passages", meanwhile)
    passages, keys = rekey(memory, tmp_path / "new", slow).keys()
    assert passages == before
    assert np.allclose(keys, OTHER.encode_passages([embedding_text(passage) for passage in before]) / 3, atol=1e-5)
    assert len(memory) == len(before)


def test_an_empty_index_becomes_an_empty_one(tmp_path):
    empty = Memory.open(tmp_path / "empty", create=True, encoder=Toy())
    made = rekey(empty, tmp_path / "new", OTHER)
    assert len(made) == 0
    assert made.search("otter") == []


def test_what_was_encoded_before_a_stop_is_not_encoded_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART", 4)
    cache, encoder, left = KeyCache(tmp_path / "keys"), Toy(), [3]

    def going():
        left[0] -= 1
        return left[0] >= 0

    with pytest.raises(Stopped):
        cache.keys(TEXTS, encoder, going=going)
    assert cache.encoded == len(encoder.encoded) == 12
    again = KeyCache(tmp_path / "keys")
    keys = again.keys(TEXTS, encoder)
    assert (again.encoded, len(encoder.encoded)) == (8, 20)
    assert np.allclose(keys, Toy().encode_passages(TEXTS), atol=1e-6)


def test_only_changed_texts_are_encoded(tmp_path):
    cache, encoder = KeyCache(tmp_path / "keys"), Toy()
    cache.keys(TEXTS, encoder)
    changed = ["A new one first.", *TEXTS[1:], TEXTS[1]]
    keys = cache.keys(changed, encoder)
    assert encoder.encoded[len(TEXTS) :] == ["A new one first."]
    assert np.allclose(keys, Toy().encode_passages(changed), atol=1e-6)


def test_another_encoders_keys_stand_apart(tmp_path):
    cache = KeyCache(tmp_path / "keys")
    cache.keys(TEXTS, Toy())
    other = Toy(fingerprint="toy-2")
    assert np.allclose(cache.keys(TEXTS, other), other._vectors(TEXTS), atol=1e-6)


def test_a_part_that_was_half_written_counts_for_nothing(tmp_path):
    cache = KeyCache(tmp_path / "keys")
    cache.keys(TEXTS[:2], Toy())
    (tmp_path / "keys" / "toy-1" / "broken.part").write_bytes(b"PK")
    assert len(cache.keys(TEXTS, Toy())) == len(TEXTS)


def test_nothing_is_deleted_that_it_did_not_make(memory, tmp_path):
    other = Memory.open(tmp_path / "new.part", create=True, encoder=Toy())
    other.add([Document(text="Another index.")])
    (tmp_path / "new.keys" / "other-1").mkdir(parents=True)
    (tmp_path / "new.keys" / "other-1" / "mine.txt").write_text("mine")
    rekey(memory, tmp_path / "new", OTHER)
    assert len(other) == 1
    assert [one.name for one in (tmp_path / "new.keys").rglob("*") if one.is_file()] == ["mine.txt"]


def test_an_index_under_another_encoder_passes_every_check(tmp_path):
    memory = Memory.open(tmp_path / "index", create=True, encoder=Toy())
    memory.add([Document(text="one two", id="1"), Document(text="three", id="2")])
    made = rekey(memory, tmp_path / "made", Toy(dimension=32, fingerprint="toy-2"))
    assert all(check.ok for check in made.verify())
