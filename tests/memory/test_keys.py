"""FAISS is a cache: whatever happens to its file, the answers are Lance's."""

import math

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import Toy

from memptm import Document, Memory
from memptm.memory import keys as keys_module
from memptm.memory.keys import KeyIndex
from memptm.memory.verify import Verification


@pytest.fixture
def filled(memory, texts):
    memory.add(texts(*(f"Passage number{n} speaks of item{n % 13}." for n in range(60))))
    return memory


def random_keys(n, dimension=32, seed=0):
    made = np.random.default_rng(seed).standard_normal((n, dimension)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def by_brute_force(queries, all_keys, ids, *, depth):
    """(id, cosine) of the nearest of ``ids``, best first."""
    scores = queries @ all_keys[ids].T
    return [[(int(ids[n]), float(row[n])) for n in np.argsort(-row, kind="stable")[:depth]] for row in scores]


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
    other.add([Document(text=f"Something else{n}.") for n in range(60)])
    path.write_bytes((other.path / "keys.faiss").read_bytes())


DAMAGES = [cut, zero, lambda path: path.unlink(), plain_faiss, of_another_memory, lambda path: path.write_bytes(b""),
           lambda path: path.write_bytes(b"\0" * 100)]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_noticed_once_and_made_anew(filled, path, toy, damage):  # F38
    before = [[hit.to_json() for hit in filled.search(f"number{n}", mode="dense")] for n in range(9)]
    damage(path / "keys.faiss")
    index = Memory.open(path, encoder=toy)
    parts = (index._values, index._folder, index.manifest)
    ok, _ = Verification(*parts, keys=index._synced, encoder=lambda: toy)._faiss_file()
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
    right = by_brute_force(queries, all_keys, np.arange(500), depth=10)
    same(index.search(queries, depth=10), right)


def test_a_filter_takes_ids_however_far_apart_they_are():
    ids, all_keys, index = np.array([0, 1, 7, 8, 63, 64, 10**9]), random_keys(7), KeyIndex(32)
    index.sync(ids, version=1, fetch=lambda wanted: all_keys[np.searchsorted(ids, wanted)])
    for allowed in ([0], [7, 8], [63, 10**9], [1, 64], ids):
        (found,) = index.search(all_keys[:1], depth=9, allowed=np.array(allowed))
        assert sorted(one for one, _ in found) == list(allowed)


def same(ours, right):
    """Equal up to rounding: where two keys are equally near, either may come first."""
    for found, wanted in zip(ours, right, strict=True):
        assert np.allclose([score for _, score in found], [score for _, score in wanted], atol=1e-5)
        assert len({one for one, _ in found}) == len(found)


LARGE = 60_000


@pytest.fixture(scope="module", params=["flat", "ivf"])
def large(request):
    """(keys, index) at a size where an inverted file is in force, half of it in clusters; and held flat."""
    chance = np.random.default_rng(3)
    made = chance.standard_normal((LARGE, 8)).astype(np.float32)
    made[: LARGE // 2] = made[chance.integers(0, 20, LARGE // 2)] + 0.1 * made[: LARGE // 2]
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    index = KeyIndex(8)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "flat":
            patch.setattr(keys_module, "FLAT_UP_TO", LARGE)
        index.sync(np.arange(LARGE), version=1, fetch=lambda ids: made[ids])
    assert index.kind == request.param
    return made, index


seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, share=st.floats(0.0001, 0.14), depth=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_a_narrow_filter_finds_the_nearest_that_match_wherever_they_lie(large, seed, share, depth):
    all_keys, index = large
    query, centre = random_keys(2, 8, seed=seed)[:, None]
    scattered = np.random.default_rng(seed).random(LARGE) < share
    for nearness in (all_keys @ centre[0], -(all_keys @ query[0]), scattered):  # a region, the farthest, anywhere
        allowed = np.sort(np.argsort(-nearness.astype(np.float32), kind="stable")[: math.ceil(share * LARGE)])
        same(index.search(query, depth=depth, allowed=allowed), by_brute_force(query, all_keys, allowed, depth=depth))


@given(seed=seeds, share=st.floats(0.01, 1.0), depth_share=st.floats(0.0, 1.2))
@settings(max_examples=25, deadline=None)
def test_any_filter_and_any_k_find_k_of_those_that_match(large, seed, share, depth_share):
    all_keys, index = large
    query, centre = random_keys(2, 8, seed=seed)[:, None]
    allowed = np.sort(np.argsort(-(all_keys @ centre[0]))[: math.ceil(share * LARGE)])
    depth = 1 + int(depth_share * len(allowed))
    (found,) = index.search(query, depth=depth, allowed=allowed)
    assert len({one for one, _ in found}) == len(found) == min(depth, len(allowed))
    assert np.isin([one for one, _ in found], allowed).all()
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert np.allclose(all_keys[[one for one, _ in found]] @ query[0], [score for _, score in found], atol=1e-5)


@pytest.mark.parametrize("depth", [20_000, LARGE, LARGE + 1])
def test_without_a_filter_k_are_found_however_many_are_asked_for(large, depth):
    all_keys, index = large
    queries = all_keys[[0, LARGE - 1]]
    found = index.search(queries, depth=depth)
    assert [len(row) for row in found] == [min(depth, LARGE)] * 2
    right = by_brute_force(queries, all_keys, np.arange(LARGE), depth=depth)
    for ours, wanted in zip(found, right, strict=True):
        assert len({one for one, _ in ours} & {one for one, _ in wanted}) >= 0.95 * len(wanted)


def test_what_is_nearest_without_a_filter_is_found_almost_always(large):
    all_keys, index = large
    queries = random_keys(200, 8, seed=9)
    right = by_brute_force(queries, all_keys, np.arange(LARGE), depth=10)
    found = index.search(queries, depth=10)
    pairs = zip(found, right, strict=True)
    recall = np.mean([len({one for one, _ in ours} & {one for one, _ in wanted}) / 10 for ours, wanted in pairs])
    assert recall >= 0.95


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


COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """400 passages of three colours, the last one rare, above the size at which keys are an inverted file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys_module, "FLAT_UP_TO", 100)
        memory = Memory.open(tmp_path_factory.mktemp("coloured") / "index", create=True, encoder=Toy())
        memory.add(
            Document(text=f"A {COLOURS[n % 20 and (1 + (n % 7 == 0))]} thing, number{n}.", metadata={"n": n})
            for n in range(400)
        )
        assert memory.info()["keys"] == "ivf"
    return memory


@given(
    mode=st.sampled_from(["dense", "lexical", "hybrid"]),
    asked=st.sampled_from(COLOURS),
    low=st.integers(0, 399),
    high=st.integers(0, 399),
    k=st.sampled_from([1, 3, 10, 50, 399]),
)
@settings(max_examples=40, deadline=None)
def test_a_search_finds_k_hits_wherever_k_passages_match_the_filter(coloured, mode, asked, low, high, k):
    where = f"n BETWEEN {low} AND {high}"
    match = [one.text for one in coloured.passages(where=where) if mode != "lexical" or asked in one.text]
    hits = coloured.search(f"{asked} thing" if mode != "lexical" else asked, k=k, mode=mode, where=where)
    assert len(hits) == min(k, len(match))
    assert {hit.passage.text for hit in hits} <= set(match)


def test_without_faiss_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    from memptm.errors import ExtraMissing

    with pytest.raises(ExtraMissing, match=r'pip install "memptm\[cpu\]"'):
        KeyIndex(8)
