"""Low-rank updates start at nothing, leave the rest alone, and merge into it."""

from __future__ import annotations

import pytest
import torch

from memptm.encoders.adapted import save_adapter
from memptm.encoders.load import load_encoder
from memptm.encoders.low_rank import LowRank, add_low_rank, low_rank, merge, merge_low_rank
from memptm.errors import ModelMissing
from tests.encoders import tiny
from tests.naive import assert_near


def test_a_new_update_changes_nothing_and_only_updates_learn():
    ids = torch.arange(20).view(2, 10)
    before = tiny.bert()(ids)
    model = tiny.bert()
    add_low_rank(model, rank=3)
    assert_near(model(ids), before)
    learned = {name.rpartition(".")[2] for name, p in model.named_parameters() if p.requires_grad}
    assert learned == {"down", "up"}


def test_an_update_is_the_product_of_its_two_matrices():
    torch.manual_seed(0)
    whole = torch.nn.Linear(5, 4).double()
    update = LowRank(whole, 2).double()
    torch.nn.init.normal_(update.up)
    x = torch.randn(3, 5, dtype=torch.float64)
    assert torch.allclose(update(x), x @ (whole.weight + update.up @ update.down).t() + whole.bias)


def test_merging_keeps_the_outputs():
    model = tiny.bert()
    add_low_rank(model, rank=3)
    for name, parameter in model.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.normal_(parameter, std=0.2)
    ids = torch.arange(20).view(2, 10)
    expected, saved = model(ids), low_rank(model)
    merge_low_rank(model)
    assert not any(isinstance(part, LowRank) for part in model.modules())
    assert torch.allclose(model(ids), expected, atol=1e-5)
    plain = merge(tiny.bert(), saved)  # as an encoder is loaded
    assert torch.allclose(plain(ids), expected, atol=1e-5)


def test_updates_of_another_model_are_refused():
    with pytest.raises(ModelMissing, match="other layers"):
        merge(tiny.bert(), {})
    model = tiny.bert()
    add_low_rank(model, rank=2)
    narrow = {name: one[:, :3] if name.endswith("down.down") else one for name, one in low_rank(model).items()}
    with pytest.raises(ModelMissing, match="another size"):
        merge(tiny.bert(), narrow)


def test_an_adapted_encoder_can_be_adapted_again(tmp_path):
    def adapted(base, name):
        bert = base.bert()
        add_low_rank(bert, rank=2)
        for one in low_rank(bert).values():
            torch.nn.init.normal_(one)
        save_adapter(tmp_path / name, base, low_rank(bert))
        return load_encoder(str(tmp_path / name)), merge(
            base.bert(), {n: t.bfloat16() for n, t in low_rank(bert).items()}
        )

    first, _ = adapted(tiny.encoder(tmp_path / "base"), "first")
    second, wanted = adapted(first, "second")
    assert_near(list(second.bert().parameters()), list(wanted.parameters()))
    assert len({first.fingerprint, second.fingerprint}) == 2
