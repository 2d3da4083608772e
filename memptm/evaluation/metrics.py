"""How good answers and hits are: SQuAD's exact match and F1, recall, reciprocal rank, intervals."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WIDE_PUNCTUATION = str.maketrans("", "", "。，、；：？！「」『』（）《》…")
# Scripts written without blanks: each character counts as a word (as in XQuAD's and MLQA's scoring).
_UNSPACED = re.compile(r"([\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")


def normalise(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no English articles, single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def words(text: str) -> list[str]:
    """The normalised words F1 counts; in scripts without blanks, characters without their punctuation."""
    return _UNSPACED.sub(r" \1 ", normalise(text).translate(_WIDE_PUNCTUATION)).split()


def exact_match(prediction: str | None, answers: Sequence[str]) -> float:
    """1.0 if ``prediction`` is one of the ``answers`` under normalisation; without answers, if nothing was said."""
    if not answers:
        return float(not prediction)
    if prediction is None:
        return 0.0
    return float(any(normalise(prediction) == normalise(answer) for answer in answers))


def f1(prediction: str | None, answers: Sequence[str]) -> float:
    """The best overlap of words with an answer, from 0 to 1; without answers, 1.0 if nothing was said.

    Where both sides have no words left (an answer such as "The"), equality of the normalised texts decides.
    """
    if not answers:
        return float(not prediction)
    if prediction is None:
        return 0.0
    return max(_overlap(words(prediction), words(answer)) for answer in answers)


def _overlap(left: Sequence[str], right: Sequence[str]) -> float:
    if not left or not right:
        return float(not left and not right)
    common = sum((Counter(left) & Counter(right)).values())
    return 2 * common / (len(left) + len(right))


def contains_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether an answer's words stand in ``text``, in a row, under normalisation."""
    held = f" {' '.join(words(text))} "
    return any(f" {' '.join(words(answer))} " in held for answer in answers if words(answer))


def first_relevant(relevant: Sequence[bool]) -> int | None:
    """The rank, from 1, of the first relevant hit; None if there is none."""
    return next((rank for rank, is_relevant in enumerate(relevant, 1) if is_relevant), None)


def recall(ranks: Sequence[int | None], *, k: int) -> float | None:
    """The share of questions with a relevant hit among the first ``k``; None without questions."""
    return sum(rank is not None and rank <= k for rank in ranks) / len(ranks) if ranks else None


def mean_reciprocal_rank(ranks: Sequence[int | None]) -> float | None:
    """The mean of 1 / rank of the first relevant hit, 0 where there is none; None without questions."""
    return sum(1 / rank for rank in ranks if rank is not None) / len(ranks) if ranks else None


def bootstrap(
    values: Sequence[float], *, groups: Sequence[str] | None = None, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the mean of ``values``, by resampling.

    Args:
        values: one a question.
        groups: which passage or article each value belongs to: whole groups are drawn, since questions on one passage
            are not independent. None draws values.
        samples: how often to draw.
        seed: of the draws.
    Raises:
        ValueError: there are no values, or not as many groups as values.
    """
    if not values or (groups is not None and len(groups) != len(values)):
        raise ValueError(
            f"{len(values)} values and {len(groups or values)} groups; as many of each are needed, at least one"
        )
    _, member = np.unique(np.arange(len(values)) if groups is None else np.asarray(groups), return_inverse=True)
    total = np.bincount(member, weights=np.asarray(values, dtype=np.float64))
    size = np.bincount(member)
    drawn = np.random.default_rng(seed).integers(len(size), size=(samples, len(size)))
    means = total[drawn].sum(axis=1) / size[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
