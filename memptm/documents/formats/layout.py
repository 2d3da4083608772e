"""The order in which a page is read: columns one after the other, the lines of a table across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from memptm.documents.formats.pdf_tables import Grid, parted
from memptm.documents.formats.runs import Box, Run

_FEWEST = 3  # lines a column must have
_MOST_CROSSING = 0.4  # share of lines that may run across a gutter (titles, figures' captions)
_PROSE_WORDS = 2.5  # a line of a column has more words than a cell of a table
_HEADING = 1.18  # in heights of most words; larger letters are a heading
_LONGEST_HEADING = 20  # words
_PARAGRAPH_GAP = 0.35  # in heights of a line, more than the blank between most lines


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of a page: text, a heading by its size, or a table's cells. ``height``: of its letters, in points."""

    text: str = ""
    grid: Grid | None = None
    heading: bool = False
    height: float = 0.0


def in_reading_order(runs: Sequence[Run], drawn: Sequence[Box] = ()) -> tuple[list[Part], bool]:
    """(parts of a page, whether their order is sure).

    A gutter that few runs cross parts a page into columns; runs that cross it (a title) part the columns into bands.
    Short runs on common lines are a table, read across.

    Args:
        drawn: rules and frames, which tell tables.
    """
    if not runs:
        return [], True
    height = median([run.top - run.bottom for run in runs for _ in run.text.split()] or [12.0])
    return _read(list(runs), drawn, height)


def lines_of(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that stand beside each other, line by line from the top."""
    lines: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: -_middle(run)):
        if lines and _middle(run) > min(other.bottom for other in lines[-1]) and _level(run, lines[-1][0]):
            lines[-1].append(run)
        else:
            lines.append([run])
    return [sorted(line, key=lambda run: run.left) for line in lines]


def _read(runs: list[Run], drawn: Sequence[Box], height: float) -> tuple[list[Part], bool]:
    if not runs:
        return [], True
    gutter, sure = _gutter(runs)
    if gutter is None:
        return _across(runs, drawn, height), sure
    crossing = [run for run in runs if run.left < gutter < run.right]
    parts: list[Part] = []
    rest = [run for run in runs if not run.left < gutter < run.right]
    for wide in [*sorted(crossing, key=lambda run: -run.top), None]:
        above = rest if wide is None else [run for run in rest if _middle(run) > _middle(wide)]
        rest = [run for run in rest if run not in above]
        for side in ([run for run in above if run.right <= gutter], [run for run in above if run.left >= gutter]):
            found, side_sure = _read(side, drawn, height)
            sure = sure and side_sure
            parts = _joined(parts, found)
        if wide is not None:
            parts = _joined(parts, _across([wide], drawn, height))
    return parts, sure


def _joined(before: list[Part], after: list[Part]) -> list[Part]:
    """Columns follow each other by a line end: a sentence may run on; whole paragraphs are parted by their stops."""
    if before and after and all(part.grid is None and not part.heading for part in (before[-1], after[0])):
        return [*before[:-1], replace(before[-1], text=f"{before[-1].text}\n{after[0].text}"), *after[1:]]
    return [*before, *after]


def _gutter(runs: Sequence[Run]) -> tuple[float | None, bool]:
    """(x of the blank between two columns of prose or None, whether that is sure)."""
    best: tuple[int, float, float] | None = None
    height = median([run.top - run.bottom for run in runs if run.text] or [12.0])
    edges = sorted({run.right for run in runs})
    for edge in edges:
        beyond = [run.left for run in runs if run.left > edge]
        if not beyond:
            continue
        x = edge + min(0.5 * (min(beyond) - edge), 0.5 * height)
        crossing = sum(run.left < x < run.right for run in runs)
        left, right = [run for run in runs if run.right <= x], [run for run in runs if run.left >= x]
        if min(len(left), len(right)) < _FEWEST or crossing > _MOST_CROSSING * len(runs):
            continue
        gap = min(run.left for run in right) - max(run.right for run in left)
        if gap < 0.6 * height or not _side_by_side(left, right):
            continue
        if best is None or (-crossing, gap) > (-best[0], best[1]):
            best = crossing, gap, x
    if best is None:
        return None, True
    x = best[2]
    left, right = [run for run in runs if run.right <= x], [run for run in runs if run.left >= x]
    words = [median(len(run.text.split()) for run in side) for side in (left, right)]
    if min(words) >= _PROSE_WORDS:
        return x, True
    # Cells of a table stand on common lines; so do short lines of prose, and then nobody can tell.
    return None, min(words) < 2


def _side_by_side(left: Sequence[Run], right: Sequence[Run]) -> bool:
    """Whether the two share most of their height."""
    top = min(max(run.top for run in side) for side in (left, right))
    bottom = max(min(run.bottom for run in side) for side in (left, right))
    lower = min(max(run.top for run in side) - min(run.bottom for run in side) for side in (left, right))
    return top - bottom > 0.5 * lower


def _across(runs: Sequence[Run], drawn: Sequence[Box], height: float) -> list[Part]:
    """Line by line from the top; an empty line where the gap says that a paragraph ends."""
    lines = lines_of(runs)
    gaps = [min(run.bottom for run in above) - max(run.top for run in line) for above, line in pairwise(lines)]
    usual = median([run.top - run.bottom for run in runs if run.text] or [height])
    widest = (median(gaps) if gaps else 0) + _PARAGRAPH_GAP * usual
    before = {id(line): gap for line, gap in zip(lines, [0.0, *gaps], strict=True)}
    parts: list[Part] = []
    for stretch, grid in parted(lines, drawn):
        if grid is not None:
            parts.append(Part(grid=grid))
            continue
        for line in stretch:
            text = "  ".join(run.text for run in line)
            high = max(run.top - run.bottom for run in line)
            heading = len(line) == 1 and high > _HEADING * height and len(text.split()) <= _LONGEST_HEADING
            last = parts[-1] if parts else None
            if (
                last is not None
                and last.grid is None
                and last.heading == heading
                and (not heading or last.height == high)
            ):
                joint = "\n\n" if before[id(line)] > widest and not heading else " " if heading else "\n"
                parts[-1] = replace(last, text=f"{last.text}{joint}{text}")
            else:
                parts.append(Part(text=text, heading=heading, height=high))
    return parts


def _level(run: Run, other: Run) -> bool:
    overlap = min(run.top, other.top) - max(run.bottom, other.bottom)
    return overlap > 0.4 * min(run.top - run.bottom, other.top - other.bottom)


def _middle(run: Run) -> float:
    return (run.top + run.bottom) / 2
