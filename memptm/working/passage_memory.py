"""What a layer reads of the passages before: Transformer-XL's recurrence between passages instead of segments.

A query i of passage t and a token j of a passage before it score

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


@dataclass(frozen=True)
class Before:
    """Slots of the passages before each of n passages; all (n, m + 1), the last slot for nothing.

    Attributes:
        places: where a slot's key and value are kept; of one that is not there, any.
        tokens: d of the formula.
        passages: p of the formula, from 1; 0 where no slot is.
    """

    places: Tensor
    tokens: Tensor
    passages: Tensor


@dataclass(frozen=True)
class MemoryProjection:
    """What a layer knows of all slots and all distances, found once for all that read them.

    Attributes:
        keys, values: (slots, heads, d_head).
        content: (slots, heads), u·k.
        far: (passages · distances, heads, d_head), r_d + e_p.
        distance: (passages · distances, heads), v·(r_d + e_p).
        distances: from 0.
    """

    keys: Tensor
    values: Tensor
    content: Tensor
    far: Tensor
    distance: Tensor
    distances: int


class PassageMemory(nn.Module):
    """One layer's attention to the passages before.

    Args:
        width, heads: of the layer.
        passages: how many it reads back, at most.
        rank: of the updates.
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

    def forward(self, hidden: Tensor, query: Tensor, kept: MemoryProjection, before: Before) -> Tensor:
        """What is added to a layer's own attention, (n, heads, t, d_head).

        Args:
            hidden: (n, t, width), the layer's input.
            query: (n, heads, t, d_head), its own.
            kept: by ``project_memory``.
            before: what is read of it.
        """
        kind, (n, heads, length, size) = query.dtype, query.shape
        hidden = hidden.to(kind)
        query = query + self._split(self.query_up(self.query_down(hidden))).transpose(1, 2)
        far = before.passages * kept.distances + before.tokens
        keys = kept.keys[before.places] + kept.far[far]
        values = kept.values[before.places]
        bias = (kept.content[before.places] + kept.distance[far]) / math.sqrt(size)
        bias = bias.masked_fill(before.passages[..., None] == 0, -torch.inf)
        keys[:, -1], values[:, -1], bias[:, -1] = 0, 0, self.nothing.to(kind)
        # SDPA takes nearly twice as long over a mask whose neighbours lie apart, and a fifth longer over such keys
        keys, values, bias = (one.transpose(1, 2).contiguous() for one in (keys, values, bias))
        mask = bias[:, :, None].expand(n, heads, length, -1)
        read = functional.scaled_dot_product_attention(query.contiguous(), keys, values, attn_mask=mask)
        read = read.transpose(1, 2)
        read = read + self._split(self.mix_up(self.mix_down(read.reshape(hidden.shape))))
        gate = torch.tanh(self.gate(hidden))[..., None]
        made: Tensor = (gate * read).transpose(1, 2)
        return made

    def project_memory(self, states: Tensor, longest: int) -> MemoryProjection:
        """What passages read by ``forward``. ``states``: (2, slots, heads, d_head), keys and values; ``longest``: the largest d."""
        keys, values = states
        table = self.distance(sinusoids(longest + 1).to(self.distance.weight.dtype))
        far = self._split((self.back.weight[:, None] + table).flatten(0, 1))
        distance = (far * self.distance_bias).sum(-1)
        content = (keys * self.content_bias.to(keys.dtype)).sum(-1)
        return MemoryProjection(keys, values, content, far.to(keys.dtype), distance.to(keys.dtype), longest + 1)

    def to_bfloat16(self) -> PassageMemory:
        """Put what is multiplied with states in bfloat16 (distances stay as they are); for inference."""
        for part in (self.query_down, self.query_up, self.mix_down, self.mix_up, self.gate):
            part.to(torch.bfloat16)
        return self

    def _split(self, states: Tensor) -> Tensor:
        """(…, width) → (…, heads, d_head)."""
        return states.view(*states.shape[:-1], self.heads, -1)


def sinusoids(count: int) -> Tensor:
    """(count, 2 · FREQUENCIES): sines and cosines of the distances from 0."""
    frequencies = LONGEST ** -(torch.arange(FREQUENCIES) / FREQUENCIES)
    angles = torch.arange(count)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
