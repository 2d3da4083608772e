"""Linear maps in 8-bit integers, for bulk encoding on processors whose integer products (VNNI) beat their float ones.

Weights have one scale an output, activations one a token, found as they come (dynamic quantisation, Dettmers et al. 2022,
arXiv 2208.07339, without the outlier split). What a map reads decides how: the stream has outlying dimensions, which a
second term of eight bits more catches; GELU's output has no room below −0.17, so that its range is shifted.
Keys of all-MiniLM-L6-v2 stay within a mean cosine of 0.999 of float32's (scripts/measure_speed.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

GELU_LOWEST = -0.17
TINY = 1e-12
WIDEST = 2**31 // (127 * 127 * 255)  # numbers a sum of two terms may have and still fit 32 bits


class Int8Linear(nn.Module):
    """x Wᵀ + b of a linear map, x read with 8 bits a number, or with 16 where ``twice``."""

    def __init__(self, linear: nn.Linear, *, twice: bool = False) -> None:
        super().__init__()
        self.twice = twice
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp(min=TINY) / 127
        self.weight = (weight / scale[:, None]).round().to(torch.int8).t()
        self.scale, self.bias = scale, linear.bias.detach().float()
        self.sums = self.weight.sum(0, dtype=torch.int32).float()

    def forward(self, states: Tensor) -> Tensor:
        """(rows, in) → (rows, out), float32."""
        step = states.abs().amax(-1, keepdim=True).clamp_(min=TINY).div_(127)
        scaled = states / step
        rounded = scaled.round()
        product = torch._int_mm(rounded.to(torch.int8), self.weight)
        if self.twice:  # what rounding lost is at most half a step: 254 finer steps
            rest = scaled.sub_(rounded).mul_(254).round_().to(torch.int8)
            finer = torch._int_mm(rest, self.weight)
            if states.shape[-1] > WIDEST:
                product, finer = product.float(), finer.float()
            product, step = product.mul_(254).add_(finer), step / 254
        return product.float().mul_(step).mul_(self.scale).add_(self.bias)

    def after_gelu(self, states: Tensor) -> Tensor:
        """As ``forward``, for states that are at least GELU_LOWEST; they are overwritten."""
        step = states.amax(-1, keepdim=True).sub_(GELU_LOWEST).div_(255).clamp_(min=TINY)
        rounded = states.sub_(GELU_LOWEST).div_(step).sub_(128).round_().to(torch.int8)
        shift = 128 * step + GELU_LOWEST
        product = torch._int_mm(rounded, self.weight).float().mul_(step).addcmul_(shift, self.sums)
        return product.mul_(self.scale).add_(self.bias)


class Int8Layer(nn.Module):
    """A BERT layer (bert.py) whose linear maps are Int8Linear; for inference."""

    def __init__(self, qkv: nn.Linear, out: nn.Linear, up: nn.Linear, down: nn.Linear, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = Int8Linear(qkv, twice=True), Int8Linear(out)
        self.up, self.down = Int8Linear(up), Int8Linear(down)
        self.attention_norm: nn.Module = nn.Identity()
        self.output_norm: nn.Module = nn.Identity()

    def forward(self, hidden: Tensor, visible: Tensor | None) -> Tensor:
        """(b t c) → (b t c), as bert.Layer's."""
        batch, length, width = hidden.shape
        qkv = self.qkv(hidden.view(-1, width)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        attended = self.out(attended.transpose(1, 2).reshape(-1, width)).view_as(hidden)
        hidden = self.attention_norm(hidden + attended)
        fed = self.down.after_gelu(functional.gelu(self.up(hidden.view(-1, width)))).view_as(hidden)
        normed: Tensor = self.output_norm(hidden + fed)
        return normed
