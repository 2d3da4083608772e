"""Method "graph": from passage to passage over several hops (CogQA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memptm.answering.answerer import Context
from memptm.answering.asked import Asked, Stream
from memptm.types import Answer, Query


@dataclass(frozen=True)
class GraphAnswerer:
    """Searches by itself, page after page, so that each question reads passages of its own."""

    context: Context

    def __call__(self, asked: Sequence[Asked], *, stream: Stream | None = None) -> list[Answer]:  # noqa: ARG002
        return [self.answer(one.query) for one in asked]

    def answer(self, query: Query) -> Answer:
        """The answer with the graph that explains it."""
        options = self.context.options
        cogqa = self.context.models.cogqa(self.context.memory, mode=options.mode, pages=options.pages)
        return cogqa.answer(query, k=options.k, where=options.where)
