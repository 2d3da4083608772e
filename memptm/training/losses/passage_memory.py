"""Teaching an encoder's memory of the passages before, the encoder itself left as it is.

Two things are asked of a passage's key. Without labels: that it comes near the mean of the key that the passage has alone
and the key it has with its predecessors written before it, nearer than the other passages' keys do. With questions: that
the question's query finds it among the passages beside it and those of other documents. And one of a follow-up question's
query: that it comes near the query of the same question rewritten to stand alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from memptm.encoders.batching import batches, padded, pooled
from memptm.encoders.recurrent_bert import Piece, RecurrentBert
from memptm.types import Json

PAD_TO = 32  # tokens; oneDNN keeps a kernel for each length it meets
ASKED = 2  # questions of a passage in a step, at most
FOLLOWED = 12  # follow-up questions of a step


@dataclass(frozen=True)
class PassageSpan:
    """Passages ``start`` to ``end`` of all the passages, which follow one another in one document."""

    start: int
    end: int


@dataclass(frozen=True)
class FollowUp:
    """Token ids of the turns before a question and of the question, and the query it should have: (width,)."""

    rows: Sequence[Sequence[int]]
    target: Tensor


def passage_spans(documents: Sequence[Sequence[int]], *, length: int, seed: int) -> list[PassageSpan]:
    """Documents cut into spans of up to ``length`` passages, from a place that the seed draws; single passages left out.

    Args:
        documents: the numbers of each document's passages, which rise by one.
    """
    chance = random.Random(f"stretches-{seed}")
    found = []
    for document in documents:
        first = document[0]
        at = first - chance.randrange(length)
        while at < document[-1]:
            start, end = max(at, first), min(at + length, document[-1] + 1)
            if end - start > 1:
                found.append(PassageSpan(start, end))
            at += length
    return found


def by_tokens(items: Sequence[PassageSpan], lengths: Sequence[int], *, tokens: int, seed: int) -> list[list[int]]:
    """Numbers of spans, shuffled, in batches of about so many tokens."""
    order = list(range(len(items)))
    random.Random(f"batches-{seed}").shuffle(order)
    found: list[list[int]] = [[]]
    used = 0
    for n in order:
        cost = sum(lengths[items[n].start : items[n].end])
        if found[-1] and used + cost > tokens:
            found.append([])
            used = 0
        found[-1].append(n)
        used += cost
    return found


class PassageMemoryTask:
    """The memory path learns.

    Args:
        model: its bert is frozen. rows: token ids of all passages. alone: (passages, width) keys of each by itself.
        items: what a batch's numbers stand for. asked: for a passage's number, (n, width) queries that it answers.
        follow_ups: of which a step takes FOLLOWED.
        window: tokens of the text that has its predecessors before it. temperature: of the softmax over keys.
    """

    def __init__(
        self,
        model: RecurrentBert,
        rows: Sequence[Sequence[int]],
        alone: Tensor,
        items: Sequence[PassageSpan],
        asked: dict[int, Tensor],
        follow_ups: Sequence[FollowUp] = (),
        *,
        before: int,
        window: int,
        temperature: float,
        learning_rate: float,
        seed: int,
    ) -> None:
        model.requires_grad_(False)
        model.paths.requires_grad_(True)
        self.model: nn.Module = model
        self._encoder = model
        self.rows, self.alone, self.items, self.asked, self.follow_ups = rows, alone, items, asked, follow_ups
        self.before, self.window, self.temperature = before, window, temperature
        self.learning_rate, self.seed = learning_rate, seed

    def groups(self) -> list[dict[str, object]]:
        return [{"params": list(self._encoder.paths.parameters()), "lr": self.learning_rate}]

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...

    def training_step(self, step: int, rows: Sequence[int]) -> Json:
        spans = [self.items[row] for row in rows]
        numbers = [n for span in spans for n in range(span.start, span.end)]
        keys, _ = self._encoder([Piece(self.rows[span.start : span.end], kept=False) for span in spans])
        behind = torch.tensor([n > span.start for span in spans for n in range(span.start, span.end)])
        targets = functional.normalize(self.alone[numbers] + self._in_context(spans), dim=-1)
        cosine = (keys * targets)[behind].sum(-1).mean()
        scores = keys[behind] @ targets.t() / self.temperature
        loss = 1 - cosine + functional.cross_entropy(scores, torch.arange(len(keys))[behind])
        report = {
            "cosine": float(cosine.detach()),
            "alone": float((self.alone[numbers] * targets)[behind].sum(-1).mean()),
        }
        queries, right = self._questions(numbers, behind.tolist(), step)
        if len(right):
            asked = functional.cross_entropy(queries @ keys.t() / self.temperature, right)
            loss = loss + asked
            report["asked"] = float(asked.detach())
        followed = self._followed(step)
        if followed:
            with torch.no_grad():
                _, pasts = self._encoder([Piece(one.rows[:-1]) for one in followed])
            asked_after = [Piece(one.rows[-1:], past, kept=False) for one, past in zip(followed, pasts, strict=True)]
            queries, _ = self._encoder(asked_after, kind="ask")
            further, report["follow"] = self._matched(queries, torch.stack([one.target for one in followed]))
            loss = loss + further
        loss.backward()
        return {"loss": float(loss.detach()), **report}

    def _matched(self, queries: Tensor, targets: Tensor) -> tuple[Tensor, float]:
        """The loss of (n, width) queries that should be near their own targets, and how near they are."""
        cosine = (queries * targets).sum(-1).mean()
        shares = functional.cross_entropy(queries @ targets.t() / self.temperature, torch.arange(len(queries)))
        return 1 - cosine + shares, float(cosine.detach())

    def _followed(self, step: int) -> list[FollowUp]:
        chance = random.Random(f"follow-{self.seed}-{step}")
        return chance.sample(self.follow_ups, min(FOLLOWED, len(self.follow_ups)))

    def _questions(self, numbers: Sequence[int], behind: Sequence[bool], step: int) -> tuple[Tensor, Tensor]:
        """Queries (q, width), and for each the place of its passage among ``numbers``."""
        chance = random.Random(f"asked-{self.seed}-{step}")
        queries, right = [], []
        for place, (number, counts) in enumerate(zip(numbers, behind, strict=True)):
            if counts and number in self.asked:
                known = self.asked[number]
                for n in chance.sample(range(len(known)), min(ASKED, len(known))):
                    queries.append(known[n])
                    right.append(place)
        width = self.alone.shape[1]
        return torch.stack(queries) if queries else torch.empty(0, width), torch.tensor(right, dtype=torch.long)

    @torch.no_grad()
    def _in_context(self, spans: Sequence[PassageSpan]) -> Tensor:
        """Keys of the passages with their predecessors' tokens before theirs, as far as the window goes."""
        texts = []
        for span in spans:
            for n in range(span.start, span.end):
                first, last = self.rows[n][0], self.rows[n][-1]
                inner = [one for m in range(max(span.start, n - self.before), n + 1) for one in self.rows[m][1:-1]]
                texts.append([first, *inner[-(self.window - 2) :], last])
        groups = batches([len(text) for text in texts])
        made = []
        for group in groups:
            ids, mask = padded([texts[n] for n in group], to=PAD_TO)
            made.append(pooled(self._encoder.bert(ids, mask), mask, self._encoder.pooling))
        order = torch.tensor([n for group in groups for n in group])
        return torch.cat(made)[order.argsort()]
