"""Heads and feet that a paged document repeats: kept where they first stand, left out, and said, on the pages after."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from memptm.documents.formats.runs import Run

_MARGIN = 0.14  # of the page's height, above and below
_MOST_LINES = 2  # that a head or a foot has
_FEWEST = 4  # pages that repeat it
_SHARE = 0.4  # of all pages; even and odd ones may differ
_FORM = 0.5  # share of a page's lines whose beginnings stand on most pages: then the pages are copies of one form
_NUMBER = re.compile(r"\d{1,5}")
_LABEL = re.compile(r"[^\d:]{2,40}:?")

Line = Sequence[Run]


def running_heads(pages: Sequence[Sequence[Line]], heights: Sequence[float]) -> tuple[list[set[int]], list[str]]:
    """(for each page the numbers of lines to leave out, what they say).

    A running head stands in the margin and apart from the text, and comes again at the same height on at least four
    pages and two in five, equal but for numbers that count with the pages. Pages that are copies of one form have none.

    Args:
        pages: lines of each page, from top to bottom. heights: of the pages, in points.
    """
    nothing: list[set[int]] = [set() for _ in pages]
    if len(pages) < _FEWEST or is_form(pages):
        return nothing, []
    edges = [_edges(lines, height) for lines, height in zip(pages, heights, strict=True)]
    counts: Counter[tuple[str, int]] = Counter()
    for number, (lines, at) in enumerate(zip(pages, edges, strict=True)):
        counts.update({pattern for n in at for pattern in _patterns(lines[n], number)})
    fewest = max(_FEWEST, _SHARE * len(pages))
    seen: set[tuple[str, int]] = set()
    dropped, said = nothing, dict[str, None]()
    for number, (lines, at) in enumerate(zip(pages, edges, strict=True)):
        for n in at:
            patterns = {pattern for pattern in _patterns(lines[n], number) if counts[pattern] >= fewest}
            if patterns & seen and len(lines) > len(dropped[number]) + 1:
                dropped[number].add(n)
                said.setdefault(_text(lines[n]))
            seen |= patterns
    return dropped, list(said)


def is_form(pages: Sequence[Sequence[Line]]) -> bool:
    """Whether most lines of most pages begin as lines of the other pages do: sheets of one form, filled in."""
    if len(pages) < 2:
        return False
    beginnings = [{label for line in lines if (label := _beginning(line))} for lines in pages]
    counts = Counter(label for page in beginnings for label in page)
    most = max(2, 0.6 * len(pages))
    alike = [
        sum(counts[label] >= most for label in page) >= max(_FORM * len(lines), 3)
        for page, lines in zip(beginnings, pages, strict=True)
    ]
    return sum(alike) > 0.6 * len(pages)


def _beginning(line: Line) -> str:
    """A line's label: its first words up to a colon, a number or a wide gap."""
    found = _LABEL.match(line[0].text)
    return found.group().strip() if found else ""


def _edges(lines: Sequence[Line], height: float) -> list[int]:
    """Lines in the upper and lower margin that stand apart from the text."""
    found: list[int] = []
    top = [n for n, line in enumerate(lines[:_MOST_LINES]) if min(run.bottom for run in line) > (1 - _MARGIN) * height]
    low = [
        n
        for n in range(max(len(lines) - _MOST_LINES, 0), len(lines))
        if max(run.top for run in lines[n]) < _MARGIN * height
    ]
    found += top
    return sorted({*found, *low})


def _patterns(line: Line, page: int) -> Iterator[tuple[str, int]]:
    """The line with its height, as it stands, and with each number told as its distance from the page's."""
    text, height = _text(line), round(max(run.top for run in line) / 6)
    for near in (height, height + 1):
        yield text, near
        for found in _NUMBER.finditer(text):
            yield f"{text[: found.start()]}{{{int(found.group()) - page}}}{text[found.end() :]}", near


def _text(line: Line) -> str:
    return " ".join(" ".join(run.text.split()) for run in line)
