"""Method "auto": the reader's answer, or the graph's where that pays; ``Answer.method`` says which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memptm.answering.answerer import Context, Found
from memptm.answering.asked import Asked, Stream
from memptm.answering.graph import GraphAnswerer
from memptm.answering.reader import ReaderAnswerer
from memptm.reasoning.router import Router
from memptm.types import Answer


@dataclass(frozen=True)
class AutoAnswerer:
    """Asks the reader first."""

    context: Context

    def __call__(self, asked: Sequence[Asked], *, stream: Stream | None = None) -> list[Answer]:  # noqa: ARG002
        return self.context.answer_found(asked, self.choose)

    def choose(self, found: Sequence[Found]) -> list[Answer]:
        """The answers to questions with their hits."""
        titles = self.context.memory.titles(where=self.context.options.where)
        graph, router = GraphAnswerer(self.context), Router.load()
        answers = []
        for one, first in zip(found, ReaderAnswerer(self.context).read(found), strict=True):
            enough = router.probability(one.asked.query.text, first, one.hits, titles) < 0.5
            answers.append(first if enough else graph.answer(one.asked.query))
        return answers
