"""Which passages of an index a question should find, and which must not count against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memptm.documents.split import split
from memptm.training.data.examples import Example, occurrences
from memptm.types import Document, Passage

Vectors = NDArray[np.float32]
LOOK = 100  # passages nearest to a question that are searched for its answers
BATCH = 512  # questions
NO_TARGET = (
    "No row's context is in the index, and no passage near a question holds its answer: there is nothing to learn "
    "from. Build the index from the documents that the questions are about."
)


@dataclass(frozen=True)
class Target:
    """Indices of passages: ``right`` ones, and ``doubtful`` ones that hold an answer as well, perhaps by chance."""

    right: tuple[int, ...]
    doubtful: tuple[int, ...]


def find_targets(
    examples: Sequence[Example], passages: Sequence[Passage], keys: Vectors, queries: Vectors
) -> list[Target]:
    """For each example what it should find.

    Right are the passages of its context that hold an answer (all of them where none does); where the context is not in
    the index, those of the ``LOOK`` nearest that hold an answer, as in distant supervision (Karpukhin et al. 2020,
    arXiv 2004.04906). Doubtful are the others of the ``LOOK`` nearest that hold one.

    Args:
        keys: (passages, dimension). queries: (examples, dimension), of the frozen retriever.
    """
    places: dict[str, list[int]] = {}
    for n, passage in enumerate(passages):
        places.setdefault(passage.text, []).append(n)
    lowered = [passage.text.lower() for passage in passages]
    found = []
    for example, near in zip(examples, nearest(queries, keys, LOOK), strict=True):
        own = _own(example, places)
        answers = [answer.strip().lower() for answer in example.answers]
        likely = [n for n in {*own, *near} if any(answer in lowered[n] for answer in answers)]  # cheap, and rarely so
        holding = {n for n in likely if occurrences(example.answers, passages[n].text)}
        right = (own & holding or own) or holding
        found.append(Target(right=tuple(sorted(right)), doubtful=tuple(sorted(holding - right))))
    return found


def nearest(queries: Vectors, keys: Vectors, count: int) -> Iterator[list[int]]:
    """For each query the indices of its ``count`` best keys, in no order."""
    count = min(count, len(keys))
    for start in range(0, len(queries), BATCH):
        scores = queries[start : start + BATCH] @ keys.T
        for row in np.argpartition(-scores, count - 1, axis=1)[:, :count]:
            yield row.tolist()


def _own(example: Example, places: dict[str, list[int]]) -> set[int]:
    """The passages that the example's context became when it was indexed."""
    if not example.context:
        return set()
    texts = [example.context, *(passage.text for passage in split(Document(text=example.context)))]
    return {n for text in texts for n in places.get(text, ())}
