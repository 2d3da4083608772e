"""The arithmetic chosen is the one that wins, by a clock that the test turns."""

import itertools

import pytest
import torch

from memptm.encoders import precision
from memptm.encoders.bert import Layer
from memptm.encoders.int8 import Int8Layer


@pytest.fixture
def costs(monkeypatch):
    """Ticks that each kind of products takes."""
    clock, costs = itertools.count(), {torch.float32: 5, torch.bfloat16: 3, torch.int8: 4}
    forward, integers, linear = Layer.forward, Int8Layer.forward, precision.nn.functional.linear

    def run(made, cost):
        for _ in range(cost):
            next(clock)
        return made

    monkeypatch.setattr(precision, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(precision.nn.functional, "linear", lambda a, *b: run(linear(a, *b), costs[a.dtype]))
    monkeypatch.setattr(Layer, "forward", lambda s, *a: run(forward(s, *a), costs[s.qkv.weight.dtype]))
    monkeypatch.setattr(Int8Layer, "forward", lambda s, *a: run(integers(s, *a), 50 * costs[torch.int8]))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setattr(precision, "products_are_exact", lambda: True)
    monkeypatch.setattr(precision, "_taken", [])
    monkeypatch.setattr(precision, "_bfloat16_wins", precision._bfloat16_wins.__wrapped__)
    return costs


def test_bfloat16_is_chosen_only_where_it_is_there_and_wins(costs, monkeypatch):
    assert precision.bfloat16_is_faster()
    costs[torch.bfloat16] = 9
    assert not precision.bfloat16_is_faster()
    costs[torch.bfloat16] = 3
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert not precision.bfloat16_is_faster()


def test_in_bulk_the_fastest_of_three_wins(costs, monkeypatch):
    race = precision._bulk_winner.__wrapped__
    assert race() == "bfloat16"
    costs[torch.bfloat16], costs[torch.int8] = 9, 0
    assert race() == "int8"
    monkeypatch.setattr(precision, "products_are_exact", lambda: False)
    assert race() == "float32"
    monkeypatch.setattr(precision, "products_are_exact", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert race() == "float32"
