"""A stream of any length through a rotary decoder: what is kept is read as a fresh pass over it would read it."""

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from memptm.errors import InputError
from memptm.working.nearest import Nearest
from memptm.working.recurrence import DecoderState, RecurrentDecoder
from memptm.working.rotary_window import rotated
from tests.generation.tiny import causal, encoder_decoder
from tests.naive import assert_near


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = causal(tmp_path_factory.mktemp("llama"))
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()


def words(batch=2, length=50, seed=0):
    return torch.randint(5, 300, (batch, length), generator=torch.Generator().manual_seed(seed))


def full(model, ids):
    """transformers' own pass over all at once."""
    with torch.no_grad():
        return model(ids).logits


def read(decoder, ids, sizes):
    state, found, at = None, [], 0
    for size in sizes:
        hidden, state = decoder.read(ids[:, at : at + size], state)
        found.append(hidden)
        at += size
    return torch.cat(found, dim=1), state


@pytest.mark.parametrize("sizes", [[50], [1] * 50, [3] * 16 + [2], [7, 20, 23]])  # F80
def test_while_the_memory_holds_all_it_is_the_models_own_full_pass(model, sizes):
    decoder = RecurrentDecoder(model, memory=64, segment=10)
    hidden, state = read(decoder, words(), sizes)
    assert torch.allclose(decoder.logits(hidden), full(model, words()), atol=1e-9)
    assert (len(state), state.read) == (50, 50)


@contextmanager
def after(layer):
    """What leaves the layer: its stream after attention, and what its feed-forward part adds."""
    into, added, made = [], [], []
    hooks = [
        layer.post_attention_layernorm.register_forward_pre_hook(lambda _, given: into.append(given[0])),
        layer.mlp.register_forward_hook(lambda _, __, out: added.append(out)),
    ]
    try:
        yield made
    finally:
        for hook in hooks:
            hook.remove()
        made += [one + other for one, other in zip(into, added, strict=True)]


def kept_places(total, memory, sinks):
    """Of a stream of ``total`` tokens."""
    return list(range(total)) if total <= memory else [*range(sinks), *range(total - (memory - sinks), total)]


