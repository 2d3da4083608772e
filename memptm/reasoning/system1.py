"""System 1: reads a page and says where to go next, what may answer, and which sentences matter.

Two of them keep one protocol: ``untrained_system1.Untrained``, made of the shipped reader and an encoder, and
``trained_system1.Pointers``, which was trained for it.

Source: CogQA (Ding et al. 2019, arXiv 1905.05460), section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memptm.generation.reader import Span
from memptm.memory.titles import name_key
from memptm.types import Passage

TOP_HOPS = 3
CLUE_TOKENS = 64  # of a clue that is read again on the next page
CLUES_TOKENS = 160  # of all clues of a page


@dataclass(frozen=True)
class PageInput:
    """A passage to read.

    Attributes:
        clues: the sentences that led to it.
        scores: how much each clue says, from 0 to 1; () where that is unknown.
    """

    passage: Passage
    clues: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()

    def fitting(self, sizes: Sequence[int], room: int) -> list[int]:
        """Numbers of the clues that go into ``room``, in order; where not all do, the weakest are left out whole.

        Args:
            sizes: of each clue, in the unit of ``room``.
        """
        scores = self.scores or (0.0,) * len(self.clues)
        kept: list[int] = []
        for n in sorted(range(len(sizes)), key=lambda n: -scores[n]):
            if sizes[n] > room:
                break
            kept.append(n)
            room -= sizes[n]
        return sorted(kept)


@dataclass(frozen=True)
class Hop:
    """Characters of a passage that name where to go next; ``score`` from 0 to 1."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class PageReading:
    """What System 1 found in a passage.

    Attributes:
        hops: the best few names to follow, best first, each within a sentence.
        below_threshold: the best few if the page's threshold were lower.
        spans, log_mass: what may answer, as the reader's.
        sentences: (start, end) characters of each.
        support: how much each sentence matters, from 0 to 1.
        meaning: the page's semantic vector given question and clues; None where System 1 has none.
    """

    hops: tuple[Hop, ...]
    below_threshold: tuple[Hop, ...]
    spans: tuple[Span, ...]
    log_mass: float
    sentences: tuple[tuple[int, int], ...]
    support: tuple[float, ...]
    meaning: NDArray[np.float32] | None = None


class System1(Protocol):
    """Reads pages.

    Attributes:
        trained: whether ``PageReading.support`` is a probability, 0.5 and more a supporting sentence.
    """

    trained: bool

    def read_pages(self, question: str, pages: Sequence[PageInput]) -> list[PageReading]:
        """Read ``pages``; the same whatever else is in the batch, and whatever was asked before."""
        ...


def best_hops(text: str, hops: Sequence[Hop]) -> tuple[Hop, ...]:
    """The best few in ``text``, one a name, best first."""
    best: dict[str, Hop] = {}
    for hop in hops:
        key = name_key(text[hop.start : hop.end])
        if key not in best or best[key].score < hop.score:
            best[key] = hop
    return tuple(sorted(best.values(), key=lambda hop: (-hop.score, hop.start))[:TOP_HOPS])
