"""Tables as records: whatever file a table comes from, a row is written out with its columns' names.

A record is the unit that is embedded and read, and is never cut where it fits: ``Boat: Juniper II; Berth: B05; Length: 9.4 m``.
Its metadata keep the row's number, the typed cells, and the table they belong to, so that all rows of a table can be had again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from memptm.documents.cells import Value, has_decimal_comma, is_plain_words, value
from memptm.documents.draft import Draft, one_line
from memptm.types import Passage

Row = Sequence[str]
TABLE, ROW, CELLS = "table", "row", "cells"  # metadata of a record

_PARTED = "; "  # between the cells of a record
_SAMPLE = 200  # rows from which a column's kind is told
_LONGEST_FORM = 40  # rows of labels and entries that are one record
_MIXED = 0.5  # share of entries in words from which on two columns are a form, if others are figures
_MOST_SPAN = 1000  # cells; what a broken file may say is bounded
_LONGEST_NAME = 120  # characters; a longer cell names no column


@dataclass(frozen=True, kw_only=True)
class Table:
    """A grid whose first rows may be titles and names of columns.

    Attributes:
        names: a column's name each; "" where it has none.
        rows: the cells of each record, as they are written, with the row's number in its file or sheet, from 1.
        columns: which column of the grid each one is, from 0.
        values: of cells by row number and column of the grid, where they hold more than they show.
        titles: what stood above the columns' names. notes: rows of one cell between and below the records.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    columns: tuple[int, ...] = ()
    values: Mapping[tuple[int, int], float] = field(default_factory=dict)
    titles: tuple[str, ...] = ()
    notes: Mapping[int, str] = field(default_factory=dict)

    def records(self) -> Iterator[tuple[int, str, dict[str, Value]]]:
        """(row number, the row in words, its typed cells by column) of each record."""
        sample = [cells for _, cells in islice(self.rows, _SAMPLE)]
        commas = [has_decimal_comma(row[n] for row in sample) for n in range(len(self.names))]
        commas = [comma or (any(commas) and not self._has_point(sample, n)) for n, comma in enumerate(commas)]
        day_first = not any(_is_american(cell) for row in sample for cell in row)
        for number, cells in self.rows:
            filled = [(name, cell) for name, cell in zip(self.names, cells, strict=True) if cell]
            nameless = len(filled) == 2 and not any(name for name, _ in filled)
            words = (": " if nameless else _PARTED).join(f"{name}: {cell}" if name else cell for name, cell in filled)
            typed = {
                name or f"column {n + 1}": _whole(self.values[number, self.columns[n]])
                if (number, self.columns[n]) in self.values
                else value(cell, decimal_comma=commas[n], day_first=day_first)
                for n, (name, cell) in enumerate(zip(self.names, cells, strict=True))
                if cell
            }
            yield number, words, typed

    @staticmethod
    def _has_point(sample: Sequence[Row], column: int) -> bool:
        return any("." in row[column] for row in sample)


def table(
    rows: Sequence[Row],
    *,
    header_rows: int | None = None,
    first: int = 1,
    values: Mapping[tuple[int, int], float] | None = None,
) -> Table | None:
    """The table that a grid of cells is, or None where there is nothing in it.

    Args:
        rows: cells as text; spans have to be filled, short rows are taken to be empty at their end.
        header_rows: how many rows name the columns; None finds it out.
        first: number of the first row.
        values: see ``Table``.
    """
    width = max(map(len, rows), default=0)
    grid = [
        (number, tuple(one_line(cell) for cell in row) + ("",) * (width - len(row)))
        for number, row in enumerate(rows, start=first)
    ]
    grid = [(number, cells) for number, cells in grid if any(cells)]
    used = [n for n in range(width) if any(cells[n] for _, cells in grid)]
    grid = [(number, tuple(cells[n] for n in used)) for number, cells in grid]
    if not grid:
        return None
    titles: list[str] = []
    if header_rows is None:
        while len(grid) > 2 and len(used) > 1 and _filled(grid[0][1]) == 1 and _filled(grid[1][1]) <= len(used):
            titles.append(next(cell for cell in grid.pop(0)[1] if cell))
        header_rows = _header_rows([cells for _, cells in grid])
    form = [cells for _, cells in grid]
    if not header_rows and len(used) == 2 and len(grid) <= _LONGEST_FORM and _is_form(form):
        names = tuple(row[0].rstrip(": ") for row in form)
        if len(set(names)) == len(names):
            entries = ((grid[0][0], tuple(row[1] for row in form)),)
            return Table(names=names, rows=entries, columns=tuple(range(len(form))), titles=tuple(titles))
    header_rows = min(header_rows, len(grid) - 1)
    names = _names([cells for _, cells in grid[:header_rows]], len(used))
    body, notes = [], {}
    for number, cells in grid[header_rows:]:
        if len(used) > 2 and _filled(cells) == 1 and cells[0] and header_rows:
            notes[number] = cells[0]
        else:
            body.append((number, cells))
    return Table(
        names=names, rows=tuple(body), columns=tuple(used), values=values or {}, titles=tuple(titles), notes=notes
    )


