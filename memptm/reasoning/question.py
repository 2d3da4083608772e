"""What a question asks for by its form: a span, a yes or no, or one of two things it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Form = Literal["span", "yes-no", "either-or"]
_ASKS_YES_NO = re.compile(
    r"^(?:and\s+|so\s+)?(?:is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|should|may|might)\b",
    re.IGNORECASE,
)
_OR = re.compile(
    r"^[\s,;:\"'“”’()]*(?:the|a|an)?[\s\"'“”]*or\b[\s\"'“”]*(?:the|a|an)?\b[\w\s\"'“”()-]{0,24}$", re.IGNORECASE
)
_AND = re.compile(r"^[\s,;:\"'“”’()]*(?:and)\b[\w\s\"'“”()-]{0,24}$", re.IGNORECASE)
_BETWEEN = re.compile(r"\b(?:between|out of|of the two)\b", re.IGNORECASE)
_PICKS = re.compile(r"\b(?:which|who|whose)\b", re.IGNORECASE)


def question_form(question: str, named: Sequence[tuple[int, int]]) -> Form:
    """The form: for "either-or", two of the things named have "or" between them alone, as in "A or B" (or it is "between A
    and B, which …"); the word anywhere else does not make a comparison, which is a trap of the original.

    Args:
        named: characters of the names in the question, in order.
    """
    if compared(question, named) is not None:
        return "either-or"
    return "yes-no" if _ASKS_YES_NO.match(question.strip()) else "span"


def compared(question: str, named: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Numbers in ``named`` of the two things that are to choose from; None if there is no such choice."""
    pairs = [(n, question[named[n][1] : named[n + 1][0]]) for n in range(len(named) - 1)]
    for n, between in reversed(pairs):
        if _OR.match(between):
            return n, n + 1
    if _BETWEEN.search(question) and _PICKS.search(question):
        for n, between in pairs:
            if _AND.match(between):
                return n, n + 1
    return None
