"""Progress as events: the library reports, whoever called decides what to draw (a module of its own: every layer reports)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Event:
    """``done`` of ``total`` ``unit`` of ``stage`` are finished; ``total`` is None while it is not known."""

    stage: str
    done: int
    total: int | None = None
    unit: str = "passages"
    detail: str = ""


Progress = Callable[[Event], None]


def silent(event: Event) -> None:
    """Report nothing."""
