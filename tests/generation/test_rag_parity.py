"""Our marginals equal those of transformers' RAG classes, but for answers of one token, where theirs lose the prior."""

import pytest
import torch
from transformers import (
    DPRConfig,
    DPRQuestionEncoder,
    RagConfig,
    RagSequenceForGeneration,
    RagTokenForGeneration,
    T5Config,
    T5ForConditionalGeneration,
)  # fmt: skip

from memptm.generation.decoding import LanguageModel
from memptm.generation.marginal import sequence_log_likelihood, token_log_likelihood

QUESTIONS, DOCUMENTS, START, VOCABULARY = 2, 3, 2, 23
PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 3], [12, 4], [5, 8, 12, 13], [4, 4, 9, 9, 9, 21], [20]]
DTYPE = torch.float64


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    encoder = DPRQuestionEncoder(
        DPRConfig(vocab_size=VOCABULARY, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    )
    config = T5Config(
        vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=START,
        pad_token_id=0, eos_token_id=1, bos_token_id=22, initializer_factor=3.0, tie_word_embeddings=False,
    )  # fmt: skip
    return encoder.to(DTYPE), T5ForConditionalGeneration(config).to(DTYPE).eval()


def theirs(kind, parts, answers, scores):
    """log p(y | x) of each question by transformers."""
    encoder, generator = parts
    config = RagConfig.from_question_encoder_generator_configs(
        encoder.config, generator.config, n_docs=DOCUMENTS, vocab_size=VOCABULARY
    )
    model = kind(config=config, question_encoder=encoder, generator=generator).eval()
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in PROMPTS])
    longest = max(map(len, answers))
    labels = torch.tensor([[START, *answer, *[0] * (longest - len(answer))] for answer in answers])
    with torch.inference_mode():
        output = model(
            context_input_ids=ids, context_attention_mask=(ids != 0).long(), doc_scores=scores, labels=labels,
            decoder_input_ids=labels, reduce_loss=False, n_docs=DOCUMENTS,
        )  # fmt: skip
    return -output.loss


def ours(token, parts, answers, scores):
    model = LanguageModel(parts[1], pad=0)
    repeated = [answer for answer in answers for _ in range(DOCUMENTS)]
    with torch.inference_mode():
        log_p = model.token_scores(PROMPTS, repeated).view(QUESTIONS, DOCUMENTS, -1)
    prior = scores.log_softmax(1)
    if not token:
        return sequence_log_likelihood(log_p, prior)
    within = torch.tensor([[n < len(answer) for n in range(log_p.shape[2])] for answer in answers])
    return token_log_likelihood(log_p, prior, within)


@pytest.fixture
def scores():
    torch.manual_seed(1)
    return 2 * torch.randn(QUESTIONS, DOCUMENTS, dtype=DTYPE)


@pytest.mark.parametrize("answers", [[[7, 9, 1], [14, 1]], [[3, 1], [4, 1]], [[9, 8, 7, 6, 1], [5, 5, 5, 1]]])
def test_from_two_tokens_on_both_marginals_are_theirs(parts, scores, answers):
    for token, kind in ((False, RagSequenceForGeneration), (True, RagTokenForGeneration)):
        expected = theirs(kind, parts, answers, scores).view(-1)
        assert torch.allclose(ours(token, parts, answers, scores), expected, atol=1e-5), kind


def test_with_one_token_theirs_loses_the_prior_and_ours_keeps_it(parts, scores):
    answers = [[7], [9]]
    expected = theirs(RagSequenceForGeneration, parts, answers, scores).view(-1)
    no_prior = torch.zeros_like(scores)
    without = ours(False, parts, answers, no_prior) + torch.log(torch.tensor(float(DOCUMENTS)))
    assert torch.allclose(expected, without, atol=1e-5)
    assert not torch.allclose(ours(False, parts, answers, scores), expected, atol=1e-2)
