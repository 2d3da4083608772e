"""Naive references in float64, plain loops that anyone can check by eye; and what counts as the same number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import psutil
import pytest
import torch


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


def assert_near(one: Any, other: Any) -> None:
    """The same but for rounding: kernels round differently by processor, shape, alignment and number of threads.

    Tensors and arrays are held to torch's tolerance for their dtype (float32: 1e-5), other floats to one part in a
    thousand, all else exactly; mappings, sequences and dataclasses are gone through.
    """
    if isinstance(one, (torch.Tensor, np.ndarray)):
        torch.testing.assert_close(one, other, equal_nan=True)
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-5, nan_ok=True)
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys()
        for name in one:
            assert_near(one[name], other[name])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_near(a, b)
    elif is_dataclass(one):
        assert type(one) is type(other)
        assert_near(vars(one), vars(other))
    else:
        assert one == other


def resident_kib() -> int:
    """Memory of this process that is in RAM now; its peak (``ru_maxrss``) says nothing where a test before took more."""
    return int(psutil.Process().memory_info().rss) // 1024
