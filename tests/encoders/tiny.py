"""A small random BERT encoder with the packaged one's vocabulary, saved as sentence-transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from memptm.encoders.bert import Bert
from memptm.encoders.bert_config import BertConfig
from memptm.encoders.load import BASE, load_encoder
from memptm.encoders.sentence import BertEncoder

WIDTH = 32


def bert(*, layers: int = 2, seed: int = 0, vocabulary: int = 30522) -> Bert:
    """Random weights."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=WIDTH, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=64
    )
    return Bert(config).eval()


def encoder(folder: Path, *, layers: int = 2, seed: int = 0) -> BertEncoder:
    """An encoder of ``WIDTH`` dimensions in ``folder``."""
    packaged = load_encoder(BASE)
    assert isinstance(packaged, BertEncoder)
    packaged.write(bert(layers=layers, seed=seed), folder)
    path = folder / "config.json"
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 64}
    path.write_text(json.dumps(json.loads(path.read_text()) | sizes))
    made = load_encoder(str(folder))
    assert isinstance(made, BertEncoder)
    return made
