"""Transformer-XL under torch.compile: the same losses and gradients as without."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from memptm.working.transformer_xl import TransformerXL, TransformerXLConfig, mean_loss

COMPILERS = [os.environ.get("CXX", "g++"), "clang++"]


@pytest.fixture(autouse=True)
def _afresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def learned(model, made, ids, state):
    """The loss, the memory after it, and all gradients."""
    model.zero_grad()
    hidden, after = made(ids[:, 8:-1], state)
    loss = mean_loss(model.softmax.losses(hidden, ids[:, 9:], model.words), ids[:, 9:])
    loss.backward()
    return loss.detach(), after.layers, *(one.grad.clone() for one in model.parameters() if one.grad is not None)


@pytest.fixture
def read():
    """A model, ids, and the state after the first of them."""
    torch.manual_seed(0)
    config = TransformerXLConfig(
        vocabulary=50, width=16, layers=2, heads=2, head_width=8, inner=32, mem_len=8, dropout=0.0
    )
    model, ids = TransformerXL(config).train(), torch.randint(0, 50, (2, 19))
    return model, ids, model(ids[:, :8])[1]


@pytest.mark.filterwarnings("ignore")  # of the compiler about itself
def test_it_is_one_graph_without_breaks_that_reads_and_learns_the_same(read):
    model, ids, state = read
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    pairs = zip(learned(model, compiled, ids, state), learned(model, model, ids, state), strict=True)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in pairs)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_to_machine_code_it_reads_and_learns_the_same(read):
    model, ids, state = read
    pairs = zip(learned(model, torch.compile(model), ids, state), learned(model, model, ids, state), strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)
