"""What is saved beside a reader's weights; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memptm.model_files import read_config

REMEDY = "Copy the whole folder again, or train it again."
RENAMED = {"witness_bias": "null_prior_bias"}  # keys of files that were written before → today's


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """What is saved as config.json beside a reader's weights.

    Attributes:
        base: name of the BERT whose embeddings and vocabulary are used.
        span_tokens: longest span.
        span_width: width of the MLP.
        window: tokens read at once.
        stride: tokens that neighbouring windows share.
        prior_temperature: p(z | x) = softmax(cosine / temperature).
        read_bias, open_bias, temperature: calibration, fitted on held-out questions (see Reader).
        null_prior_bias: as open_bias, where a generator answers, which knows more than it read: so it is stricter.
    """

    base: str = "sentence-transformers/all-MiniLM-L6-v2"
    span_tokens: int = 32
    span_width: int = 128
    window: int = 384
    stride: int = 128
    prior_temperature: float = 0.05
    temperature: float = 1.0
    read_bias: float = 0.0
    open_bias: float = 0.0
    null_prior_bias: float = 0.0

    @classmethod
    def read(cls, path: Path) -> ReaderConfig:
        """From a reader's config.json.

        Raises:
            ModelMissing: the file is missing, not JSON, or has unknown keys or values of another type.
        """
        return read_config(cls, path, remedy=REMEDY, renamed=RENAMED)
