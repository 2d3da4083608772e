"""8-bit linear maps against the float ones they stand for."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional

from memptm.encoders.int8 import OUTLIERS, Int8Linear, Scratch, products_are_exact
from tests.naive import assert_near

pytestmark = pytest.mark.skipif(
    not products_are_exact(), reason="8-bit products overflow on this processor, and are not used"
)


def linear(inputs, outputs):
    torch.manual_seed(inputs)
    return nn.Linear(inputs, outputs)


def applied(rounded, states, how="forward"):
    return getattr(rounded, how)(states, torch.empty(len(states), len(rounded.scale))).clone()


def error(found, exact):
    found, exact = found.detach(), exact.detach()
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("inputs", [64, 384, 1536])
def test_dimensions_far_out_are_left_exact_so_that_the_others_keep_their_digits(inputs):
    layer = linear(inputs, 96)
    states = torch.randn(70, inputs)
    far = torch.arange(5, 5 + OUTLIERS)
    states[:, far] *= 30  # as in a transformer's stream
    exact, near = layer(states), states.clone()
    near[:, far] = 0
    plain, split = Int8Linear(layer, Scratch()), Int8Linear(layer, Scratch(), widest=states.abs().amax(0))
    alone = functional.linear(near, layer.weight)
    without = applied(plain, near) - layer.bias  # the same states, had none been far out
    assert error(applied(split, states) - (exact - alone), alone) < 1.1 * error(without, alone) < 0.02
    assert error(applied(split, states), exact) < error(applied(plain, states), exact) / 5


def test_gelus_output_is_read_from_its_lowest_value_on():
    layer = linear(128, 48)
    fed = functional.gelu(3 * torch.randn(50, 128))
    rounded = Int8Linear(layer, Scratch())
    assert error(applied(rounded, fed.clone(), "after_gelu"), layer(fed)) < error(applied(rounded, fed), layer(fed))


def test_a_row_does_not_depend_on_the_others_and_zeros_give_the_bias():
    layer = Int8Linear(linear(32, 16), Scratch())
    states = torch.randn(9, 32)
    states[4] = 0
    together = applied(layer, states)
    assert_near(together[2:3], applied(layer, states[2:3]))
    assert_near(together[4], layer.bias)


def test_what_is_read_is_left_as_it_was():
    states = torch.randn(9, 32)
    before = states.clone()
    applied(Int8Linear(linear(32, 16), Scratch(), widest=states.abs().amax(0)), states)
    assert torch.equal(states, before)


def test_scratch_is_used_again_and_is_each_threads_own():
    scratch, elsewhere = Scratch(), []
    first = scratch.take("wide", 4, 8)
    thread = threading.Thread(target=lambda: elsewhere.append(scratch.take("wide", 4, 8)))
    thread.start()
    thread.join()
    assert scratch.take("wide", 2, 8).data_ptr() == first.data_ptr()
    assert scratch.take("narrow", 2, 8).data_ptr() != first.data_ptr()
    assert elsewhere[0].data_ptr() != first.data_ptr()
