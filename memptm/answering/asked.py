"""A question on its way to an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memptm.documents.decode import clean
from memptm.errors import InputError
from memptm.types import Query

if TYPE_CHECKING:
    from memptm.encoders.base import Keys

MAX_QUESTION = 10_000  # characters; a question is short, and what is longer is a text put in its place

Stream = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """A question as it is searched and read.

    Attributes:
        query: what is asked, and what is read before it.
        words: what is searched by words.
        vectors: (1, dimension), what is searched by meaning; None: ``words`` encoded.
        history: questions and answers before it, oldest first, for a generator's chat.
    """

    query: Query
    words: str
    vectors: Keys | None = None
    history: tuple[tuple[str, str], ...] = ()

    @classmethod
    def alone(cls, question: str) -> Asked:
        """A question that nothing was said before."""
        return cls(Query(question), question)


def check_question(question: str) -> str:
    """``question`` as text: what argv or a pipe could not decode is U+FFFD in it.

    Raises:
        InputError: it is empty, or longer than MAX_QUESTION characters.
    """
    question = clean(question)
    if not question.strip():
        raise InputError("The question is empty. Ask something.")
    if len(question) > MAX_QUESTION:
        raise InputError(
            f"The question has {len(question):,} characters; at most {MAX_QUESTION:,} are read. Shorten it."
        )
    return question
