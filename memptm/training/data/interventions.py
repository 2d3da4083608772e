"""Which blocks matter, found out by taking them away: where nobody has marked them.

Source: CogLTX (Ding et al. 2020, NeurIPS, section 3.3, algorithm 2). A block whose absence makes the task's loss rise is
relevant, one whose absence makes it fall is not. The loss is any function of texts: of spans (SpanLoss), of classes, of words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from memptm.generation.reader import Reader
from memptm.generation.windows import ReaderWindow, collate
from memptm.training.data.examples import occurrences
from memptm.training.data.token_spans import gold_spans

# question, texts, the right answers → the task's loss on each text, in nats
Loss = Callable[[str, Sequence[str], Sequence[str]], list[float]]
LEAST = 1e-4  # p of an answer that does not stand in a text
BATCH_TOKENS = 1024


def intervene(
    loss: Loss,
    question: str,
    blocks: Sequence[str],
    answers: Sequence[str],
    *,
    up: float,
    down: float,
) -> list[bool | None]:
    """Of each block whether it matters among these: None where the loss says neither.

    Args:
        blocks: those in the window, in order. up: a rise from which on a block is relevant. down: one up to which it is not.
    """
    without = ["\n".join(block for n, block in enumerate(blocks) if n != gone) for gone in range(len(blocks))]
    whole, *others = loss(question, ["\n".join(blocks), *without], answers)
    rises = [one - whole for one in others]
    return [True if rise >= up else False if rise <= down else None for rise in rises]


class SpanLoss:
    """−log p of the right spans by a span reader; p is at least ``LEAST``."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.model = reader, reader.model  # loaded now: that draws random numbers

    def __call__(self, question: str, texts: Sequence[str], answers: Sequence[str]) -> list[float]:
        """A number a text; of a text longer than the reader's window, its likeliest window counts."""
        windows = self.reader.windower.windows([question] * len(texts), [""] * len(texts), texts)
        spans = [occurrences(answers, text) for text in texts]
        best = [LEAST] * len(texts)
        per_batch = max(BATCH_TOKENS // max(len(window.ids) for window in windows), 1)
        for start in range(0, len(windows), per_batch):
            some = windows[start : start + per_batch]
            for window, p in zip(some, self._right(some, [spans[w.row] for w in some]).tolist(), strict=True):
                best[window.row] = max(best[window.row], p)
        return [-math.log(min(p, 1.0)) for p in best]

    def _right(self, windows: Sequence[ReaderWindow], spans: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
        """(windows,) p of the right spans, against all others and none."""
        ids, mask, segments, body = collate(windows)
        gold = gold_spans(windows, [tuple(one) for one in spans], ids.shape[1], self.reader.config.span_tokens)
        with torch.inference_mode():
            logits, null = self.model(ids, mask, segments, body)
            flat = logits.flatten(1)
            everything = torch.cat([null.unsqueeze(1), flat], dim=1).logsumexp(dim=1)
            right: Tensor = flat.masked_fill(~gold.flatten(1), -torch.inf).logsumexp(dim=1)
            return (right - everything).exp()
