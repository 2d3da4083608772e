"""Tables whose cells are drawn on a page of a PDF: every word belongs to the frame it stands in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from memptm.documents.formats.runs import Box, Run, TableRun, level, upright

_TOUCH = 3.0  # points between rules that meet
_SHORTEST = 6.0  # points; shorter lines are dashes and marks
_MOST_RULES = 600  # on a page; more are a drawing
_MOST_CELLS = 20_000


def with_tables(runs: Sequence[Run], drawn: Sequence[Box]) -> list[Run]:
    """The runs of a page, those within the cells of a table replaced by one ``TableRun``."""
    columns = [rule for rule in upright(drawn) if rule.top - rule.bottom >= _SHORTEST]
    rows = [rule for rule in level(drawn) if rule.right - rule.left >= _SHORTEST]
    if not columns or not rows or len(columns) + len(rows) > _MOST_RULES:
        return list(runs)
    remaining = list(runs)
    for group in _connected([*columns, *rows]):
        found = _table(group, remaining)
        if found is not None:
            table, inside = found
            remaining = [run for run in remaining if run not in inside]
            remaining.append(table)
    return remaining


def _connected(rules: Sequence[Box]) -> Iterator[list[Box]]:
    """Rules that meet, in groups."""
    waiting = list(rules)
    while waiting:
        group, fresh = [waiting[0]], [waiting.pop(0)]
        while fresh:
            one = fresh.pop()
            near = [rule for rule in waiting if _meet(one, rule)]
            waiting = [rule for rule in waiting if not _meet(one, rule)]
            group += near
            fresh += near
        yield group


def _meet(one: Box, other: Box) -> bool:
    return (
        one.left <= other.right + _TOUCH
        and other.left <= one.right + _TOUCH
        and one.bottom <= other.top + _TOUCH
        and other.bottom <= one.top + _TOUCH
    )


def _table(group: Sequence[Box], runs: Sequence[Run]) -> tuple[TableRun, list[Run]] | None:
    """(the table that a group of rules frames, the runs in it); None where they frame no table with words in it."""
    columns = [rule for rule in group if rule.right - rule.left <= _TOUCH]
    rows = [rule for rule in group if rule.top - rule.bottom <= _TOUCH]
    xs = _places([rule.left for rule in columns])
    ys = _places([rule.top for rule in rows])[::-1]
    if len(xs) < 3 or len(ys) < 3 or len(xs) * len(ys) > _MOST_CELLS:
        return None
    grid = [["" for _ in xs[1:]] for _ in ys[1:]]
    inside: list[Run] = []
    for run in sorted(runs, key=lambda run: (-round(run.top / 4), run.left)):
        x, y = (run.left + run.right) / 2, (run.bottom + run.top) / 2
        if not (xs[0] < x < xs[-1] and ys[-1] < y < ys[0]):
            continue
        inside.append(run)
        n = next(n for n, (left, right) in enumerate(pairwise(xs)) if left <= x <= right)
        m = next(m for m, (top, bottom) in enumerate(pairwise(ys)) if bottom <= y <= top)
        first = next((k for k in range(n, 0, -1) if _covers(columns, x=xs[k], y=y)), 0)
        last = next((k for k in range(n + 1, len(xs) - 1) if _covers(columns, x=xs[k], y=y)), len(xs) - 1)
        upper = next((k for k in range(m, 0, -1) if _covers(rows, x=x, y=ys[k])), 0)
        lower = next((k for k in range(m + 1, len(ys) - 1) if _covers(rows, x=x, y=ys[k])), len(ys) - 1)
        for row in grid[upper:lower]:
            for k in range(first, last):
                row[k] = f"{row[k]} {run.text}".strip()
    if sum(bool(cell) for row in grid for cell in row) < 4:
        return None
    return TableRun(text="", left=xs[0], bottom=ys[-1], right=xs[-1], top=ys[0], grid=grid), inside


def _places(values: Sequence[float]) -> list[float]:
    """Values in order, those that lie as near as rules meet taken as one."""
    places: list[float] = []
    for value in sorted(values):
        if not places or value - places[-1] > _TOUCH:
            places.append(value)
    return places


def _covers(rules: Sequence[Box], *, x: float, y: float) -> bool:
    """Whether one of the rules runs through a point."""
    return any(
        rule.left - _TOUCH <= x <= rule.right + _TOUCH and rule.bottom - _TOUCH <= y <= rule.top + _TOUCH
        for rule in rules
    )
