"""The sizes of a BERT, and whether a folder holds one; loads no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from memptm.errors import ModelMissing


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
            ModelMissing: no config.json, or not a BERT with erf GELU and absolute positions.
        """
        try:
            raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelMissing(f"{folder} holds no readable config.json, so no model can be loaded from it.") from error
        if not is_bert(raw):
            raise ModelMissing(f"{folder} is not a BERT model ({raw.get('model_type')}).")
        return cls(**{name: raw[name] for name in cls.__dataclass_fields__ if name in raw})


def is_bert(config: dict[str, object]) -> bool:
    """Whether a config.json describes what bert.py implements."""
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
    )
