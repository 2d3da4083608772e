"""Tables on a page of a PDF: told by cells that stand below each other, since the file itself knows of none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, median

from memptm.documents.cells import is_plain_words
from memptm.documents.formats.runs import Box, Run, TableRun, level

Line = Sequence[Run]
Grid = list[list[str]]

_FEWEST_ROWS = 3
_WIDEST_GAP = 2.2  # in usual gaps between rows; a wider one ends the table
_TYPED = 0.8  # share of a column's cells that are numbers, dates or times, in a table that has no rules drawn
_COMPLETE = 0.6  # share of rows that have all cells
_CONTINUES = 0.9  # of the usual gap between rows
_NEAR = 0.75  # of the distance between columns: so near a name above several columns belongs to one


def parted(lines: Sequence[Line], drawn: Sequence[Box]) -> list[tuple[list[Line], Grid | None]]:
    """Lines from top to bottom, parted into (lines, None) that are text and (lines, cells) that are a table.

    Args:
        drawn: rules and frames of the page.
    """
    parts: list[tuple[list[Line], Grid | None]] = []
    at = 0

    def add_text(text: Sequence[Line]) -> None:
        if text and (not parts or parts[-1][1] is not None):
            parts.append(([], None))
        if text:
            parts[-1][0].extend(text)

    while at < len(lines):
        drawn_table = next((run for run in lines[at] if isinstance(run, TableRun)), None)
        if drawn_table is not None:
            add_text([beside] if (beside := [run for run in lines[at] if run is not drawn_table]) else [])
            parts.append(([], drawn_table.grid))
            at += 1
            continue
        end = _end(lines, at)
        found = _table(lines[at:end], drawn) if end - at >= _FEWEST_ROWS - 1 else None
        if found is None:
            add_text(lines[at : at + 1])
            at += 1
        else:
            first, last, grid = found
            add_text(lines[at : at + first])
            parts.append((list(lines[at + first : at + last]), grid))
            at += last
    return parts


def _end(lines: Sequence[Line], start: int) -> int:
    """Where the lines with several cells that begin at ``start`` end; a line of one cell may stand between them."""
    if len(lines[start]) < 2:
        return start
    lines = lines[
        : next((n for n in range(start, len(lines)) if any(isinstance(run, TableRun) for run in lines[n])), len(lines))
    ]
    end = start + 1
    gaps: list[float] = []
    while end < len(lines):
        gap = _bottom(lines[end - 1]) - _bottom(lines[end])
        usual = median(gaps) if gaps else gap
        if gap > _WIDEST_GAP * max(usual, 1.2 * _height(lines[end])):
            break
        if len(lines[end]) < 2 and not (end + 1 < len(lines) and len(lines[end + 1]) >= 2 and gap <= usual):
            break
        gaps.append(gap)
        end += 1
    return end


def _table(lines: Sequence[Line], drawn: Sequence[Box]) -> tuple[int, int, Grid] | None:
    """(first line, line after the last, cells) of the table among the lines, or None where there is none."""
    count = max(map(len, lines))
    full = [line for line in lines if len(line) == count]
    columns = [(min(line[n].left for line in full), max(line[n].right for line in full)) for n in range(count)]
    if len(full) < 2 or any(left[1] >= right[0] for left, right in pairwise(columns)):
        return None
    rows = _rows(lines, columns, drawn)
    if count == 2:
        cells = [row for _, row in rows]
        labels = sum(row[0].endswith(":") for row in cells)
        is_table = labels > len(cells) / 2 or (_is_ruled(lines, drawn) and len(cells) >= _FEWEST_ROWS)
        return (0, len(lines), cells) if is_table else None
    begin = next((n for n, (_, row) in enumerate(rows) if not all(is_plain_words(cell) for cell in row if cell)), 1)
    begin = max(begin, 1)
    end = next(
        (n for n, (_, row) in enumerate(rows) if n > begin and not row[0] and sum(map(bool, row)) <= count / 2), None
    )
    body = rows[begin:end]
    if len(body) < _FEWEST_ROWS - 1 or sum(all(row) for _, row in body) < _COMPLETE * len(body):
        return None
    typed = any(
        sum(bool(row[n]) and not is_plain_words(row[n]) for _, row in body) >= _TYPED * len(body) for n in range(count)
    )
    if not typed and not _is_ruled(lines, drawn):
        return None
    first, names = _names(lines[: body[0][0]], columns)
    last = len(lines) if end is None else rows[end][0]
    return first, last, [names, *(row for _, row in body)]


def _rows(
    lines: Sequence[Line], columns: Sequence[tuple[float, float]], drawn: Sequence[Box]
) -> list[tuple[int, list[str]]]:
    """(its first line, cells) of each row.

    Where rules part the rows, lines without one between them are one row; else a line that begins in a later column,
    close below, goes on with the one above.
    """
    parted = [_is_parted(above, below, drawn) for above, below in pairwise(lines)]
    if sum(parted) >= max(len(lines) / 3, 2):
        return _ruled_rows(lines, columns, parted)
    gaps = [_bottom(above) - _bottom(below) for above, below in pairwise(lines)]
    usual = median(gaps) if gaps else 0.0
    rows: list[tuple[int, list[str]]] = []
    for n, line in enumerate(lines):
        row = _row(line, columns)
        if rows and not row[0] and gaps[n - 1] < _CONTINUES * usual and len(line) < len(columns) and all(rows[-1][1]):
            rows[-1] = (rows[-1][0], [f"{above} {more}".strip() for above, more in zip(rows[-1][1], row, strict=True)])
        else:
            rows.append((n, row))
    return rows


def _ruled_rows(
    lines: Sequence[Line], columns: Sequence[tuple[float, float]], parted: Sequence[bool]
) -> list[tuple[int, list[str]]]:
    rows: list[tuple[int, list[str]]] = []
    for n, line in enumerate(lines):
        row = _row(line, columns)
        if n and not parted[n - 1]:
            first, above = rows[-1]
            rows[-1] = (first, [f"{one} {more}".strip() for one, more in zip(above, row, strict=True)])
        else:
            rows.append((n, row))
    return rows


def _is_parted(above: Line, below: Line, drawn: Sequence[Box]) -> bool:
    """Whether a level rule runs between two lines, under most of the upper one."""
    left, right = min(run.left for run in above), max(run.right for run in above)
    top, bottom = _bottom(above), _bottom(below)
    between = [rule for rule in level(drawn) if bottom + 1 < rule.top <= top + _height(above) / 2]
    return any(rule.left <= left + 1 and rule.right > left + 0.3 * (right - left) for rule in between)


def _row(line: Line, columns: Sequence[tuple[float, float]]) -> list[str]:
    row = [""] * len(columns)
    for run in line:
        overlap = [min(run.right, right) - max(run.left, left) for left, right in columns]
        n = max(range(len(columns)), key=lambda n: overlap[n])
        row[n] = f"{row[n]} {run.text}".strip()
    return _spread(row, line, columns)


def _spread(row: list[str], line: Line, columns: Sequence[tuple[float, float]]) -> list[str]:
    """A single cell in the middle of three or more empty ones is merged over them."""
    if len(line) != 2 or len(columns) < 4 or not row[0]:
        return row
    centre = (line[1].left + line[1].right) / 2
    middle = (_centre(columns[1]) + _centre(columns[-1])) / 2
    if abs(centre - middle) > 0.15 * _pitch(columns):
        return row
    return [row[0], *[line[1].text] * (len(columns) - 1)]


def _names(lines: Sequence[Line], columns: Sequence[tuple[float, float]]) -> tuple[int, list[str]]:
    """(the first line that names columns, a column's name each), read upwards until every column has one.

    A name that stands in the middle above several columns belongs to all of them.
    """
    names: list[list[str]] = [[] for _ in columns]
    at = len(lines)
    while (at and not all(names)) or (at and at != len(lines) and _overlaps(lines[at - 1], lines[at])):
        at -= 1
        for run in lines[at]:
            centre = (run.left + run.right) / 2
            for n, column in enumerate(columns):
                inside = column[0] < centre < column[1] or run.left < _centre(column) < run.right
                above = abs(_centre(column) - centre) < _NEAR * _pitch(columns) and len(lines[at]) < len(columns)
                if inside or above:
                    names[n].insert(0, run.text)
    return at, [" ".join(parts) for parts in names]


def _overlaps(above: Line, below: Line) -> bool:
    """Whether two lines stand so close that they are cells of one row."""
    return _bottom(above) < max(run.top for run in below)


def _is_ruled(lines: Sequence[Line], drawn: Sequence[Box]) -> bool:
    """Whether rules or frames are drawn among the lines, at least as many as there are rows."""
    top, bottom = max(run.top for run in lines[0]), min(run.bottom for run in lines[-1])
    left = min(run.left for line in lines for run in line)
    right = max(run.right for line in lines for run in line)
    height = _height(lines[0])
    within = [
        box
        for box in drawn
        if box.bottom < top + height and box.top > bottom - height and box.left < right and box.right > left
    ]
    return len(within) >= len(lines)


def _pitch(columns: Sequence[tuple[float, float]]) -> float:
    return mean(_centre(right) - _centre(left) for left, right in pairwise(columns))


def _centre(column: tuple[float, float]) -> float:
    return (column[0] + column[1]) / 2


def _bottom(line: Line) -> float:
    return min(run.bottom for run in line)


def _height(line: Line) -> float:
    return median(run.top - run.bottom for run in line)
