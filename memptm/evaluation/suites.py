"""Questions with known answers, asked of a QA: how many answers are right, how often the right passage is found."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memptm.errors import InputError
from memptm.evaluation.metrics import contains_answer, exact_match, f1, first_relevant, mean_reciprocal_rank, recall
from memptm.pipeline import QA
from memptm.progress import Event, Progress, silent
from memptm.types import Hit, Json

RECALL_AT = (1, 5)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question with its answers; none means that saying nothing is right.

    Attributes:
        supporting: titles or ids (of documents or passages) that hold the answer; empty: whatever text contains one.
    """

    text: str
    answers: tuple[str, ...] = ()
    supporting: tuple[str, ...] = ()


def read_questions(path: Path, *, limit: int | None = None) -> list[Question]:
    """The questions of a JSONL file, a question a line; blank lines are skipped.

    Raises:
        InputError: the file cannot be read, a line is malformed (the message names file and line), or there is none.
    """
    questions: list[Question] = []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if limit is not None and len(questions) == limit:
                    break
                if line.strip():
                    questions.append(_question(line, f"{path}, line {number}"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not questions:
        raise InputError(f'{path} holds no questions. A line is {{"question": "...", "answers": ["..."]}}.')
    return questions


def _question(line: str, place: str) -> Question:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON ({error}).") from error
    if not isinstance(row, Mapping) or not isinstance(row.get("question"), str) or not row["question"].strip():
        raise InputError(f'{place}: a line is an object with a "question" that is not empty.')
    return Question(
        text=row["question"],
        answers=_texts(row.get("answers"), f'{place}: "answers"'),
        supporting=_texts(row.get("supporting", []), f'{place}: "supporting"'),
    )


def _texts(value: object, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InputError(f"{what} must be a list of texts (empty: there is no answer).")
    return tuple(value)


def is_relevant(hit: Hit, question: Question) -> bool:
    """Whether the hit comes from what supports the answer, or, where that is not known, contains an answer."""
    if question.supporting:
        passage = hit.passage
        return any(name in question.supporting for name in (passage.title, passage.document, passage.id))
    return contains_answer(hit.passage.text, question.answers)


def evaluate(qa: QA, questions: Sequence[Question], *, k: int = 5, progress: Progress = silent) -> Json:
    """Ask each question by itself and score by position.

    Args:
        qa: with a memory.
        questions: what to ask; those with neither answers nor supporting passages do not count for recall and MRR.
        k: passages read for an answer. Recall is given at 1, 5 and ``k``.
        progress: told after each question.
    Returns:
        DESIGN's keys: n, em, f1, recall {k: share}, mrr, ms {p50, p95} (search and reading together), method.
    Raises:
        InputError: there are no questions, or the QA has no memory.
    """
    if not questions or qa.memory is None:
        raise InputError("An evaluation needs questions and a QA with a memory.")
    depth = max(k, *RECALL_AT)
    em: list[float] = []
    overlap: list[float] = []
    ms: list[float] = []
    ranks: list[int | None] = []
    qa(questions[0].text, k=k)  # loads the models, which is not a question's time
    for done, question in enumerate(questions, 1):
        began = time.perf_counter()
        predicted = qa(question.text, k=k).text
        ms.append(1000 * (time.perf_counter() - began))
        em.append(exact_match(predicted, question.answers))
        overlap.append(f1(predicted, question.answers))
        if question.answers or question.supporting:
            hits = qa.memory.search(question.text, k=depth, mode=qa.mode, where=qa.options.where)
            ranks.append(first_relevant([is_relevant(hit, question) for hit in hits]))
        progress(Event(stage="questions", done=done, total=len(questions), unit="questions"))
    return {
        "n": len(questions),
        "em": float(np.mean(em)),
        "f1": float(np.mean(overlap)),
        "recall": {str(depth): recall(ranks, k=depth) for depth in sorted({*RECALL_AT, k})},
        "mrr": mean_reciprocal_rank(ranks),
        "ms": {"p50": float(np.percentile(ms, 50)), "p95": float(np.percentile(ms, 95))},
        "method": qa.method,
    }
