"""MemRecall: which blocks of a long text enter a window too small for it.

Source: CogLTX (Ding et al. 2020, NeurIPS, section 3.2). A scorer reads every block beside the question (coarse). In rounds:
the best enter the window z in the order of the text until it is full (competition), the scorer reads those in z together
(fine, rehearsal), and all but the best few leave (decay); the next round's blocks are scored beside those few, so that what
one block says can make another relevant. The last round keeps its window, without the blocks that hardly matter.

Ours differs where the authors' code has faults: scores stay floats, a block enters once, and all, one or no blocks are no
special case. Coarse scores without z are computed once; beside z only the likeliest blocks are scored anew, which bounds
what a round costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from memptm.errors import InputError
from memptm.progress import Progress, silent


class BlockScores(Protocol):
    """Scores of one text's blocks, which are named by their numbers: in (0, 1), one a block, in the order asked."""

    def coarse(self, blocks: Sequence[int], kept: Sequence[int] = (), *, progress: Progress = silent) -> list[float]:
        """Of ``blocks``, each beside those that are ``kept`` (rising) and not necessarily beside the others."""
        ...

    def fine(self, blocks: Sequence[int]) -> list[float]:
        """Of ``blocks`` (rising) read together."""
        ...


class BlockScorer(Protocol):
    """Says how relevant the blocks of a text are to a question; what ``--judge`` names."""

    def score(self, question: str, texts: Sequence[str]) -> BlockScores:
        """The scores of ``texts``, a text's blocks in its order; nothing is computed before it is asked for."""
        ...


@dataclass(frozen=True)
class Recalled:
    """``blocks``: numbers of those in the window, rising. ``scores``: their relevance, in (0, 1), as last scored."""

    blocks: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class MemRecall:
    """Chooses blocks by what a scorer says of them.

    Attributes:
        scorer: of blocks.
        rounds: of competition.
        keep: blocks that decay leaves between two rounds, if they fit half the window.
        again: how many of the likeliest blocks are scored anew beside those; so many fit one of the trained scorer's
            inputs.
        rehearse: score the blocks of the window together; without it the coarse scores decide all.
        least: share of the best block's score below which a block stays out of the last window, however much room is
            left. Ours: a reader finds an answer better among fewer blocks that matter (scripts/benchmarks/recall.py).
    Raises:
        InputError: ``rounds`` or ``keep`` is below 1, ``again`` is negative, or ``least`` no share.
    """

    scorer: BlockScorer
    rounds: int = 2
    keep: int = 2
    again: int = 6
    rehearse: bool = True
    least: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1:
            raise InputError(
                f"MemRecall cannot leave out blocks below {self.least} of the best; give a share from 0 to 1."
            )
        if self.rounds < 1 or self.keep < 1 or self.again < 0:
            raise InputError(
                f"MemRecall cannot run {self.rounds} rounds that keep {self.keep} blocks and score {self.again} anew. "
                "At least one round and one block are needed."
            )

    def __call__(
        self, question: str, texts: Sequence[str], sizes: Sequence[int], *, window: int, progress: Progress = silent
    ) -> Recalled:
        """The blocks that enter the window; one that is larger than the window never does.

        Args:
            texts: blocks, in the order of the text.
            sizes: what each takes of the window, at least 1.
            window: tokens, without the question.
        """
        able = [n for n, size in enumerate(sizes) if size <= window]
        if not able:
            return Recalled((), ())
        of_text = self.scorer.score(question, texts)
        if sum(sizes[n] for n in able) <= window:
            return Recalled(tuple(able), tuple(of_text.fine(able) if self.rehearse else of_text.coarse(able)))
        first = dict(zip(able, of_text.coarse(able, progress=progress), strict=True))
        kept, order, scores = list[int](), ranked(able, first), first
        for round_ in range(1, self.rounds + 1):
            if kept:
                order, scores = self._beside(of_text, kept, first)
            chosen = compete([*kept, *order], sizes, window=window)
            if self.rehearse:
                scores = dict(zip(chosen, of_text.fine(chosen), strict=True))
            if round_ < self.rounds:
                best = ranked(chosen, scores)
                kept = compete(best[: self.keep], sizes, window=window // 2) or best[:1]
        best_score = max(scores[n] for n in chosen)
        chosen = [n for n in chosen if scores[n] >= self.least * best_score]
        return Recalled(tuple(chosen), tuple(scores[n] for n in chosen))

    def _beside(
        self, of_text: BlockScores, kept: Sequence[int], first: dict[int, float]
    ) -> tuple[list[int], dict[int, float]]:
        """The blocks outside z, best first, and the scores of all: the likeliest scored anew beside z, before the others."""
        outside = [n for n in ranked(list(first), first) if n not in kept]
        near = sorted(outside[: self.again])
        anew = dict(zip(near, of_text.coarse(near, kept), strict=True)) if near else {}
        return [*ranked(near, anew), *outside[self.again :]], {**first, **anew}


def ranked(blocks: Sequence[int], scores: dict[int, float]) -> list[int]:
    """Best first; of equal ones the earlier in the text."""
    return sorted(blocks, key=lambda n: (-scores[n], n))


def compete(order: Sequence[int], sizes: Sequence[int], *, window: int) -> list[int]:
    """The blocks that fit the window when they enter in ``order``, each once, rising; one that does not fit is passed over."""
    chosen: set[int] = set()
    left = window
    for n in order:
        if n not in chosen and sizes[n] <= left:
            chosen.add(n)
            left -= sizes[n]
    return sorted(chosen)
