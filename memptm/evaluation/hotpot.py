"""HotpotQA's own metrics: the answer, the supporting facts, and both together.

Source: Yang et al. 2018 (arXiv 1809.09600), section 5.1, and the task's evaluation script: joint precision and recall are
the products of the answer's and the support's; joint exact match is both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from memptm.evaluation.metrics import normalise

Fact = tuple[str, int]  # title, sentence number
_CLOSED = ("yes", "no", "noanswer")  # answers that overlap with nothing but themselves


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of one question, each from 0 to 1."""

    em: float
    f1: float
    support_em: float
    support_f1: float
    joint_em: float
    joint_f1: float


def score(
    predicted: str | None, answers: Iterable[str], predicted_facts: Collection[Fact], facts: Collection[Fact]
) -> Scores:
    """Score an answer and its supporting facts.

    Args:
        predicted: the answer; None: there was none.
        answers: right ones; the best counts.
        predicted_facts: supporting facts given.
        facts: the right ones.
    """
    em, precision, recall, f1 = max(
        (_answer(predicted or "", answer) for answer in answers), key=lambda one: (one[3], one[0])
    )
    predicted_facts, facts = set(predicted_facts), set(facts)
    right = len(predicted_facts & facts)
    support_precision = right / len(predicted_facts) if predicted_facts else 0.0
    support_recall = right / len(facts) if facts else 0.0
    support_em = float(predicted_facts == facts)
    return Scores(
        em=em, f1=f1, support_em=support_em, support_f1=_harmonic(support_precision, support_recall),
        joint_em=em * support_em, joint_f1=_harmonic(precision * support_precision, recall * support_recall),
    )  # fmt: skip


def _answer(predicted: str, answer: str) -> tuple[float, float, float, float]:
    """(exact match, precision, recall, F1) of words."""
    left, right = normalise(predicted), normalise(answer)
    em = float(left == right)
    if left != right and (left in _CLOSED or right in _CLOSED):
        return em, 0.0, 0.0, 0.0
    ours, theirs = left.split(), right.split()
    common = sum((Counter(ours) & Counter(theirs)).values())
    if not common:
        return em, 0.0, 0.0, 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return em, precision, recall, _harmonic(precision, recall)


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
