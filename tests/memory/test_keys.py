"""FAISS is a cache: whatever happens to its file, the answers are Lance's."""

import faiss
import numpy as np
import pytest
from toy import Toy

from memptm import Memory
from memptm.memory import keys as keys_module
from memptm.memory.keys import KeyIndex, exact
from memptm.memory.verify import Verification


@pytest.fixture
def filled(memory, texts):
    memory.add(texts(*(f"Passage number{n} speaks of item{n % 13}." for n in range(60))))
    return memory


def random_keys(n, dimension=32, seed=0):
    made = np.random.default_rng(seed).standard_normal((n, dimension)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
    path.write_bytes(data)


def plain_faiss(path):
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(64))
    index.add_with_ids(random_keys(60, 64), np.arange(60))
    faiss.write_index(index, str(path))


def of_another_memory(path):
    other = Memory.open(path.parent.parent / "other", create=True, encoder=Toy())
    from memptm import Document

    other.add([Document(text=f"Something else{n}.") for n in range(60)])
    path.write_bytes((other.path / "keys.faiss").read_bytes())


DAMAGES = [cut, zero, lambda path: path.unlink(), plain_faiss, of_another_memory, lambda path: path.write_bytes(b""),
           lambda path: path.write_bytes(b"\0" * 100)]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_noticed_once_and_made_anew(filled, path, toy, damage):  # F38
    before = [[hit.to_json() for hit in filled.search(f"number{n}", mode="dense")] for n in range(9)]
    damage(path / "keys.faiss")
    ok, _ = Verification(Memory.open(path, encoder=toy))._faiss_file()
    assert ok is (not (path / "keys.faiss").exists())
    reader = Memory.open(path, encoder=toy)
    with pytest.warns(UserWarning, match=r"keys.faiss .* made anew") as notices:
        after = [[hit.to_json() for hit in reader.search(f"number{n}", mode="dense")] for n in range(9)]
    assert before == after
    assert len(notices) == 1
    assert all(check.ok for check in Memory.open(path, encoder=toy).verify())


def test_verify_finds_wrong_vectors_behind_right_ids_and_repairs_them(filled, path, toy):  # F38
    stored = filled._values.snapshot()
    wrong = KeyIndex(64)
    wrong.sync(stored.ids, version=stored.version, fetch=lambda ids: random_keys(len(ids), 64))
    wrong.save(path / "keys.faiss", index=filled.manifest.index)
    reader = Memory.open(path, encoder=toy)
    failed = [check for check in reader.verify() if not check.ok]
    assert [check.name for check in failed] == ["faiss keys"]
    assert "--repair" in failed[0].remedy
    assert all(check.ok for check in reader.verify(repair=True))
    assert all(check.ok for check in Memory.open(path, encoder=toy).verify())


def test_an_old_file_is_brought_up_to_date_by_id(filled, path, toy, texts, recwarn):
    old = (path / "keys.faiss").read_bytes()
    filled.add(texts("A new zebra."))
    filled.remove(where="text like '%number7 %'")
    (path / "keys.faiss").write_bytes(old)
    reader = Memory.open(path, encoder=toy)
    assert reader.search("zebra", mode="dense")[0].passage.text == "A new zebra."
    assert all("number7 " not in hit.passage.text for hit in reader.search("number7", k=60, mode="dense"))
    assert not recwarn.list


def test_ids_are_never_given_twice_even_when_the_highest_go(filled, texts):  # F48
    highest = int(filled._values.snapshot().ids[-1])
    filled.remove(where="text like '%number59%'")
    filled.add(texts("A new zebra."))
    assert int(filled._values.snapshot().ids[-1]) > highest


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_any_order_of_adding_and_removing_leaves_each_key_its_own_nearest(kind, monkeypatch):  # F48
    if kind == "ivf":
        monkeypatch.setattr(keys_module, "FLAT_UP_TO", 200)
    chance, all_keys = np.random.default_rng(1), random_keys(2000)
    index, present = KeyIndex(32), np.arange(0, 600)
    for version in range(1, 8):
        index.sync(present, version=version, fetch=lambda ids: all_keys[ids])
        assert index.kind == kind
        assert np.array_equal(index.held(), present)
        best = [row[0] for row in index.search(all_keys[present], depth=1)]
        assert [one for one, _ in best] == present.tolist()
        assert np.allclose(index.vectors(present), all_keys[present], atol=1e-6)
        allowed = present[::3]
        reached = {one for row in index.search(all_keys[:20], depth=9, allowed=allowed) for one, _ in row}
        assert reached <= set(allowed.tolist())
        kept = present[chance.random(len(present)) > 0.2]
        present = np.union1d(kept, np.arange(600 + 100 * version, 700 + 100 * version))


def test_an_inverted_file_survives_saving_and_is_trained_anew_as_it_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(keys_module, "FLAT_UP_TO", 200)
    all_keys, index = random_keys(3000), KeyIndex(32)
    index.sync(np.arange(300), version=1, fetch=lambda ids: all_keys[ids])
    index.sync(np.arange(3000), version=2, fetch=lambda ids: all_keys[ids])
    assert index.trained_on == 3000
    index.save(tmp_path / "f", index="x")
    loaded = KeyIndex.load(tmp_path / "f", index="x", dimension=32)
    assert (loaded.kind, loaded.version) == ("ivf", 2)
    assert loaded.search(all_keys[:50], depth=5) == index.search(all_keys[:50], depth=5)
    loaded.sync(np.arange(50), version=3, fetch=lambda ids: all_keys[ids])
    assert loaded.kind == "flat"
    assert np.array_equal(loaded.held(), np.arange(50))


def test_flat_search_is_the_exact_one():
    all_keys, queries, index = random_keys(500), random_keys(20, seed=5), KeyIndex(32)
    index.sync(np.arange(500), version=1, fetch=lambda ids: all_keys[ids])
    for ours, right in zip(
        index.search(queries, depth=10), exact(queries, all_keys, np.arange(500), depth=10), strict=True
    ):
        assert [one for one, _ in ours] == [one for one, _ in right]
        assert np.allclose([score for _, score in ours], [score for _, score in right], atol=1e-6)


def test_the_whole_memory_works_over_an_inverted_file(path, toy, texts, monkeypatch):
    monkeypatch.setattr(keys_module, "FLAT_UP_TO", 100)
    memory = Memory.open(path, create=True, encoder=toy)
    memory.add(texts(*(f"Passage number{n} speaks of item{n % 13}." for n in range(300))))
    assert memory.info()["keys"] == "ivf"
    for mode in ("dense", "hybrid"):
        assert "number77 " in memory.search("Passage number77 speaks of item12.", mode=mode)[0].passage.text
        hit = memory.search("number77", mode=mode, where="text like '%number5 %'", k=1)[0]
        assert "number5 " in hit.passage.text
    memory.remove(where="text like '%number77 %'")
    assert all("number77 " not in hit.passage.text for hit in memory.search("number77", k=300))
    assert all(check.ok for check in memory.verify())


def test_without_faiss_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    from memptm.errors import ExtraMissing

    with pytest.raises(ExtraMissing, match=r'pip install "memptm\[cpu\]"'):
        KeyIndex(8)
