"""Naive references in float64: plain loops that anyone can check by eye."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def span_probabilities(
    odds: Sequence[Mapping[tuple[int, int], float]], prior: Sequence[float], *, bias: float
) -> tuple[dict[tuple[int, int, int], float], float]:
    """p(z, span | x) of every (passage, start, end), and p(null | x), by enumeration.

    ``odds``: a passage's spans with their odds against the null answer. ``prior``: p(z | x).
    """
    weights = {
        (z, *span): len(prior) * prior[z] * math.exp(bias) * o
        for z, group in enumerate(odds)
        for span, o in group.items()
    }
    total = 1.0 + sum(weights.values())
    return {place: weight / total for place, weight in weights.items()}, 1.0 / total
