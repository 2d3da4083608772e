"""Where the sentences of a text are."""

from __future__ import annotations

import re

import sentencex

_LINE = re.compile(r"[^\r\n]+")


def sentences(text: str) -> list[tuple[int, int]]:
    """Characters (start, end) of each sentence, without blanks around it, in order; a line break ends a sentence."""
    found = []
    for line in _LINE.finditer(text):
        for one in sentencex.get_sentence_boundaries("en", line[0]):
            start, end = line.start() + one["start_index"], line.start() + one["end_index"]
            said = text[start:end]
            start += len(said) - len(said.lstrip())
            end -= len(said) - len(said.rstrip())
            if start < end:
                found.append((start, end))
    return found


def sentence_at(found: list[tuple[int, int]], place: int) -> int | None:
    """The number of the sentence that character ``place`` is in; None between sentences."""
    return next((n for n, (start, end) in enumerate(found) if start <= place < end), None)
