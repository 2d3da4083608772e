"""A sheet of a spreadsheet: the tables on it, apart from each other, and what stands beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memptm.documents.draft import Draft
from memptm.documents.tables import add_table, starts_with_names


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell as it looks.

    Attributes:
        value: what it holds, where that is a number that is shown rounded. note: a comment on it. spans: how many columns
            it was merged over.
    """

    text: str
    value: float | None = None
    note: str = ""
    spans: int = 1


def add_sheet(draft: Draft, name: str, grid: Sequence[Sequence[Cell]], *, alone: bool, hidden: bool = False) -> None:
    """Write a sheet into a draft: its name as a heading, unless it is ``alone``, then its tables and lines of text."""
    if not any(cell.text for row in grid for cell in row):
        return
    if not alone or hidden:
        draft.add(f"{name} (hidden sheet)" if hidden else name, kind="heading", level=1)
    metadata = {"sheet": name}
    names: Sequence[str] = ()
    for first, rows in _parts(grid):
        texts = [[f"{cell.text} (note: {cell.note})" if cell.note else cell.text for cell in row] for row in rows]
        values = {
            (number, n): cell.value
            for number, row in enumerate(rows, start=first)
            for n, cell in enumerate(row)
            if cell.value is not None
        }
        if max(sum(bool(text) for text in row) for row in _unmerged(rows)) == 1:
            for line in _unmerged(rows):
                draft.add(" ".join(filter(None, line)), metadata=metadata)
            continue
        continues = bool(names) and len(names) == len(texts[0]) and not starts_with_names(texts)
        if continues:
            add_table(draft, [names, *texts], header_rows=1, first=first - 1, metadata=metadata, values=values)
        else:
            add_table(draft, texts, first=first, metadata=metadata, values=values)
            names = texts[0] if starts_with_names(texts) else ()


def _parts(grid: Sequence[Sequence[Cell]]) -> Iterator[tuple[int, list[Sequence[Cell]]]]:
    """(number of its first row, rows) of each run of rows that has no empty one; empty columns at the sides fall away."""
    width = max(map(len, grid), default=0)
    used = [n for n in range(width) if any(len(row) > n and row[n].text for row in grid)]
    empty = Cell(text="")
    rows: list[Sequence[Cell]] = []
    for number, row in enumerate(grid, start=1):
        cells = [row[n] if n < len(row) else empty for n in used]
        if any(cell.text for cell in cells):
            rows.append(cells)
        elif rows:
            yield number - len(rows), rows
            rows = []
    if rows:
        yield len(grid) - len(rows) + 1, rows


def _unmerged(rows: Sequence[Sequence[Cell]]) -> list[list[str]]:
    """Texts with what was merged over several columns written once."""
    return [
        [cell.text if n == 0 or cell.spans == 1 or row[n - 1].text != cell.text else "" for n, cell in enumerate(row)]
        for row in rows
    ]
