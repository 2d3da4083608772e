"""Transformer-XL under torch.compile: the same losses and gradients as without."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from memptm.working.transformer_xl import TransformerXL, TransformerXLConfig, mean_loss

COMPILERS = [os.environ.get("CXX", "g++"), "clang++"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler about itself
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_it_reads_and_learns_the_same():
    torch.manual_seed(0)
    config = TransformerXLConfig(
        vocabulary=50, width=16, layers=2, heads=2, head_width=8, inner=32, mem_len=8, dropout=0.0
    )
    model = TransformerXL(config).train()
    ids = torch.randint(0, 50, (2, 19))
    _, state = model(ids[:, :8])
    compiled = torch.compile(model)

    def learned(made):
        model.zero_grad()
        hidden, after = made(ids[:, 8:-1], state)
        loss = mean_loss(model.softmax.losses(hidden, ids[:, 9:], model.words), ids[:, 9:])
        loss.backward()
        return loss.detach(), after.layers, [one.grad.clone() for one in model.parameters() if one.grad is not None]

    expected, found = learned(model), learned(compiled)
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert torch.allclose(found[1], expected[1], atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found[2], expected[2], strict=True))
