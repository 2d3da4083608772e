"""Where the sentences of a text are."""

from __future__ import annotations

import re

import sentencex

_LINE = re.compile(r"[^\r\n]+")


def sentences(text: str) -> list[tuple[int, int]]:
    """Characters (start, end) of each sentence, without blanks around it, in order; a line break ends a sentence."""
    return [
        (line.start() + start, line.start() + end)
        for line in _LINE.finditer(text)
        for start, end in sentences_across_lines(line[0])
    ]


def sentences_across_lines(text: str) -> list[tuple[int, int]]:
    """As ``sentences``, but a line break alone ends none."""
    found = []
    for one in sentencex.get_sentence_boundaries("en", text):
        inside = text[one["start_index"] : one["end_index"]]
        start = one["start_index"] + len(inside) - len(inside.lstrip())
        if inside.strip():
            found.append((start, start + len(inside.strip())))
    return found


def sentence_at(found: list[tuple[int, int]], place: int) -> int | None:
    """The number of the sentence that character ``place`` is in; None between sentences."""
    return next((n for n, (start, end) in enumerate(found) if start <= place < end), None)
