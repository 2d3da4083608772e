"""What stands on a page: words side by side, and lines that are drawn. Points from the page's lower left corner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_THIN = 3.0  # points; a box no wider is a line
_MOST_RULES = 1_000


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rule, a frame or a filled area."""

    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True, kw_only=True)
class Run(Box):
    """Words side by side."""

    text: str


@dataclass(frozen=True, kw_only=True)
class TableRun(Run):
    """A table in place of the words in it; its text is empty."""

    grid: list[list[str]]


def upright(drawn: Sequence[Box]) -> list[Box]:
    """The upright lines among what is drawn, the sides of frames too; none on a page that is full of them (a drawing)."""
    lines = [box for box in drawn if box.right - box.left <= _THIN < box.top - box.bottom]
    frames = [box for box in drawn if min(box.right - box.left, box.top - box.bottom) > _THIN]
    for box in frames:
        lines += [Box(left=x, right=x, bottom=box.bottom, top=box.top) for x in (box.left, box.right)]
    return lines if len(lines) <= _MOST_RULES else []


def level(drawn: Sequence[Box]) -> list[Box]:
    """The level lines among what is drawn, the upper and lower sides of frames too."""
    lines = [box for box in drawn if box.top - box.bottom <= _THIN < box.right - box.left]
    frames = [box for box in drawn if min(box.right - box.left, box.top - box.bottom) > _THIN]
    for box in frames:
        lines += [Box(left=box.left, right=box.right, bottom=y, top=y) for y in (box.bottom, box.top)]
    return lines
