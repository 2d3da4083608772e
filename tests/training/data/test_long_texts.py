"""Questions on long texts: what is relevant stands where it says."""

from __future__ import annotations

import json

import pytest

from memptm.errors import InputError
from memptm.training.data.long_texts import is_relevant, read_long

HOTPOT = {
    "question": "Where?",
    "answer": "Oslo",
    "supporting_facts": [["A", 1], ["B", 0], ["gone", 0]],
    "context": [["A", ["One.", " Two in Oslo."]], ["B", ["Three."]]],
}


def read(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return list(read_long([path]))


def test_hotpots_paragraphs_are_one_text_and_its_facts_are_places_in_it(tmp_path):
    (one,) = read(tmp_path, HOTPOT)
    assert one.text == "A. One. Two in Oslo.\nB. Three."
    assert [one.text[start:end] for start, end in one.relevant] == ["Two in Oslo.", "Three."]
    assert one.answers == ("Oslo",)


def test_an_answer_in_few_places_says_what_is_relevant(tmp_path):
    paper = {
        "text": "Oslo is cold. Bern is not.",
        "qa": [{"question": "Which?", "answers": ["Bern"]}, {"question": "Who?", "answers": ["Ada"]}],
    }
    row = {"question": "Where?", "context": "In Bern.", "answers": ["Bern"]}
    first, second, third = read(tmp_path, paper, row)
    assert [first.text[s:e] for s, e in first.relevant] == ["Bern"]
    assert second.relevant == ()
    assert third.text[slice(*third.relevant[0])] == "Bern"
    often = {"question": "Where?", "context": "Bern " * 9, "answers": ["Bern"]}
    assert read(tmp_path, often)[0].relevant == ()


@pytest.mark.parametrize(
    "row",
    [
        "{oops",
        "[]",
        {"question": "?"},
        {"question": " ", "context": "x", "answers": []},
        {"question": "?", "context": "x", "answers": "y"},
        {"question": 3, "context": "x", "answers": []},
        {"question": "?", "context": "", "answers": []},
        {"text": "x", "qa": [3]},
        {**HOTPOT, "context": []},
        {**HOTPOT, "supporting_facts": [3]},
    ],
)
def test_a_broken_row_is_named_by_its_line(row, tmp_path):
    with pytest.raises(InputError, match="line 3"):
        read(tmp_path, HOTPOT, row)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        list(read_long([tmp_path / "none.jsonl"]))


@pytest.mark.parametrize(
    ("block", "relevant", "expected"),
    [
        ((0, 50), [(10, 20)], True),
        ((0, 15), [(10, 20)], True),
        ((0, 14), [(10, 20)], False),
        ((10, 20), [(0, 100)], True),
        ((20, 30), [(0, 20)], False),
        ((0, 9), [], False),
    ],
)
def test_a_block_is_relevant_that_holds_half_of_what_is_or_lies_half_in_it(block, relevant, expected):
    assert is_relevant(*block, relevant) is expected
