"""What is hidden from the reader: one span of a sentence, a name or a date, or any words as the control.

Source: salient span masking, REALM (Guu et al. 2020, section 3.4): spans that need knowledge of the world, so that
looking a passage up pays.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from memptm.documents.entities import entities
from memptm.documents.sentences import sentences_across_lines
from memptm.progress import Event, Progress, silent
from memptm.training.data.pairs import SHORTEST
from memptm.types import Passage

Masks = Literal["salient", "random"]
LONGEST = 8  # words of a span
RANDOM_WORDS = (1, 2, 3)  # of a random span: as names and dates have, most times
REPORT_EVERY = 200  # passages


@dataclass(frozen=True)
class Blank:
    """A sentence of passage number ``passage``, characters ``start`` to ``end``, and the ``spans`` that may be hidden."""

    passage: int
    start: int
    end: int
    spans: tuple[tuple[int, int], ...]


def find_blanks(passages: Sequence[Passage], masks: Masks, *, seed: int, progress: Progress = silent) -> list[Blank]:
    """Every sentence of five words or more that holds a span to hide, once each, though passages overlap.

    Raises:
        ExtraMissing: the tagger is not installed, and ``masks`` is "salient".
    """
    texts = [passage.text for passage in passages]
    tagged = entities(texts) if masks == "salient" else None
    chance, seen, found = random.Random(f"masks-{seed}"), set(), []
    for n, text in enumerate(texts):
        spans = [] if tagged is None else [(one.start, one.end) for one in next(tagged)]
        for start, end in sentences_across_lines(text):
            words = len(text[start:end].split())
            if words < SHORTEST or text[start:end] in seen:
                continue
            inside = (
                [(begin, stop) for begin, stop in spans if start <= begin and stop <= end]
                if tagged is not None
                else [_random_span(text, start, end, chance)]
            )
            inside = [
                (begin, stop) for begin, stop in inside if len(text[begin:stop].split()) <= min(LONGEST, words - 3)
            ]
            if inside:
                seen.add(text[start:end])
                found.append(Blank(n, start, end, tuple(inside)))
        if n % REPORT_EVERY == 0 or n + 1 == len(texts):
            progress(Event(stage="find spans", done=n + 1, total=len(texts)))
    return found


def _random_span(text: str, start: int, end: int, chance: random.Random) -> tuple[int, int]:
    """Some words in a row."""
    words, at = [], start
    for word in text[start:end].split():
        begin = text.index(word, at)
        at = begin + len(word)
        words.append((begin, at))
    count = chance.choice(RANDOM_WORDS)
    first = chance.randrange(len(words) - count + 1)
    return words[first][0], words[first + count - 1][1]
