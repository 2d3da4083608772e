"""What a passage promises, whatever the document."""

from __future__ import annotations

import itertools
import json
import time

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from memptm.documents.decode import says_something
from memptm.documents.split import split
from memptm.documents.units import count_words
from memptm.errors import InputError
from memptm.types import Block, Document, Passage
from tests.strategies import documents, prose, sizes

plain = prose.map(lambda text: Document(id="d", text=text))
LONGEST_UNIT = 13  # words that a word of 130 letters weighs


def covered(document: Document, passages: list[Passage]) -> str:
    """What no passage holds, without blanks; "" where it is punctuation alone."""
    left, at = "", 0
    for passage in passages:
        left += document.text[at : passage.start] if passage.start > at else ""
        at = max(at, passage.end)
    left = "".join((left + document.text[at:]).split())
    return left if says_something(left) else ""


@given(plain | documents(), sizes())
def test_passages_are_exact_slices_that_leave_out_nothing_but_blanks(document, size):
    passages = split(document, **size)
    assert all(document.text[passage.start : passage.end] == passage.text for passage in passages)
    assert covered(document, passages) == ""


def dense(text: str) -> int:
    """Tokens as a tokenizer counts them that knows few of the text's words: codes, long compounds."""
    return sum(1 + len(word) // 3 if len(word) > 12 or not word.isalpha() else 1 for word in text.split())


dense_words = st.sampled_from(["the", "cable", "Q7-4431/X", "0x5f3a", "Donaudampfschiffahrtskapitän", "a.", "ja,", "…"])
codes = st.lists(dense_words, min_size=1, max_size=150).map(lambda words: Document(id="d", text=" ".join(words)))
windows = st.tuples(st.sampled_from([len, dense]), st.integers(8, 120))


@given(plain | documents() | codes, sizes(), st.none() | windows)
def test_no_passage_lies_within_another_and_they_come_in_order(document, size, window):
    measure, most = window or (len, len(document.text))
    passages = split(document, **size, fits=lambda passage: measure(passage.text) <= most)
    assert all(a.start < b.start and a.end < b.end for a, b in itertools.pairwise(passages))
    assert all(measure(passage.text) <= most for passage in passages)
    assert covered(document, passages) == ""


def test_a_passage_that_had_to_be_split_leaves_no_part_within_the_next():
    """A sentence of codes fills the window several times over, and the words that the next passage repeats are all codes."""
    text = " ".join(["Plain words stand here."] * 24 + [f"C{n}-{n * 7919 % 1009:04d}/{n % 7}." for n in range(60)] * 2)
    passages = split(Document(id="d", text=text), fits=lambda passage: dense(passage.text) <= 90)
    assert len(passages) > 3
    assert all(a.start < b.start and a.end < b.end for a, b in itertools.pairwise(passages))


@given(plain | documents(), sizes())
def test_every_passage_says_something(document, size):
    assert all(says_something(passage.text) for passage in split(document, **size))


@given(plain, sizes())
def test_a_passage_is_at_most_a_quarter_longer_than_asked_or_a_single_unit(document, size):
    for passage in split(document, **size):
        assert count_words(passage.text) <= max(1.25 * size["words"], LONGEST_UNIT)


@given(plain | documents(), sizes(), st.booleans())
def test_no_cut_parts_a_letter_from_its_marks_or_an_emoji(document, size, tight):
    fits = (lambda passage: len(passage.text) <= 8) if tight else None
    whole = {0} | {match.end() for match in regex.finditer(r"\X", document.text)}
    for passage in split(document, **size, fits=fits):
        assert {passage.start, passage.end} <= whole


@given(plain, sizes())
def test_no_cut_falls_within_a_word_of_up_to_100_letters(document, size):
    for passage in split(document, **size):
        for at in (passage.start, passage.end):
            around = document.text[max(at - 1, 0) : at + 1]
            if len(around) == 2 and around.isascii() and around.isalnum():
                assert "x" * 50 in document.text[max(at - 131, 0) : at + 131]


@given(plain | documents(), sizes(), st.integers(20, 300))
def test_every_passage_fits_the_window_it_is_given(document, size, window):
    passages = split(document, **size, fits=lambda passage: len(passage.text) <= window)
    assert all(len(passage.text) <= window for passage in passages)
    assert covered(document, passages) == ""


@given(documents(), sizes())
def test_ids_are_unique_and_the_first_is_the_documents(document, size):
    ids = [passage.id for passage in split(document, **size)]
    assert len(set(ids)) == len(ids)
    assert not ids or ids[0] in ("d", *(block.id for block in document.blocks))


@pytest.mark.parametrize("text", ["echo echo echo. " * 30, "🙂 🙂 🙂. " * 30, "他他他。" * 30])
def test_repeated_text_is_carried_not_searched(text):  # F18
    passages = split(Document(id="d", text=text), words=5, overlap=2)
    assert len(passages) > 10
    assert all(a.start < b.start <= a.end for a, b in itertools.pairwise(passages))


def test_line_ends_count_as_they_stand():  # F03
    text = "One.\r\nTwo.\r\nThree.\rFour."
    passages = split(Document(id="d", text=text), words=2, overlap=0)
    assert [passage.text for passage in passages] == ["One.\r\nTwo.", "Three.\rFour."]
    assert all(text[passage.start : passage.end] == passage.text for passage in passages)


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_a_line_end_is_no_paragraphs_end_on_any_system(end):
    wrapped = "It was built by Ada and her\nbrother, who came from the\nnorth in that year. " * 20
    cut = [split(Document(id="d", text=wrapped.replace("\n", one)), words=20, overlap=5) for one in ("\n", end)]
    assert [one.text.replace(end, "\n") for one in cut[1]] == [one.text for one in cut[0]]


@pytest.mark.parametrize(
    "size", [{"words": 20, "overlap": 20}, {"words": 0, "overlap": 0}, {"words": 5, "overlap": -1}]
)
def test_an_overlap_that_leaves_no_room_is_the_users_error(size):  # F19
    with pytest.raises(InputError, match="overlap"):
        split(Document(text="a b c"), **size)


def test_an_endless_word_is_cut_with_overlap():  # F19
    passages = split(Document(id="d", text="A" * 50_000), overlap=20)
    assert 40 < len(passages) < 60
    assert all(len(passage.text) <= 1_500 for passage in passages)
    assert passages[1].start < passages[0].end


def test_chinese_is_cut_at_its_stops_and_counted_by_characters():  # F21
    sentences = [f"{chr(0x4E00 + n)}{'文' * 28}。" for n in range(99)] + ["宝藏在黑岩岛。"]
    passages = split(Document(id="d", text="".join(sentences)))
    assert len(passages) > 10
    assert all(len(passage.text) <= 300 and passage.text.endswith("。") for passage in passages)
    assert passages[-1].text.endswith("宝藏在黑岩岛。")


@pytest.mark.parametrize("picture", ["🇩🇪", "👨‍👩‍👧‍👦"])
def test_an_emoji_on_the_cut_is_not_parted(picture):  # F22
    for passage in split(Document(id="d", text=picture * 400), words=10, overlap=3):
        assert len(passage.text) % len(picture) == 0


def test_a_sentence_is_not_cut_where_another_place_is_near():
    sentences = [f"Sentence number {n} has exactly seven words." for n in range(60)]
    passages = split(Document(id="d", text=" ".join(sentences)), words=30, overlap=7)
    assert all(passage.text.startswith("Sentence") and passage.text.endswith("words.") for passage in passages)
    assert all(a.end > b.start for a, b in itertools.pairwise(passages))


def test_metadata_shrinks_no_passage():  # F26
    document = Document(id="d", text="Ten words " * 5, metadata={"note": "word " * 3_000})
    (passage,) = split(document, fits=lambda passage: len(passage.text) < 200)
    assert passage.metadata == document.metadata


def test_where_context_fills_the_window_it_is_left_out():
    text = "Row one | 1\nRow two | 2"
    block = Block(start=0, end=len(text), kind="table", context="a very long header " * 3)
    fits = lambda passage: len(passage.context) + len(passage.text) <= 30  # noqa: E731
    assert [p.context for p in split(Document(id="d", text=text, blocks=(block,)), fits=fits)] == [""]


def test_a_long_turn_keeps_its_id():
    turn = "Ann: " + "I was there and saw it all. " * 40
    document = Document(id="c", text=turn, blocks=(Block(start=0, end=len(turn), kind="turn", id="t1", context="May"),))
    passages = split(document)
    assert [passage.id for passage in passages] == ["t1", "t1#1", "t1#2"]
    assert {passage.context for passage in passages} == {"May"}


def test_blocks_that_overlap_are_refused():
    with pytest.raises(InputError, match="block"):
        split(Document(text="a b c", blocks=(Block(start=0, end=3), Block(start=2, end=4))))


def test_a_million_words_take_seconds():
    began = time.process_time()
    assert len(split(Document(id="d", text="All that is gold does not glitter. " * 30_000))) > 2_000
    assert time.process_time() - began < 10


@pytest.mark.data
def test_short_paragraphs_cost_almost_nothing(data):
    with (data / "wiki2hop_corpus.jsonl").open(encoding="utf-8") as lines:
        paragraphs = [Document(text=json.loads(line)["text"]) for line, _ in zip(lines, range(1_500), strict=False)]
    began = time.process_time()
    for paragraph in paragraphs:
        split(paragraph)
    assert time.process_time() - began < 0.6  # 0.1 on an idle machine


def test_the_first_row_or_turn_under_a_heading_keeps_what_is_known_of_it():
    text = "Alarm\nZone: Shed\nZone: Jetty"
    blocks = (
        Block(start=0, end=5, kind="heading", level=1),
        Block(start=6, end=16, kind="record", metadata={"row": 2}),
        Block(start=17, end=28, kind="record", metadata={"row": 3}),
    )
    passages = split(Document(id="d", text=text, blocks=blocks, metadata={"author": "Ida"}))
    assert [(one.text, one.metadata) for one in passages] == [
        ("Alarm\nZone: Shed", {"author": "Ida", "row": 2}),
        ("Zone: Jetty", {"author": "Ida", "row": 3}),
    ]