@pytest.mark.parametrize("step", [1, 5])
@pytest.mark.parametrize(("memory", "sinks"), [(15, 4), (8, 0), (6, 6)])
def test_after_overflow_keys_stand_as_in_a_fresh_pass_over_what_is_kept(model, step, memory, sinks):  # F85
    """The first layer, whose keys depend on their token alone, against rotation from the start at 0 … w − 1."""
    decoder = RecurrentDecoder(model, memory=memory, sinks=sinks, segment=step)
    ids, state = words(batch=1), None
    layer, attention = model.model.layers[0], model.model.layers[0].self_attn
    for at in range(0, 50, step):
        before = kept_places(at, memory, sinks)
        part = ids[:, [*before, *range(at, at + step)]]
        with torch.no_grad():
            embedded = model.model.embed_tokens(part)
            cos, sin = model.model.rotary_emb(embedded, torch.arange(part.shape[1])[None])
            normed = layer.input_layernorm(embedded)
            query, key, value = (
                linear(normed).view(1, part.shape[1], -1, decoder.head_width).transpose(1, 2)
                for linear in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            query, key = rotated(query, cos, sin), rotated(key, cos, sin)
            groups = query.shape[1] // key.shape[1]
            scores = query @ key.repeat_interleave(groups, 1).transpose(-1, -2) / decoder.head_width**0.5
            future = torch.ones(part.shape[1], part.shape[1]).triu(1).bool()
            attended = scores.masked_fill(future, -torch.inf).softmax(-1) @ value.repeat_interleave(groups, 1)
            mixed = embedded + attention.o_proj(attended.transpose(1, 2).flatten(-2))
            expected = (mixed + layer.mlp(layer.post_attention_layernorm(mixed)))[:, -step:]
        with after(layer) as made:
            _, state = decoder.read(ids[:, at : at + step], state)
        assert torch.allclose(made[0], expected, atol=1e-9), at
        assert len(state) == min(at + step, memory)


def test_a_long_stream_takes_constant_memory(model):
    decoder = RecurrentDecoder(model, memory=32, sinks=2, segment=16)
    state, sizes = None, set()
    for n in range(40):
        _, state = decoder.read(words(length=100, seed=n), state)
        sizes.add(state.keys.numel())
    assert len(sizes) == 1
    assert (state.read, len(state)) == (4000, 32)


def test_losses_are_those_of_the_full_pass_and_go_on(model):
    decoder = RecurrentDecoder(model, memory=64, segment=9)
    ids = words()
    expected = -full(model, ids).float().log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
    losses, state = decoder.losses(ids)
    assert torch.allclose(losses, expected, atol=1e-5)
    first, state = decoder.losses(ids[:, :21])
    second, _ = decoder.losses(ids[:, 20:], state)
    assert torch.allclose(torch.cat([first, second], dim=1), expected, atol=1e-5)


def test_a_row_is_reset_on_its_own_and_keeps_sinks_of_its_new_document(model):
    decoder = RecurrentDecoder(model, memory=12, sinks=3, segment=5)
    before, after = words(length=30), words(length=40, seed=7)
    _, state = decoder.read(before)
    mixed, state = decoder.read(after, state.reset([1]))
    fresh, _ = decoder.read(after[1:])
    whole, _ = decoder.read(torch.cat([before, after], dim=1)[:1])
    assert torch.allclose(mixed[:1], whole[:, 30:], atol=1e-9)
    assert torch.allclose(mixed[1:], fresh, atol=1e-5)  # it stands elsewhere in the window, and angles are float32


def test_a_stream_goes_on_from_a_saved_state(model, tmp_path):
    decoder = RecurrentDecoder(model, memory=16, sinks=2, segment=8)
    whole, _ = read(decoder, words(), [24, 26])
    _, state = decoder.read(words()[:, :24])
    state.save(tmp_path / "state.safetensors")
    rest, _ = decoder.read(words()[:, 24:], DecoderState.load(tmp_path / "state.safetensors"))
    assert_near(rest, whole[:, 24:])
    (tmp_path / "state.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="Begin the stream anew"):
        DecoderState.load(tmp_path / "state.safetensors")
    with pytest.raises(InputError, match="2 streams"):
        decoder.read(words(batch=1), state)


def test_a_state_of_other_weights_is_refused_at_its_first_use(model, tmp_path):
    decoder, file = RecurrentDecoder(model, memory=16, segment=8), tmp_path / "state.safetensors"
    _, state = decoder.read(words())
    state.save(file)
    assert decoder.read(words(), DecoderState.load(file))[1].model == ""
    other = AutoModelForCausalLM.from_pretrained(causal(tmp_path / "other", seed=5), dtype=torch.float64)
    with pytest.raises(InputError, match="another model's weights"):
        RecurrentDecoder(other, memory=16, segment=8).read(words(), DecoderState.load(file))
    names = ("keys", "values", "documents", "read")
    save_file({name: state.tensors()[name] for name in names}, file)  # as it was written before
    assert_near(decoder.read(words(), DecoderState.load(file))[0], decoder.read(words(), state)[0])
    save_file({name: state.tensors()[name][:1] if name == "values" else state.tensors()[name] for name in names}, file)
    with pytest.raises(InputError, match="another kind of state"):
        DecoderState.load(file)


def test_a_state_comes_to_the_models_precision(model):
    decoder = RecurrentDecoder(model, memory=16, segment=8)
    _, state = decoder.read(words())
    assert decoder.read(words(), replace(state, keys=state.keys.float()))[1].keys.dtype == torch.float64


def test_gates_come_to_the_models_device(model):
    part = Nearest(model.config.num_attention_heads)
    RecurrentDecoder(deepcopy(model).to("meta"), memory=16, segment=8, nearest={1: part})
    assert part.gate.device.type == "meta"


@pytest.mark.parametrize("memory", [0, 12])
def test_every_reset_begins_another_document(model, memory, tmp_path):
    decoder, state, numbers = RecurrentDecoder(model, memory=memory, sinks=0, segment=5), None, []
    for _ in range(3):
        _, state = decoder.read(words(length=6), state)
        state.reset([1]).reset([1]).save(tmp_path / "state.safetensors")
        state = DecoderState.load(tmp_path / "state.safetensors")
        numbers.append(state.document().flatten().tolist())
    assert numbers == [[0, 2], [0, 4], [0, 6]]


def test_too_little_to_read_is_said(model):
    decoder = RecurrentDecoder(model, memory=16, segment=8)
    with pytest.raises(InputError, match="at least one token"):
        next(decoder.generate(words(length=0)))
    with pytest.raises(InputError, match="at least 2"):
        decoder.losses(words(length=1))
    one = with_nearest(model, 0.5, memory=10, segment=5)
    with pytest.raises(InputError, match="2 external memories, and 1 layers"):
        one.read(words(), None, one.external(2) * 2)


def test_generation_reads_each_token_once_and_equals_transformers(model):
    decoder = RecurrentDecoder(model, memory=64, segment=16)
    ids = words(length=20)
    written = torch.stack([token for token, _ in decoder.generate(ids, tokens=6)], dim=1)
    again = ids
    for _ in range(6):
        again = torch.cat([again, full(model, again)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(written, again[:, 20:])


def test_what_cannot_be_streamed_is_said(model, tmp_path):
    with pytest.raises(InputError, match="at most the 512"):
        RecurrentDecoder(model, memory=500, segment=100)
    with pytest.raises(InputError, match="sinks"):
        RecurrentDecoder(model, memory=4, sinks=5)
    from transformers import AutoModelForSeq2SeqLM

    other = AutoModelForSeq2SeqLM.from_pretrained(encoder_decoder(tmp_path))
    with pytest.raises(InputError, match="Llama family"):
        RecurrentDecoder(other)


def test_generation_goes_on_when_the_window_is_full(model):
    """What a segment's last token sees is what the same token sees that was read alone: the window is cut at its end."""
    decoder = RecurrentDecoder(model, memory=12, sinks=2, segment=6)
    ids = words(length=20)
    written = [token for token, _ in decoder.generate(ids, tokens=15)]
    hidden, state = decoder.read(ids)
    expected = []
    for n in range(15):
        if n % 6 == 0:
            part, opened = [], state
        token = decoder.logits(hidden[:, -1]).argmax(-1)
        expected.append(token)
        part.append(token)
        hidden, state = decoder.read(torch.stack(part, dim=1), opened)
    assert torch.equal(torch.stack(written), torch.stack(expected))


def test_a_copied_window_goes_its_own_way(model):
    decoder = RecurrentDecoder(model, memory=32, segment=16)
    _, state = decoder.read(words(length=20))
    with torch.no_grad():
        window = decoder.open(state, room=16)
        other = window.copy()
        decoder.advance(other, words(length=7, seed=3))
        ours = decoder.advance(window, words(length=5, seed=4))
        assert_near(ours, decoder.read(words(length=5, seed=4), state)[0])
    assert (window.length, other.length, window.room) == (25, 27, 11)


def with_nearest(model, share, **sizes):
    part = Nearest(model.config.num_attention_heads, top=3, share=share).to(torch.float64)
    return RecurrentDecoder(model, nearest={1: part}, **sizes)


def test_a_zero_gate_changes_nothing(model):
    plain, decoder = (with_nearest(model, 0.0, memory=10, sinks=2, segment=5) for _ in range(2))
    ids = words(length=60)
    assert_near(decoder.read(ids, None, decoder.external(2))[0], plain.read(ids)[0])


@pytest.mark.parametrize(("held", "read"), [(1, 3), (2, 4), (4, 2), (3, 1)])
def test_an_external_memory_and_a_state_belong_to_their_streams(model, held, read):
    decoder = with_nearest(model, 0.5, memory=10, sinks=2, segment=5)
    external = decoder.external(held)
    _, state = decoder.read(words(batch=held, length=20), None, external)
    before = external[0].tensors()
    for state_of in (None, decoder.start(read)):
        with pytest.raises(InputError, match=f"belongs to {held} streams, and {read} are read"):
            decoder.read(words(batch=read), state_of, external)
    with pytest.raises(InputError, match=f"state is of {held} streams"):
        decoder.read(words(batch=read), state, decoder.external(read))
    with pytest.raises(InputError, match=r"holds 10 tokens of stream 0.*reset"):
        decoder.read(words(batch=held), None, external)
    for name, tensor in external[0].tensors().items():
        assert torch.equal(tensor, before[name])
    external[0].reset(range(held))
    fresh = decoder.read(words(batch=held, length=20), None, decoder.external(held))[0]
    assert_near(decoder.read(words(batch=held, length=20), None, external)[0], fresh)


def test_what_leaves_the_window_is_stored_in_its_order_and_nothing_else(model):
    decoder = with_nearest(model, 0.5, memory=10, sinks=2, segment=5)
    external = decoder.external(2)
    whole = RecurrentDecoder(model, memory=60, segment=5)
    ids = words(length=17)
    _, kept = whole.read(ids[:, :10])
    _, state = decoder.read(ids[:, :10], None, external)
    assert external[0].size(0) == 0
    decoder.read(ids[:, 10:], state, external)
    assert [external[0].size(row) for row in range(2)] == [7, 7]
    stored = external[0].tensors()["keys/1"]
    assert torch.allclose(stored[:, :5].double(), kept.keys[1, 1][:, 2:7], atol=1e-5)  # behind the two sinks


def test_the_nearest_are_read_as_by_hand(model):
    """One step of the layer against all stored keys, scored at the memory's distance, the best three, a softmax, a share."""
    decoder = with_nearest(model, 0.3, memory=10, sinks=2, segment=5)
    external = decoder.external(1)
    decoder.read(words(batch=1, length=40), None, external)
    part, memory = decoder.nearest[1], external[0]
    torch.manual_seed(0)
    local, query = torch.randn(2, 1, 4, 5, decoder.head_width, dtype=torch.float64)
    mixed = part(local, query, memory, torch.zeros(1, 5).long())
    tensors = memory.tensors()
    for head in range(4):
        keys, values = (tensors[f"{name}/0"][head // 2].double() for name in ("keys", "values"))
        best = (query[0, head] @ keys.t()).topk(3, dim=1)
        read = (best.values / decoder.head_width**0.5).softmax(1).unsqueeze(1) @ values[best.indices]
        assert torch.allclose(mixed[0, head], 0.3 * read.squeeze(1) + 0.7 * local[0, head], atol=1e-5)
    assert torch.equal(part(local, query, memory, torch.ones(1, 5).long()), local)  # of another document


def test_what_is_far_beyond_the_window_is_read_again(model):
    decoder = with_nearest(model, 0.5, memory=8, sinks=0, segment=4)
    ids = words(batch=1, length=60)
    changed = ids.clone()
    changed[:, :4] += 1
    ends = [decoder.read(one, None, decoder.external(1))[0][:, -1] for one in (ids, changed)]
    lost = [decoder.read(one)[0][:, -1] for one in (ids, changed)]
    assert float((lost[0] - lost[1]).abs().max()) == 0
    assert float((ends[0] - ends[1]).abs().max()) > 0


def test_a_state_that_does_not_fit_is_said(model):
    large, small = (RecurrentDecoder(model, memory=size, segment=4) for size in (40, 10))
    _, state = large.read(words())
    with pytest.raises(InputError, match="more than the memory's 10"):
        small.read(words(), state)
    other = replace(state, keys=state.keys[:1], values=state.values[:1])
    with pytest.raises(InputError, match="Load the model that made it"):
        large.read(words(), other)
    with pytest.raises(InputError, match="layers 0 to 1"):
        RecurrentDecoder(model, memory=40, segment=4, nearest={5: Nearest(4)})
