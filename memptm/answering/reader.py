"""Method "reader": the answer's span in the passages, REALM's marginal over passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memptm.answering.answerer import Context, Found, with_prior
from memptm.answering.asked import Asked, Stream
from memptm.selection.reading import answer_by_recall
from memptm.types import Answer


@dataclass(frozen=True)
class ReaderAnswerer:
    """Reads whole passages, or with ``recall`` one window of the blocks that matter in many."""

    context: Context

    def __call__(self, asked: Sequence[Asked], *, stream: Stream | None = None) -> list[Answer]:  # noqa: ARG002
        return self.context.answer_found(asked, self.read)

    def read(self, found: Sequence[Found]) -> list[Answer]:
        """The answers from passages that were found."""
        reader, options = self.context.models.reader, self.context.options
        questions = [one.asked.query.whole for one in found]
        if options.recall:
            recall, bias = self.context.models.mem_recall(options.judge), reader.config.open_bias
            return [
                answer_by_recall(reader, question, [hit.passage for hit in one.hits], recall, bias=bias)
                for question, one in zip(questions, found, strict=True)
            ]
        passages = [
            with_prior(reader, question, one.hits, mode=options.mode)
            for question, one in zip(questions, found, strict=True)
        ]
        return reader.answer_batch(questions, passages)
