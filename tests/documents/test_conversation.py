"""A folder of turns: a file a session, a date line, then "Speaker: text"."""

from __future__ import annotations

import pytest

from memptm.documents.conversation import Turn, document, read
from memptm.documents.load import load
from memptm.documents.split import split

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
