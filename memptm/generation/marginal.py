"""RAG's two marginals over documents, and the posterior that cites them.

Source: Lewis et al. 2020 (arXiv 2005.11401), section 2.1. n questions, k documents each, t tokens; natural logs throughout.
The prior takes part in every token, the first and only one too (a one-token answer loses it in the common port).
"""

from __future__ import annotations

from torch import Tensor


def sequence_log_likelihood(log_p: Tensor, log_prior: Tensor) -> Tensor:
    """RAG-Sequence: log Σ_z exp(log p(z|x) + Σ_i log p(y_i | x, z, y_<i)).

    Args:
        log_p: (n, k, t) of each target token under each document, 0 past the target's end.
        log_prior: (n, k).
    Returns:
        (n,)
    """
    return (log_prior + log_p.sum(dim=-1)).logsumexp(dim=-1)


def token_log_likelihood(log_p: Tensor, log_prior: Tensor, within: Tensor) -> Tensor:
    """RAG-Token: Σ_i log Σ_z exp(log p(z|x) + log p(y_i | x, z, y_<i)).

    Args:
        log_p, log_prior: as for RAG-Sequence.
        within: (n, t) booleans, False past the target's end.
    Returns:
        (n,)
    """
    marginal = (log_prior.unsqueeze(-1) + log_p).logsumexp(dim=1)
    return marginal.masked_fill(~within, 0.0).sum(dim=-1)


def log_posterior(log_p: Tensor, log_prior: Tensor) -> Tensor:
    """(n, k) log p(z | x, y) ∝ p(z|x) · p(y|x,z). The loss's gradient by a document's score is prior − posterior."""
    return (log_prior + log_p.sum(dim=-1)).log_softmax(dim=-1)
