"""The two marginals of RAG against sums written out."""

import itertools

import pytest
import torch

from memptm.generation.marginal import log_posterior, sequence_log_likelihood, token_log_likelihood


@pytest.fixture
def scores():
    """Two questions, ten documents, answers of three tokens and of one."""
    torch.manual_seed(0)
    log_p = -4 * torch.rand(2, 10, 3, dtype=torch.float64)
    within = torch.tensor([[True, True, True], [True, False, False]])
    log_p = log_p.masked_fill(~within[:, None], 0.0).requires_grad_()
    score = torch.randn(2, 10, dtype=torch.float64, requires_grad=True)
    return log_p, within, score


def test_the_marginals_are_the_sums_written_out(scores):
    log_p, within, score = scores
    prior = score.softmax(1)
    for n, length in enumerate(within.sum(1).tolist()):
        sequence = sum(prior[n, z] * log_p[n, z, :length].exp().prod() for z in range(10))
        token = torch.stack([(prior[n] * log_p[n, :, i].exp()).sum() for i in range(length)]).prod()
        assert torch.isclose(sequence_log_likelihood(log_p, prior.log())[n], sequence.log())
        assert torch.isclose(token_log_likelihood(log_p, prior.log(), within)[n], token.log())


def test_the_gradient_by_a_documents_score_is_prior_minus_posterior(scores):
    log_p, _, score = scores
    log_prior = score.log_softmax(1)
    (-sequence_log_likelihood(log_p, log_prior)).sum().backward()
    expected = log_prior.exp() - log_posterior(log_p, log_prior).exp()
    assert torch.allclose(score.grad, expected)


def test_one_document_is_plain_conditional_likelihood(scores):
    log_p, within, _ = scores
    alone, prior = log_p[:, :1], torch.zeros(2, 1, dtype=torch.float64)
    plain = log_p[:, 0].sum(-1)
    assert torch.allclose(sequence_log_likelihood(alone, prior), plain)
    assert torch.allclose(token_log_likelihood(alone, prior, within), plain)


def test_for_answers_of_one_token_both_are_the_same_and_keep_the_prior(scores):
    log_p, within, score = scores
    sequence = sequence_log_likelihood(log_p, score.log_softmax(1))
    token = token_log_likelihood(log_p, score.log_softmax(1), within)
    assert torch.isclose(sequence[1], token[1])
    assert not torch.isclose(sequence[0], token[0])
    assert not torch.isclose(token[1], log_p[1, :, 0].logsumexp(0))


def test_both_are_distributions_over_all_answers():
    """Vocabulary of three with an end mark, at most two tokens: all answers together have probability 1."""
    torch.manual_seed(1)
    first = torch.randn(4, 3, dtype=torch.float64).log_softmax(-1)  # document, token
    second = torch.randn(4, 3, 3, dtype=torch.float64).log_softmax(-1)
    prior = torch.randn(1, 4, dtype=torch.float64).log_softmax(-1)
    totals = []
    for marginal in (sequence_log_likelihood, token_log_likelihood):
        total = 0.0
        for one, two in itertools.product(range(3), (None, 0, 1, 2)):
            if (one == 0) != (two is None):  # 0 ends
                continue
            log_p = torch.stack([first[:, one], torch.zeros(4) if two is None else second[:, one, two]], -1)[None]
            within = torch.tensor([[True, two is not None]])
            given = (log_p, prior, within)[: 2 + (marginal is token_log_likelihood)]
            total += float(marginal(*given).exp())
        totals.append(total)
    assert totals == pytest.approx([1, 1])
