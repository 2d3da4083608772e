"""What a retriever learns from: known passages, or how well a reader answers from each passage.

All take scores of documents z for a question x; p(z|x) is their softmax over the documents given. Losses are means over
questions, in nats.

Sources: marginal likelihood, Guu et al. 2020 (arXiv 2002.08909) and Lewis et al. 2020 (2005.11401); EMDR², Sachan et al.
2021 (2106.05346); perplexity distillation, Izacard et al. 2022 (2208.03299).
"""

from __future__ import annotations

import torch
from torch import Tensor


def contrast(scores: Tensor, right: Tensor, ignored: Tensor) -> Tensor:
    """−log of the share of p(z|x) that the right documents have.

    Args:
        scores: (n, documents). right: booleans of that shape, at least one a row.
        ignored: booleans: documents that may be right as well (false negatives); they are left out of the softmax.
    """
    scores = scores.masked_fill(ignored & ~right, -torch.inf)
    return (scores.logsumexp(dim=1) - scores.masked_fill(~right, -torch.inf).logsumexp(dim=1)).mean()


def marginal(log_prior: Tensor, log_likelihood: Tensor) -> Tensor:
    """−log Σ_z p(z|x) p(y|z,x): ∂/∂score(z) = p(z|x) − p(z|x,y).

    With gradients to ``log_likelihood`` it trains the reader too; without, it is EMDR²'s part for the retriever.

    Args:
        log_prior, log_likelihood: (n, k).
    """
    return -(log_prior + log_likelihood).logsumexp(dim=1).mean()


def perplexity_distillation(log_prior: Tensor, log_likelihood: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL from q(z) ∝ p(y|z,x)^(1/temperature) to p(z|x): ∂/∂score(z) = p(z|x) − q(z). The reader gets no gradient."""
    target = (log_likelihood.detach() / temperature).log_softmax(dim=1)
    return (target.exp() * (target - log_prior)).sum(dim=1).mean()
