"""An encoder in training: the BERT of an Encoder, and texts as its unit vectors."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from memptm.encoders.batching import batches, padded, pooled
from memptm.encoders.bert import Bert
from memptm.encoders.load import load_encoder
from memptm.encoders.low_rank import add_low_rank
from memptm.encoders.sentence import BertEncoder

PAD_TO = 32  # tokens; oneDNN keeps a kernel for each length it meets


def load_trained(folder: Path) -> BertEncoder:
    """The encoder that a recipe wrote to ``folder``."""
    encoder = load_encoder(str(folder.resolve()))
    if not isinstance(encoder, BertEncoder):
        raise AssertionError(f"{folder} was written by a recipe")
    return encoder


class TrainableEncoder(nn.Module):
    """The weights of ``encoder``, to be trained; its embeddings stay. With ``rank``, low-rank updates alone are.

    Args:
        encoder: a BERT encoder; it is not changed.
        dropout: share of the activations that are zeroed, from 0 to 1.
        rank: of the updates; 0: all weights but the embeddings learn.
    """

    def __init__(self, encoder: BertEncoder, *, dropout: float, rank: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.bert = encoder.bert()
        self.bert.freeze_embeddings()
        if rank:
            add_low_rank(self.bert, rank=rank)
        for layer in self.bert.layers:
            layer.dropout = dropout  # type: ignore[assignment]

    def forward(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """(n, dimension) unit vectors of token ids, special tokens included."""
        return self.of(self.bert, rows)

    def of(self, bert: Bert, rows: Sequence[Sequence[int]]) -> Tensor:
        """As ``forward``, by other weights of the same shape.

        Rows of like length go through together, a few at a time: that saves padding, and their states fit the cache.

        Args:
            bert: the weights.
            rows: token ids, special tokens included.
        """
        groups = batches([len(row) for row in rows])
        made = []
        for group in groups:
            ids, mask = padded([rows[n] for n in group], to=PAD_TO)
            made.append(pooled(bert(ids, mask), mask, self.encoder.pooling))
        order = torch.tensor([n for group in groups for n in group])
        return torch.cat(made)[order.argsort()]

    def before(self) -> Bert:
        """The weights that training begins with, to measure the way from them; a run that goes on asks first."""
        return copy.deepcopy(self.bert).eval().requires_grad_(False)

    def trained(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]
