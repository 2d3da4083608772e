"""A small random recurrent encoder whose gates are not zero."""

from __future__ import annotations

from pathlib import Path

import torch

from memptm.encoders.adapted import MemorySizes, save_memory
from memptm.encoders.load import load_encoder
from memptm.encoders.recurrent import RecurrentEncoder
from memptm.encoders.recurrent_bert import RecurrentBert
from tests.encoders.tiny import encoder


def recurrent(folder: Path, *, passages: int = 2, layers: int = 2) -> RecurrentEncoder:
    """On ``tests.encoders.tiny``'s encoder, which is saved in ``folder``, too."""
    base = encoder(folder / "base", layers=layers)
    torch.manual_seed(1)
    sizes = MemorySizes(layers=layers, passages=passages, rank=2)
    paths = RecurrentBert(base.bert(), sizes, pooling="mean").paths
    for parameter in paths.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_memory(folder / "recurrent", base, paths.state_dict(), sizes)
    made = load_encoder(str(folder / "recurrent"))
    assert isinstance(made, RecurrentEncoder)
    return made
