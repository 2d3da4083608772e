"""A block scorer by its name: what ``--judge`` takes."""

from __future__ import annotations

from pathlib import Path

from memptm.encoders.load import load_encoder
from memptm.errors import ModelMissing
from memptm.model_files import CONFIG, WEIGHTS
from memptm.selection.block_scorers import EmbeddingScorer, LexicalScorer
from memptm.selection.select import BlockScorer
from memptm.selection.trained_scorer import SHIPPED, TrainedScorer


def load_block_scorer(name: str | None = None) -> BlockScorer:
    """The block scorer called ``name``.

    Args:
        name: "embedding", "bm25", or a folder made by memptm train recall; None is the one memptm ships, or
            "embedding".
    Raises:
        ModelMissing: it cannot be found.
    """
    if name is None and (SHIPPED / WEIGHTS).is_file():
        return TrainedScorer(SHIPPED)
    if name in (None, "embedding"):
        return EmbeddingScorer(load_encoder())
    if name == "bm25":
        return LexicalScorer()
    folder = Path(str(name)).expanduser()
    if not (folder / CONFIG).is_file():
        raise ModelMissing(
            f"There is no judge in {folder}. Give a folder made by memptm train recall, or bm25, or embedding."
        )
    return TrainedScorer(folder)
