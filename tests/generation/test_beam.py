"""Beam search over a marginal of documents equals a naive one without cache, and enumeration where nothing is pruned."""

import itertools
import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from memptm.generation.beam import beam_search
from memptm.generation.decoding import LanguageModel

VOCABULARY, LONGEST, END = 5, 3, 1
STOPS = torch.tensor([END])


@pytest.fixture(scope="module")
def causal():
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, initializer_range=0.8,
    )  # fmt: skip
    return LanguageModel(LlamaForCausalLM(config).double(), pad=0)


@pytest.fixture(scope="module")
def encoder_decoder():
    torch.manual_seed(4)
    config = T5Config(
        vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0,
        pad_token_id=0, initializer_factor=3.0,
    )  # fmt: skip
    return LanguageModel(T5ForConditionalGeneration(config).double(), pad=0)


@pytest.fixture(params=["causal", "encoder_decoder"])
def model(request):
    return request.getfixturevalue(request.param)


def prompts_for(questions, documents):
    """Prompts of unequal lengths, and a prior, for each question."""
    torch.manual_seed(questions * 10 + documents)
    prompts = [torch.randint(2, VOCABULARY, (3 + 2 * n % 7,)).tolist() for n in range(questions * documents)]
    return prompts, torch.randn(questions, documents).log_softmax(1)


@torch.inference_mode()
def log_p(model, prompts, log_prior, ids):
    """log p of a continuation, each token marginalised over the documents, nothing cached."""
    total = 0.0
    scores = torch.stack([model.token_scores([prompt], [list(ids)])[0] for prompt in prompts])
    for n in range(len(ids)):
        total += float((log_prior + scores[:, n]).logsumexp(0))
    return total


def naive(model, prompts, log_prior, beams):
    live, done = [((), 0.0)], []
    for _ in range(LONGEST):
        grown = [((*ids, t), log_p(model, prompts, log_prior, (*ids, t))) for ids, _ in live for t in range(VOCABULARY)]
        grown.sort(key=lambda one: -one[1])
        done += [one for one in grown[:beams] if one[0][-1] == END]
        done = sorted(done, key=lambda one: -one[1])[:beams]
        live = [one for one in grown if one[0][-1] != END][:beams]
        if len(done) == beams and live[0][1] <= done[-1][1]:
            live = []
            break
    return sorted(done + live, key=lambda one: -one[1])[:beams]


@pytest.mark.parametrize("beams", [1, 2, 3, 4])
@pytest.mark.parametrize(("questions", "documents"), [(1, 1), (1, 5), (2, 3), (3, 2)])
def test_it_equals_a_naive_search_without_cache(model, questions, documents, beams):  # F77
    prompts, prior = prompts_for(questions, documents)
    found = beam_search(model, model.start(prompts), prior, beams=beams, stops=STOPS, longest=LONGEST)
    for n in range(questions):
        expected = naive(model, prompts[n * documents : (n + 1) * documents], prior[n], beams)
        assert [one.ids for one in found[n]] == [ids for ids, _ in expected]
        assert [one.log_p for one in found[n]] == pytest.approx([p for _, p in expected], abs=1e-4)


def test_with_beams_for_everything_it_is_enumeration_and_sums_to_one(model):
    prompts, prior = prompts_for(1, 3)
    found = beam_search(model, model.start(prompts), prior, beams=VOCABULARY**LONGEST, stops=STOPS, longest=LONGEST)[0]
    others = [t for t in range(VOCABULARY) if t != END]
    answers = [(*body, END) for length in range(LONGEST) for body in itertools.product(others, repeat=length)]
    answers += list(itertools.product(others, repeat=LONGEST))
    assert {one.ids for one in found} == set(answers)
    assert sum(math.exp(one.log_p) for one in found) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_what_else_ends_a_hypothesis_ends_it_as_a_stop_does(causal, beams):
    prompts, prior = prompts_for(2, 2)
    common = {"beams": beams, "longest": LONGEST}
    by_stop = beam_search(causal, causal.start(prompts), prior, stops=STOPS, **common)
    nothing = torch.tensor([], dtype=torch.long)
    by_look = beam_search(
        causal, causal.start(prompts), prior, stops=nothing, ended=lambda ids: ids[-1] == END, **common
    )
    assert [[one.ids for one in some] for some in by_look] == [[one.ids for one in some] for some in by_stop]


def test_every_step_of_a_search_is_told(causal):
    prompts, prior = prompts_for(1, 2)
    seen = []
    nothing = torch.tensor([], dtype=torch.long)
    beam_search(causal, causal.start(prompts), prior, beams=1, stops=nothing, longest=4, tell=seen.append)
    assert [len(ids) for ids in seen] == [1, 2, 3, 4]
