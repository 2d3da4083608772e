"""The questions that the cognitive graph is trained and measured on, and what each is asked over.

Held out is a sixth of hotpotqa_train and of multihop_train, by the hash of the question's id, beside all of hotpotqa_dev.
hotpotqa_dev is HotpotQA's full-wiki file: of its 300 questions only 97 have both gold paragraphs among the ten that come
with them. What is reachable at all is therefore told apart. The shipped reader, from which every method begins, has read the gold
paragraphs of hotpotqa_train and multihop_train, the held-out sixth's among them; of hotpotqa_dev nothing (scripts/data/reader.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from memptm.encoders.base import Encoder
from memptm.memory.in_memory import InMemoryIndex
from memptm.types import Json, Passage
from scripts.data.held_out import rows

HELD_OUT_SHARE = 6
MULTIHOP = {"2hop": "MuSiQue", "3hop1": "MuSiQue", "3hop2": "MuSiQue", "4hop1": "MuSiQue", "4hop3": "MuSiQue"}


def held_out(row: Json) -> bool:
    """Whether a question is measured on and never trained on."""
    return hashlib.sha256(str(row["id"]).encode()).digest()[0] % HELD_OUT_SHARE == 0


def training_rows(data: Path) -> list[Json]:
    """hotpotqa_train and multihop_train, less the sixth."""
    both = rows(data / "hotpotqa_train.jsonl") + rows(data / "multihop_train.jsonl")
    return [row for row in both if not held_out(row)]


def test_sets(data: Path) -> dict[str, list[Json]]:
    """Name → questions that System 1 and System 2 were never trained on."""
    dev = rows(data / "hotpotqa_dev.jsonl")
    hotpot = [row for row in rows(data / "hotpotqa_train.jsonl") if held_out(row)]
    more = [row for row in rows(data / "multihop_train.jsonl") if held_out(row)]
    return {
        "HotpotQA, a sixth": hotpot,
        "hotpotqa_dev": [row for row in dev if row["context"]],
        "hotpotqa_dev, both gold there": [row for row in dev if row["context"] and has_gold(row)],
        "2Wiki, a sixth": [row for row in more if row["type"] not in MULTIHOP],
        "MuSiQue, a sixth": [row for row in more if row["type"] in MULTIHOP],
    }


def has_gold(row: Json) -> bool:
    """Whether every supporting fact stands in the row's context."""
    lengths = {title: len(sentences) for title, sentences in row["context"]}
    return all(number < lengths.get(title, 0) for title, number in row["supporting_facts"])


def paragraphs(row: Json) -> list[Passage]:
    """The row's paragraphs, each a passage; ``metadata["ends"]``: where its sentences end, for ``facts``."""
    made = []
    for n, (title, sentences) in enumerate(row["context"]):
        ends, text = [], ""
        for sentence in sentences:
            text += sentence if not text or sentence.startswith(" ") else f" {sentence}"
            ends.append(len(text))
        identity = f"{n}#{title}"
        made.append(
            Passage(
                id=identity, document=identity, text=text, start=0, end=len(text), title=title, metadata={"ends": ends}
            )
        )
    return [one for one in made if one.text.strip()]


def index_of(row: Json, encoder: Encoder) -> InMemoryIndex:
    """The row's paragraphs, searchable."""
    return InMemoryIndex(paragraphs(row), encoder)


def fact(passage: Passage, place: int) -> tuple[str, int]:
    """(title, the row's own number of the sentence) that character ``place`` of a paragraph is in."""
    ends = passage.metadata["ends"]
    return passage.title, next((n for n, end in enumerate(ends) if place < end), len(ends) - 1)


def gold_facts(row: Json) -> set[tuple[str, int]]:
    """The row's supporting facts."""
    return {(title, number) for title, number in row["supporting_facts"]}


def answers(row: Json) -> list[str]:
    """What is right."""
    return [row["answer"], *row.get("answer_aliases", [])]


def kind(row: Json) -> str:
    """Comparison or bridge, whatever the set calls it."""
    return "comparison" if "comparison" in row["type"] else "bridge"


def limited(questions: Sequence[Json], limit: int | None) -> list[Json]:
    """The first ``limit``."""
    return list(questions if limit is None else questions[:limit])
