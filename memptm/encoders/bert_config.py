"""The sizes of a BERT, and whether a folder holds one; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memptm.errors import ModelMissing
from memptm.model_files import CONFIG, read_config, read_settings

REMEDY = "Copy the whole model again, or give another."


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """Sizes of a BERT, by the names of its config.json."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    @classmethod
    def read(cls, folder: Path) -> BertConfig:
        """From a transformers checkpoint.

        Raises:
            ModelMissing: no config.json, one without all sizes, or not a BERT with erf GELU and absolute positions.
        """
        raw = read_settings(folder / CONFIG, remedy=REMEDY)
        if not is_bert(raw):
            raise ModelMissing(f"{folder} is not a BERT model ({raw.get('model_type')}). Give one that is.")
        config = read_config(cls, folder / CONFIG, remedy=REMEDY, known_only=True)
        sizes = {name: size for name, size in vars(config).items() if isinstance(size, int)}
        if min(sizes.values()) < 1 or config.hidden_size % config.num_attention_heads:
            raise ModelMissing(f"{folder / CONFIG} holds sizes that no BERT has ({sizes}). {REMEDY}")
        return config


def is_bert(config: dict[str, object]) -> bool:
    """Whether a config.json describes what bert.py implements."""
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
    )
