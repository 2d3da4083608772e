"""Personalised PageRank: which nodes of a graph the question's own nodes lead to. It needs no training.

NetworkX has it too, and a test holds this one to it; but NetworkX's loads SciPy, which nothing else on the
way to an answer does: about a second before the first one.

Source: Brin and Page 1998; Haveliwala 2002 for the personalised form; HippoRAG (arXiv 2405.14831) for its use in retrieval.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

DAMPING = 0.85
ENOUGH = 1e-12  # change of all scores together at which it stops
ROUNDS = 1000


def pagerank(
    edges: Mapping[tuple[int, int], float], start: NDArray[np.float64], *, damping: float = DAMPING
) -> NDArray[np.float64]:
    """The stationary distribution of a walk that follows edges, and with probability 1 − ``damping`` begins anew.

    Args:
        edges: (source, target) → weight, at least 0.
        start: (nodes,) how likely the walk begins at each, at least 0 and of any scale; all zeros: anywhere. A node
            without edges leads there, too.
        damping: the probability of following an edge rather than beginning anew.
    Returns:
        (nodes,) float64, their sum is 1; empty for no nodes.
    Raises:
        ValueError: a weight below 0, or an edge to a node that is not there.
    """
    count = len(start)
    if any(weight < 0 for weight in edges.values()) or (start < 0).any():
        raise ValueError("PageRank takes weights of at least 0.")
    if any(not (0 <= source < count and 0 <= target < count) for source, target in edges):
        raise ValueError(f"PageRank was given an edge that leaves its {count} nodes.")
    if not count:
        return np.zeros(0)
    total = start.sum()
    begin = start / total if total > 0 else np.full(count, 1 / count)
    sources = np.array([source for source, _ in edges], np.int64)
    targets = np.array([target for _, target in edges], np.int64)
    weights = np.array(list(edges.values()), np.float64)
    leaving = np.bincount(sources, weights, count) if len(edges) else np.zeros(count)
    ends = leaving == 0
    share = weights / np.where(ends, 1.0, leaving)[sources] if len(edges) else weights
    scores = begin.copy()
    for _ in range(ROUNDS):
        carried = np.bincount(targets, share * scores[sources], count) if len(edges) else np.zeros(count)
        moved = damping * (carried + scores[ends].sum() * begin) + (1 - damping) * begin
        change = float(np.abs(moved - scores).sum())
        scores = moved
        if change < ENOUGH:
            break
    return scores
