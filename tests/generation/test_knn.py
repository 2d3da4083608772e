"""kNN-LM against its formula, token by token; what is read once is read whole; what a gate is fitted to gets likelier."""

import math

import numpy as np
import pytest
import torch

from memptm import Document, Memory
from memptm.errors import InputError
from memptm.generation.knn import (
    WINDOW,
    Gate,
    Neighbours,
    Surprise,
    _windows,
    attach,
    build_tokens,
    fit_gate,
    read_states,
    surprise,
)
from memptm.memory.tokens import TokenStore
from memptm.working.state_files import fingerprint
from tests.generation.tiny import causal, encoder_decoder, loaded, passage
from tests.naive import assert_near

TEXTS = ["Ada keeps the mill .", "Ben keeps the tower .", "Ada keeps the ferry in the harbour ."]


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return loaded(causal(tmp_path_factory.mktemp("causal")))


@pytest.fixture(scope="module")
def ids(generator):
    return [generator.writer.text_ids(text) for text in TEXTS]


@pytest.fixture(scope="module")
def store(generator, ids):
    return TokenStore.build(
        ((states, followed) for states, followed, _ in read_states(generator.language_model, ids)),
        model=generator.name,
        fingerprint=fingerprint(generator.language_model.model),
        dimension=8,
    )


def test_every_token_but_the_first_comes_once_with_its_probability(generator, ids):
    read = list(read_states(generator.language_model, ids))
    assert [followed.tolist() for _, followed, _ in read] == [one[1:] for one in ids]
    for one, (_, _, log_p) in zip(ids, read, strict=True):
        alone = generator.language_model.token_scores([one[:1]], [one[1:]])[0]
        assert torch.from_numpy(log_p).tolist() == pytest.approx(alone.tolist(), abs=1e-4)


@pytest.mark.parametrize("length", [0, 1, 2, WINDOW, WINDOW + 1, 3 * WINDOW + 7])
def test_windows_hold_every_token_once_as_new_and_half_a_window_before_it(length):
    text = list(range(length))
    fresh = [one for window, new in _windows(text) for one in window[-new:]]
    assert fresh == text[1:]
    later = [(window, new) for window, new in _windows(text)][1:]
    assert all(len(window) - new == WINDOW // 2 and len(window) <= WINDOW for window, new in later)


def test_the_mixture_is_the_papers_formula(generator, ids, store):
    gate = Gate(bias=-1.0, slope=-0.7, temperature=0.3)
    neighbours = Neighbours(store, generator, gate=gate, k=6)
    states, log_p = generator.language_model.states([ids[2]])
    mixed = neighbours.mix(states, log_p)[0, 3]
    tokens, distances = store.search(states[0, 3:4].numpy(), k=6)
    weights = [math.exp(-d / 0.3) for d in distances[0]]
    share = 1 / (1 + math.exp(1.0 + 0.7 * distances[0, 0]))
    for token in {*tokens[0].tolist(), 1, 2}:
        near = sum(w for w, t in zip(weights, tokens[0], strict=True) if t == token) / sum(weights)
        by_hand = share * near + (1 - share) * math.exp(log_p[0, 3, token])
        assert math.exp(mixed[token]) == pytest.approx(by_hand, rel=1e-4)
    assert float(mixed.exp().sum()) == pytest.approx(1, abs=1e-4)


def test_a_share_of_nothing_is_the_model_and_one_of_all_still_sums_to_one(generator, ids, store):  # F79
    states, log_p = generator.language_model.states([ids[0]])
    off = Neighbours(store, generator, gate=Gate(bias=-math.inf)).mix(states, log_p)
    assert_near(off, log_p)
    full = Neighbours(store, generator, gate=Gate(bias=math.inf)).mix(states, log_p)
    torch.testing.assert_close(full.exp().sum(-1), torch.ones(full.shape[:-1]))


def test_a_store_of_a_model_of_the_same_width_is_refused(generator, store, tmp_path):  # F79
    other = loaded(causal(tmp_path, seed=1))
    other.name = generator.name
    with pytest.raises(InputError, match="as it is"):
        Neighbours(store, other)
    assert fingerprint(other.language_model.model) != store.about.fingerprint


def test_a_text_that_was_stored_is_less_of_a_surprise(generator, ids, store):
    read = surprise(Neighbours(store, generator, k=4), generator.language_model, ids)
    assert float(read.log_p(Gate(bias=2.0)).mean()) > float(read.model.mean()) + 1


def test_the_surprise_of_each_token_is_the_mixtures(generator, ids, store):
    neighbours = Neighbours(store, generator, k=4)
    states, log_p = generator.language_model.states([ids[1]])
    mixed = neighbours.mix(states, log_p)[0, :-1].gather(1, torch.tensor(ids[1][1:])[:, None])[:, 0]
    read = surprise(neighbours, generator.language_model, [ids[1]])
    assert read.log_p(neighbours.gate).tolist() == pytest.approx(mixed.tolist(), abs=1e-3)


def test_a_fitted_gate_trusts_near_neighbours_and_beats_a_constant():
    chance = torch.Generator().manual_seed(0)
    distances = torch.rand(4000, 4, generator=chance).sort(dim=1).values
    right = torch.rand(4000, generator=chance) > distances[:, 0] * 3  # the nearer, the likelier to be right
    read = Surprise(model=torch.full((4000,), math.log(0.2)), distances=distances, hits=right[:, None].expand(-1, 4))
    gate, constant = fit_gate(read), fit_gate(read, constant=True)
    assert gate.slope < 0
    assert constant.slope == 0
    means = [float(read.log_p(one).mean()) for one in (gate, constant, Gate(bias=-math.inf))]
    assert means == sorted(means, reverse=True)


def test_a_generator_writes_with_the_datastore_of_its_index_and_refuses_anothers(generator, tmp_path):
    memory = Memory.open(tmp_path / "index", create=True)
    memory.add([Document(text=text) for text in TEXTS])
    result = build_tokens(memory, generator, tmp_path / "tokens")
    assert result["passages"] == 3
    assert result["tokens"] == sum(len(generator.writer.text_ids(text)) - 1 for text in TEXTS)
    before = generator.log_likelihood("Who?", [passage(TEXTS[0])], "Ada")
    try:
        assert attach(generator, tmp_path / "tokens", memory) == ""
        after = generator.log_likelihood("Who?", [passage(TEXTS[0])], "Ada")
        generator.generate("Who?", [passage(TEXTS[0])])
        memory.add([Document(text="Cas keeps the bridge.")])
        assert "has changed since" in attach(generator, tmp_path / "tokens", memory)
        other_index = Memory.open(tmp_path / "other", create=True, encoder=memory.encoder)
        assert "another index" in attach(generator, tmp_path / "tokens", other_index)
    finally:
        generator.language_model.mix = None
    assert after != pytest.approx(before, abs=1e-6)
    other = TokenStore.build(
        [(np.ones((3, 4), np.float32), np.arange(3, dtype=np.int32))], model="another", fingerprint="f"
    )
    with pytest.raises(InputError, match="another"):
        Neighbours(other, generator)


def test_an_encoder_decoder_is_refused(tmp_path):
    with pytest.raises(InputError, match="causal"):
        next(read_states(loaded(encoder_decoder(tmp_path)).language_model, [[5, 6, 7]]))
