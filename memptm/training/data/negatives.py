"""Passages that look right and are not: the hard negatives of a question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memptm.encoders.base import Encoder
from memptm.encoders.load import load_encoder
from memptm.memory.encode import digest
from memptm.progress import Progress, silent
from memptm.training.data.examples import Example, occurrences

BATCH = 512


def mine(
    examples: Sequence[Example], encoder: Encoder, *, per_question: int = 4, look: int = 30, progress: Progress = silent
) -> tuple[list[str], NDArray[np.int64]]:
    """For each example the passages of *other* examples nearest to its question that hold none of its answers.

    Args:
        examples: their contexts are the passages searched. per_question: passages wanted. look: neighbours examined.
    Returns:
        passages: the distinct contexts. nearest: (examples, per_question) indices into them, −1 where none is left.
    """
    passages = list(dict.fromkeys(example.context for example in examples))
    where = {passage: n for n, passage in enumerate(passages)}
    keys = encoder.encode_passages(passages, progress=progress)
    nearest = np.full((len(examples), per_question), -1, np.int64)
    for start in range(0, len(examples), BATCH):
        batch = examples[start : start + BATCH]
        scores = encoder.encode_questions([example.question for example in batch]) @ keys.T
        candidates = np.argsort(-scores, axis=1)[:, :look] if scores.shape[1] <= look else _top(scores, look)
        for row, example in enumerate(batch):
            good = [
                n
                for n in candidates[row]
                if n != where[example.context] and not occurrences(example.answers, passages[n])
            ]
            nearest[start + row, : len(good[:per_question])] = good[:per_question]
    return passages, nearest


def mine_once(
    examples: Sequence[Example],
    encoder: Encoder | None,
    out: Path,
    *,
    per_question: int = 4,
    progress: Progress = silent,
) -> tuple[list[str], NDArray[np.int64]]:
    """``mine``, kept in ``out``: a run that goes on must see the same passages, and on another machine keys differ a little.

    ``encoder`` None is the default encoder.
    """
    kept = out / f"negatives-{digest(*map(repr, examples))[:8]}.npy"
    if kept.is_file():
        return list(dict.fromkeys(example.context for example in examples)), np.load(kept, allow_pickle=False)
    passages, nearest = mine(examples, encoder or load_encoder(), per_question=per_question, progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    half = kept.with_suffix(".part")
    with half.open("wb") as file:
        np.save(file, nearest, allow_pickle=False)
    half.replace(kept)
    return passages, nearest


def _top(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    part = np.argpartition(-scores, count, axis=1)[:, :count]
    return np.take_along_axis(part, np.argsort(-np.take_along_axis(scores, part, 1), axis=1), 1)
