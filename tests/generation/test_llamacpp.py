"""llama.cpp behind the generator: texts found again by their beginnings, and the numbers of the same weights in torch."""

from __future__ import annotations

import math

import pytest
import torch

from memptm.errors import ExtraMissing, InputError, ModelMissing
from memptm.generation import llamacpp
from memptm.generation.generator import DEFAULT, Generator
from memptm.generation.llamacpp import Sequences, _common, _library
from memptm.generation.load import _gguf
from memptm.generation.rag import Rag
from memptm.generation.reader import scored
from memptm.models import resolve
from tests.generation.tiny import causal, passage

QUESTION = "When does the ferry leave?"
PASSAGES = [passage("The ferry leaves at nine.", 0), passage("The old mill stands by the river.", 1)]


def test_how_far_two_texts_are_alike():
    assert _common([], [1]) == 0
    assert _common([1, 2, 3], [1, 2, 3, 4]) == 3
    assert _common([1, 2, 9, 4], [1, 2, 3, 4]) == 2
    assert _common([5], [1]) == 0
    assert _common(list(range(100)), [*range(77), 0, *range(78, 100)]) == 77


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "llama_cpp", None)
    monkeypatch.setattr(llamacpp, "_library", _library.__wrapped__)
    with pytest.raises(ExtraMissing, match=r"memptm\[llamacpp\]"):
        Generator.load(DEFAULT, backend="llama.cpp")


def test_a_model_that_is_no_gguf_is_refused(tmp_path):
    with pytest.raises(ModelMissing, match="no GGUF"):
        Generator.load(str(causal(tmp_path)), backend="llama.cpp")


@pytest.fixture(scope="module")
def generator():
    pytest.importorskip("llama_cpp", reason="needs the extra llamacpp")
    return Generator.load(DEFAULT, backend="llama.cpp")


@pytest.fixture(scope="module")
def torch_generator():
    made = Generator.load(DEFAULT)
    made.language_model.model.float()
    return made


@pytest.fixture(autouse=True)
def _never_silent(request):
    if "generator" in request.fixturenames:
        request.getfixturevalue("generator").null_threshold = 2.0


def ids(count, seed=0):
    return torch.randint(100, 9000, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_any_order_of_calls_gives_the_same_numbers(generator):
    """Texts that branch, come back and share a beginning, against each computed alone in a fresh cache.

    Products are rounded otherwise by how many texts are computed at once, so that numbers are near, and those of another text far.
    """
    sequences = generator.language_model.sequences
    said = generator.writer.text_ids("The ferry leaves at nine in the morning, and the old mill stands by the river")
    other = generator.writer.text_ids("Kelp forests shelter otters, crabs and many kinds of fish")
    texts = [said, said[:10], [*said[:9], *other[:5]], [*said, *other[:1]], other, said, [*said, *other[:2]], said]
    together = sequences.log_p(texts, [2] * len(texts))
    for text, found in zip(texts, together, strict=True):
        again = sequences.log_p([text], [2])[0]
        sequences._forget()
        alone = sequences.log_p([text], [2])[0]
        likely = alone.topk(20, dim=1).indices
        for one in (found, again):
            assert float((one - alone).gather(1, likely).abs().max()) < 0.5
        assert torch.allclose(found.exp().sum(-1), torch.ones(2), atol=1e-4)
    assert float((together[0] - together[4]).gather(1, likely).abs().max()) > 2


def test_what_was_computed_is_not_computed_again(generator):
    sequences, model = generator.language_model.sequences, generator.language_model
    state = model.start([ids(50, seed=9)])
    before = sequences.computed
    model.extend(state, torch.tensor([[5]]))
    model.extend(state.copy(), torch.tensor([[6]]))
    assert sequences.computed == before + 2


def test_a_full_cache_is_emptied_and_the_text_read(generator):
    small = Sequences(_gguf(resolve(DEFAULT)), cells=256)
    for n in range(5):
        assert small.log_p([ids(200, seed=n)], [1])[0].isfinite().all()


def test_texts_that_do_not_fit_together_are_read_one_by_one(generator):
    small = Sequences(_gguf(resolve(DEFAULT)), cells=256)
    texts = [ids(200, seed=n) for n in range(3)]
    for text, found in zip(texts, small.log_p(texts, [1] * 3), strict=True):
        alone = small.log_p([text], [1])[0]
        assert float((found - alone).gather(1, alone.topk(20, dim=1).indices).abs().max()) < 0.5
    with pytest.raises(InputError, match="300 tokens is more than the 256"):
        small.log_p([ids(300)], [1])
    assert small.log_p(texts[:1], [1])[0].isfinite().all()


def test_a_gguf_that_is_damaged_is_refused(generator, tmp_path):
    whole = _gguf(resolve(DEFAULT)).read_bytes()
    for length in (0, 100, len(whole) // 2):
        (tmp_path / "model.gguf").write_bytes(whole[:length])
        with pytest.raises(ModelMissing, match=r"cannot be loaded by llama\.cpp"):
            Generator.load(str(tmp_path / "model.gguf"), backend="llama.cpp")


def test_its_prompt_and_likelihoods_are_those_of_torch(generator, torch_generator):
    rows = [(QUESTION, PASSAGES, "nine"), (QUESTION, [], "at nine"), ("Who?", PASSAGES[:1], None)]
    for question, read, _ in rows:
        assert generator.writer.write(question, read).ids == torch_generator.writer.write(question, read).ids
    ours = generator.log_likelihoods(*map(list, zip(*rows, strict=True)))
    assert all(math.isfinite(one) and one < 0 for one in ours)
    assert ours[0] > ours[1]  # the passage says it


def test_answers_are_written_and_scored(generator):
    said = generator.generate(QUESTION, PASSAGES)
    assert said.text
    assert math.log(said.probability) == pytest.approx(generator.log_likelihood(QUESTION, PASSAGES, said.text), abs=0.5)
    assert generator.generate_batch([QUESTION, "Who?"], [PASSAGES, []])[0].text == said.text


@pytest.mark.parametrize("kind", ["rag-sequence", "rag-token"])
def test_rag_sums_over_passages_with_it(generator, kind):
    made = Rag(generator, kind, beams=2).answer(QUESTION, scored(PASSAGES, [math.log(0.5)] * 2))
    assert 0 < made.probability <= 1
    assert sum(made.posterior) + made.null_posterior == pytest.approx(1, abs=1e-4)


def test_what_needs_weights_is_refused(generator):
    with pytest.raises(InputError, match="neither weights nor hidden states"):
        generator.language_model.model.parameters()
    with pytest.raises(InputError, match="hidden states"):
        generator.language_model.states([[1]])
    with pytest.raises(InputError, match="no streams"):
        generator.read("The ferry.")
