"""What System 1 of a cognitive graph learns from: where a page leads, and which of its sentences are supporting facts.

Source: CogQA (Ding et al. 2019, arXiv 1905.05460), section 3.2; the sentences are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def hop_loss(start: Tensor, end: Tensor, gold: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
    """−log p of the right pointers, the mean over the batch; a page that leads nowhere points at [CLS].

    Args:
        start, end: (batch, tokens) logits.
        gold: token spans (first, last) of each row.
    Source: the pointers' softmax of CogQA; with several right spans their probabilities are summed.
    """
    losses = []
    for n, spans in enumerate(gold):
        for logits, places in ((start[n], [first for first, _ in spans]), (end[n], [last for _, last in spans])):
            right = torch.tensor(sorted(set(places)) or [0], device=logits.device)
            losses.append(logits.logsumexp(0) - logits[right].logsumexp(0))
    return torch.stack(losses).mean() * 2


def support_loss(scores: Sequence[Tensor], gold: Sequence[Sequence[bool]]) -> Tensor:
    """Binary cross-entropy over all sentences that stand in their window.

    Args:
        scores: (sentences,) logits of a page, as ``sentence_support`` gives them.
        gold: of each page, which sentences are supporting facts.
    """
    flat = torch.cat(list(scores))
    wanted = torch.tensor([float(one) for page in gold for one in page])
    seen = torch.isfinite(flat)
    return functional.binary_cross_entropy_with_logits(flat[seen], wanted[seen]) if seen.any() else flat.sum() * 0
