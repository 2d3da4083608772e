"""The untrained System 1: hops are names near to the question, the shipped reader says what may answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memptm.documents.sentences import sentence_at, sentences
from memptm.encoders.base import Encoder
from memptm.generation.reader import Reader, context_header
from memptm.memory.titles import Titles, name_key
from memptm.reasoning.names import names, says
from memptm.reasoning.system1 import CLUE_TOKENS, CLUES_TOKENS, Hop, PageInput, PageReading, best_hops
from memptm.types import Passage, PassageKey

if TYPE_CHECKING:
    from memptm.generation.spans import SpanScorer
    from memptm.generation.windows import Windower

LOWERED = 0.15  # of a page's threshold, for hops below it
SLACK = 0.05  # of a page's threshold: of 70 gold hops 67 stand in sentences less than this below the mean


@dataclass(frozen=True)
class _Known:
    """Of a passage: its sentences, how near each is to the question, and the names in it."""

    sentences: tuple[tuple[int, int], ...]
    nearness: tuple[float, ...]
    named: list[tuple[int, int]]


class ClueReader(Reader):
    """A reader with room for clues: they stand between a passage's title and its text, and cut nothing off the title."""

    def __init__(self, reader: Reader) -> None:
        self.plain, self.folder, self.config = reader, reader.folder, reader.config

    @cached_property
    def model(self) -> SpanScorer:
        """The reader's own."""
        return self.plain.model

    @cached_property
    def windower(self) -> Windower:
        """The reader's, with a longer context."""
        from memptm.generation.windows import CONTEXT_TOKENS, Windower

        plain = self.plain.windower
        room = CONTEXT_TOKENS + self.room_for_clues
        return Windower(plain.tokenizer, window=plain.window, stride=plain.stride, context_tokens=room)

    @property
    def room_for_clues(self) -> int:
        """In tokens."""
        return min(CLUES_TOKENS, self.plain.windower.window // 3)

    def with_clues(self, page: PageInput) -> Passage:
        """The passage as the reader is to see it: what led to it stands before the text."""
        whole = context_header(page.passage)
        title, _ = self._begun(whole, self.plain.windower.context_tokens)
        if not page.clues and title == whole:
            return page.passage
        cut = [self._begun(clue, min(CLUE_TOKENS, self.room_for_clues)) for clue in page.clues]
        kept = page.fitting([size for _, size in cut], self.room_for_clues)
        clues = " ".join(cut[n][0] for n in kept)
        context = f"{title.rstrip('.')}. {clues}" if title and clues else title or clues
        return replace(page.passage, title="", headings=(), context=context)

    def _begun(self, text: str, tokens: int) -> tuple[str, int]:
        """The beginning of ``text``, at most so many tokens, and how many they are."""
        ends = [end for _, end in self.plain.windower.tokenizer.encode(text, add_special_tokens=False).offsets]
        return (text, len(ends)) if len(ends) <= tokens else (text[: ends[tokens - 1]], tokens)


class Untrained:
    """Hops are the names in a page's sentences that are nearest to the question; the shipped reader answers.

    A page's threshold is the mean nearness of its sentences, less a little; [CLS] gives the trained one's.
    """

    trained = False

    def __init__(self, reader: Reader, encoder: Encoder, titles: Titles) -> None:
        self.reader, self.encoder, self.titles = ClueReader(reader), encoder, titles
        self._known: dict[tuple[str, PassageKey], _Known] = {}  # question, passage: what no clue changes

    def read_pages(self, question: str, pages: Sequence[PageInput]) -> list[PageReading]:
        """See ``System1.read_pages``."""
        if not pages:
            return []
        readings = self.reader.read([question] * len(pages), [[self.reader.with_clues(page)] for page in pages])
        self._get_to_know(question, [page.passage for page in pages])
        page_readings = []
        for page, reading in zip(pages, readings, strict=True):
            known = self._known[question, page.passage.key]
            page_readings.append(
                PageReading(
                    hops=_hops(page.passage, known, name_key(question)),
                    below_threshold=_hops(page.passage, known, name_key(question), lowered=LOWERED),
                    spans=reading.spans,
                    log_mass=reading.log_mass[0],
                    sentences=known.sentences,
                    support=known.nearness,
                )
            )
        return page_readings

    def _get_to_know(self, question: str, passages: Sequence[Passage]) -> None:
        new = list({one.key: one for one in passages if (question, one.key) not in self._known}.values())
        places = [tuple(sentences(one.text)) for one in new]
        nearness = self._nearness(question, new, places)
        named = names([one.text for one in new], self.titles)
        for one, spans, near, found in zip(new, places, nearness, named, strict=True):
            self._known[question, one.key] = _Known(spans, near, found)

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


def _hops(passage: Passage, known: _Known, question: str, *, lowered: float = 0.0) -> tuple[Hop, ...]:
    places, nearness = list(known.sentences), known.nearness
    threshold = float(np.mean(nearness)) - SLACK - lowered if nearness else 0.0
    own = {name_key(passage.title), *(name_key(heading) for heading in passage.headings)}
    hops = []
    for start, end in known.named:
        key, number = name_key(passage.text[start:end]), sentence_at(places, start)
        if number is None or end > places[number][1] or nearness[number] < threshold:
            continue
        if key in own or says(question, key):  # its own page; or known from the question, where the search began
            continue
        hops.append(Hop(start, end, nearness[number]))
    return best_hops(passage.text, hops)


def _unit(keys: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(keys, axis=1, keepdims=True)
    return np.asarray(keys / np.maximum(norms, 1e-12), np.float32)
