"""Product-key memory: the best slots exactly, read as a softmax over them, counted, and revived."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memptm.working.product_keys import MaskedBatchNorm, ProductKeyMemory


def memory(**choices):
    torch.manual_seed(choices.pop("seed", 0))
    return ProductKeyMemory(
        12, **{"sub_keys": 8, "heads": 2, "key_width": 6, "top": 4, "query_norm": "none", **choices}
    )


def brute(made, queries):
    """(t h n²) scores of every slot."""
    first, second = queries.chunk(2, dim=-1)
    rows = torch.einsum("thd,hnd->thn", first, made.keys[0]).unsqueeze(-1)
    columns = torch.einsum("thd,hnd->thn", second, made.keys[1]).unsqueeze(-2)
    return (rows + columns).flatten(-2)


@given(st.integers(1, 8), st.integers(1, 3), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_the_best_slots_are_those_of_all(top, heads, seed):
    made = memory(top=top, heads=heads, seed=seed).double()
    queries = torch.randn(5, heads, 6, dtype=torch.float64)
    scores, slots = made.best(queries)
    every = brute(made, queries)
    expected = every.topk(top, dim=-1)
    assert torch.allclose(scores, expected.values, atol=1e-12)
    assert torch.allclose(every.gather(-1, slots), scores, atol=1e-12)
    assert torch.equal(slots.sort(-1).values, expected.indices.sort(-1).values)


def test_with_every_slot_read_it_is_plain_attention_over_all_values():
    made = memory(sub_keys=3, top=3).double()
    hidden = torch.randn(2, 4, 12, dtype=torch.float64)
    queries = made.queries(hidden.flatten(0, 1))
    scores, slots = made.best(queries)
    every = brute(made, queries)
    kept = torch.full_like(every, -math.inf).scatter(-1, slots, scores)  # the best three of nine
    expected = torch.einsum("thn,nc->tc", kept.softmax(-1), made.values.weight).view(2, 4, 12)
    assert torch.allclose(made(hidden), expected, atol=1e-6)


@pytest.mark.parametrize("query_norm", ["batch", "rms", "none"])
@pytest.mark.parametrize("gated", [False, True])
def test_it_takes_the_place_of_a_feed_forward_part_and_learns(query_norm, gated):
    made = memory(query_norm=query_norm, gated=gated).train()
    hidden, wanted = torch.randn(4, 7, 12), torch.randn(4, 7, 12)
    optimizer = torch.optim.Adam(made.groups(learning_rate=1e-2, values=1e-1))
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (made(hidden) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert made.keys.grad is not None


def test_the_values_have_a_rate_of_their_own_and_no_decay():
    first, second = memory().groups(learning_rate=1e-4)
    assert (second["lr"], second["weight_decay"]) == (1e-3, 0.0)
    assert [one.shape for one in second["params"]] == [(64, 12)]
    assert len(first["params"]) == 3


def test_sparse_gradients_touch_the_slots_read_alone():
    dense, sparse = memory().train(), memory(sparse=True).train()
    hidden = torch.randn(5, 12)
    for made in (dense, sparse):
        made(hidden).square().sum().backward()
    assert sparse.values.weight.grad.is_sparse
    assert torch.allclose(sparse.values.weight.grad.to_dense(), dense.values.weight.grad, atol=1e-6)
    rows = sparse.values.weight.grad.coalesce().indices().shape[1]
    assert rows == int((sparse.used > 0).sum()) < 64


def test_padding_takes_no_part_in_statistics_or_counts():
    made, alone = memory(query_norm="batch").train(), memory(query_norm="batch").train()
    hidden = torch.randn(3, 6, 12)
    real = torch.ones(3, 6, dtype=torch.bool)
    real[1, 4:] = real[2, 2:] = False
    padded = hidden.masked_fill(~real.unsqueeze(-1), 50.0)
    together = made(padded, real)
    assert torch.allclose(together[real], alone(hidden[real]), atol=1e-5)
    assert torch.allclose(made.norm.running_mean, alone.norm.running_mean, atol=1e-6)
    assert torch.allclose(made.used, alone.used, atol=1e-5)
    assert isinstance(made.norm, MaskedBatchNorm)


def test_after_training_a_token_is_read_alike_alone_and_in_company():
    for query_norm in ("batch", "rms", "none"):
        made = memory(query_norm=query_norm).train()
        made(torch.randn(50, 12))
        made.eval()
        hidden = torch.randn(6, 12)
        with torch.no_grad():
            assert torch.allclose(made(hidden)[2:3], made(hidden[2:3]), atol=1e-6)


def test_usage_and_kl_say_how_many_slots_are_read_and_how_evenly():
    made = memory()
    assert made.telemetry()["usage"] == 0
    assert math.isnan(made.telemetry()["kl"])
    made.used += 1
    assert made.telemetry() == {"usage": 1.0, "kl": pytest.approx(0, abs=1e-9)}
    made.forget()
    made.used[5] = 3.0
    assert made.telemetry() == {"usage": pytest.approx(1 / 64), "kl": pytest.approx(math.log(64))}
    made.forget()
    made.train()(torch.randn(20, 12))
    assert float(made.used.sum()) == pytest.approx(20 * 2, rel=1e-4)  # a head's weights sum to 1


def test_dead_sub_keys_come_to_life_and_others_are_left_alone():
    made = memory(top=1).train()
    with torch.no_grad():
        made.keys[:, :, 0] = 0
        made.keys[0, :, 6:] = -100.0 * made.query.bias.view(2, 6)[:, None, :3].sign()  # far from every query
    hidden = torch.randn(40, 12) * 0.01
    made(hidden)
    before, keys, values = made.telemetry()["usage"], made.keys.detach().clone(), made.values.weight.detach().clone()
    live = made.used.view(8, 8)
    revived = made.revive()
    assert revived == int((live.sum(1) == 0).sum() + (live.sum(0) == 0).sum()) > 0
    assert torch.equal(made.keys[0][:, live.sum(1) > 0], keys[0][:, live.sum(1) > 0])
    assert torch.equal(made.values.weight[made.used > 0], values[made.used > 0])
    made.forget()
    made(hidden)
    assert made.telemetry()["usage"] >= before
    assert memory().revive() == 0  # nothing was read yet


def test_nothing_is_dead_while_nothing_was_read_since_the_count_began():
    made = memory().train()
    made(torch.randn(20, 12))
    made.forget()
    assert made.revive() == 0
    assert bool(made.values.weight.isfinite().all())


def test_outside_training_reads_are_counted_when_asked():
    made = memory().eval()
    made(torch.randn(20, 12))
    assert made.telemetry()["usage"] == 0
    made.counting = True
    made(torch.randn(20, 12))
    assert made.telemetry()["usage"] > 0


def test_the_values_are_trained_at_a_constant_rate_of_their_own_without_decay():
    made = memory()
    others, values = made.groups(learning_rate=0.01)
    assert values == {"params": [made.values.weight], "lr": 1e-3, "weight_decay": 0.0, "constant": True}
    assert len(others["params"]) + 1 == len(list(made.parameters()))


def test_two_memories_share_no_values():
    one, other = memory(), memory()
    with torch.no_grad():
        one.values.weight.zero_()
    assert float(other.values.weight.detach().abs().sum()) > 0


@pytest.mark.parametrize("choices", [{"key_width": 5}, {"top": 9}, {"top": 0}])
def test_sizes_that_cannot_be_are_refused(choices):
    with pytest.raises(ValueError, match="key_width must be even"):
        memory(**choices)
