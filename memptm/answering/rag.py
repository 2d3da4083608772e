"""Methods "rag-sequence" and "rag-token": an answer written from each passage apart, and summed over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from memptm.answering.answerer import Context
from memptm.answering.asked import Asked, Stream
from memptm.answering.citations import from_marginal
from memptm.answering.models import Models
from memptm.types import Answer, ScoredPassage

if TYPE_CHECKING:
    from memptm.generation.generator import Generator
    from memptm.generation.rag import Kind

BEAMS: dict[Kind, int] = {"rag-sequence": 3, "rag-token": 1}  # greedy, so that it can be streamed
KINDS: dict[str, Kind] = {kind: kind for kind in BEAMS}


@dataclass(frozen=True)
class RagAnswerer:
    """Writes from what was found."""

    kind: Kind
    context: Context

    def __call__(self, asked: Sequence[Asked], *, stream: Stream | None = None) -> list[Answer]:
        models, passages = self.context.models, self.context.passages
        return self.context.answer_found(
            asked,
            lambda found: write(
                models, self.kind, [one.asked for one in found], [passages(one) for one in found], stream=stream
            ),
        )


def write(
    models: Models,
    kind: Kind,
    asked: Sequence[Asked],
    passages: Sequence[Sequence[ScoredPassage]],
    *,
    stream: Stream | None = None,
) -> list[Answer]:
    """The answers from these passages.

    Args:
        stream: hears a single question's answer; only RAG-Token can be heard before it is done.
    """
    if len(asked) > 1 and any(one.history for one in asked):  # each in a chat of its own
        return [
            made for pair in zip(asked, passages, strict=True) for made in write(models, kind, [pair[0]], [pair[1]])
        ]
    generator = models.generator.after(asked[0].history) if asked[0].history else models.generator
    from memptm.generation.rag import Rag  # here: the other methods do without transformers

    rag = Rag(generator, kind, beams=BEAMS[kind])
    questions = [one.query.text for one in asked]
    odds = models.reader.null_log_odds([one.query.whole for one in asked], passages)
    if stream is None or kind != "rag-token":
        marginals = rag.answer_batch(questions, passages, null_log_odds=odds)
    else:
        marginals = [rag.answer(questions[0], passages[0], null_log_odds=odds[0], stream=stream)]
    note = _other_marginal(generator, kind)
    answers = [
        from_marginal(question, group, marginal, method=kind)
        for question, group, marginal in zip(questions, passages, marginals, strict=True)
    ]
    return [replace(one, note=f"{one.note} {note}".strip()) for one in answers] if note else answers


def _other_marginal(generator: Generator, kind: Kind) -> str:
    """What to say where the generator was trained for the other of the two."""
    if generator.marginal in ("", kind):
        return ""
    return f"{generator.name} was trained for --method {generator.marginal}; {kind} sums over the passages another way."
