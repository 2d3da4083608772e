"""What all methods have in common: passages are searched for a question, and each gets its log p(z | x)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from memptm.answering.asked import Asked, Stream
from memptm.answering.models import Models
from memptm.answering.options import AskOptions
from memptm.documents.conversations import log_weights
from memptm.generation.reader import Reader, scored
from memptm.memory.memory import Memory
from memptm.progress import Progress, silent
from memptm.selection.reading import passages_by_recall
from memptm.types import Answer, Hit, Mode, Passage, ScoredPassage

RECALLED = 20  # passages, at least, whose blocks MemRecall chooses from
RECALL_TOKENS = 640  # of blocks that a generator reads: as much as five passages


class Answerer(Protocol):
    """A method. Each answer is the one that its question alone would get.

    ``stream`` is called with each piece of the answer to a single question as it is written, by methods that can.
    """

    def __call__(self, asked: Sequence[Asked], *, stream: Stream | None = None) -> list[Answer]: ...


@dataclass(frozen=True)
class Found:
    """A question, and the passages found for it, at least one."""

    asked: Asked
    hits: Sequence[Hit]


@dataclass(frozen=True)
class Context:
    """What a method works with."""

    memory: Memory
    models: Models
    options: AskOptions

    def retrieve(self, asked: Sequence[Asked]) -> list[list[Hit]]:
        """The hits of each question, best first."""
        options = self.options
        vectors = [one.vectors for one in asked if one.vectors is not None]
        return self.memory.search(
            [one.words for one in asked],
            k=max(options.k, RECALLED) if options.recall else options.k,
            mode=options.mode,
            where=options.where,
            queries=np.concatenate(vectors) if vectors else None,
        )

    def answer_found(self, asked: Sequence[Asked], make: Callable[[Sequence[Found]], Sequence[Answer]]) -> list[Answer]:
        """What ``make`` answers to the questions that passages were found for, and to the others that there are none."""
        if not asked:
            return []
        found = [Found(*pair) for pair in zip(asked, self.retrieve(asked), strict=True)]
        made = iter(make(full) if (full := [one for one in found if one.hits]) else ())
        return [next(made) if one.hits else nothing_to_read(one.asked.query.text, self.options) for one in found]

    def passages(self, found: Found) -> list[ScoredPassage]:
        """What a generator reads."""
        question = found.asked.query.text
        if self.options.recall:
            return recalled(question, [hit.passage for hit in found.hits], self.models, self.options)
        return with_prior(self.models.reader, question, found.hits, mode=self.options.mode)


def nothing_to_read(question: str, options: AskOptions) -> Answer:
    """The answer where no passage was found."""
    note = "There was no passage to read."
    return Answer(question=question, text=None, probability=1.0, method=options.method, note=note)


def with_prior(reader: Reader, question: str, hits: Sequence[Hit], *, mode: Mode) -> list[ScoredPassage]:
    """Passages with log p(z | x), a softmax of the fused scores: likelier for the answers than one of cosines alone
    (scripts/training/calibrate_reader.py prints both). BM25's scores have no common scale: there it is one of cosines.

    Where the question names who spoke, the turns of others count less, and the rest says that nothing answers.
    """
    scores = [hit.similarity if mode == "lexical" else hit.score for hit in hits]
    passages = [hit.passage for hit in hits]
    weights = log_weights(question, passages)
    return scored(passages, [p + w for p, w in zip(reader.log_prior(scores), weights, strict=True)])


def recalled(
    question: str,
    passages: Sequence[Passage],
    models: Models,
    options: AskOptions,
    *,
    progress: Progress = silent,
) -> list[ScoredPassage]:
    """What a generator reads of ``passages``, best first, by MemRecall."""
    return passages_by_recall(
        question,
        passages,
        models.mem_recall(options.judge),
        tokenizer=models.reader.windower.tokenizer,
        window=RECALL_TOKENS,
        progress=progress,
    )
