"""A text in hand: each document is itself, whatever its id; and what finds passages in it is what the QA has."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from memptm import QA, Document, Memory, Passage
from memptm.answering.citations import from_generation
from memptm.errors import InputError
from memptm.generation.reader import scored
from tests.memory.toy import Toy

TEXTS = ("Ada built the mill in Hove.", "Rolf keeps the ferry at Vaasa.", "Mira paints the gate in Leeds.")
ASKED = "Who keeps the ferry?"


@dataclass(frozen=True)
class Written:
    """What a generator hands back."""

    text: str | None
    probability: float
    null_probability: float
    read: tuple[Passage, ...]


class Writer:
    """A generator that says what it is told to, of all passages, and finds each as likely as its place says."""

    def __init__(self, text: str) -> None:
        self.text, self.seen = text, list[Passage]()

    def generate_batch(
        self, questions: Sequence[str], passages: Sequence[Sequence[Passage]], *, null_log_odds: object
    ) -> list[Written]:
        self.seen = [one for group in passages for one in group]
        return [Written(self.text, 0.7, 0.1, tuple(group)) for group in passages]

    def log_likelihoods(
        self, questions: Sequence[str], passages: Sequence[Sequence[Passage]], answers: Sequence[str]
    ) -> list[float]:
        return [-float(n) for n in range(len(passages))]


@pytest.mark.parametrize(
    "documents",
    [
        [Document(text=text) for text in TEXTS],
        [Document(text=text, id="1") for text in TEXTS],
        [Document(text=text, id="1", source=f"{n}.jsonl") for n, text in enumerate(TEXTS)],
        [Document(text=text, id="1", source="one.jsonl") for text in TEXTS],
    ],
    ids=["no ids", "one id", "one id, several sources", "one id, one source"],
)
@pytest.mark.parametrize("recall", [True, False])
def test_documents_that_share_an_id_are_read_whole_and_cited_apart(
    documents: list[Document], recall: bool, tmp_path: Path
) -> None:
    writer = Writer("Rolf")
    qa = QA(
        Memory.open(tmp_path / "index", create=True, encoder=Toy()), method="generate", judge="bm25", generator=writer
    )  # type: ignore[arg-type]
    answer = qa.read(ASKED, documents, recall=recall)
    assert sorted(one.text for one in writer.seen) == sorted(TEXTS)
    assert len({one.passage.key for one in answer.evidence}) == len(TEXTS)
    assert sum(one.prior for one in answer.evidence) == pytest.approx(1)
    assert {one.passage.text for one in answer.evidence if one.answer_span} == {TEXTS[1]}


def test_passages_of_one_id_are_cited_with_their_own_priors() -> None:
    passages = [
        Passage(id="1", document="1", text=text, start=0, end=len(text), source=f"{n}.jsonl")
        for n, text in enumerate(TEXTS)
    ]
    priors = (0.2, 0.7, 0.1)
    generation: Any = Written("Rolf", 0.7, 0.1, tuple(passages[:2]))
    generator: Any = Writer("Rolf")
    answer = from_generation(
        ASKED, scored(passages, [math.log(p) for p in priors]), generation, generator, method="generate"
    )
    assert {one.passage.source: one.prior for one in answer.evidence} == pytest.approx({"0.jsonl": 0.2, "1.jsonl": 0.7})


def test_the_same_document_given_twice_is_read_once() -> None:
    once = QA().read(ASKED, [Document(text=TEXTS[1])])
    assert QA().read(ASKED, [Document(text=TEXTS[1])] * 3) == once


class Noting(Toy):
    """An encoder that counts what it is asked."""

    asked = 0

    def encode_questions(self, questions: Sequence[str]) -> Any:
        self.asked += len(questions)
        return super().encode_questions(questions)


def test_the_indexs_own_encoder_finds_what_a_generator_reads(tmp_path: Path) -> None:
    encoder = Noting()
    memory = Memory.open(tmp_path / "index", create=True, encoder=encoder)
    qa = QA(memory, method="generate", generator=Writer("Rolf"))  # type: ignore[arg-type]
    qa.read(ASKED, TEXTS[1])
    assert encoder.asked == 1


def test_without_an_index_one_encoder_is_loaded_for_all_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr("memptm.encoders.load.load_encoder", lambda name: loaded.append(name) or Toy())
    qa = QA(method="generate", generator=Writer("Rolf"))  # type: ignore[arg-type]
    for _ in range(3):
        qa.read(ASKED, TEXTS[1])
    assert loaded == [None]


def test_a_file_in_hand_is_read_in_its_own_format(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    answer = QA().read(ASKED, rows)
    assert answer.text is not None
    assert "Rolf" in answer.text
    assert answer.evidence[0].passage.source == str(rows)


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_a_file_that_cannot_be_read_is_the_users_to_mend(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        QA(reader="no-such-reader").read(ASKED, tmp_path / name)
