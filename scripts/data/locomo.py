"""LoCoMo (Maharana et al. 2024, arXiv 2402.17753): its conversations as documents, its questions, its scoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from memptm.documents.conversations import Turn, document
from memptm.evaluation.metrics import bootstrap, normalise
from memptm.memory.memory import Memory
from memptm.types import Document, Json, Mode
from scripts.data.held_out import rows

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
DEPTHS = (1, 5, 10)


def conversations(data: Path) -> list[Json]:
    """The five conversations of locomo_dev: measure with them, train no shipped weights on them."""
    return rows(data / "locomo_dev.jsonl")


def turns(conversation: Json) -> list[Turn]:
    """Its turns, in order, with the date of their session."""
    return [
        Turn(id=turn["id"], text=turn["text"], speaker=turn["speaker"], time=session["date"])
        for session in conversation["sessions"]
        for turn in session["turns"]
        if turn["text"].strip()
    ]


def documents(data: Path) -> list[Document]:
    """The conversations as memptm stores them, a passage a turn."""
    return [document(turns(one), name=one["id"], source="locomo") for one in conversations(data)]


def questions(data: Path) -> list[Json]:
    """All questions, each with its ``conversation``; answers are texts, None for the adversarial ones."""
    return [
        {**question, "conversation": one["id"], "answer": _text(question["answer"])}
        for one in conversations(data)
        for question in one["qa"]
    ]


def open_index(data: Path, folder: Path, *, encoder: str | None = None) -> Memory:
    """All conversations in one index, made once; a question is asked of its own by ``within``."""
    memory = Memory.open(folder, create=True, encoder=encoder)
    memory.add(documents(data))
    return memory


def within(question: Json) -> str:
    """The filter for the question's own conversation."""
    return f"conversation = '{question['conversation']}'"


def recalls(memory: Memory, asked: Sequence[Json], *, mode: Mode) -> dict[str, list[float]]:
    """Name of a depth → of each question, the share of its evidence turns among so many hits; those with evidence."""
    found: dict[str, list[float]] = {f"recall@{k}": [] for k in DEPTHS}
    for name in dict.fromkeys(question["conversation"] for question in asked):
        own = [question for question in asked if question["conversation"] == name]
        hits = memory.search([one["question"] for one in own], k=max(DEPTHS), mode=mode, where=within(own[0]))
        for question, some in zip(own, hits, strict=True):
            ids = [hit.passage.id.partition("#")[0] for hit in some]
            for k in DEPTHS:
                share = sum(one in ids[:k] for one in question["evidence"]) / len(question["evidence"])
                found[f"recall@{k}"].append(share)
    return found


def score(prediction: str | None, question: Json) -> float:
    """The benchmark's score of one answer, from 0 to 1.

    Token F1 after Porter stemming; of a multi-hop question the mean, over the answer's parts between commas, of the best
    F1 of a part of the prediction; an open-domain answer counts up to its semicolon; an adversarial question is right
    if nothing is said.
    """
    category = question["category"]
    if category == 5:
        return float(prediction is None)
    if prediction is None:
        return 0.0
    answer = question["answer"]
    if category == 1:
        given = [part.strip() for part in prediction.split(",")]
        parts = [part.strip() for part in answer.split(",")]
        return sum(max(_f1(one, part) for one in given) for part in parts) / len(parts)
    return _f1(prediction, answer.split(";")[0] if category == 3 else answer)


def per_category(values: Sequence[float], asked: Sequence[Json]) -> Json:
    """Category → mean in percent with its 95 % interval (bootstrap over questions), and of all."""
    table: Json = {}
    for number, name in (*CATEGORIES.items(), (0, "all")):
        own = [value for value, one in zip(values, asked, strict=True) if number in (0, one["category"])]
        if own:
            low, high = bootstrap(own)
            table[name] = f"{100 * sum(own) / len(own):.1f} ({100 * low:.1f}–{100 * high:.1f})"
    return table


def _text(answer: Any) -> str | None:
    return None if answer is None else str(answer)


def _f1(prediction: str, answer: str) -> float:
    predicted, right = _stems(prediction), _stems(answer)
    common = sum((Counter(predicted) & Counter(right)).values())
    return 2 * common / (len(predicted) + len(right)) if common else 0.0


def _stems(text: str) -> list[str]:
    return [stem for word in normalise(text.replace(",", "")).split() if (stem := _stem(word)) != "and"]


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    import snowballstemmer

    stem: str = snowballstemmer.stemmer("porter").stemWord(word)
    return stem
