"""Beam search whose next-token distribution may be a marginal over documents: RAG-Token's decoding, and, with one document,
the plain one. One beam is shared by all documents of a question; the cache's rows are (question, beam, document).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memptm.generation.decoding import DecodingState, Ids, LanguageModel


@dataclass(frozen=True)
class Hypothesis:
    """Token ids, the one that ends it included where there is one, and their log p."""

    ids: tuple[int, ...]
    log_p: float


Adjust = Callable[[Tensor], Tensor]


@torch.inference_mode()
def beam_search(
    language_model: LanguageModel,
    state: DecodingState,
    log_prior: Tensor,
    *,
    beams: int,
    stops: Tensor,
    longest: int,
    first: Adjust | None = None,
    ended: Callable[[Ids], bool] | None = None,
    tell: Callable[[Ids], None] | None = None,
) -> list[list[Hypothesis]]:
    """The most probable continuations of each question: Σ log p, not divided by length. One beam is greedy decoding.

    Args:
        state: after the prompts, rows (question, document). It must not be used again.
        log_prior: (n, k) log p(z | x); each token's distribution is the marginal log Σ_z exp(log p(z|x) + log p(·|z)).
        stops: ids that end a hypothesis.
        longest: tokens at most; what is not ended by then counts as it stands.
        first: changes the (n, v) log p of the first token.
        ended: whether ids end a hypothesis though their last is no stop.
        tell: given question 0's best ids after every step.
    Returns:
        For each question at most ``beams`` hypotheses, best first.
    """
    questions, documents = log_prior.shape
    done: list[list[Hypothesis]] = [[] for _ in range(questions)]
    live: list[list[Hypothesis]] = [[Hypothesis((), 0.0)] for _ in range(questions)]
    width = 1
    for n in range(longest):
        log_p = _marginal(state.log_p.view(questions, width, documents, -1), log_prior)
        if n == 0 and first is not None:
            log_p = first(log_p[:, 0]).unsqueeze(1)
        live, parents, tokens = _grow(live, log_p, done, beams=beams, stops=stops, ended=ended)
        if tell is not None and live[0]:
            tell(list(live[0][0].ids))
        if n == longest - 1 or all(map(_over, live, done, [beams] * questions)):
            break
        width = len(parents[0])
        rows = torch.tensor(parents, device=log_prior.device)  # (n, width), each a beam of the old state
        old = state.log_p.shape[0] // (questions * documents)
        base = torch.arange(questions, device=rows.device)[:, None] * old + rows
        index = (base[..., None] * documents + torch.arange(documents, device=rows.device)).flatten()
        following = torch.tensor(tokens, device=rows.device)[..., None].expand(-1, -1, documents).reshape(-1, 1)
        alike = len(index) == len(state.log_p)  # then each row keeps its question and document
        state, _ = language_model.extend(state.select(index, alike=alike), following)
    return [
        sorted([*ended, *(one for one in open_ if one.ids)], key=lambda one: -one.log_p)[:beams]
        for ended, open_ in zip(done, live, strict=True)
    ]


def _marginal(log_p: Tensor, log_prior: Tensor) -> Tensor:
    """(n, width, k, v), (n, k) → (n, width, v)."""
    return (log_prior[:, None, :, None] + log_p).logsumexp(dim=2)


def _grow(
    live: Sequence[Sequence[Hypothesis]],
    log_p: Tensor,
    done: list[list[Hypothesis]],
    *,
    beams: int,
    stops: Tensor,
    ended: Callable[[Ids], bool] | None,
) -> tuple[list[list[Hypothesis]], list[list[int]], list[list[int]]]:
    """One token more: the live hypotheses, and for each the beam it came from and its token. Ended ones go to ``done``.

    A hypothesis ends only if it is among the best ``beams``, so that one beam is greedy decoding. All questions get
    equally many rows: those with fewer live hypotheses repeat one that is of no account.
    """
    questions, width, vocabulary = log_p.shape
    counted = torch.full((questions, width), -torch.inf, device=log_p.device)
    for n, some in enumerate(live):
        counted[n, : len(some)] = torch.tensor([one.log_p for one in some])
    total = (counted[..., None] + log_p).flatten(1)
    best = total.topk(min(beams * (1 + len(stops) + (ended is not None)), total.shape[1]), dim=1)
    ends = set(stops.tolist())
    grown: list[list[Hypothesis]] = []
    parents: list[list[int]] = []
    tokens: list[list[int]] = []
    for n in range(questions):
        kept: list[Hypothesis] = []
        came: list[int] = []
        for rank, (value, place) in enumerate(zip(best.values[n].tolist(), best.indices[n].tolist(), strict=True)):
            if value == -torch.inf or len(kept) == beams:
                break
            beam, token = divmod(place, vocabulary)
            one = Hypothesis((*live[n][beam].ids, token), value)
            if token not in ends and not (ended is not None and ended(list(one.ids))):
                kept.append(one)
                came.append(beam)
            elif rank < beams:
                done[n].append(one)
        done[n] = sorted(done[n], key=lambda one: -one.log_p)[:beams]
        grown.append([] if _over(kept, done[n], beams) else kept)
        parents.append(came)
        tokens.append([one.ids[-1] for one in kept])
    widest = max(1, *map(len, grown))
    for n in range(questions):
        parents[n] = (parents[n][:widest] + [0] * widest)[:widest]
        tokens[n] = (tokens[n][:widest] + [0] * widest)[:widest]
    return grown, parents, tokens


def _over(live: Sequence[Hypothesis], done: Sequence[Hypothesis], beams: int) -> bool:
    """Whether nothing live can still enter the best ``beams``: log p only falls as tokens are added."""
    if not live:
        return True
    return len(done) >= beams and live[0].log_p <= done[-1].log_p
