"""An encoder in training: the BERT of an Encoder, and texts as its unit vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from memptm.encoders.bert import Bert
from memptm.encoders.sentence import BertEncoder, padded, pooled

PAD_TO = 32  # tokens; oneDNN keeps a kernel for each length it meets


class Tower(nn.Module):
    """The weights of ``encoder``, to be trained; its embeddings stay: half of all, they learn little from few words."""

    def __init__(self, encoder: BertEncoder, *, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.bert = Bert.load(encoder.folder)
        for part in (self.bert.words, self.bert.positions, self.bert.segments):
            part.requires_grad_(False)
        for layer in self.bert.layers:
            layer.dropout = dropout  # type: ignore[assignment]

    def forward(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """(n, dimension) unit vectors of token ids, special tokens included."""
        ids, mask = padded(rows, to=PAD_TO)
        return pooled(self.bert(ids, mask), mask, self.encoder.pooling)

    @torch.no_grad()
    def frozen(self, rows: Sequence[Sequence[int]], *, at_once: int = 16) -> Tensor:
        """As ``forward``, without gradients, a few at a time, and in evaluation mode."""
        training = self.training
        self.eval()
        found = torch.cat([self(rows[n : n + at_once]) for n in range(0, len(rows), at_once)])
        self.train(training)
        return found

    def trained(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]
