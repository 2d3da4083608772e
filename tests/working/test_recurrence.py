"""A stream of any length through a rotary decoder: what is kept is read as a fresh pass over it would read it."""

from contextlib import contextmanager

import pytest
import torch
from transformers import AutoModelForCausalLM

from memptm.errors import InputError
from memptm.working.recurrence import DecoderState, RecurrentDecoder, rotated
from tests.generation.tiny import causal, encoder_decoder


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
    assert torch.equal(rest, whole[:, 24:])
    (tmp_path / "state.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="Begin the stream anew"):
        DecoderState.load(tmp_path / "state.safetensors")
    with pytest.raises(InputError, match="2 streams"):
        decoder.read(words(batch=1), state)


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
