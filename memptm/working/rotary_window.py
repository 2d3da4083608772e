"""The window of a rotary decoder while it reads: keys and values in buffers with room behind, so that a token costs no copy.

Axes: b batch, g head of keys and values, j key, d width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class RotaryWindow:
    """What stands in the window. It changes as it is read into; ``copy`` it to go two ways.

    Attributes:
        keys, turned, values: a buffer (b g j d) a layer; keys before rotation, and rotated by their place.
        documents: (b j) number of the document each stands in.
        document: (b 1) the one that is read.
        cos, sin: (1 j d), the angles of the places.
        length: places taken.
        read: tokens of each stream so far.
    """

    keys: list[Tensor]
    turned: list[Tensor]
    values: list[Tensor]
    documents: Tensor
    document: Tensor
    cos: Tensor
    sin: Tensor
    length: int
    read: int

    @property
    def room(self) -> int:
        """Places left."""
        return self.documents.shape[1] - self.length

    def angles(self, count: int, *, at: int | None = None) -> tuple[Tensor, Tensor]:
        """cos and sin (1 count d) of the places from ``at`` on; None: of the next."""
        start = self.length if at is None else at
        return self.cos[:, start : start + count], self.sin[:, start : start + count]

    def write(self, layer: int, key: Tensor, turned: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put keys and values (b g i d) in the next places; rotated keys and values (b g j d) up to them."""
        end = self.length + key.shape[2]
        for buffers, states in ((self.keys, key), (self.turned, turned), (self.values, value)):
            buffers[layer][:, :, self.length : end] = states
        return self.turned[layer][:, :, :end], self.values[layer][:, :, :end]

    def begin(self, count: int) -> Tensor:
        """(b j) documents, the next ``count`` places now of the one that is read."""
        self.documents[:, self.length : self.length + count] = self.document
        return self.documents[:, : self.length + count]

    def end(self, count: int) -> None:
        """These ``count`` places are taken."""
        self.length += count
        self.read += count

    def copy(self) -> RotaryWindow:
        """One that can go another way."""
        keys, turned, values = ([one.clone() for one in part] for part in (self.keys, self.turned, self.values))
        return replace(self, keys=keys, turned=turned, values=values, documents=self.documents.clone())


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(b h t d) turned by the angles of (1 t d): halves, not neighbours, as the Llama family has it."""
    first, second = states.chunk(2, dim=-1)
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    return states * cos + torch.cat([-second, first], dim=-1) * sin
