"""Checkpoints of the original Transformer-XL, such as transfo-xl-wt103, in memptm's layout.

Two layouts carry the same names: the original PyTorch code's, with the clusters' entries of the head in reverse, and
transformers' (with "transformer." before most of them).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from memptm.errors import ModelMissing
from memptm.model_files import reason
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
    alone = [False] * (1 + len(clusters)) if raw.get("proj_share_all_but_first", True) is False else []
    ties = list(raw.get("tie_projs") or alone or [False, *[True] * len(clusters)])  # as transformers has it
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
        tied=tuple(bool(one) for one in ties[: len(clusters) + 1]),
        dropout=raw.get("dropout", 0.0),
        attention_dropout=raw.get("dropatt", 0.0),
    )


def from_original(state: Mapping[str, Tensor], config: TransformerXLConfig) -> dict[str, Tensor]:
    """Their tensors under our names.

    Raises:
        KeyError: one is missing.
        ValueError: one has no place in the model, such as a layer too many or untied words.
    """
    theirs = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    copies: dict[str, Tensor] = {"pos_emb.inv_freq": theirs.get("pos_emb.inv_freq", torch.empty(0))}
    ours: dict[str, Tensor] = {}
    for n in range(config.layers):
        for name, own in LAYER.items():
            ours[f"layers.{n}.{own}"] = theirs.pop(f"layers.{n}.{name}")
        across, qkv = config.heads * config.head_width, theirs.pop(f"layers.{n}.dec_attn.qkv_net.weight")
        ours[f"layers.{n}.attention.query.weight"] = qkv[:across]
        ours[f"layers.{n}.attention.key_value.weight"] = qkv[across:]
    for own, name in (("u", "r_w_bias"), ("v", "r_r_bias")):
        each = [f"layers.{n}.dec_attn.{name}" for n in range(config.layers)]
        if config.share_biases:
            ours[own] = theirs.pop(name).unsqueeze(0)
            copies |= dict.fromkeys(each, ours[own][0])
        else:
            ours[own] = torch.stack([theirs.pop(one) for one in each])
    _words(theirs, config, ours, copies)
    clusters, first = len(config.cutoffs), ours["words.tables.0"].shape[1]
    reverse = not any(name.startswith("transformer.") for name in state)
    for own, name, none in (("cluster", "cluster_weight", (0, first)), ("cluster_bias", "cluster_bias", (0,))):
        rows = theirs.pop(f"crit.{name}") if clusters else torch.empty(none)
        ours[f"softmax.{own}"] = rows.flip(0) if reverse else rows
    for name, tensor in theirs.items():
        if name not in copies:
            raise ValueError(f"{name} has no place in a model of these sizes")
        if not torch.equal(tensor, copies[name]):
            raise ValueError(f"{name} is not the same as what it should be tied to")
    return ours


def _words(
    theirs: dict[str, Tensor], config: TransformerXLConfig, ours: dict[str, Tensor], copies: dict[str, Tensor]
) -> None:
    """The vectors, biases and projections of words, out of ``theirs``; with div_val 1 one matrix holds all clusters."""
    ends = [0, *config.cutoffs, config.vocabulary]
    whole = config.div_val == 1 and bool(config.cutoffs)
    if whole:
        for kind, name in (
            ("word_emb.emb_layers", "weight"),
            ("crit.out_layers", "bias"),
            ("crit.out_layers", "weight"),
        ):
            if f"{kind}.0.{name}" in theirs:
                parts = torch.split(theirs.pop(f"{kind}.0.{name}"), [end - start for start, end in pairwise(ends)])
                theirs |= {f"{kind}.{n}.{name}": part for n, part in enumerate(parts)}
        if "word_emb.emb_projs.0" in theirs:
            theirs |= {f"word_emb.emb_projs.{n}": theirs["word_emb.emb_projs.0"] for n in range(len(ends) - 1)}
    projected = "word_emb.emb_projs.0" in theirs
    for n in range(len(ends) - 1):
        ours[f"words.tables.{n}"] = copies[f"crit.out_layers.{n}.weight"] = theirs.pop(
            f"word_emb.emb_layers.{n}.weight"
        )
        ours[f"softmax.biases.{n}"] = theirs.pop(f"crit.out_layers.{n}.bias")
        if projected:
            ours[f"words.projections.{n}"] = theirs.pop(f"word_emb.emb_projs.{n}")
            if config.tied and not config.tied[n]:
                ours[f"softmax.projections.{n}"] = theirs.pop(f"crit.out_projs.{n}")
            copies[f"crit.out_projs.{n}"] = ours[f"words.projections.{n}"]


def _weights(folder: Path) -> dict[str, Tensor]:
    if (folder / "model.safetensors").is_file():
        return load_file(folder / "model.safetensors")
    state: dict[str, Tensor] = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    return state
