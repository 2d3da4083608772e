"""Gradients by hand are those of autograd over the plain formula."""

import pytest
import torch

from memptm.working.attend import attend, shifted, unshifted
from memptm.working.relative import KeysValues, RelativeAttention, distances, hidden_keys


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(query, keys, values, r, u, v, hide):
    """The formula, a loop over distances."""
    count, width = query.shape[2:]
    total = keys.shape[2]
    content = torch.einsum("hbid,hbjd->hbij", query + u[:, None, None], keys)
    place = torch.zeros_like(content)
    for i in range(count):
        for j in range(total - count + i + 1):
            column = total - 1 - (total - count + i - j)  # r holds the distances total − 1 … 0
            place[:, :, i, j] = torch.einsum("hbd,hd->hb", query[:, :, i] + v[:, None], r[:, column])
    scores = ((content + place) / width**0.5).masked_fill(hide, -torch.inf)
    return scores.softmax(-1) @ values


def inputs(heads=2, batch=3, count=4, memory=5, width=3):
    total = count + memory
    shapes = [
        (heads, batch, count, width),
        (heads, batch, total, width),
        (heads, batch, total, width),
        (heads, total + 1, width),
        (heads, width),
        (heads, width),
    ]
    return [drawn(*shape, seed=n).requires_grad_() for n, shape in enumerate(shapes)]


@pytest.mark.parametrize(("count", "memory"), [(4, 5), (1, 3), (5, 0), (1, 0)])
def test_values_and_gradients_are_those_of_the_formula(count, memory):
    hide = hidden_keys(count, count + memory)[None, None]
    ours, theirs = inputs(count=count, memory=memory), inputs(count=count, memory=memory)
    found, expected = attend(*ours, hide), plain(*theirs, hide)
    assert torch.allclose(found, expected, atol=1e-12)
    weight = drawn(*expected.shape, seed=9)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    for n, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert torch.allclose(one.grad, other.grad, atol=1e-12), n


def test_it_passes_a_numerical_check():
    hide = hidden_keys(4, 9)[None, None]
    assert torch.autograd.gradcheck(lambda *given: attend(*given, hide), inputs())


def test_unshifted_is_the_gradient_of_shifted():
    scores, given = drawn(2, 4, 8).requires_grad_(), drawn(2, 4, 7, seed=1)
    (shifted(scores) * given).sum().backward()
    assert torch.equal(unshifted(given), scores.grad)


def test_both_ways_of_the_layer_give_the_same_and_learn_the_same():
    """With rows that see different keys."""
    torch.manual_seed(0)
    layer = RelativeAttention(8, 2, 5).double()
    hidden, past = drawn(2, 4, 8).requires_grad_(), layer.project(drawn(2, 3, 8, seed=1))
    r, u, v = layer.by_distance(distances(7, 8)), drawn(2, 5, seed=2), drawn(2, 5, seed=3)
    hide = hidden_keys(4, 7).expand(2, 1, 4, 7).clone()
    hide[1, :, :, :2] = True
    gradients = []
    for way in (layer._by_hand, layer._fused):
        layer.zero_grad()
        hidden.grad = None
        q, new = layer._by_head(layer.query(hidden)), layer.project(hidden)
        made, known = way(q, past, new, r, u, v, hide)
        (made * drawn(*made.shape, seed=4)).sum().backward(retain_graph=True)
        gradients.append([made, hidden.grad.clone(), *(one.clone() for one in known)])
        gradients[-1] += [one.grad.clone() for one in layer.parameters() if one.grad is not None]
    assert len(gradients[0]) == len(gradients[1])
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(*gradients, strict=True))
    assert isinstance(known, KeysValues)


def test_bfloat16_learns_too():
    ours = [one.detach().bfloat16().requires_grad_() for one in inputs()]
    attend(*ours, hidden_keys(4, 9)[None, None]).float().sum().backward()
    assert all(bool(one.grad.isfinite().all()) for one in ours)
