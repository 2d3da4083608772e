"""External memory in attention: the nearest of all past keys, per head and stream, of the document at hand alone."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from memptm.errors import InputError
from memptm.working.memorizing import ExternalMemory, Memorizing
from memptm.working.transformer_xl import TransformerXL, TransformerXLConfig
from tests.naive import assert_near

SIZES = {
    "vocabulary": 30,
    "width": 12,
    "layers": 2,
    "heads": 2,
    "head_width": 6,
    "inner": 16,
    "mem_len": 4,
    "dropout": 0.0,
}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def units(*shape, seed=0):
    return functional.normalize(drawn(*shape, seed=seed), dim=-1)


def filled(count=40, **choices):
    memory = ExternalMemory(2, 2, 6, **choices)
    for start in range(0, count, 8):
        memory.add(units(2, 2, 8, 6, seed=start), drawn(2, 2, 8, 6, seed=start + 1), torch.zeros(2, 8).long())
    return memory


def test_the_nearest_are_those_of_a_search_through_all():
    memory, queries = filled(), units(2, 2, 3, 6, seed=99)
    keys, values, there = memory.search(queries, top=5)
    assert bool(there.all())
    everything = memory.tensors()
    for row in range(2):
        for head in range(2):
            stored, kept = everything[f"keys/{row}"][head], everything[f"values/{row}"][head]
            best = (queries[row, head] @ stored.t()).topk(5, dim=1).indices
            assert torch.allclose(keys[row, head], stored[best])
            assert torch.allclose(values[row, head], kept[best])


def test_an_approximate_search_finds_most_of_them():
    exact, graph = filled(400), filled(400, exact=False)
    queries = units(2, 2, 20, 6, seed=99)
    one, other = (memory.search(queries, top=8)[0] for memory in (exact, graph))
    same = [
        len({tuple(key) for key in a.tolist()} & {tuple(key) for key in b.tolist()}) / 8
        for a, b in zip(one.flatten(0, 2), other.flatten(0, 2), strict=True)
    ]
    assert np.mean(same) > 0.9


@pytest.mark.parametrize("exact", [True, False])
def test_the_oldest_go_when_a_limit_is_reached(exact):
    memory, all_of_it = filled(limit=12, exact=exact), filled()
    assert [memory.size(row) for row in range(2)] == [12, 12]
    assert torch.equal(memory.tensors()["keys/1"], all_of_it.tensors()["keys/1"][:, -12:])
    keys, _, there = memory.search(memory.tensors()["keys/0"][:, :1].unsqueeze(0).expand(2, -1, -1, -1), top=1)
    assert bool(there.all())
    assert torch.allclose(keys[0, :, 0, 0], memory.tensors()["keys/0"][:, 0])


def test_a_graph_that_forgets_never_finds_what_went_and_finds_most_of_what_stayed():
    """Over many segments, so that it is made anew on the way."""
    exact, graph = (ExternalMemory(1, 2, 6, limit=50, exact=exact) for exact in (True, False))
    same = []
    for n in range(60):
        keys, values = units(1, 2, 7, 6, seed=n), drawn(1, 2, 7, 6, seed=1000 + n)
        for memory in (exact, graph):
            memory.add(keys, values, torch.zeros(1, 7).long())
        one, other = (memory.search(units(1, 2, 4, 6, seed=n + 500), top=5)[0] for memory in (exact, graph))
        held = {tuple(key) for key in exact.tensors()["keys/0"].flatten(0, 1).tolist()}
        assert all(tuple(key) in held for key in other.flatten(0, 3).tolist())
        same.append(float((one == other).all(-1).float().mean()))
    assert graph.size(0) == 50
    assert np.mean(same) > 0.9


def test_fewer_than_asked_for_are_marked_and_none_is_none():
    memory = ExternalMemory(1, 2, 6)
    assert not bool(memory.search(units(1, 2, 3, 6), top=4)[2].any())
    memory.add(units(1, 2, 3, 6), drawn(1, 2, 3, 6), torch.zeros(1, 3).long())
    assert memory.search(units(1, 2, 1, 6), top=4)[2].flatten().tolist() == [True, True, True, False] * 2


def test_a_new_document_drops_the_old_one_in_its_own_row():
    memory = filled()
    documents = torch.tensor([[0, 0, 0, 0], [0, 0, 7, 7]])
    memory.add(units(2, 2, 4, 6, seed=5), drawn(2, 2, 4, 6, seed=6), documents)
    assert [memory.size(row) for row in range(2)] == [44, 2]
    assert memory.documents == [0, 7]
    assert torch.equal(memory.tensors()["keys/1"], units(2, 2, 4, 6, seed=5)[1, :, 2:])
    memory.reset([0])
    assert [memory.size(row) for row in range(2)] == [0, 2]


def test_what_is_read_is_a_softmax_over_the_nearest_mixed_by_a_gate_a_head():
    torch.manual_seed(0)
    part, memory = Memorizing(2, top=3), filled()
    with torch.no_grad():
        part.gate.copy_(torch.tensor([0.5, -1.0]))
    everything = memory.tensors()
    local, query, key, value = (drawn(2, 2, 4, 6, seed=n) for n in range(20, 24))
    mixed = part(local, query, key, value, memory, torch.zeros(2, 4).long())
    for row in range(2):
        for head in range(2):
            scores = functional.normalize(query[row, head], dim=-1) @ everything[f"keys/{row}"][head].t()
            best = scores.topk(3, dim=1)
            weights = (best.values * part.sharpness[head].exp()).softmax(dim=1)
            read = torch.einsum("ik,ikd->id", weights, everything[f"values/{row}"][head][best.indices])
            gate = part.gate[head].sigmoid()
            assert torch.allclose(mixed[row, head], gate * read + (1 - gate) * local[row, head], atol=1e-5)
    assert (
        memory.size(0) == 44
    )  # the segment is stored after it was read, so that no token reads itself or what follows


def test_a_document_without_a_past_reads_nothing_and_the_gate_learns_from_what_is_read():
    part, memory = Memorizing(2, top=3), filled()
    local, query, key, value = (drawn(2, 2, 4, 6, seed=n) for n in range(4))
    documents = torch.tensor([[0, 0, 0, 0], [7, 7, 7, 7]])
    mixed = part(local, query, key, value, memory, documents)
    assert torch.equal(mixed[1], local[1])
    assert not torch.allclose(mixed[0], local[0], atol=1e-4)
    mixed.sum().backward()
    assert float(part.gate.grad.abs().sum()) > 0
    assert float(part.sharpness.grad.abs().sum()) > 0


@pytest.mark.parametrize("exact", [True, False])
def test_it_is_saved_and_goes_on(tmp_path, exact):
    memory = filled(exact=exact)
    memory.save(tmp_path / "memory.safetensors")
    again = ExternalMemory(2, 2, 6, exact=exact)
    again.load(tmp_path / "memory.safetensors")
    queries = units(2, 2, 3, 6, seed=50)
    for one, other in zip(memory.search(queries, top=4), again.search(queries, top=4), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="another model"):
        ExternalMemory(2, 2, 8).load(tmp_path / "memory.safetensors")
    (tmp_path / "memory.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="Begin the stream anew"):
        again.load(tmp_path / "memory.safetensors")


def model(**choices):
    torch.manual_seed(0)
    return TransformerXL(TransformerXLConfig(**{**SIZES, **choices})).eval()


def read(made, ids, external):
    state, found = None, []
    for part in ids.split(5, dim=1):
        hidden, state = made(part, state, None, external)
        found.append(hidden)
    return torch.cat(found, dim=1)


def test_memory_can_be_added_to_a_trained_model_and_reads_beyond_its_recurrence(tmp_path):
    plain = model()
    ids = torch.randint(0, 30, (2, 40), generator=torch.Generator().manual_seed(1))
    made = plain.with_external([1], retrieved=4)
    with torch.no_grad():
        assert_near(read(made, ids, ()), read(plain, ids, ()))
        nearly = read(made, ids, made.external(2))
        assert torch.allclose(nearly, read(plain, ids, ()), atol=0.2)  # the gate is nearly closed
        made.memorizing["1"].gate.fill_(2.0)
        changed = ids.clone()
        changed[:, :3] = (changed[:, :3] + 1) % 30
        far = read(made, ids, made.external(2))[:, -1] - read(made, changed, made.external(2))[:, -1]
        lost = read(plain, ids, ())[:, -1] - read(plain, changed, ())[:, -1]
    assert float(lost.abs().max()) < 1e-6  # 2 layers × 4 states of memory do not reach back 37 tokens
    assert float(far.abs().max()) > 1e-5
    made.save(tmp_path)
    assert TransformerXL.load(tmp_path).config.memorizing == (1,)


def test_after_a_reset_the_document_before_is_not_read_though_the_memory_holds_it():
    made = model(memorizing=(1,), retrieved=4)
    with torch.no_grad():
        made.memorizing["1"].gate.fill_(2.0)
    ids, external = torch.randint(0, 30, (2, 8), generator=torch.Generator().manual_seed(1)), made.external(2)
    with torch.no_grad():
        _, state = made(ids, None, None, external)
        mixed, _ = made(ids, state.reset([1]), None, external)
        fresh, _ = made(ids, None, None, made.external(2))
    assert torch.allclose(mixed[1], fresh[1], atol=1e-5)
    assert not torch.allclose(mixed[0], fresh[0], atol=1e-5)


@pytest.mark.parametrize(("held", "read"), [(1, 3), (2, 4), (4, 2), (3, 1)])
def test_an_external_memory_and_a_state_belong_to_their_streams(held, read):
    made = model(memorizing=(1,), retrieved=4)
    ids = torch.randint(0, 30, (4, 8), generator=torch.Generator().manual_seed(1))
    external = made.external(held)
    _, state = made(ids[:held], made.start(held), None, external)
    before = external[0].tensors()
    for state_of in (None, made.start(read)):
        with pytest.raises(InputError, match=f"belongs to {held} streams, and {read} are read"):
            made(ids[:read], state_of, None, external)
    with pytest.raises(InputError, match=f"state is of {held} streams"):
        made(ids[:read], state, None, made.external(read))
    with pytest.raises(InputError, match="shape"):
        made(ids[:held], state, torch.zeros(read, 8).long(), external)
    for name, tensor in external[0].tensors().items():
        assert torch.equal(tensor, before[name])
    for kind in (
        external[0].search,
        lambda queries, top: external[0].add(queries, queries, torch.zeros(read, 3).long()),
    ):
        with pytest.raises(InputError, match=f"belongs to {held} streams"):
            kind(units(read, 2, 3, 6), top=2)


def test_new_streams_do_not_read_what_others_left_unless_it_is_reset():
    made = model(memorizing=(1,), retrieved=4)
    with torch.no_grad():
        made.memorizing["1"].gate.fill_(2.0)
        ids = torch.randint(0, 30, (4, 8), generator=torch.Generator().manual_seed(1))
        external = made.external(2)
        made(ids[:2], None, None, external)
        for state in (None, made.start(2)):
            with pytest.raises(InputError, match=r"8 tokens of stream 0.*reset"):
                made(ids[2:], state, None, external)
        external[0].reset([0])
        with pytest.raises(InputError, match="8 tokens of stream 1"):
            made(ids[2:], None, None, external)
        external[0].reset([1])
        assert_near(made(ids[2:], None, None, external)[0], made(ids[2:], None, None, made.external(2))[0])
        # a document of another number is none of theirs: what is held of the one before is dropped
        other = torch.full((2, 8), 7)
        assert_near(made(ids[:2], None, other, external)[0], made(ids[:2], None, other, made.external(2))[0])


def test_memories_are_given_in_the_layers_order():
    made = model(memorizing=(0, 1), retrieved=4)
    ids = torch.randint(0, 30, (2, 8), generator=torch.Generator().manual_seed(1))
    with pytest.raises(InputError, match="layer 1's, and layer 0 reads it"):
        made(ids, None, None, made.external(2)[::-1])
    with pytest.raises(InputError, match="another model's"):
        made(ids, None, None, model(memorizing=(0, 1)).external(2))


def test_a_memory_of_another_model_or_layer_is_refused(tmp_path):
    made, file = model(memorizing=(0, 1)), tmp_path / "memory.safetensors"
    ids = torch.randint(0, 30, (2, 8), generator=torch.Generator().manual_seed(1))
    external = made.external(2)
    made(ids, None, None, external)
    external[1].save(file)
    made.external(2)[1].load(file)
    with pytest.raises(InputError, match="of layer 1, not 0"):
        made.external(2)[0].load(file)
    with pytest.raises(InputError, match="1 external memories, and 2 layers"):
        made(ids, None, None, external[:1])
    with torch.no_grad():
        made.u.add_(1)
    with pytest.raises(InputError, match="another model's weights"):
        made.external(2)[1].load(file)
    tensors = external[1].tensors()
    save_file(tensors, file)  # as it was written before
    made.external(2)[1].load(file)
    save_file({**tensors, "values/1": tensors["values/1"][:, :3].contiguous()}, file)
    with pytest.raises(InputError, match="another model"):
        made.external(2)[1].load(file)


def test_it_is_trained_with_the_model():
    made = model(memorizing=(1,), retrieved=4).train()
    external, state = made.external(2), None
    for n in range(3):
        ids = torch.randint(0, 30, (2, 6), generator=torch.Generator().manual_seed(n))
        losses, state = made.losses(ids, ids, state, None, external)
        losses.mean().backward()
    assert math.isfinite(float(losses.detach().sum()))
    assert float(made.memorizing["1"].gate.grad.abs().sum()) > 0
    assert external[0].size(0) == 18
