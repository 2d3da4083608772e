"""A folder of turns: a file a session, a date line, then "Speaker: text"."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memptm.documents.conversations import OTHERS, Turn, document, log_weights, read
from memptm.documents.load import load
from memptm.documents.split import split
from memptm.types import Passage

SESSION = """1:56 pm on 8 May, 2023

Caroline: I went to a support group yesterday.
Melanie: What was it like?
   Tell me all.
Date: 9 May 2023
Caroline: It was at 10:30, note: crowded.
"""


def test_a_session_file_is_turns_that_keep_speaker_and_time(tmp_path):
    folder = tmp_path / "friends"
    folder.mkdir()
    (folder / "one.txt").write_text(SESSION)
    (made,) = load(folder / "one.txt", warn=pytest.fail)
    assert (made.id, made.title, made.metadata) == (str(folder / "one.txt"), "friends", {"conversation": "friends"})
    passages = split(made)
    assert [(p.id, p.text, p.metadata["speaker"], p.metadata["time"], p.context) for p in passages] == [
        (
            "one:1",
            "Caroline: I went to a support group yesterday.",
            "Caroline",
            "2023-05-08T13:56:00",
            "1:56 pm on 8 May, 2023",
        ),
        (
            "one:2",
            "Melanie: What was it like? Tell me all.",
            "Melanie",
            "2023-05-08T13:56:00",
            "1:56 pm on 8 May, 2023",
        ),
        ("one:3", "Caroline: It was at 10:30, note: crowded.", "Caroline", "2023-05-09", "9 May 2023"),
    ]
    assert all(made.text[p.start : p.end] == p.text for p in passages)


@pytest.mark.parametrize(
    "other",
    [
        "Ann: no date above.\nBo: none.\nAnn: at all.",
        "8 May 2023\nAnn: hello.\nBo: hello.",  # nobody speaks twice: as well a table of facts
        "Date: 8 May 2023\nFrom: Ann\nTo: Bo\n\nDear Bo,\nall is well.",
        "8 May 2023\nThe council met.\nAnn: present.\nAnn: voted.",
        "8 May 2023",
        "  8 May 2023\n  Ann: a.\n  Ann: b.",
        "",
    ],
)
def test_other_texts_are_left_as_texts(other):
    assert read(other, name="x") is None


def test_a_document_of_turns_has_a_line_a_turn_and_exact_blocks():
    made = document([Turn(id="a", text="Two\nlines. ", speaker="Ann"), Turn(id="b", text="🙂 hi")], name="n")
    assert made.text == "Ann: Two lines.\n🙂 hi"
    assert [made.text[block.start : block.end] for block in made.blocks] == ["Ann: Two lines.", "🙂 hi"]
    assert made.blocks[1].metadata == {}


@pytest.mark.parametrize(
    ("question", "counted"),
    [("What did Ann paint?", [1, OTHERS, 1]), ("what did BO LEE paint?", [OTHERS, 1, 1]), ("Who paints?", [1, 1, 1]),
     ("Did Ann meet Bo?", [1, 1, 1]), ("Did Annabel paint?", [1, 1, 1])],
)  # fmt: skip
def test_what_others_said_counts_little_where_a_speaker_is_named(question, counted):
    turns = [("Ann", "I painted a boat."), ("Bo Lee", "I painted a bird."), (None, "Birds paint nothing.")]
    passages = [
        Passage(id=text, document="d", text=text, start=0, end=len(text), metadata={"speaker": who} if who else {})
        for who, text in turns
    ]
    assert [math.exp(one) for one in log_weights(question, passages)] == pytest.approx(counted)


@settings(deadline=None)
@given(st.lists(st.recursive(st.none() | st.booleans() | st.floats() | st.text(" \tAnn", max_size=4),
                             lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)),
                min_size=1, max_size=4))  # fmt: skip
def test_a_speaker_may_be_anything_metadata_can_be(speakers):  # A12
    passages = [
        Passage(id=str(n), document="d", text="I paint.", start=0, end=8, metadata={"speaker": one})
        for n, one in enumerate(speakers)
    ]
    assert len(log_weights("What did Ann paint?", passages)) == len(passages)


def test_of_several_speakers_the_one_named_counts():
    spoke = [["Ann", "Bo Lee"], ["Cy", " "], "Bo Lee", [], {"name": "Ann"}]
    passages = [
        Passage(id=str(n), document="d", text="I paint.", start=0, end=8, metadata={"speaker": one})
        for n, one in enumerate(spoke)
    ]
    counted = [math.exp(one) for one in log_weights("What did Bo paint?", passages)]
    assert counted == pytest.approx([1, OTHERS, 1, 1, 1])
