"""Queries with the passages they should find, against the other passages of the batch and hard negatives."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from memptm.training.data.pairs import Pair
from memptm.training.losses.retriever import contrast
from memptm.training.runtime.refresh import Versions
from memptm.training.runtime.telemetry import retrieval_numbers
from memptm.training.runtime.trainable_encoder import TrainableEncoder
from memptm.types import Json

HARDEST = 20  # passages nearest to a query from which its hard negative is drawn
TELEMETRY_PASSAGES = 10  # passages whose p(z|x) the telemetry tells of


class PairTask:
    """Both sides learn: queries, their passages and hard negatives are all encoded with the weights at hand.

    A hard negative is one of the passages nearest to a query, by the keys as they were last embedded, that is not known to be
    right (Xiong et al. 2020, arXiv 2007.00808). The stored keys themselves take no part in the softmax: what is encoded anew
    soon differs from them all alike, and the loss would fall to nothing by that difference alone.

    Args:
        trainable: what learns. texts: what the encoder reads for each passage. keys: of all passages, at each step.
        hard: negatives of its own that a pair has.
    """

    def __init__(
        self,
        trainable: TrainableEncoder,
        pairs: Sequence[Pair],
        texts: Sequence[str],
        keys: Versions,
        *,
        hard: int,
        temperature: float,
        learning_rate: float,
        seed: int,
    ) -> None:
        self.model = self.trainable = trainable
        self.pairs, self.keys, self.count, self.seed = pairs, keys, hard, seed
        self.temperature, self.learning_rate = temperature, learning_rate
        self._queries = trainable.encoder.token_ids([pair.query for pair in pairs])
        self._right = trainable.encoder.token_ids([pair.key for pair in pairs])
        self._passages = trainable.encoder.token_ids(texts)
        self._before = trainable.before()

    def groups(self) -> list[dict[str, object]]:
        return [{"params": self.trainable.trained(), "lr": self.learning_rate}]

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...

    def training_step(self, step: int, rows: Sequence[int]) -> Json:
        keys, stale = self.keys.at(step)
        asked = [self._queries[row] for row in rows]
        queries = self.trainable(asked)
        near = queries.detach() @ keys.t()
        hard = self.hard(rows, near, step)
        passages = self.trainable([self._right[row] for row in rows] + [self._passages[one] for one in hard])
        scores = queries @ passages.t() / self.temperature
        right, ignored = self._known(rows, hard)
        loss = contrast(scores, right, ignored)
        loss.backward()  # type: ignore[no-untyped-call]
        against = float((~(right | ignored)).sum(dim=1).float().mean())
        with torch.no_grad():
            top = near.topk(min(TELEMETRY_PASSAGES, len(keys)), dim=1)
            log_prior = (top.values / self.temperature).log_softmax(dim=1)
            numbers = retrieval_numbers(
                log_prior,
                top.indices,
                queries,
                self.trainable.of(self._before, asked),
                keys=keys,
                temperature=self.temperature,
            )
        return {"loss": float(loss.detach()), **numbers, "negatives": against, "stale": stale}

    def hard(self, rows: Sequence[int], scores: Tensor, step: int) -> list[int]:
        """For each row some of the ``HARDEST`` by (n, passages) ``scores`` that may be wrong; the step settles which."""
        chance = random.Random(f"hard-{self.seed}-{step}")
        chosen = []
        for n, row in enumerate(rows):
            known = {*self.pairs[row].right, *self.pairs[row].doubtful}
            ranked = scores[n].topk(min(HARDEST + len(known), scores.shape[1])).indices.tolist()
            wrong = [one for one in ranked if one not in known][:HARDEST]
            chosen += chance.sample(wrong, min(self.count, len(wrong)))
        return chosen

    def _known(self, rows: Sequence[int], hard: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(n, n + hard) booleans: which of the passages encoded are right for a row, and which are neither right nor wrong."""
        columns = [self.pairs[row].right[0] for row in rows] + list(hard)
        right = torch.tensor([[one in self.pairs[row].right for one in columns] for row in rows])
        right[:, : len(rows)] |= torch.eye(len(rows), dtype=torch.bool)
        return right, torch.tensor([[one in self.pairs[row].doubtful for one in columns] for row in rows])
