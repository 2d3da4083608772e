"""Method "auto": is one passage enough? Decided from what the reader's own answer has cost already; no model runs for it.

A logistic model over a few numbers of question, hits and answer, fitted by scripts/training/calibrate_router.py on questions known
to need one passage and questions known to need several.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from memptm.errors import ModelMissing
from memptm.memory.titles import Titles
from memptm.reasoning.names import capitalised, without_overlap
from memptm.reasoning.question_form import question_form
from memptm.types import Answer, Hit

SHIPPED = Path(__file__).parent.parent / "weights" / "router" / "config.json"
FEATURES = ("unsure", "silent", "apart", "names", "choice", "nested", "length", "near")
_NESTED = re.compile(
    r"\b(?:that|which|who|whose|where|whom|when)\b|\b(?:of|by|in|from) the \w+ (?:of|who|that|which|where)\b|['’]s\b",
    re.I,
)


@dataclass(frozen=True, kw_only=True)
class Router:
    """p(several passages are needed) = sigmoid(bias + Σ weight · feature).

    Attributes:
        weights: of each of ``FEATURES``.
    """

    weights: Mapping[str, float]
    bias: float

    @classmethod
    @cache
    def load(cls, path: Path = SHIPPED) -> Router:
        """From a config.json.

        Raises:
            ModelMissing: it is missing, or not of these features.
        """
        try:
            made = json.loads(path.read_text(encoding="utf-8"))
            router = cls(weights={name: float(made["weights"][name]) for name in FEATURES}, bias=float(made["bias"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelMissing(
                f"{path} is not a router's config.json ({error}). Run scripts/training/calibrate_router.py."
            ) from error
        return router

    def probability(self, question: str, first: Answer, hits: Sequence[Hit], titles: Titles) -> float:
        """That several passages are needed, given the reader's answer and the hits it read."""
        values = features(question, first, hits, titles)
        return 1 / (1 + math.exp(-self.bias - sum(self.weights[name] * values[name] for name in FEATURES)))


def features(question: str, first: Answer, hits: Sequence[Hit], titles: Titles) -> dict[str, float]:
    """FEATURES, each from 0 to about 1.

    "unsure": 1 − p of the likeliest answer. "silent": the reader says nothing. "apart": the share of the question's names
    that the passage it answered from does not hold. "names": names in the question. "choice": its form is yes/no or
    either/or. "nested": its clauses and possessives. "length": its words. "near": how close the second hit is to the first.
    """
    named = without_overlap([titles.mentions(question), capitalised(question)])
    best = first.evidence[0].passage if first.evidence else hits[0].passage if hits else None
    held = "" if best is None else " ".join((best.title, *best.headings, best.text)).casefold()
    absent = [question[start:end] for start, end in named if question[start:end].casefold() not in held]
    likeliest = first.answers[0].probability if first.answers else 0.0
    scores = [hit.score for hit in hits[:2]]
    return {
        "unsure": 1 - likeliest,
        "silent": float(first.text is None),
        "apart": len(absent) / len(named) if named else 0.0,
        "names": min(len(named), 4) / 4,
        "choice": float(question_form(question, named) != "span"),
        "nested": min(max(len(_NESTED.findall(question)) - 1, 0), 4) / 4,
        "length": min(len(question.split()), 40) / 40,
        "near": min(max(scores[1] / scores[0], 0.0), 1.0) if len(scores) == 2 and scores[0] > 0 else 0.0,
    }
