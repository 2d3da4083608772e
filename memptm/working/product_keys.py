"""Product-key memory: a large table of values inside a model, of which each token reads a few.

Source: Lample et al. 2019 (arXiv 1907.05242). A query's halves are compared with two sets of n sub-keys; slot (a, b) scores
the sum of both, so that the best of n² slots are found exactly among the k² sums of each half's best k: O((√N + k²)·d)
a head instead of O(N·d). Axes: t tokens, h heads, k slots read, d width of a key.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

QueryNorm = Literal["batch", "rms", "none"]
RECENT = 1024  # queries kept, from which dead sub-keys are made anew


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose statistics leave out padding, which would pull them to its own value."""

    def forward(self, rows: Tensor, real: Tensor | None = None) -> Tensor:
        """(t d) → (t d); ``real``: (t,) booleans, None: all."""
        if real is None or not self.training:
            normed: Tensor = super().forward(rows)
            return normed
        return torch.zeros_like(rows).index_copy(0, real.nonzero().squeeze(1), super().forward(rows[real]))


class ProductKeyMemory(nn.Module):
    """Reads n² slots; a drop-in for a feed-forward part.

    Args:
        width: c, of what goes in and comes out.
        sub_keys: n.
        heads: each reads ``top`` slots; all share the values.
        key_width: d.
        query_norm: "batch" raises how many slots are used (the paper's); "rms" needs no statistics, so that it is the
            same in training and generation.
        gated: what was read is weighed by the token itself.
        sparse: gradients of the values are sparse, for torch.optim.SparseAdam.

    Attributes:
        counting: count which slots are read outside training, too.
    """

    used: Tensor
    recent: Tensor

    def __init__(
        self,
        width: int,
        *,
        sub_keys: int = 128,
        heads: int = 4,
        key_width: int = 128,
        top: int = 32,
        query_norm: QueryNorm = "batch",
        gated: bool = False,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        if key_width % 2 or not 0 < top <= sub_keys:
            raise ValueError(f"key_width must be even and top between 1 and {sub_keys}, not {key_width} and {top}.")
        self.heads, self.key_width, self.top, self.sub_keys = heads, key_width, top, sub_keys
        self.counting = False
        self.query = nn.Linear(width, heads * key_width)
        norms: dict[str, nn.Module] = {"batch": MaskedBatchNorm(heads * key_width), "rms": nn.RMSNorm(key_width)}
        self.norm = norms.get(query_norm)
        self.keys = nn.Parameter(torch.empty(2, heads, sub_keys, key_width // 2).uniform_(-1, 1) * key_width**-0.5)
        self.values = nn.EmbeddingBag(sub_keys**2, width, mode="sum", sparse=sparse)
        nn.init.normal_(self.values.weight, 0.0, width**-0.5)
        self.gate = nn.Linear(width, width) if gated else None
        self.register_buffer("used", torch.zeros(sub_keys**2), persistent=False)
        self.register_buffer("recent", torch.zeros(0, heads, key_width), persistent=False)

    def forward(self, hidden: Tensor, real: Tensor | None = None) -> Tensor:
        """(… c) → (… c). ``real``: (…) booleans, False is padding, which takes no part in the statistics; None: no padding."""
        tokens = hidden.flatten(0, -2)
        mask = None if real is None else real.flatten()
        queries = self.queries(tokens, mask)
        scores, slots = self.best(queries)
        weights = scores.float().softmax(dim=-1).to(hidden.dtype)
        read = self.values(slots.flatten(1), per_sample_weights=weights.flatten(1))
        if self.gate is not None:
            read = read * functional.silu(self.gate(tokens))
        if self.training or self.counting:
            self._note(queries, weights, slots, mask)
        found: Tensor = read.view(hidden.shape)
        return found

    def extra_repr(self) -> str:
        return f"sub_keys={self.sub_keys}, heads={self.heads}, key_width={self.key_width}, top={self.top}"

    def queries(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        """(t c) → (t h d)."""
        flat = self.query(tokens)
        if isinstance(self.norm, MaskedBatchNorm):
            flat = self.norm(flat, real)
        queries: Tensor = flat.view(len(tokens), self.heads, self.key_width)
        # Under autocast queries may be bfloat16; the norm's weight is not, and a norm is no place to save bits.
        return self.norm(queries.float()) if isinstance(self.norm, nn.RMSNorm) else queries

    def best(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(t h d) → the scores (t h k) of the best slots, falling, and their numbers (t h k): exactly those of all n²."""
        halves = queries.chunk(2, dim=-1)
        first, second = (
            torch.einsum("thd,hnd->thn", half, keys).topk(self.top, dim=-1)
            for half, keys in zip(halves, self.keys, strict=True)
        )
        sums = (first.values.unsqueeze(-1) + second.values.unsqueeze(-2)).flatten(-2)
        slots = (first.indices.unsqueeze(-1) * self.sub_keys + second.indices.unsqueeze(-2)).flatten(-2)
        chosen = sums.topk(self.top, dim=-1)
        return chosen.values, slots.gather(-1, chosen.indices)

    def groups(self, *, learning_rate: float, values: float = 1e-3) -> list[dict[str, Any]]:
        """For training.loop.fit: the values apart, at a constant rate of their own and without weight decay."""
        others = [parameter for name, parameter in self.named_parameters() if not name.startswith("values.")]
        return [
            {"params": others, "lr": learning_rate},
            {"params": list(self.values.parameters()), "lr": values, "weight_decay": 0.0, "constant": True},
        ]

    def telemetry(self) -> dict[str, float]:
        """{"usage": share of slots read since the last ``forget``, "kl": of how they were used to all alike, in nats}."""
        total = self.used.sum()
        if float(total) == 0:
            return {"usage": 0.0, "kl": math.nan}
        share = (self.used / total).double()
        entropy = -(share * share.clamp(min=1e-300).log()).sum()
        return {"usage": float((self.used > 0).float().mean()), "kl": math.log(self.used.numel()) - float(entropy)}

    def forget(self) -> None:
        """Begin counting anew."""
        self.used.zero_()

    @torch.no_grad()
    def revive(self, *, seed: int = 0) -> int:
        """Give sub-keys that led to no slot since the last ``forget`` the place of a recent query; how many there were.

        None are dead where nothing was read since. The slots they stand for begin with the mean value, so that reading them is harmless.
        """
        if not len(self.recent) or float(self.used.sum()) == 0:
            return 0
        chance = torch.Generator().manual_seed(seed)
        by_key = self.used.view(self.sub_keys, self.sub_keys)
        mean = self.values.weight[self.used > 0].mean(0)
        count = 0
        for half, use in enumerate((by_key.sum(1), by_key.sum(0))):
            dead = (use == 0).nonzero().squeeze(1)
            count += len(dead)
            for head in range(self.heads if len(dead) else 0):
                rows = torch.randint(len(self.recent), (len(dead),), generator=chance)
                queries = self.recent[rows.to(self.recent.device), head].chunk(2, dim=-1)[half]
                scale = self.keys[half, head].norm(dim=-1).mean() / queries.norm(dim=-1, keepdim=True).clamp(min=1e-6)
                self.keys[half, head, dead] = queries * scale
            slots = self._slots_of(dead, half)
            self.values.weight[slots] = mean
        return count

    def _slots_of(self, sub_keys: Tensor, half: int) -> Tensor:
        others = torch.arange(self.sub_keys, device=sub_keys.device)
        pairs = sub_keys[:, None] * self.sub_keys + others if half == 0 else others * self.sub_keys + sub_keys[:, None]
        return pairs.flatten()

    @torch.no_grad()
    def _note(self, queries: Tensor, weights: Tensor, slots: Tensor, real: Tensor | None) -> None:
        """Count what was read, and keep some queries."""
        if real is not None:
            queries, weights, slots = queries[real], weights[real], slots[real]
        self.used.index_add_(0, slots.flatten(), weights.flatten().to(self.used.dtype))
        self.recent = torch.cat([self.recent.to(queries.dtype), queries.detach()])[-RECENT:]
