"""A trained rotary decoder reads the nearest of the keys that have left its window, without being trained for it.

After Memorizing Transformers (Wu et al. 2022, arXiv 2203.08913), for models that know nothing of it: keys are kept as the model
makes them, before rotation, and scored as its own attention scores a key as far back as the recurrence's memory reaches, so
that one far beyond the trained length looks like one at a distance the model knows. A gate for each head mixes what is read
with local attention.
Axes: b batch, h head, g head of keys and values, i query, k neighbour, d width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memptm.working.memorizing import ExternalMemory


class Nearest(nn.Module):
    """Mixes what local attention found with what the external memory holds.

    Args:
        heads: h.
        top: k, neighbours read.
        share: of what is read in the mixture, in [0, 1), the gate's beginning; at 0 the gate is shut, the model's
            outputs are exactly its own, and no training opens it.
    """

    def __init__(self, heads: int, *, top: int = 32, share: float = 0.0) -> None:
        super().__init__()
        self.top = top
        self.gate = nn.Parameter(torch.logit(torch.full((heads,), share)))

    def forward(self, local: Tensor, query: Tensor, memory: ExternalMemory, documents: Tensor) -> Tensor:
        """(b h i d) → (b h i d).

        Args:
            local: what local attention found.
            query: (b h i d), turned by the distance at which the keys are to seem to stand.
            documents: (b i): a memory of another document is not read.
        """
        batch, heads, count, width = query.shape
        grouped = query.reshape(
            batch, memory.heads, -1, width
        )  # b g (h/g · i) d: heads that share keys, one after another
        keys, values, there = memory.search(grouped, top=self.top)
        own = documents == torch.tensor(memory.documents, device=documents.device).unsqueeze(1)
        there = there & own.repeat(1, heads // memory.heads)[:, None, :, None]
        scores = torch.einsum("bgid,bgikd->bgik", grouped.float(), keys.float()) * width**-0.5
        # A query without neighbours reads zeros, and its gate is 0.
        weights = scores.masked_fill(~there, -1e4).softmax(dim=-1)
        read = torch.einsum("bgik,bgikd->bgid", weights.to(values), values).view(batch, heads, count, width)
        some = there.any(dim=-1).view(batch, heads, count, 1)
        share = (self.gate.sigmoid()[:, None, None] * some).to(local)
        return share * read + (1 - share) * local
