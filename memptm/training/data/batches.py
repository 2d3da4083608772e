"""Batches that hold little padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def padded_batches(items: Sequence[Item], width: Callable[[Item], int], *, tokens: int) -> Iterator[list[Item]]:
    """Batches, in order, of at most ``tokens`` with their padding; an item that is wider alone is a batch by itself.

    Args:
        items: shortest first, so that the newest is a batch's widest.
        width: an item's tokens.
    """
    batch: list[Item] = []
    for item in items:
        if batch and (len(batch) + 1) * width(item) > tokens:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
