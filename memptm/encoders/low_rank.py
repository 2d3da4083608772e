"""Low-rank updates: a linear map that was pre-trained stays, and a product of two thin matrices is added to it.

Source: LoRA (Hu et al. 2021, arXiv 2106.09685), section 4.1: y = W x + B A x, B starts at 0. peft has it too; its import
takes seconds, and a reader of a few hundred kilobytes should not wait for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from memptm.encoders.bert import Bert

MAPS = ("qkv", "out", "up", "down")  # of a layer


class LowRank(nn.Linear):
    """``whole``, frozen, with an update of rank ``rank`` that learns."""

    def __init__(self, whole: nn.Linear, *, rank: int) -> None:
        super().__init__(whole.in_features, whole.out_features, device="meta")
        self.weight = nn.Parameter(whole.weight.detach(), requires_grad=False)
        self.bias = nn.Parameter(whole.bias.detach(), requires_grad=False)
        self.into = nn.Parameter(torch.randn(rank, whole.in_features) * whole.in_features**-0.5)
        self.back = nn.Parameter(torch.zeros(whole.out_features, rank))

    def forward(self, states: Tensor) -> Tensor:
        """(… in) → (… out)."""
        update = functional.linear(functional.linear(states, self.into), self.back)
        return functional.linear(states, self.weight, self.bias) + update


def add_low_rank(bert: Bert, *, rank: int) -> None:
    """Freeze ``bert`` and put an update on every linear map of its layers."""
    bert.requires_grad_(False)
    for layer in bert.layers:
        for name in MAPS:
            setattr(layer, name, LowRank(getattr(layer, name), rank=rank))


@torch.no_grad()
def merge_low_rank(bert: Bert) -> None:
    """Make plain linear maps of those with updates: the outputs stay the same, and cost what they did without."""
    for layer in bert.layers:
        for name in MAPS:
            part = getattr(layer, name)
            if isinstance(part, LowRank):
                plain = nn.Linear(part.in_features, part.out_features, device="meta")
                plain.weight = nn.Parameter(part.weight + part.back @ part.into)
                plain.bias = nn.Parameter(part.bias)
                setattr(layer, name, plain)
