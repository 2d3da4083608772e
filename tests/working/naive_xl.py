"""The original Transformer-XL as its formulas stand, loops and rel-shift included, over a checkpoint of its own layout."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def scores(q: Tensor, k: Tensor, r: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """(i h d) queries, (j h d) keys, r: distance → (h d), biases (h d) → (i j h), a loop over every query and key."""
    queries, keys = len(q), len(k)
    found = torch.full((queries, keys, q.shape[1]), -math.inf, dtype=q.dtype)
    for i in range(queries):
        for j in range(keys):
            distance = i + keys - queries - j
            if distance >= 0:
                content = ((q[i] + u) * k[j]).sum(-1)
                position = ((q[i] + v) * r(distance)).sum(-1)
                found[i, j] = (content + position) / q.shape[-1] ** 0.5
    return found


def sinusoid(distance: float, width: int, dtype: torch.dtype) -> Tensor:
    """Sines, then cosines."""
    angles = torch.tensor([distance / 10000 ** (n / width) for n in range(0, width, 2)], dtype=dtype)
    return torch.cat([angles.sin(), angles.cos()])


def rel_shift(x: Tensor) -> Tensor:
    """The original's trick, on (i j b h)."""
    padded = torch.cat([x.new_zeros(x.shape[0], 1, *x.shape[2:]), x], dim=1)
    return padded.view(x.shape[1] + 1, x.shape[0], *x.shape[2:])[1:].view_as(x)


def log_probabilities(state: dict[str, Tensor], config: dict, ids: Tensor) -> Tensor:
    """(i,) words → (i, words): one pass of the original's computation, no memory, post-norm."""
    width, heads, head = config["d_model"], config["n_head"], config["d_head"]
    ends = [0, *config["cutoffs"], config["vocab_size"]]
    hidden = torch.stack([_word(state, ends, int(word)) for word in ids]) * width**0.5
    length = len(ids)
    r = torch.stack([sinusoid(min(n, config["clamp_len"]), width, hidden.dtype) for n in range(length - 1, -1, -1)])
    for n in range(config["n_layer"]):
        at = f"transformer.layers.{n}."
        qkv = hidden @ state[f"{at}dec_attn.qkv_net.weight"].t()
        q, k, value = (part.view(length, heads, head) for part in qkv.chunk(3, dim=-1))
        relative = (r @ state[f"{at}dec_attn.r_net.weight"].t()).view(length, heads, head)
        u, v = (state[f"{at}dec_attn.{name}"] for name in ("r_w_bias", "r_r_bias"))
        ac = torch.einsum("ihd,jhd->ijh", q + u, k)
        bd = rel_shift(torch.einsum("ihd,jhd->ijh", q + v, relative).unsqueeze(2)).squeeze(2)
        logits = (ac + bd) / head**0.5
        logits = logits.masked_fill(torch.ones(length, length).triu(1).bool().unsqueeze(-1), -math.inf)
        attended = torch.einsum("ijh,jhd->ihd", logits.softmax(1), value).flatten(1)
        hidden = _norm(state, f"{at}dec_attn.layer_norm", hidden + attended @ state[f"{at}dec_attn.o_net.weight"].t())
        up = functional.relu(_linear(state, f"{at}pos_ff.CoreNet.0", hidden))
        hidden = _norm(state, f"{at}pos_ff.layer_norm", hidden + _linear(state, f"{at}pos_ff.CoreNet.3", up))
    return _softmax(state, ends, config, hidden)


def _word(state: dict[str, Tensor], ends: list[int], word: int) -> Tensor:
    for n in range(len(ends) - 1):
        if ends[n] <= word < ends[n + 1]:
            vector = state[f"transformer.word_emb.emb_layers.{n}.weight"][word - ends[n]]
            return state[f"transformer.word_emb.emb_projs.{n}"] @ vector
    raise IndexError(word)


def _softmax(state: dict[str, Tensor], ends: list[int], config: dict, hidden: Tensor) -> Tensor:
    def logits(n: int) -> Tensor:
        tied = config["tie_projs"][n]
        projection = state[f"transformer.word_emb.emb_projs.{n}" if tied else f"crit.out_projs.{n}"]
        table, bias = state[f"transformer.word_emb.emb_layers.{n}.weight"], state[f"crit.out_layers.{n}.bias"]
        if n == 0:
            table = torch.cat([table, state["crit.cluster_weight"]])
            bias = torch.cat([bias, state["crit.cluster_bias"]])
        return (hidden @ projection) @ table.t() + bias

    head = logits(0).log_softmax(-1)
    parts = [head[:, : ends[1]]]
    for n in range(1, len(ends) - 1):
        parts.append(head[:, ends[1] + n - 1].unsqueeze(1) + logits(n).log_softmax(-1))
    return torch.cat(parts, dim=1)


def _linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].t() + state[f"{name}.bias"]


def _norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def checkpoint(config: dict, *, seed: int = 0) -> dict[str, Tensor]:
    """A random one, by transformers' names."""
    chance = torch.Generator().manual_seed(seed)

    def made(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance, dtype=torch.float64) * 0.3

    width, inner = config["d_model"], config["d_inner"]
    across, ends = config["n_head"] * config["d_head"], [0, *config["cutoffs"], config["vocab_size"]]
    state = {}
    for n in range(config["n_layer"]):
        at = f"transformer.layers.{n}."
        state |= {
            f"{at}dec_attn.qkv_net.weight": made(3 * across, width),
            f"{at}dec_attn.o_net.weight": made(width, across),
            f"{at}dec_attn.r_net.weight": made(across, width),
            f"{at}dec_attn.r_w_bias": made(config["n_head"], config["d_head"]),
            f"{at}dec_attn.r_r_bias": made(config["n_head"], config["d_head"]),
            f"{at}pos_ff.CoreNet.0.weight": made(inner, width),
            f"{at}pos_ff.CoreNet.0.bias": made(inner),
            f"{at}pos_ff.CoreNet.3.weight": made(width, inner),
            f"{at}pos_ff.CoreNet.3.bias": made(width),
        }
        for norm in ("dec_attn.layer_norm", "pos_ff.layer_norm"):
            state |= {f"{at}{norm}.weight": 1 + made(width), f"{at}{norm}.bias": made(width)}
    for n in range(len(ends) - 1):
        narrow = config["d_embed"] // config["div_val"] ** n
        state[f"transformer.word_emb.emb_layers.{n}.weight"] = made(ends[n + 1] - ends[n], narrow)
        state[f"transformer.word_emb.emb_projs.{n}"] = made(width, narrow)
        state[f"crit.out_layers.{n}.bias"] = made(ends[n + 1] - ends[n])
        if not config["tie_projs"][n]:
            state[f"crit.out_projs.{n}"] = made(width, narrow)
    state["crit.cluster_weight"] = made(len(ends) - 2, config["d_embed"])
    state["crit.cluster_bias"] = made(len(ends) - 2)
    state["transformer.pos_emb.inv_freq"] = made(width // 2)
    return state
