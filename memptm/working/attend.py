"""Relative attention with its gradients by hand, for training on a CPU, where every pass over the scores counts.

The formula is relative.py's. Against autograd: scores by distance are added to those by content within one product, r is not
spread over the batch, and nothing is scaled, masked or shifted twice. Heads come first, so that b and i are one axis beside r.
Axes: h head, b batch, i query, j key (memory first), n distance, d width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def attend(query: Tensor, keys: Tensor, values: Tensor, r: Tensor, u: Tensor, v: Tensor, hide: Tensor) -> Tensor:
    """(h b i d): [(q_i + u)·k_j + (q_i + v)·r_{i+m−j}] / √d, softmax, values.

    Args:
        query: (h b i d).
        keys, values: (h b j d).
        r: (h j+1 d), see relative.distances.
        u, v: (h d).
        hide: booleans that broadcast to (h b i j), True where a key must not be seen; what is in the future must be.
    """
    attended: Tensor = _Attend.apply(  # type: ignore[no-untyped-call]
        query, keys, values, r.to(query), u.to(query), v.to(query), hide
    )
    return attended


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, keys: Tensor, values: Tensor, r: Tensor, u: Tensor, v: Tensor, hide: Tensor
    ) -> Tensor:
        heads, batch, count, width = query.shape
        with torch.autocast("cpu", enabled=False):
            by_content = ((query + u[:, None, None]) * width**-0.5).reshape(-1, count, width)
            by_place = ((query + v[:, None, None]) * width**-0.5).reshape(heads, -1, width)
            scores = torch.baddbmm(
                shifted(torch.bmm(by_place, r.transpose(1, 2)).view(heads * batch, count, -1)),
                by_content,
                keys.flatten(0, 1).transpose(1, 2),
            )
            scores.view(heads, batch, count, -1).masked_fill_(hide, -torch.inf)
            weights = scores.softmax(dim=-1)
            attended = torch.bmm(weights, values.flatten(0, 1))
        ctx.save_for_backward(by_content, by_place, keys, values, r, weights)
        return attended.view(heads, batch, count, width)

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        by_content, by_place, keys, values, r, weights = ctx.saved_tensors
        heads, batch, count, width = given.shape
        flat = given.reshape(-1, count, width)
        to_values = torch.bmm(weights.transpose(1, 2), flat).view_as(values)
        to_weights = torch.bmm(flat, values.flatten(0, 1).transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
        to_keys = torch.bmm(to_scores.transpose(1, 2), by_content).view_as(keys)
        to_content = torch.bmm(to_scores, keys.flatten(0, 1)).view(heads, batch, count, width)
        to_distances = unshifted(to_scores).view(heads, batch * count, -1)
        to_r = torch.bmm(to_distances.transpose(1, 2), by_place)
        to_place = torch.bmm(to_distances, r).view(heads, batch, count, width)
        scale = width**-0.5
        to_query = (to_content + to_place).mul_(scale)
        to_u, to_v = (one.sum(dim=(1, 2)).mul_(scale) for one in (to_content, to_place))
        return to_query, to_keys, to_values, to_r, to_u, to_v, None


def shifted(by_distance: Tensor) -> Tensor:
    """(… i n+1) scores of queries by distance, n = keys, as (… i j) scores by key: a view.

    Row i wants distance i + m − j at key j, which is column (i_last − i) + j, since distances fall from left to right. In a
    row longer by one, that is where row i of a (queries, keys) matrix begins if the flat memory is read from i_last on.
    What stands above the causal diagonal is garbage and must be masked.
    """
    queries, keys = by_distance.shape[-2], by_distance.shape[-1] - 1
    flat = by_distance.flatten(-2)[..., queries - 1 : queries - 1 + queries * keys]
    return flat.view(*flat.shape[:-1], queries, keys)


def unshifted(by_key: Tensor) -> Tensor:
    """(… i j) as (… i j+1): what ``shifted`` gives ``by_key`` of, zeros where it does not look."""
    queries, keys = by_key.shape[-2:]
    by_distance = by_key.new_empty(*by_key.shape[:-1], keys + 1)
    flat = by_distance.flatten(-2)
    flat[..., : queries - 1] = 0
    flat[..., queries - 1 + queries * keys :] = 0
    shifted(by_distance).copy_(by_key)
    return by_distance
