"""Attention by relative distance over a segment and the memory before it.

Source: Dai et al. 2019 (arXiv 1901.02860), section 3.3. Axes: b batch, h head, i query, j key (memory first), n distance,
d width of a head, c width of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from memptm.working.attend import attend, shifted

External = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def distances(keys: int, width: int, *, clamp: int = 0, device: torch.device | None = None) -> Tensor:
    """(keys + 1, width) float32: sinusoids of the distances keys − 1 … 0, sines first, then cosines; a last row of zeros.

    The last row is never looked at; with it the shift below needs no copy. In float32 whatever the model's precision:
    bfloat16 cannot tell 257 from 256.

    Args:
        clamp: distances beyond count as this one; 0: no limit.
    """
    frequencies = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float32, device=device) / width)
    distance = torch.arange(keys - 1, -1, -1, dtype=torch.float32, device=device)
    if clamp:
        distance = distance.clamp(max=clamp)
    angles = distance[:, None] * frequencies
    return functional.pad(torch.cat([angles.sin(), angles.cos()], dim=-1), (0, 0, 0, 1))


class KeysValues(NamedTuple):
    """``keys`` and ``values``: (b h t d), without positions."""

    keys: Tensor
    values: Tensor


class RelativeAttention(nn.Module):
    """[(q_i + u)·k_j + (q_i + v)·r_{i+m−j}] / √d, softmax, values.

    Args:
        width: c.
        heads, head_width: need not multiply to c.
        dropout: on the weights.
    """

    def __init__(self, width: int, heads: int, head_width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.head_width, self.dropout = heads, head_width, dropout
        self.query = nn.Linear(width, heads * head_width, bias=False)
        self.key_value = nn.Linear(width, 2 * heads * head_width, bias=False)
        self.relative = nn.Linear(width, heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width, bias=False)

    def forward(
        self,
        hidden: Tensor,
        past: KeysValues,
        r: Tensor,
        u: Tensor,
        v: Tensor,
        hide: Tensor,
        external: External | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """One layer's attention.

        Args:
            hidden: (b i c).
            past: of the memory.
            r: (h j+1 d), as ``by_distance`` makes it.
            u, v: (h d).
            hide: booleans that broadcast to (b h i j), True where a key must not be seen.
            external: given what was found, and the segment's queries, keys and values (b h i d): what is to be used
                instead.
        Returns:
            (b i c), and the keys and values of memory and segment.
        """
        q, new = self._by_head(self.query(hidden)), self.project(hidden)
        learns = torch.is_grad_enabled() and hidden.device.type == "cpu"
        way = self._by_hand if learns and not (self.dropout and self.training) else self._fused
        attended, known = way(q, past, new, r, u, v, hide)
        if external is not None:
            attended = external(attended, q, new.keys, new.values)
        projected: Tensor = self.out(attended.transpose(1, 2).flatten(-2))
        return projected, known

    def _by_hand(
        self, q: Tensor, past: KeysValues, new: KeysValues, r: Tensor, u: Tensor, v: Tensor, hide: Tensor
    ) -> tuple[Tensor, KeysValues]:
        """What training on a CPU is fastest with; heads first, so that nothing is copied for it."""
        k, value = (
            torch.cat([old.transpose(0, 1), one.transpose(0, 1)], dim=2) for old, one in zip(past, new, strict=True)
        )
        hide = hide[(None,) * (4 - hide.dim())].transpose(0, 1)
        attended = attend(q.transpose(0, 1), k, value, r, u, v, hide)
        return attended.transpose(0, 1), KeysValues(k.transpose(0, 1), value.transpose(0, 1))

    def _fused(
        self, q: Tensor, past: KeysValues, new: KeysValues, r: Tensor, u: Tensor, v: Tensor, hide: Tensor
    ) -> tuple[Tensor, KeysValues]:
        """PyTorch's own attention, the relative term as its bias."""
        k, value = torch.cat([past.keys, new.keys], dim=2), torch.cat([past.values, new.values], dim=2)
        scale = self.head_width**-0.5
        bias = (shifted((q + v[:, None]) @ r.transpose(-1, -2)) * scale).masked_fill(hide, -torch.inf)
        attended = functional.scaled_dot_product_attention(
            q + u[:, None], k, value, attn_mask=bias, dropout_p=self.dropout if self.training else 0.0, scale=scale
        )
        return attended, KeysValues(k, value)

    def project(self, states: Tensor) -> KeysValues:
        """(b t c) as keys and values."""
        keys, values = (self._by_head(part) for part in self.key_value(states).chunk(2, dim=-1))
        return KeysValues(keys, values)

    def by_distance(self, r: Tensor) -> Tensor:
        """(n c), see ``distances`` → (h n d)."""
        return self._by_head(self.relative(r.to(self.relative.weight.dtype))[None])[0]

    def _by_head(self, states: Tensor) -> Tensor:
        """(b t hd) → (b h t d)."""
        return states.view(*states.shape[:2], self.heads, self.head_width).transpose(1, 2)


def hidden_keys(queries: int, keys: int, *, same_length: int = 0, device: torch.device | None = None) -> Tensor:
    """(i j) booleans, True where a key is in the query's future, or beyond the ``same_length`` newest keys (0: no limit)."""
    i = torch.arange(queries, device=device)[:, None] + (keys - queries)
    j = torch.arange(keys, device=device)
    future = j > i
    return future if not same_length else future | (j <= i - same_length)
