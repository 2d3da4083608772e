"""Checkpoints of the original Transformer-XL, such as transfo-xl-wt103, in memptm's layout.

Two layouts carry the same names: the original PyTorch code's, and transformers' (with "transformer." before most of them).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from memptm.errors import ModelMissing
from memptm.working.files import reason
from memptm.working.transformer_xl import TransformerXL, TransformerXLConfig

DAMAGED = (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, UnpicklingError, SafetensorError)
LAYER = {  # theirs: ours
    "dec_attn.o_net.weight": "attention.out.weight",
    "dec_attn.r_net.weight": "attention.relative.weight",
    "dec_attn.layer_norm.weight": "attention_norm.weight",
    "dec_attn.layer_norm.bias": "attention_norm.bias",
    "pos_ff.CoreNet.0.weight": "feed_forward.up.weight",
    "pos_ff.CoreNet.0.bias": "feed_forward.up.bias",
    "pos_ff.CoreNet.3.weight": "feed_forward.down.weight",
    "pos_ff.CoreNet.3.bias": "feed_forward.down.bias",
    "pos_ff.layer_norm.weight": "output_norm.weight",
    "pos_ff.layer_norm.bias": "output_norm.bias",
}


def load_original(folder: Path) -> TransformerXL:
    """The model in a folder with transformers' config.json, and model.safetensors or pytorch_model.bin.

    A .bin file is read with ``weights_only``: tensors, and nothing that could run.

    Raises:
        ModelMissing: the files are missing, damaged, or of another kind of model.
    """
    try:
        config = original_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        state = _weights(folder)
        model = TransformerXL(config)
        model.load_state_dict(from_original(state, config))
    except DAMAGED as error:
        raise ModelMissing(
            f"{folder} holds no Transformer-XL checkpoint that can be read ({reason(error)}). "
            "Give a folder with transformers' config.json and whole weights of the same sizes."
        ) from error
    return model.eval()


def original_config(raw: Mapping[str, Any]) -> TransformerXLConfig:
    """Their config.json as ours.

    Raises:
        KeyError: a size is missing.
    """
    clusters = list(raw["cutoffs"]) if raw.get("adaptive", True) else []
    clusters = [one for one in clusters if one < raw["vocab_size"]]
    ties = list(raw.get("tie_projs") or [])
    return TransformerXLConfig(
        vocabulary=raw["vocab_size"],
        width=raw["d_model"],
        layers=raw["n_layer"],
        heads=raw["n_head"],
        head_width=raw["d_head"],
        inner=raw["d_inner"],
        mem_len=raw["mem_len"],
        clamp_len=max(raw.get("clamp_len", 0), 0),
        same_length=bool(raw.get("same_length", False)),
        pre_norm=bool(raw.get("pre_lnorm", False)),
        share_biases=not raw.get("untie_r", False),
        cutoffs=tuple(clusters),
        div_val=raw.get("div_val", 1),
        embedding=raw.get("d_embed"),
        tied=tuple(bool(one) for one in ties) if len(ties) == len(clusters) + 1 else (),
        dropout=raw.get("dropout", 0.0),
        attention_dropout=raw.get("dropatt", 0.0),
    )


def from_original(state: Mapping[str, Tensor], config: TransformerXLConfig) -> dict[str, Tensor]:
    """Their tensors under our names.

    Raises:
        KeyError: one is missing.
    """
    theirs = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    ours: dict[str, Tensor] = {}
    for n in range(config.layers):
        for name, own in LAYER.items():
            ours[f"layers.{n}.{own}"] = theirs[f"layers.{n}.{name}"]
        across, qkv = config.heads * config.head_width, theirs[f"layers.{n}.dec_attn.qkv_net.weight"]
        ours[f"layers.{n}.attention.query.weight"] = qkv[:across]
        ours[f"layers.{n}.attention.key_value.weight"] = qkv[across:]
    for own, name in (("u", "r_w_bias"), ("v", "r_r_bias")):
        ours[own] = (
            theirs[name].unsqueeze(0)
            if config.share_biases
            else torch.stack([theirs[f"layers.{n}.dec_attn.{name}"] for n in range(config.layers)])
        )
    clusters = len(config.cutoffs)
    projected = "word_emb.emb_projs.0" in theirs
    for n in range(clusters + 1):
        ours[f"words.tables.{n}"] = theirs[f"word_emb.emb_layers.{n}.weight"]
        ours[f"softmax.biases.{n}"] = theirs[f"crit.out_layers.{n}.bias"]
        if projected:
            ours[f"words.projections.{n}"] = theirs[f"word_emb.emb_projs.{n}"]
            if config.tied and not config.tied[n]:
                ours[f"softmax.projections.{n}"] = theirs[f"crit.out_projs.{n}"]
    first = ours["words.tables.0"].shape[1]
    ours["softmax.cluster"] = theirs.get("crit.cluster_weight", torch.empty(0, first))
    ours["softmax.cluster_bias"] = theirs.get("crit.cluster_bias", torch.empty(0))
    return ours


def _weights(folder: Path) -> dict[str, Tensor]:
    if (folder / "model.safetensors").is_file():
        return load_file(folder / "model.safetensors")
    state: dict[str, Tensor] = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    return state
