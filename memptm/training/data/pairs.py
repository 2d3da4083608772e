"""Pairs of a query and the passage it should find: sentences with the passages they were taken from, or questions.

The inverse cloze task (Lee et al. 2019, arXiv 1906.00300) makes pairs of any text: a sentence is the query, the passage
it stood in is right, and the sentence itself is taken out of it most times, so that meaning has to do what words could.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from memptm.documents.sentences import sentences_across_lines
from memptm.encoders.base import embedding_text
from memptm.errors import InputError
from memptm.training.data.examples import Example
from memptm.training.data.targets import NO_TARGET, Target
from memptm.types import Passage

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


def inverse_cloze(passages: Sequence[Passage], *, epochs: int, seed: int) -> list[Pair]:
    """A sentence of every passage that has two or more, once an epoch; epoch after epoch, in the passages' order."""
    places = [sentences_across_lines(passage.text) for passage in passages]
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
            pairs.append(Pair(query, embedding_text(rest), right, doubtful))
    return pairs


def question_pairs(examples: Sequence[Example], targets: Sequence[Target], texts: Sequence[str]) -> list[Pair]:
    """Questions with the passages they should find, of those that have one.

    Args:
        targets: of the examples. texts: what the encoder reads for each passage.
    Raises:
        InputError: no question has one.
    """
    pairs = [
        Pair(example.question, texts[target.right[0]], target.right, target.doubtful)
        for example, target in zip(examples, targets, strict=True)
        if target.right
    ]
    if not pairs:
        raise InputError(NO_TARGET)
    return pairs
