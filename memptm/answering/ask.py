"""From questions to answers, by the method that the options name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from memptm.answering.answerer import Answerer, Context
from memptm.answering.asked import Asked, Stream
from memptm.answering.auto import AutoAnswerer
from memptm.answering.dates import resolve_relative_date
from memptm.answering.generate import GenerateAnswerer
from memptm.answering.graph import GraphAnswerer
from memptm.answering.models import Models
from memptm.answering.options import AskOptions
from memptm.answering.rag import RagAnswerer
from memptm.answering.reader import ReaderAnswerer
from memptm.memory.memory import Memory
from memptm.types import Answer

ANSWERERS: dict[str, Callable[[Context], Answerer]] = {
    "reader": ReaderAnswerer,
    "generate": GenerateAnswerer,
    "rag-sequence": partial(RagAnswerer, "rag-sequence"),
    "rag-token": partial(RagAnswerer, "rag-token"),
    "graph": GraphAnswerer,
    "auto": AutoAnswerer,
}


def ask(
    memory: Memory, asked: Sequence[Asked], *, models: Models, options: AskOptions, stream: Stream | None = None
) -> list[Answer]:
    """An answer a question, from ``memory``.

    Args:
        stream: called with each piece of the text as it is generated; for a single question.
    Raises:
        InputError: a question does not fit the generator's window.
    """
    answers = ANSWERERS[options.method](Context(memory, models, options))(asked, stream=stream)
    return [
        resolve_relative_date(replace(answer, question=one.query.text))
        for one, answer in zip(asked, answers, strict=True)
    ]
