"""System 1: reads a page and says where to go next, what may answer, and which sentences matter.

Two of them keep one protocol: ``Untrained`` here, from the shipped reader and an encoder, and ``pointers.Pointers``,
which was trained for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memptm.documents.sentences import sentence_at, sentences
from memptm.encoders.base import Encoder
from memptm.generation.reader import Reader, Span
from memptm.memory.titles import Titles, name_key
from memptm.reasoning.names import names
from memptm.types import Passage

TOP_HOPS = 3
SLACK = 0.05  # of a page's threshold: of 70 gold hops 67 stand in sentences less than this below the mean
CLUE_CHARACTERS = 300  # of a clue that is read again on the next page


@dataclass(frozen=True)
class Look:
    """A passage to read, with the sentences that led to it."""

    passage: Passage
    clues: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hop:
    """Characters of a passage that name where to go next; ``score`` from 0 to 1."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Sight:
    """What was seen in a passage.

    Attributes:
        hops: the best few, best first, each within a sentence.
        spans, log_mass: what may answer, as the reader's.
        sentences: (start, end) of each. support: how much each matters, from 0 to 1.
        meaning: the page's semantic vector given question and clues; None where System 1 has none.
    """

    hops: tuple[Hop, ...]
    spans: tuple[Span, ...]
    log_mass: float
    sentences: tuple[tuple[int, int], ...]
    support: tuple[float, ...]
    meaning: NDArray[np.float32] | None = None


class System1(Protocol):
    """Reads pages. ``trained``: whether ``Sight.support`` is a probability, 0.5 and more a supporting sentence."""

    trained: bool

    def look(self, question: str, pages: Sequence[Look], *, lowered: float = 0.0) -> list[Sight]:
        """Read ``pages``; the same whatever else is in the batch, and whatever was asked before.

        Args:
            lowered: how far each page's own threshold for hops is lowered, for this call alone.
        """
        ...


@dataclass(frozen=True)
class _Known:
    """Of a passage: its sentences, how near each is to the question, and the names in it."""

    sentences: tuple[tuple[int, int], ...]
    nearness: tuple[float, ...]
    named: list[tuple[int, int]]


class Untrained:
    """Hops are the names in a page's sentences that are nearest to the question; the shipped reader answers.

    A page's threshold is the mean nearness of its sentences, less a little; [CLS] gives the trained one's.
    """

    trained = False

    def __init__(self, reader: Reader, encoder: Encoder, titles: Titles) -> None:
        self.reader, self.encoder, self.titles = reader, encoder, titles
        self._known: dict[tuple[str, str], _Known] = {}  # question, passage: what no clue changes

    def look(self, question: str, pages: Sequence[Look], *, lowered: float = 0.0) -> list[Sight]:
        """See ``System1.look``; ``lowered`` is in units of cosine."""
        if not pages:
            return []
        readings = self.reader.read([question] * len(pages), [[with_clues(page)] for page in pages])
        self._get_to_know(question, [page.passage for page in pages])
        sights = []
        for page, reading in zip(pages, readings, strict=True):
            known = self._known[question, identity(page.passage)]
            sights.append(
                Sight(
                    hops=_hops(page.passage, known, name_key(question), lowered),
                    spans=reading.spans,
                    log_mass=reading.log_mass[0],
                    sentences=known.sentences,
                    support=known.nearness,
                )
            )
        return sights

    def _get_to_know(self, question: str, passages: Sequence[Passage]) -> None:
        new = list({identity(one): one for one in passages if (question, identity(one)) not in self._known}.values())
        places = [tuple(sentences(one.text)) for one in new]
        nearness = self._nearness(question, new, places)
        named = names([one.text for one in new], self.titles)
        for one, spans, near, found in zip(new, places, nearness, named, strict=True):
            self._known[question, identity(one)] = _Known(spans, near, found)

    def _nearness(
        self, question: str, passages: Sequence[Passage], places: Sequence[Sequence[tuple[int, int]]]
    ) -> list[tuple[float, ...]]:
        """Of each sentence, under its page's title, to the question: cosines, at least 0."""
        texts = [
            f"{passage.title}\n{passage.text[start:end]}" if passage.title else passage.text[start:end]
            for passage, spans in zip(passages, places, strict=True)
            for start, end in spans
        ]
        if not texts:
            return [() for _ in passages]
        query = _unit(self.encoder.encode_questions([question]))[0]
        cosines = iter(np.clip(_unit(self.encoder.encode_passages(texts)) @ query, 0.0, 1.0).tolist())
        return [tuple(next(cosines) for _ in spans) for spans in places]


def identity(passage: Passage) -> str:
    """What tells a passage from all others of an index: two sources may use one id."""
    return f"{passage.source}\n{passage.id}"


def with_clues(page: Look) -> Passage:
    """The passage as the reader is to see it: what led to it stands before the text."""
    if not page.clues:
        return page.passage
    told = [page.passage.context, *(clue[:CLUE_CHARACTERS] for clue in page.clues)]
    return replace(page.passage, context=" ".join(part for part in told if part))


def _hops(passage: Passage, known: _Known, question: str, lowered: float) -> tuple[Hop, ...]:
    places, nearness = list(known.sentences), known.nearness
    threshold = float(np.mean(nearness)) - SLACK - lowered if nearness else 0.0
    own = {name_key(passage.title), *(name_key(heading) for heading in passage.headings)}
    best: dict[str, Hop] = {}
    for start, end in known.named:
        key, number = name_key(passage.text[start:end]), sentence_at(places, start)
        if number is None or end > places[number][1] or nearness[number] < threshold:
            continue
        if key in own or key in question:  # its own page; or known from the question, where the walk began
            continue
        if key not in best or best[key].score < nearness[number]:
            best[key] = Hop(start, end, nearness[number])
    return tuple(sorted(best.values(), key=lambda hop: (-hop.score, hop.start))[:TOP_HOPS])


def _unit(keys: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(keys, axis=1, keepdims=True)
    return np.asarray(keys / np.maximum(norms, 1e-12), np.float32)
