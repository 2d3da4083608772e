"""Pairs of a query and the passage it should find: sentences with the passages they were taken from, or questions.

The inverse cloze task (Lee et al. 2019, arXiv 1906.00300) makes pairs of any text: a sentence is the query, the passage
it stood in is right, and the sentence itself is taken out of it most times, so that meaning has to do what words could.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sentencex
import torch
from torch import Tensor

from memptm.encoders.base import key_text
from memptm.training.losses import contrast
from memptm.training.refresh import Versions
from memptm.training.telemetry import retrieval_numbers
from memptm.training.tower import Tower
from memptm.types import Json, Passage

REMOVED = 0.9  # how often the sentence is taken out of its passage
SHORTEST = 5  # words of a sentence that can stand for a question


@dataclass(frozen=True)
class Pair:
    """Attributes:
    query: what is asked. key: what the encoder reads for the passage.
    right: the passages that answer, the one read first. doubtful: others that may, which do not count as wrong.
    """

    query: str
    key: str
    right: tuple[int, ...]
    doubtful: tuple[int, ...] = ()


def sentences(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a text begin and end, blanks around them left out."""
    found = []
    for one in sentencex.get_sentence_boundaries("en", text):
        inside = text[one["start_index"] : one["end_index"]]
        start = one["start_index"] + len(inside) - len(inside.lstrip())
        if inside.strip():
            found.append((start, start + len(inside.strip())))
    return found


def inverse_cloze(passages: Sequence[Passage], *, epochs: int, seed: int) -> list[Pair]:
    """A sentence of every passage that has two or more, once an epoch; epoch after epoch, in the passages' order."""
    places = [sentences(passage.text) for passage in passages]
    copies: dict[str, list[int]] = {}  # passages with this text
    holders: dict[str, list[int]] = {}  # passages with this sentence: overlapping ones share some
    for n, passage in enumerate(passages):
        copies.setdefault(passage.text, []).append(n)
        for sentence in {passage.text[start:end] for start, end in places[n]}:
            holders.setdefault(sentence, []).append(n)
    pairs = []
    for epoch in range(epochs):
        chance = random.Random(f"ict-{seed}-{epoch}")
        for n, passage in enumerate(passages):
            usable = [(start, end) for start, end in places[n] if len(passage.text[start:end].split()) >= SHORTEST]
            if len(places[n]) < 2 or not usable:
                continue
            start, end = chance.choice(usable)
            query, rest = passage.text[start:end], passage
            if chance.random() < REMOVED:
                rest = replace(passage, text=f"{passage.text[:start].rstrip()} {passage.text[end:].lstrip()}".strip())
            right = (n, *(one for one in copies[passage.text] if one != n))
            doubtful = tuple(one for one in holders[query] if one not in right)
            pairs.append(Pair(query, key_text(rest), right, doubtful))
    return pairs


class PairLesson:
    """Both sides learn: queries and the passages of a batch are encoded with the weights at hand; all other passages of the
    index take part as they were last embedded, as wrong ones that cost nothing.

    Args:
        tower: what learns. keys: of all passages, at each step.
    """

    def __init__(
        self,
        tower: Tower,
        pairs: Sequence[Pair],
        keys: Versions,
        *,
        temperature: float,
        learning_rate: float,
    ) -> None:
        self.model = self.tower = tower
        self.pairs, self.keys = pairs, keys
        self.temperature, self.learning_rate = temperature, learning_rate
        self._queries = tower.encoder.token_ids([pair.query for pair in pairs])
        self._passages = tower.encoder.token_ids([pair.key for pair in pairs])
        self._before = tower.before()

    def groups(self) -> list[dict[str, object]]:
        return [{"params": self.tower.trained(), "lr": self.learning_rate}]

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...

    def learn(self, step: int, rows: Sequence[int]) -> Json:
        keys, stale = self.keys.at(step)
        queries = self.tower([self._queries[row] for row in rows])
        passages = self.tower([self._passages[row] for row in rows])
        scores = queries @ torch.cat([passages, keys]).t() / self.temperature
        right, ignored = self._known(rows, len(keys))
        loss = contrast(scores, right, ignored)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            top = (queries @ keys.t()).topk(min(10, len(keys)), dim=1)
            log_prior = (top.values / self.temperature).log_softmax(dim=1)
            before = self.tower.of(self._before, [self._queries[row] for row in rows])
            numbers = retrieval_numbers(log_prior, top.indices, queries, before)
        against = float((~(right | ignored)).sum(dim=1).float().mean())
        return {"loss": float(loss.detach()), **numbers, "negatives": against, "stale": stale}

    def _known(self, rows: Sequence[int], stored: int) -> tuple[Tensor, Tensor]:
        """(n, n + stored) booleans: what is right, and what is neither right nor wrong. The batch's passages come first."""
        count = len(rows)
        right = torch.zeros(count, count + stored, dtype=torch.bool)
        ignored = torch.zeros_like(right)
        for n, row in enumerate(rows):
            pair = self.pairs[row]
            for m, other in enumerate(rows):
                first = self.pairs[other].right[0]
                right[n, m] = n == m or first in pair.right
                ignored[n, m] = first in pair.doubtful
            ignored[n, [count + one for one in (*pair.right, *pair.doubtful)]] = True
        return right, ignored