def add_table(
    draft: Draft,
    rows: Sequence[Row],
    *,
    name: str = "",
    header_rows: int | None = None,
    first: int = 1,
    page: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    values: Mapping[tuple[int, int], float] | None = None,
) -> None:
    """Write a table into a draft, a record a line; see ``table``.

    Args:
        name: of the table: a sheet's, a caption; "" takes the row above the columns' names, if there is one.
        metadata: of every record (the sheet, the slide).
    """
    found = table(rows, header_rows=header_rows, first=first, values=values)
    if found is None:
        return
    for title in found.titles:
        draft.add(title, page=page, metadata=metadata)
    called = name or (found.titles[0] if found.titles else "")
    notes = sorted(found.notes.items(), reverse=True)
    for number, words, typed in found.records():
        while notes and notes[-1][0] < number:
            draft.add(notes.pop()[1], page=page, metadata=metadata)
        own = {**(metadata or {}), **({TABLE: called} if called else {}), ROW: number, CELLS: typed}
        draft.add(words, kind="record", page=page, context=called, joint="\n", metadata=own)
    for _, note in reversed(notes):
        draft.add(note, page=page, metadata=metadata)


def between_cells(passage: Passage) -> list[tuple[int, int]]:
    """Characters of a record that belong to no cell: the columns' names, and what parts the cells; [] for other passages.

    No answer lies there, or goes over it.
    """
    cells = passage.metadata.get(CELLS)
    if not isinstance(cells, dict):
        return []
    spans: list[tuple[int, int]] = []
    at = 0
    for n, name in enumerate(cells):
        mark = f"{_PARTED}{name}: " if n else f"{name}: "
        found = passage.text.find(mark, at)
        if found >= 0 and (n or not found):
            spans.append((found, found + len(mark)))
            at = spans[-1][1]
    return spans


def starts_with_names(rows: Sequence[Row]) -> bool:
    """Whether the first row names columns, and does not belong to a table above."""
    return _header_rows([tuple(one_line(cell) for cell in row) for row in rows]) > 0


def fill_spans(cells: Sequence[Sequence[tuple[str, int, int]]]) -> list[list[str]]:
    """A grid of rows of (text, rowspan, colspan), each text written into all cells that it spans."""
    grid: list[list[str]] = []
    waiting: dict[int, tuple[int, str]] = {}  # column → rows still to be filled, with what
    for row in cells:
        line: list[str] = []

        def fill(line: list[str] = line) -> None:
            while len(line) in waiting:
                left, text = waiting.pop(len(line))
                if left > 1:
                    waiting[len(line)] = (left - 1, text)
                line.append(text)

        for text, rowspan, colspan in row:
            fill()
            for _ in range(min(max(colspan, 1), _MOST_SPAN)):
                if rowspan > 1:
                    waiting[len(line)] = (min(rowspan, _MOST_SPAN) - 1, text)
                line.append(text)
        fill()
        grid.append(line)
    return grid


def _header_rows(grid: Sequence[Row]) -> int:
    """How many rows name the columns, told from what stands in them."""
    if len(grid) < 2 or len(grid[0]) < 2:
        return 0
    first, below = grid[0], grid[1:_SAMPLE]
    named = [cell for cell in first if cell]
    if len(named) < 2 or not all(is_plain_words(cell) and len(cell) <= _LONGEST_NAME for cell in named):
        return 0
    if len(first) == 2 and _is_form(grid[:_SAMPLE]):
        return 0
    if len(set(named)) < len(named) and len(grid) > 2:  # a name over several columns: the next row tells them apart
        second = [cell for cell in below[0] if cell]
        if len(second) > 1 and all(is_plain_words(cell) for cell in second) and len(set(below[0])) > len(set(first)):
            return 2
    return 1


def _is_form(grid: Sequence[Row]) -> bool:
    """Whether two columns are labels and what was entered, as on a form, with no row that names them."""
    labels = [row[0] for row in grid]
    if not all(labels):
        return False
    if sum(label.endswith(":") for label in labels) > len(labels) / 2:
        return True
    entered = [is_plain_words(row[1]) for row in grid if row[1]]
    mixed = _MIXED * len(entered) <= sum(entered) < len(entered)
    return len(entered) > 3 and mixed and all(is_plain_words(label) for label in labels)


def _names(header: Sequence[Row], width: int) -> tuple[str, ...]:
    """A column's name each, rows above each other joined, told apart where two are alike."""
    names: list[str] = []
    for n in range(width):
        parts = list(dict.fromkeys(row[n].rstrip(":") for row in header if row[n]))
        name = " ".join(parts)
        copies = sum(one == name or one.startswith(f"{name} (") for one in names) if name else 0
        names.append(f"{name} ({copies + 1})" if copies else name)
    return tuple(names)


def _filled(row: Row) -> int:
    return sum(map(bool, row))


def _whole(number: float) -> float | int:
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _is_american(cell: str) -> bool:
    """A date such as 6/30/2025, which has its month first."""
    parts = cell.split("/")
    return len(parts) == 3 and all(part.isdigit() for part in parts) and int(parts[0]) <= 12 < int(parts[1]) <= 31
