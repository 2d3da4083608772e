"""Heads and feet that a book repeats on its pages: kept where they first stand, dropped where they part a sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

_EDGE = 2  # lines at a page's top and bottom that can be one
_FEWEST = 4  # pages that repeat it
_NUMBER = re.compile(r"^\d{1,5}\b|\b\d{1,5}$")


def without_running_heads(pages: Sequence[str]) -> list[str]:
    """The texts of ``pages`` without repeated first and last lines, equal but for the page's number."""
    split = [page.split("\n") for page in pages]
    edges = [_edges(lines) for lines in split]
    counts: Counter[str] = Counter()
    for number, (lines, at) in enumerate(zip(split, edges, strict=True)):
        counts.update({pattern for n in at for pattern in _patterns(lines[n], number, outermost=n in (at[0], at[-1]))})
    seen: set[str] = set()
    kept = []
    for number, (lines, at) in enumerate(zip(split, edges, strict=True)):
        repeated = set()
        for n in at:
            told = _patterns(lines[n], number, outermost=n in (at[0], at[-1]))
            patterns = {pattern for pattern in told if counts[pattern] >= _FEWEST}
            if patterns & seen:
                repeated.add(n)
            seen |= patterns
        text = "\n".join(line for n, line in enumerate(lines) if n not in repeated).strip()
        kept.append(text or pages[number])
    return kept


def _edges(lines: Sequence[str]) -> list[int]:
    filled = [n for n, line in enumerate(lines) if line.strip()]
    return sorted({*filled[:_EDGE], *filled[-_EDGE:]})


def _patterns(line: str, page: int, *, outermost: bool) -> Iterator[str]:
    """The line itself, and an outermost line with a number at either end told as its distance from the page."""
    line = " ".join(line.split())
    yield line
    for found in _NUMBER.finditer(line):
        if outermost or found.group() == line:
            yield f"{line[: found.start()]}{{{int(found.group()) - page}}}{line[found.end() :]}"
