"""Method "generate": an answer written from all passages at once; the reader is heard on whether there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memptm.answering.answerer import Context
from memptm.answering.asked import Asked, Stream
from memptm.answering.citations import from_generation
from memptm.answering.models import Models
from memptm.types import Answer, ScoredPassage


@dataclass(frozen=True)
class GenerateAnswerer:
    """Writes from what was found."""

    context: Context

    def __call__(self, asked: Sequence[Asked], *, stream: Stream | None = None) -> list[Answer]:
        models, passages = self.context.models, self.context.passages
        return self.context.answer_found(
            asked,
            lambda found: write(models, [one.asked for one in found], [passages(one) for one in found], stream=stream),
        )


def write(
    models: Models, asked: Sequence[Asked], passages: Sequence[Sequence[ScoredPassage]], *, stream: Stream | None = None
) -> list[Answer]:
    """The answers from these passages.

    Args:
        stream: hears a single question's answer.
    """
    if len(asked) > 1 and any(one.history for one in asked):  # each in a chat of its own
        return [made for pair in zip(asked, passages, strict=True) for made in write(models, [pair[0]], [pair[1]])]
    generator = models.generator.after(asked[0].history) if asked[0].history else models.generator
    questions = [one.query.text for one in asked]
    odds = models.reader.null_log_odds([one.query.whole for one in asked], passages)
    read = [[one.passage for one in group] for group in passages]
    if stream is None:
        generations = generator.generate_batch(questions, read, null_log_odds=odds)
    else:
        generations = [generator.generate(questions[0], read[0], null_log_odds=odds[0], stream=stream)]
    return [
        from_generation(question, group, generation, generator, method="generate")
        for question, group, generation in zip(questions, passages, generations, strict=True)
    ]
