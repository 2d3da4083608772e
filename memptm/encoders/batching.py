"""Texts of many lengths as few batches of like length, and their states as one vector each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BATCH_TOKENS = 1024  # the states of larger batches leave the processor's cache: 8,192 took 1.5 times as long
PAD_TO = 4


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices grouped by length, longest first, each group at most ``BATCH_TOKENS`` when padded."""
    groups: list[list[int]] = []
    widest = 0
    for n in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if not groups or widest * (len(groups[-1]) + 1) > BATCH_TOKENS:
            groups.append([])
            widest = -(-lengths[n] // PAD_TO) * PAD_TO
        groups[-1].append(n)
    return groups


def pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """(b, c) unit vectors of (b, t, c) states: their mean where ``mask`` (b, t) is True, or the first ("cls")."""
    import torch

    one = hidden[:, 0] if pooling == "cls" else (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(one, dim=-1)


def padded(rows: Sequence[Sequence[int]], *, to: int = PAD_TO) -> tuple[Tensor, Tensor]:
    """Token ids (rows, tokens), and a mask of the same shape that is False where a row has ended.

    Several rows are padded to a multiple of ``to`` tokens.
    """
    import torch

    length = max(map(len, rows))
    if len(rows) > 1:
        length = -(-length // to) * to
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.tensor(row)
        mask[n, : len(row)] = True
    return ids, mask
