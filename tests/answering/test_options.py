"""How a question is asked: what cannot be is refused at once, whenever it is said, and what is said later holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memptm import QA, Answer, Document, Memory
from memptm.answering.options import METHODS, AskOptions
from memptm.errors import InputError, ModelMissing
from memptm.selection.block_scorers import LexicalScorer
from tests.memory.toy import Toy

REFUSED = [
    ("method", "grpah"),
    ("method", ""),
    ("mode", "fuzzy"),
    ("pages", 0),
    ("pages", -3),
    ("judge", 7),
]


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    memory = Memory.open(tmp_path / "index", create=True, encoder=Toy())
    memory.add([Document(text="The bell of Orme weighs nine tons.", title="Bells")])
    return memory


@pytest.mark.parametrize(("name", "value"), [*REFUSED, ("k", 0), ("where", "kind ="), ("where", "")])
def test_options_are_validated_once_when_they_are_made(name: str, value: Any) -> None:
    with pytest.raises(InputError):
        AskOptions(**{name: value})


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_is_assigned_later_is_held_to_the_same(name: str, value: Any) -> None:
    qa = QA()
    before = qa.options
    with pytest.raises(InputError):
        setattr(qa, name, value)
    with pytest.raises(InputError):
        QA(**{name: value})
    assert qa.options is before


def test_a_method_that_reads_whole_passages_and_recall_cannot_meet_in_any_order() -> None:
    qa = QA(method="graph")
    with pytest.raises(InputError, match="recall"):
        qa.recall = True
    qa.method, qa.recall = "reader", True
    with pytest.raises(InputError, match="recall"):
        qa.method = "auto"


@pytest.mark.parametrize("name", ["reader", "generator", "methd", "budget"])
def test_what_nothing_would_read_cannot_be_assigned(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(QA(), name, "x")


def test_every_method_has_an_answerer_that_the_others_do_not_change() -> None:
    from memptm.answering.ask import ANSWERERS

    assert tuple(ANSWERERS) == METHODS


class Counting(LexicalScorer):
    """A judge that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def score(self, question: str, texts: Any) -> Any:
        self.asked.append(question)
        return super().score(question, texts)


def test_a_judge_that_is_assigned_after_a_question_judges_the_next(memory: Memory) -> None:
    first, second = Counting(), Counting()
    qa = QA(memory, recall=True, judge=first)
    qa("What does the bell weigh?")
    qa.judge = second
    qa("Who weighed the bell?")
    assert (first.asked, second.asked) == (["What does the bell weigh?"], ["Who weighed the bell?"])
    qa.judge = "no such judge"
    with pytest.raises(ModelMissing, match="no judge"):
        qa("Who?")


def test_a_method_a_memory_and_a_mode_that_are_assigned_later_are_in_force(memory: Memory, tmp_path: Path) -> None:
    other = Memory.open(tmp_path / "other", create=True, encoder=Toy())
    other.add([Document(text="The clock of Penhollow strikes at noon.", title="Clocks")])
    qa = QA(memory)
    assert read_by(qa("When does the clock strike?")) <= {"Bells"}
    qa.memory = other
    assert read_by(qa("When does the clock strike?")) == {"Clocks"}
    qa.method = "auto"
    assert qa("When does the clock strike?").method in ("reader", "graph")
    qa.method, qa.mode = "reader", "lexical"
    assert qa("xylophone").note == "There was no passage to read."  # no word of it stands there


def read_by(answer: Answer) -> set[str]:
    """Titles of what an answer cites."""
    return {one.passage.title for one in answer.evidence}
