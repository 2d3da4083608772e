"""Low-rank updates of a BERT's linear maps (LoRA): trained beside frozen weights, added to them for use.

Source: Hu et al. 2021 (arXiv 2106.09685). peft has them too; loading these costs no import of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from memptm.encoders.bert import Bert
from memptm.errors import ModelMissing

MAPS = ("qkv", "out", "up", "down")


class LowRank(nn.Module):
    """W x + b + up(down x) with W and b frozen; ``up`` starts at 0, so that nothing is changed at first."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.frozen = linear.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, linear.in_features).normal_(std=linear.in_features**-0.5))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    @property
    def weight(self) -> Tensor:
        """The frozen weights."""
        return self.frozen.weight

    def forward(self, states: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        added = functional.linear(functional.linear(states, self.down), self.up)
        made: Tensor = self.frozen(states) + added
        return made


def add_low_rank(bert: Bert, *, rank: int) -> None:
    """Freeze ``bert`` and put an update of this rank, to be trained, beside every linear map of its layers."""
    bert.requires_grad_(False)
    for layer in bert.layers:
        for name in MAPS:
            setattr(layer, name, LowRank(getattr(layer, name), rank))


def low_rank(bert: Bert) -> dict[str, Tensor]:
    """The updates that ``add_low_rank`` put there, by name."""
    return {name: one.detach() for name, one in bert.named_parameters() if name.endswith((".down", ".up"))}


def merge(bert: Bert, updates: dict[str, Tensor]) -> Bert:
    """Add ``updates`` to the weights of ``bert``, in place; it computes in the same time as before.

    Args:
        bert: a model without updates.
        updates: "layers.N.MAP.down" (rank, in) and "layers.N.MAP.up" (out, rank) for each linear map.
    Raises:
        ModelMissing: they are of another model; the message names the first that does not fit.
    """
    maps = {f"layers.{n}.{name}": getattr(layer, name) for n, layer in enumerate(bert.layers) for name in MAPS}
    odd = sorted({f"{name}.{part}" for name in maps for part in ("down", "up")} ^ updates.keys())
    if odd:
        raise ModelMissing(f"The low-rank updates are of a model with other layers ({odd[0]}).")
    for name, linear in maps.items():
        up, down = updates[f"{name}.up"].float(), updates[f"{name}.down"].float()
        if (
            (up.dim(), down.dim()) != (2, 2)
            or (len(up), down.shape[1]) != linear.weight.shape
            or up.shape[1] != len(down)
        ):
            raise ModelMissing(f"The low-rank updates are of a model of another size ({name}).")
        linear.weight.data += up @ down
    return bert


@torch.no_grad()
def merge_low_rank(bert: Bert) -> None:
    """Make plain linear maps of those with updates: the outputs stay the same, and cost what they did without."""
    updates = low_rank(bert)
    for layer in bert.layers:
        for name in MAPS:
            part = getattr(layer, name)
            if isinstance(part, LowRank):
                plain = nn.Linear(part.frozen.in_features, part.frozen.out_features, device="meta")
                plain.weight = nn.Parameter(part.frozen.weight.clone())
                plain.bias = nn.Parameter(part.frozen.bias)
                setattr(layer, name, plain)
    merge(bert, updates)
