"""8-bit linear maps against the float ones they stand for."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from memptm.encoders.int8 import WIDEST, Int8Linear


def linear(inputs, outputs):
    torch.manual_seed(inputs)
    return nn.Linear(inputs, outputs)


def error(found, exact):
    found, exact = found.detach(), exact.detach()
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("inputs", [64, 384, WIDEST + 8])
def test_a_second_term_leaves_only_the_rounding_of_the_weights(inputs):
    layer = linear(inputs, 96)
    states = torch.randn(70, inputs)
    states[:, 5] *= 30  # one dimension far out, as in a transformer's stream
    exact = layer(states)
    weight = layer.weight
    step = weight.abs().amax(1, keepdim=True) / 127
    rounded = functional.linear(states, (weight / step).round() * step, layer.bias)
    once, twice = (Int8Linear(layer, twice=mode)(states) for mode in (False, True))
    assert error(twice, rounded) < 1e-3
    assert error(twice, exact) < error(once, exact) < 0.1


def test_sums_of_two_terms_do_not_overflow():
    layer = linear(WIDEST, 8)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    found = Int8Linear(layer, twice=True)(torch.full((3, WIDEST), 2.0))
    assert error(found, layer(torch.full((3, WIDEST), 2.0))) < 1e-4


def test_gelus_output_is_read_from_its_lowest_value_on():
    layer = linear(128, 48)
    fed = functional.gelu(3 * torch.randn(50, 128))
    exact, plain = layer(fed), Int8Linear(layer)(fed)
    found = Int8Linear(layer).after_gelu(fed.clone())
    assert error(found, exact) < error(plain, exact)


def test_a_row_does_not_depend_on_the_others_and_zeros_give_the_bias():
    layer = Int8Linear(linear(32, 16), twice=True)
    states = torch.randn(9, 32)
    states[4] = 0
    together = layer(states)
    assert torch.equal(together[2:3], layer(states[2:3]))
    assert torch.equal(together[4], layer.bias)
