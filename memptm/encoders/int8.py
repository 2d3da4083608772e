"""Linear maps in 8-bit integers, for bulk encoding on processors whose integer products (VNNI) beat their float ones.

Weights have one scale an output, activations one a token, found as they come (dynamic quantisation with the outlying
dimensions left in float32: Dettmers et al. 2022, arXiv 2208.07339). GELU's output has no room below −0.17, so that its
range is shifted. Keys of all-MiniLM-L6-v2 stay within a mean cosine of 0.999 of float32's (scripts/benchmarks/speed.py).

The products take a fraction of float32's time, so that all else counts: every step writes into memory that is used
again (a fresh tensor of this size costs more in page faults than the arithmetic that fills it).
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn
from torch.nn import functional

OUTLIERS = 8  # dimensions of the stream left in float32; with none, keys of MiniLM fall from cosine 0.9994 to 0.9975
GELU_LOWEST = -0.17
TINY = 1e-12


def products_are_exact() -> bool:
    """Whether products of 8-bit integers are what they should be: kernels for AVX2 add pairs of them in 16 bits, which overflow."""
    most = torch.full((32, 32), 127, dtype=torch.int8)
    return bool((torch._int_mm(most, most) == 32 * 127**2).all())


class Scratch(threading.local):
    """Memory for results that are soon overwritten, a piece a name; each thread has its own."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, rows: int, columns: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(rows, columns), holding whatever was left there."""
        piece = self._pieces.get((name, dtype))
        if piece is None or piece.numel() < rows * columns:
            piece = self._pieces[name, dtype] = torch.empty(rows * columns, dtype=dtype)
        return piece[: rows * columns].view(rows, columns)


class Int8Linear(nn.Module):
    """x Wᵀ + b of a linear map, x read with 8 bits a number.

    Args:
        widest: (in,) the largest magnitudes the map has read, where a few dimensions of its input lie far out.
    """

    def __init__(self, linear: nn.Linear, scratch: Scratch, *, widest: Tensor | None = None) -> None:
        super().__init__()
        self.scratch = scratch
        weight = linear.weight.detach().float().clone()
        self.bias = linear.bias.detach().float()
        self.outliers = None if widest is None else widest.topk(OUTLIERS).indices
        if self.outliers is not None:  # (outliers + 1, out): the bias is the weight of a number that is always 1
            self.exact = torch.cat([weight[:, self.outliers].t(), self.bias[None]]).contiguous()
            self.inliers = torch.ones(weight.shape[1]).index_fill_(0, self.outliers, 0.0)
            weight *= self.inliers
        self.scale = weight.abs().amax(1).clamp(min=TINY) / 127
        self.weight = (weight / self.scale[:, None]).round().to(torch.int8).t()
        self.sums = self.weight.sum(0, dtype=torch.int32).float()

    def forward(self, states: Tensor, out: Tensor) -> Tensor:
        """(rows, in) → ``out``, (rows, out) in float32."""
        rows, width = states.shape
        outliers = self.outliers
        scaled = self.scratch.take("scaled", rows, width)
        if outliers is not None:
            kept = self.scratch.take("outliers", rows, OUTLIERS + 1).fill_(1)
            kept[:, :OUTLIERS] = states.index_select(1, outliers)
            states = torch.mul(states, self.inliers, out=self.scratch.take("inliers", rows, width))
        torch.abs(states, out=scaled)
        step = scaled.amax(-1, keepdim=True).clamp_(min=TINY).div_(127)
        product = self._product(torch.div(states, step, out=scaled).round_())
        out.copy_(product).mul_(step)
        if outliers is None:
            return torch.addcmul(self.bias, out, self.scale, out=out)
        return out.mul_(self.scale).addmm_(kept, self.exact)

    def after_gelu(self, states: Tensor, out: Tensor) -> Tensor:
        """As ``forward``, for states that are at least GELU_LOWEST; they are overwritten."""
        step = states.amax(-1, keepdim=True).sub_(GELU_LOWEST).div_(255).clamp_(min=TINY)
        shift = step.mul(128).add_(GELU_LOWEST)
        finer = step.reciprocal()
        product = self._product(torch.addcmul(-shift * finer, states, finer, out=states).round_())
        out.copy_(product).mul_(step).addcmul_(shift, self.sums)
        return torch.addcmul(self.bias, out, self.scale, out=out)

    def _product(self, whole: Tensor) -> Tensor:
        """(rows, in) of whole numbers from −128 to 127 → (rows, out) in 32-bit integers."""
        rows, width = whole.shape
        narrow = self.scratch.take("narrow", rows, width, torch.int8).copy_(whole)
        out = self.scratch.take("product", rows, self.weight.shape[1], torch.int32)
        return torch._int_mm(narrow, self.weight, out=out)


class Int8Layer(nn.Module):
    """A BERT layer (bert.py) whose linear maps are Int8Linear; for inference.

    Args:
        widest: per linear map, see Int8Linear.
    """

    def __init__(
        self,
        maps: dict[str, nn.Linear],
        widest: dict[str, Tensor],
        norms: tuple[nn.LayerNorm, nn.LayerNorm],
        *,
        heads: int,
        scratch: Scratch,
    ) -> None:
        super().__init__()
        self.heads, self.scratch = heads, scratch
        self.qkv, self.out, self.up, self.down = (
            Int8Linear(maps[name], scratch, widest=widest.get(name)) for name in ("qkv", "out", "up", "down")
        )
        self.attention_norm, self.output_norm = norms

    def forward(self, hidden: Tensor, visible: Tensor | None) -> Tensor:
        """(b t c) → (b t c), as bert.Layer's."""
        query, key, value = self.project(hidden).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.finish(hidden, attended)

    def project(self, hidden: Tensor) -> Tensor:
        """As bert.Layer's; the next call writes over the result."""
        batch, length, width = hidden.shape
        rows = batch * length
        qkv: Tensor = self.qkv(hidden.reshape(rows, width), self.scratch.take("qkv", rows, 3 * width))
        return qkv.view(batch, length, 3, self.heads, width // self.heads)

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """As bert.Layer's."""
        batch, length, width = hidden.shape
        rows = batch * length
        flat = hidden.reshape(rows, width)
        branch = self.scratch.take("branch", rows, width)
        self.out(attended.transpose(1, 2).reshape(rows, width), branch).add_(flat)
        flat = self.attention_norm(branch)
        wide = torch.ops.aten.gelu_(self.up(flat, self.scratch.take("wide", rows, self.up.weight.shape[1])))
        self.down.after_gelu(wide, branch).add_(flat)
        normed: Tensor = self.output_norm(branch)
        return normed.view(batch, length, width)
