"""CSV and TSV: the file as it stands, rows whole, the header beside every part of the table."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator

from memptm.documents.draft import Extracted
from memptm.types import Block

_DELIMITERS = ",;\t|"
_SAMPLE = 1 << 16


def read(text: str, *, delimiter: str = "") -> Extracted:
    """The text unchanged; its first row is the context of all others. Cells may be of any size and hold line ends.

    Args:
        delimiter: "" finds it.
    """
    spans = list(_records(text, delimiter or _delimiter(text)))
    if not spans:
        return Extracted(text=text)
    first, end = spans[0]
    header = text[first:end].strip() if len(spans) > 1 else ""
    blocks: list[Block] = []
    for start, stop in spans:
        # The splitter takes lines for rows: a row of several lines is kept whole as code is.
        kind = "code" if len(text[start:stop].strip().splitlines()) > 1 else "table"
        if blocks and kind == blocks[-1].kind == "table":
            start, _ = blocks.pop().start, stop
        blocks.append(Block(start=start, end=stop, kind=kind, context=header))
    return Extracted(text=text, blocks=tuple(blocks))


def _delimiter(text: str) -> str:
    try:
        return csv.Sniffer().sniff(text[:_SAMPLE].split("\n\n")[0], delimiters=_DELIMITERS).delimiter
    except csv.Error:
        first = text.split("\n", 1)[0]
        return max(_DELIMITERS, key=first.count)


def _records(text: str, delimiter: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each row, its line end included."""
    at = 0

    def lines() -> Iterator[str]:
        nonlocal at
        for line in io.StringIO(text, newline=""):
            at += len(line)
            yield line

    before = csv.field_size_limit(sys.maxsize)
    try:
        start = 0
        for _ in csv.reader(lines(), delimiter=delimiter):
            yield start, at
            start = at
    finally:
        csv.field_size_limit(before)
