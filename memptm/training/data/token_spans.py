"""Which tokens of a window stand for spans of characters: of answers, and of names a page leads to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from memptm.generation.windows import ReaderWindow


def gold_spans(
    windows: Sequence[ReaderWindow], spans: Sequence[Sequence[tuple[int, int]]], length: int, span_tokens: int
) -> Tensor:
    """(windows, length, span_tokens) booleans: the token spans that are exactly one of the character spans."""
    gold = torch.zeros(len(windows), length, span_tokens, dtype=torch.bool)
    for n, window in enumerate(windows):
        tokens = np.flatnonzero(window.body)
        starts = {int(window.offsets[t, 0]): int(t) for t in reversed(tokens)}
        ends = {int(window.offsets[t, 1]): int(t) for t in tokens}
        for begin, end in spans[n]:
            first, last = starts.get(begin), ends.get(end)
            if first is not None and last is not None and 0 <= last - first < span_tokens:
                gold[n, first, last - first] = True
    return gold


def token_spans(window: ReaderWindow, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(first, last) tokens of character spans that begin in the window's own part and end in the window."""
    tokens = np.flatnonzero(window.body)
    starts, ends = window.offsets[tokens, 0], window.offsets[tokens, 1]
    found = []
    for begin, stop in spans:
        inside = tokens[(starts < stop) & (ends > begin)]
        if len(inside) and window.owned[inside[0]] and int(window.offsets[inside[-1], 1]) >= stop:
            found.append((int(inside[0]), int(inside[-1])))
    return found
