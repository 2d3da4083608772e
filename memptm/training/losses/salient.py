"""REALM's pre-training: the blank of a sentence is filled from passages that are found for it, and both sides learn.

p(y|x) = Σ_z p(z|x) p(y|z,x) over the passages found and the null document, summed out once for the whole blank; the loss
is −log p(y|x) (Guu et al. 2020, arXiv 2002.08909, sections 3.1 to 3.4). The keys of the index only select: what is found
is encoded anew with the weights at hand, so that gradients reach the encoder through the query and through the passages.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from memptm.encoders.base import embedding_text
from memptm.training.data.candidates import Candidates
from memptm.training.data.masks import Blank
from memptm.training.losses.masked_reader import Cloze, Clozer, MaskedReader
from memptm.training.runtime.refresh import Versions
from memptm.training.runtime.telemetry import retrieval_numbers
from memptm.training.runtime.trainable_encoder import TrainableEncoder
from memptm.types import Json, Passage

LOOK = 64  # passages nearest to a sentence among which trivial ones are passed over
NULL = -1  # in place of a passage


class MaskedSpanTask:
    """The loss of sentences with blanks.

    Args:
        trainable, reader: what learns. blanks: rows of the plan. keys: of all passages, at each step.
        k: documents a sentence, the null document among them if ``null``.
    """

    def __init__(
        self,
        trainable: TrainableEncoder,
        reader: MaskedReader,
        clozer: Clozer,
        blanks: Sequence[Blank],
        passages: Sequence[Passage],
        keys: Versions,
        *,
        k: int,
        null: bool,
        same_document: bool,
        temperature: float,
        learning_rates: tuple[float, float, float],
        seed: int,
    ) -> None:
        self.trainable, self.reader, self.clozer = trainable, reader, clozer
        self.model = nn.ModuleDict({"encoder": trainable, "reader": reader})
        self.passages, self.keys = passages, keys
        self.candidates = Candidates(passages, same_document=same_document)
        self.k, self.null, self.temperature, self.learning_rates = k, null, temperature, learning_rates
        chance = random.Random(f"blanks-{seed}")
        made = [(blank, clozer.cloze(*_cut(blank, passages, chance))) for blank in blanks]
        self.rows: list[tuple[Blank, Cloze]] = [(blank, cloze) for blank, cloze in made if cloze is not None]
        self._keyed = trainable.encoder.token_ids([embedding_text(passage) for passage in passages])
        self._bodies = clozer.bodies([passage.text for passage in passages])
        self._before = trainable.before()

    def groups(self) -> list[dict[str, Any]]:
        encoder, trunk, head = self.learning_rates
        named = [(name, p) for name, p in self.reader.named_parameters() if p.requires_grad]
        return [
            {"params": self.trainable.trained(), "lr": encoder},
            {"params": [p for name, p in named if name.startswith("trunk.")], "lr": trunk},
            {"params": [p for name, p in named if not name.startswith("trunk.")], "lr": head},
        ]

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...

    def training_step(self, step: int, rows: Sequence[int]) -> Json:
        keys, stale = self.keys.at(step)
        some = [self.rows[row] for row in rows]
        queries = self.trainable([self.clozer.query(cloze) for _, cloze in some])
        found = self.find(some, queries.detach(), keys)
        there = [n for n, documents in enumerate(found) if documents]
        if not there:
            return {"loss": 0.0, "stale": stale}
        some, found, queries = [some[n] for n in there], [found[n] for n in there], queries[there]
        log_prior = self.log_prior(queries, found)
        # The reader goes through one sentence at a time: its states stay in the cache, and memory is bounded.
        prior = log_prior.detach().requires_grad_()
        total, utility = 0.0, 0.0
        for n, (_, cloze) in enumerate(some):
            given = found[n]
            log_likelihood = self.read(cloze, given)
            log_p = (prior[n, : len(given)] + log_likelihood).logsumexp(dim=0)
            (-log_p / len(some)).backward()  # type: ignore[no-untyped-call]
            total -= float(log_p.detach())
            utility += float(log_p.detach()) - self._alone(cloze, given, log_likelihood)
        log_prior.backward(prior.grad)  # type: ignore[no-untyped-call]
        numbers = self._numbers(some, queries.detach(), found, log_prior.detach(), keys)
        return {"loss": total / len(some), "utility": utility / len(some), **numbers, "stale": stale}

    def find(self, some: Sequence[tuple[Blank, Cloze]], queries: Tensor, keys: Tensor) -> list[list[int]]:
        """The documents of each sentence, the null document first if it takes part."""
        scores = queries @ keys.t()
        for n, (blank, _) in enumerate(some):
            scores[n, self.candidates.own(blank)] = -torch.inf
        ranked = scores.topk(min(LOOK, len(keys)), dim=1).indices.tolist()
        first = [NULL] if self.null else []
        count = self.k - len(first)
        return [first + self.candidates.choose(blank, ranked[n], count) for n, (blank, _) in enumerate(some)]

    def log_prior(self, queries: Tensor, found: Sequence[Sequence[int]]) -> Tensor:
        """(n, k) log p(z|x) over the documents found, −∞ past the end of a shorter list; with gradients to both sides."""
        distinct = sorted({one for documents in found for one in documents})
        place = {one: n for n, one in enumerate(distinct)}
        empty = [self.clozer.cls, self.clozer.sep]
        documents = self.trainable([empty if one == NULL else self._keyed[one] for one in distinct])
        scores = queries @ documents.t() / self.temperature
        most = max(map(len, found))
        chosen = torch.tensor([[place[one] for one in some] + [0] * (most - len(some)) for some in found])
        there = torch.tensor([[True] * len(some) + [False] * (most - len(some)) for some in found])
        logits: Tensor = scores.gather(1, chosen).masked_fill(~there, -1e4)
        return logits.log_softmax(dim=1)

    def read(self, cloze: Cloze, documents: Sequence[int]) -> Tensor:
        """(k,) log p(y|z,x)."""
        bodies = [[] if one == NULL else self._bodies[one] for one in documents]
        read: Tensor = self.reader([cloze] * len(bodies), bodies, (self.clozer.cls, self.clozer.sep))
        return read

    @torch.no_grad()
    def _alone(self, cloze: Cloze, documents: Sequence[int], log_likelihood: Tensor) -> float:
        """Log p(y|null,x)."""
        if documents[0] == NULL:
            return float(log_likelihood[0])
        return float(self.read(cloze, [NULL])[0])

    @torch.no_grad()
    def _numbers(
        self,
        some: Sequence[tuple[Blank, Cloze]],
        queries: Tensor,
        found: Sequence[Sequence[int]],
        log_prior: Tensor,
        keys: Tensor,
    ) -> Json:
        before = self.trainable.of(self._before, [self.clozer.query(cloze) for _, cloze in some])
        documents = torch.tensor([list(row) + [NULL] * (log_prior.shape[1] - len(row)) for row in found])
        numbers = retrieval_numbers(
            log_prior,
            documents[:, int(self.null) :],
            queries,
            before,
            keys=keys,
            temperature=self.temperature,
        )
        return numbers | ({"null": float(log_prior[:, 0].exp().mean())} if self.null else {})


def _cut(blank: Blank, passages: Sequence[Passage], chance: random.Random) -> tuple[str, tuple[int, int]]:
    """A sentence and the span in it that is hidden."""
    start, end = chance.choice(blank.spans)
    return passages[blank.passage].text[blank.start : blank.end], (start - blank.start, end - blank.start)
