"""A retriever's losses: SEEDS.md §5's identities on a ten-document corpus, against explicit enumeration in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memptm.training.losses.retriever import contrast, marginal, perplexity_distillation

DOCUMENTS = 10


def corpus(seed=0, questions=3, documents=DOCUMENTS):
    """Scores (requiring gradients) and log p(y|z,x) of each question and document."""
    torch.manual_seed(seed)
    scores = torch.randn(questions, documents, dtype=torch.float64, requires_grad=True)
    return scores, -5 * torch.rand(questions, documents, dtype=torch.float64)


def enumerated(scores, log_likelihood):
    """−log Σ_z p(z|x) p(y|z,x), a document at a time."""
    losses = []
    for row, likelihood in zip(scores, log_likelihood, strict=True):
        total = sum(math.exp(score.item()) for score in row)
        losses.append(
            -math.log(
                sum(math.exp(s.item()) / total * math.exp(p.item()) for s, p in zip(row, likelihood, strict=True))
            )
        )
    return sum(losses) / len(losses)


@given(seed=st.integers(0, 10_000), documents=st.integers(1, 12))
def test_the_marginal_is_the_sum_over_documents(seed, documents):
    scores, likelihood = corpus(seed, documents=documents)
    assert marginal(scores.log_softmax(1), likelihood).item() == pytest.approx(
        enumerated(scores, likelihood), abs=1e-12
    )


def test_the_gradient_at_a_score_is_prior_minus_posterior():
    scores, likelihood = corpus()
    marginal(scores.log_softmax(1), likelihood).backward()
    prior = scores.detach().softmax(1)
    posterior = (prior.log() + likelihood).softmax(1)
    torch.testing.assert_close(scores.grad, (prior - posterior) / len(scores))


def test_with_one_document_the_loss_is_the_plain_conditional_likelihood():
    scores, likelihood = corpus(documents=1)
    loss = marginal(scores.log_softmax(1), likelihood)
    loss.backward()
    assert loss.item() == pytest.approx(-likelihood.mean().item())
    assert torch.equal(scores.grad, torch.zeros_like(scores))


def test_the_reader_learns_from_the_marginal_by_the_posterior():
    scores, likelihood = corpus()
    likelihood.requires_grad_()
    marginal(scores.log_softmax(1), likelihood).backward()
    posterior = (scores.detach().log_softmax(1) + likelihood.detach()).softmax(1)
    torch.testing.assert_close(likelihood.grad, -posterior / len(scores))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_distillation_pulls_the_prior_to_the_readers_softmax_and_leaves_the_reader(temperature):
    scores, likelihood = corpus()
    likelihood.requires_grad_()
    loss = perplexity_distillation(scores.log_softmax(1), likelihood, temperature=temperature)
    loss.backward()
    target = (likelihood.detach() / temperature).softmax(1)
    torch.testing.assert_close(scores.grad, (scores.detach().softmax(1) - target) / len(scores))
    assert likelihood.grad is None
    assert perplexity_distillation(target.log(), likelihood, temperature=temperature).item() == pytest.approx(
        0, abs=1e-12
    )


def test_a_false_negative_gets_no_gradient_and_a_right_passage_counts_even_if_it_is_doubted():
    scores, _ = corpus()
    right = torch.zeros(3, DOCUMENTS, dtype=torch.bool)
    right[:, 0] = right[1, 4] = True
    doubtful = torch.zeros_like(right)
    doubtful[:, :3] = True
    loss = contrast(scores, right, doubtful)
    loss.backward()
    kept = [[n for n in range(DOCUMENTS) if n not in (1, 2)]] * 3
    by_hand = [
        torch.logsumexp(row[keep], 0) - torch.logsumexp(row[mask], 0)
        for row, keep, mask in zip(scores.detach(), kept, right, strict=True)
    ]
    assert loss.item() == pytest.approx(sum(by_hand).item() / 3)
    assert torch.equal(scores.grad[:, 1:3], torch.zeros(3, 2, dtype=torch.float64))
    assert (scores.grad[:, 0] < 0).all()
    assert (scores.grad[:, 5:] > 0).all()
