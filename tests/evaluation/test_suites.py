"""Questions from a file, asked and scored line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memptm import QA, Memory
from memptm.errors import InputError
from memptm.evaluation.suites import Question, evaluate, is_relevant, read_questions
from memptm.progress import Event
from memptm.types import Hit, Passage


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_blank_lines_and_a_byte_order_mark_are_skipped(tmp_path: Path) -> None:
    path = written(
        tmp_path / "q.jsonl",
        '\ufeff{"question": "a?", "answers": ["b"]}',
        "",
        "   ",
        '{"question": "c?", "answers": []}',
    )
    assert read_questions(path) == [Question(text="a?", answers=("b",)), Question(text="c?")]
    assert len(read_questions(path, limit=1)) == 1


@pytest.mark.parametrize(
    "line",
    ["{oops", "[]", '{"answers": ["b"]}', '{"question": " ", "answers": []}', '{"question": "a?"}', '{"question": "a?", "answers": "b"}', '{"question": "a?", "answers": [1]}', "[" * 100_000],
)  # fmt: skip
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = written(tmp_path / "q.jsonl", '{"question": "a?", "answers": ["b"]}', "", line)
    with pytest.raises(InputError, match=r"q\.jsonl, line 3"):
        read_questions(path)


def test_a_file_without_questions_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no questions"):
        read_questions(written(tmp_path / "empty.jsonl", ""))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_questions(tmp_path / "binary.jsonl")


def test_a_hit_is_relevant_by_title_or_id_where_those_are_given_else_by_its_text() -> None:
    passage = Passage(id="d#2", document="d", text="Built in 1871.", start=0, end=14, title="Lighthouse")
    hit = Hit(passage=passage, score=1, similarity=1)
    for name in ("Lighthouse", "d", "d#2"):
        assert is_relevant(hit, Question(text="?", answers=("1900",), supporting=(name,)))
    assert not is_relevant(hit, Question(text="?", answers=("1871",), supporting=("Glacier",)))
    assert is_relevant(hit, Question(text="?", answers=("1871",)))
    assert not is_relevant(hit, Question(text="?", answers=("187",)))


def test_lines_are_scored_by_position_even_where_they_ask_the_same(index: Path) -> None:  # F67
    asked = [
        Question(text="When was the oil lamp replaced?", answers=("1934",)),
        Question(text="When was the oil lamp replaced?", answers=("2001",)),
    ]
    seen: list[Event] = []
    result = evaluate(QA(Memory.open(index)), asked, progress=seen.append)
    assert (result["n"], result["em"]) == (2, 0.5)
    assert result["recall"] == {"1": 0.5, "5": 0.5}
    assert [event.done for event in seen] == [1, 2]
    assert 0 < result["ms"]["p50"] <= result["ms"]["p95"]
    json.dumps(result, allow_nan=False)


def test_without_answers_saying_nothing_is_right(index: Path) -> None:
    asked = [Question(text="What is the boiling point of tungsten hexafluoride?")]
    result = evaluate(QA(Memory.open(index)), asked, k=2)
    assert result["em"] == 1
    assert result["recall"] == {"1": None, "2": None, "5": None}


def test_an_evaluation_needs_a_memory_and_questions(index: Path) -> None:
    with pytest.raises(InputError):
        evaluate(QA(), [Question(text="?")])
    with pytest.raises(InputError):
        evaluate(QA(Memory.open(index)), [])
