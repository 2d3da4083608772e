"""What a layer reads of the passages before: Transformer-XL's recurrence between passages instead of segments.

A query i of passage t and a slot j of a passage before it (a token, or the mean of a few) score

    [ (q_i + Δq_i + u)·k_j + (q_i + Δq_i + v)·(r_d + e_p) ] / √d_head

with d the tokens from j to the end of the passage before t, p how many passages back j stands, r_d a projection of d's
sinusoids and e_p a vector each; Δq is a low-rank update. One more score stands for reading nothing. What is read is added
to the layer's own attention through a gate for each head and token, which starts at 0: then, or with nothing before, the
layer computes exactly what it did.

Source: Dai et al. 2019 (arXiv 1901.02860), equation 5 of section 3.3; the gate and the passages are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

FREQUENCIES = 32  # of the sinusoids of a distance
LONGEST = 10_000.0  # tokens; the wavelength of the slowest sinusoid is 2π times this


@dataclass(frozen=True, kw_only=True)
class MemorySizes:
    """Attributes:
    layers: the topmost ones, that have a memory. passages: that each reads back; 0: a passage reads itself again instead (the
        control of what memory is worth). pool: tokens of which the means of keys and of values are remembered, as one slot (Rae
        et al. 2019, arXiv 1911.05507, compress old memory so). rank: of the updates.
    """

    layers: int = 2
    passages: int = 2
    pool: int = 1
    rank: int = 16


@dataclass(frozen=True)
class Before:
    """Slots of the passages before each of n passages; all (n, m).

    Attributes:
        places: where a slot's key and value are kept; of one that is not there, any. tokens: d of the formula.
        passages: p of the formula, from 1; 0 where no slot is.
    """

    places: Tensor
    tokens: Tensor
    passages: Tensor


class PassageMemory(nn.Module):
    """One layer's attention to the passages before.

    Args:
        width, heads: of the layer. passages: how many it reads back, at most. rank: of the updates.
    """

    def __init__(self, width: int, heads: int, *, passages: int, rank: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_down = nn.Linear(width, rank, bias=False)
        self.query_up = nn.Linear(rank, width, bias=False)
        self.mix_down = nn.Linear(width, rank, bias=False)
        self.mix_up = nn.Linear(rank, width, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(heads, width // heads))
        self.distance_bias = nn.Parameter(torch.zeros(heads, width // heads))
        self.distance = nn.Linear(2 * FREQUENCIES, width, bias=False)
        self.back = nn.Embedding(passages + 1, width)
        self.nothing = nn.Parameter(torch.zeros(heads))
        self.gate = nn.Linear(width, heads)
        for part in (self.query_up, self.mix_up, self.gate, self.distance):
            nn.init.zeros_(part.weight)
        nn.init.zeros_(self.gate.bias)
        nn.init.zeros_(self.back.weight)

    def forward(self, hidden: Tensor, query: Tensor, keys: Tensor, values: Tensor, before: Before) -> Tensor:
        """What is added to a layer's own attention, (n, heads, t, d_head).

        Args:
            hidden: (n, t, width), the layer's input. query: (n, heads, t, d_head), its own.
            keys, values: (n, heads, m, d_head) of the slots before. before: what they are.
        """
        kind, (n, heads, length, size) = query.dtype, query.shape
        hidden = hidden.to(kind)
        query = query + self._heads(self.query_up(self.query_down(hidden)))
        far = self._distances(before).to(kind)
        bias = (self.content_bias.to(kind)[:, None] * keys + self.distance_bias.to(kind)[:, None] * far).sum(-1)
        bias = (bias / math.sqrt(size)).masked_fill(before.passages[:, None] == 0, -torch.inf)
        bias = torch.cat([bias, self.nothing.to(kind)[:, None].expand(n, heads, 1)], dim=2)
        nothing = torch.zeros(n, heads, 1, size, dtype=kind)
        read = functional.scaled_dot_product_attention(
            query,
            torch.cat([keys + far, nothing], dim=2),
            torch.cat([values, nothing], dim=2),
            attn_mask=bias[:, :, None].expand(n, heads, length, -1),
        )
        flat = read.transpose(1, 2).reshape(n, length, heads * size)
        read = read + self._heads(self.mix_up(self.mix_down(flat)))
        gate = torch.tanh(self.gate(hidden)).transpose(1, 2)[..., None]
        made: Tensor = gate * read
        return made

    def halve(self) -> PassageMemory:
        """Put what is multiplied with states in bfloat16 (distances stay as they are); for inference."""
        for part in (self.query_down, self.query_up, self.mix_down, self.mix_up, self.gate):
            part.to(torch.bfloat16)
        return self

    def _distances(self, before: Before) -> Tensor:
        """r_d + e_p, (n, heads, m, d_head)."""
        far = sinusoids(int(before.tokens.max()) + 1)
        table = self.distance(far.to(self.distance.weight.dtype))
        return self._heads(table[before.tokens] + self.back(before.passages))

    def _heads(self, states: Tensor) -> Tensor:
        """(n, t, width) → (n, heads, t, d_head)."""
        n, length, width = states.shape
        return states.view(n, length, self.heads, width // self.heads).transpose(1, 2)


def sinusoids(count: int) -> Tensor:
    """(count, 2 · FREQUENCIES): sines and cosines of the distances from 0."""
    frequencies = LONGEST ** -(torch.arange(FREQUENCIES) / FREQUENCIES)
    angles = torch.arange(count)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
