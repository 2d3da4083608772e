"""How well a retriever finds what questions are about, before it was trained and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from memptm.encoders.base import Encoder
from memptm.evaluation.metrics import recall
from memptm.training.data.examples import Example, read_examples
from memptm.training.data.targets import Target, Vectors, find_targets
from memptm.types import Json, Passage

RECALL_AT = (1, 5, 20)


def rows_with_answers(held_out: Sequence[Path]) -> list[Example]:
    """What ``compare`` asks; read before training, so that an odd row is reported at once."""
    return [row for row in read_examples(held_out, contexts=False) if row.answers]


def compare(
    examples: Sequence[Example],
    passages: Sequence[Passage],
    *,
    before: tuple[Encoder, Vectors],
    after: tuple[Encoder, Vectors],
) -> Json:
    """{"n", "recall" after, "frozen" before}: of the right passages, for the rows with answers.

    Args:
        examples: with answers.
        passages: of the index.
        before, after: an encoder and its (passages, dimension) keys.
    """
    questions = [row.question for row in examples]
    asked, asked_before = (encoder.encode_questions(questions) for encoder in (after[0], before[0]))
    targets = find_targets(examples, passages, before[1], asked_before)
    return {
        "n": len(examples),
        "recall": recall_of(asked, after[1], targets),
        "frozen": recall_of(asked_before, before[1], targets),
    }


def recall_of(queries: Vectors, keys: Vectors, targets: Sequence[Target]) -> dict[str, float]:
    """Share of questions with a right passage among the first 1, 5, 20, by inner product.

    Args:
        queries: (questions, dimension).
        keys: (passages, dimension).
        targets: of each question, which passages are right.
    """
    ranks: list[int | None] = []
    for query, target in zip(queries, targets, strict=True):
        scores = keys @ query
        best = max((float(scores[n]) for n in target.right), default=math.inf)
        ranks.append(1 + int((scores > best).sum()) if target.right else None)
    return {str(k): round(recall(ranks, k=k) or 0.0, 4) for k in RECALL_AT}
