"""Large vocabularies: frequent words with wide vectors, rare ones with narrow ones, tied between input and output.

Sources: adaptive softmax, Grave et al. 2017 (arXiv 1609.04309); adaptive input and tying, Baevski and Auli 2019 (1809.10853);
the layout of Transformer-XL's checkpoints (Dai et al. 2019). Losses come back in token order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

IGNORED = -100  # of a target: no loss


class AdaptiveEmbedding(nn.Module):
    """Words to vectors of ``width``, times √width.

    Args:
        vocabulary: how many words, the most frequent first.
        cutoffs: where clusters of rarer words begin; () is one cluster.
        div_val: each cluster's vectors are narrower by this factor.
        embedding: width of the first cluster's.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        *,
        cutoffs: Sequence[int] = (),
        div_val: int = 1,
        embedding: int | None = None,
    ) -> None:
        super().__init__()
        if list(cutoffs) != sorted({*cutoffs}) or (cutoffs and not 0 < cutoffs[0] <= cutoffs[-1] < vocabulary):
            raise ValueError(
                f"cutoffs must rise between 0 and the vocabulary's {vocabulary} words, not {tuple(cutoffs)}."
            )
        self.width, self.ends = width, [0, *cutoffs, vocabulary]
        embedding = embedding or width
        widths = [embedding // div_val**n for n in range(len(cutoffs) + 1)]
        self.tables = nn.ParameterList(
            nn.Parameter(torch.empty(end - start, one))
            for (start, end), one in zip(pairwise(self.ends), widths, strict=True)
        )
        self.projections = nn.ParameterList(
            nn.Parameter(torch.empty(width, one)) for one in widths if embedding != width or div_val > 1
        )

    def forward(self, ids: Tensor) -> Tensor:
        """(…) words → (… c)."""
        if len(self.tables) == 1:
            return self._projected(functional.embedding(ids, self.tables[0]), 0).mul(self.width**0.5)
        found = self.tables[0].new_zeros(*ids.shape, self.width)
        for n, (start, end) in enumerate(pairwise(self.ends)):
            inside = (ids >= start) & (ids < end)
            vectors = self._projected(functional.embedding((ids - start).clamp(0, end - start - 1), self.tables[n]), n)
            found = torch.where(inside.unsqueeze(-1), vectors, found)
        scaled: Tensor = found * self.width**0.5
        return scaled

    def _projected(self, vectors: Tensor, n: int) -> Tensor:
        if not len(self.projections):
            return vectors
        return functional.linear(vectors, self.projections[n])


class AdaptiveSoftmax(nn.Module):
    """States to log probabilities of words, with the vectors of ``embedding``.

    The head scores the first cluster's words and one entry for each further cluster, in their order, as in the TensorFlow
    code and in transfo-xl-wt103. (The original's PyTorch code takes the clusters' entries in reverse.)

    Args:
        tied: whether each cluster's projection is the embedding's; () ties all.
    """

    def __init__(self, embedding: AdaptiveEmbedding, *, tied: Sequence[bool] = ()) -> None:
        super().__init__()
        clusters = len(embedding.tables) - 1
        first = embedding.tables[0].shape[1]
        self.ends = embedding.ends
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(len(table))) for table in embedding.tables)
        self.cluster = nn.Parameter(torch.empty(clusters, first))
        self.cluster_bias = nn.Parameter(torch.zeros(clusters))
        self.tied = list(tied) or [True] * (clusters + 1)
        self.projections = nn.ParameterDict(
            {
                str(n): nn.Parameter(torch.empty_like(embedding.projections[n]))
                for n in range(clusters + 1)
                if len(embedding.projections) and not self.tied[n]
            }
        )

    def log_probabilities(self, hidden: Tensor, embedding: AdaptiveEmbedding) -> Tensor:
        """(… c) → (… words), float32, exponentials sum to 1."""
        head = self._head(hidden, embedding)
        parts = [head[..., : self.ends[1]]]
        for n in range(1, len(self.ends) - 1):
            entry = head[..., self.ends[1] + n - 1].unsqueeze(-1)
            parts.append(entry + self._tail(hidden, embedding, n))
        return torch.cat(parts, dim=-1)

    def losses(self, hidden: Tensor, targets: Tensor, embedding: AdaptiveEmbedding) -> Tensor:
        """−log p of each target, (…), in token order, 0 where it is IGNORED; no rare cluster is scored for other tokens.

        Args:
            hidden: (… c).
            targets: (…) words, or IGNORED.
        """
        flat, wanted = hidden.flatten(0, -2), targets.flatten()
        head = self._head(flat, embedding)
        entry = wanted.clamp(0, self.ends[1] - 1)
        for n in range(1, len(self.ends) - 1):
            inside = (wanted >= self.ends[n]) & (wanted < self.ends[n + 1])
            entry = torch.where(inside, self.ends[1] + n - 1, entry)
        log_p = head.gather(1, entry.unsqueeze(1)).squeeze(1)
        for n in range(1, len(self.ends) - 1):
            rows = ((wanted >= self.ends[n]) & (wanted < self.ends[n + 1])).nonzero().squeeze(1)
            if len(rows):
                tail = self._tail(flat[rows], embedding, n)
                chosen = tail.gather(1, (wanted[rows] - self.ends[n]).unsqueeze(1)).squeeze(1)
                log_p = log_p.index_add(0, rows, chosen)
        return (-log_p).masked_fill(wanted == IGNORED, 0.0).view(targets.shape)

    def _head(self, hidden: Tensor, embedding: AdaptiveEmbedding) -> Tensor:
        """(… words of the first cluster + clusters) log probabilities."""
        weight, bias = embedding.tables[0], self.biases[0]
        if len(self.cluster):
            weight, bias = torch.cat([weight, self.cluster]), torch.cat([bias, self.cluster_bias])
        return functional.linear(self._projected(hidden, embedding, 0), weight, bias).float().log_softmax(dim=-1)

    def _tail(self, hidden: Tensor, embedding: AdaptiveEmbedding, n: int) -> Tensor:
        states = self._projected(hidden, embedding, n)
        return functional.linear(states, embedding.tables[n], self.biases[n]).float().log_softmax(dim=-1)

    def _projected(self, hidden: Tensor, embedding: AdaptiveEmbedding, n: int) -> Tensor:
        if not len(embedding.projections):
            return hidden
        projection: Tensor = embedding.projections[n] if self.tied[n] else self.projections[str(n)]
        return hidden @ projection
