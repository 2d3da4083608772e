"""REALM's fine-tuning for open questions: the span reader and the retriever under one score.

p(y|x) sums over every place where the answer stands, in all passages found (Guu et al. 2020, section 3.2):

    p(s, z | x) = w_z · o(s | z, x) / (1 + Σ w o),    w_z = k · p(z | x) · exp(bias)

as in generation/reader.py, whose probabilities are thus what is trained. Where no passage found holds the answer, the null
answer is right, and only the reader learns from it. Passages found are encoded anew, so that both sides learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from memptm.encoders.base import embedding_text
from memptm.generation.reader import context_header
from memptm.generation.spans import SpanScorer
from memptm.generation.windows import Windower, collate
from memptm.training.data.examples import Example, occurrences
from memptm.training.data.token_spans import gold_spans
from memptm.training.runtime.refresh import Versions
from memptm.training.runtime.telemetry import retrieval_numbers
from memptm.training.runtime.trainable_encoder import TrainableEncoder
from memptm.types import Json, Passage


class JointTask:
    """The loss of questions over the passages found for them.

    Args:
        trainable, scorer: what learns. examples: rows of the plan. keys: of all passages, at each step. k: passages a question.
    """

    def __init__(
        self,
        trainable: TrainableEncoder,
        scorer: SpanScorer,
        windower: Windower,
        examples: Sequence[Example],
        passages: Sequence[Passage],
        keys: Versions,
        *,
        k: int,
        learning_rates: tuple[float, float],
    ) -> None:
        self.trainable, self.scorer, self.windower = trainable, scorer, windower
        self.model = nn.ModuleDict({"encoder": trainable, "reader": scorer})
        self.examples, self.passages, self.keys = examples, passages, keys
        self.k, self.learning_rates = k, learning_rates
        self._asked = trainable.encoder.token_ids([example.question for example in examples])
        self._keyed = trainable.encoder.token_ids([embedding_text(passage) for passage in passages])
        self._before = trainable.before()

    def groups(self) -> list[dict[str, Any]]:
        encoder, reader = self.learning_rates
        trained = [parameter for parameter in self.scorer.parameters() if parameter.requires_grad]
        return [{"params": self.trainable.trained(), "lr": encoder}, {"params": trained, "lr": reader}]

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...

    def training_step(self, step: int, rows: Sequence[int]) -> Json:
        keys, stale = self.keys.at(step)
        asked = [self._asked[row] for row in rows]
        queries = self.trainable(asked)
        found = (queries.detach() @ keys.t()).topk(self.k, dim=1).indices
        distinct, place = found.unique(return_inverse=True)
        documents = self.trainable([self._keyed[one] for one in distinct.tolist()])
        scores = torch.einsum("nd,nkd->nk", queries, documents[place])
        log_prior = (scores / self.scorer.config.prior_temperature).log_softmax(dim=1)
        prior = log_prior.detach().requires_grad_()
        total, answered = 0.0, 0
        for n, row in enumerate(rows):
            loss, known = self.loss(self.examples[row], [self.passages[one] for one in found[n].tolist()], prior[n])
            (loss / len(rows)).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            answered += known
        if prior.grad is not None:
            log_prior.backward(prior.grad)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            before = self.trainable.of(self._before, asked)
            numbers = retrieval_numbers(
                log_prior.detach(),
                found,
                queries.detach(),
                before,
                keys=keys,
                temperature=self.scorer.config.prior_temperature,
            )
        return {"loss": total / len(rows), **numbers, "answered": answered / len(rows), "stale": stale}

    def loss(self, example: Example, passages: Sequence[Passage], log_prior: Tensor) -> tuple[Tensor, bool]:
        """−log p(y|x) of one question over (k,) passages, and whether one of them holds its answer."""
        windows = self.windower.windows(
            [example.question] * len(passages),
            [context_header(one) for one in passages],
            [one.text for one in passages],
        )
        places = [occurrences(example.answers, one.text) for one in passages]
        ids, mask, segments, body = collate(windows)
        spans, null = self.scorer(ids, mask, segments, body)
        config = self.scorer.config
        log_odds = (spans - null[:, None, None]) / config.temperature
        owned = torch.zeros(log_odds.shape[:2], dtype=torch.bool)
        for n, window in enumerate(windows):
            owned[n, : len(window.owned)] = torch.from_numpy(window.owned)
        gold = gold_spans(windows, [places[window.row] for window in windows], ids.shape[1], config.span_tokens)
        known = bool((gold & owned.unsqueeze(-1)).any())
        weight = log_prior if known else log_prior.detach()
        weight = weight + math.log(len(passages)) + config.open_bias
        logits = log_odds.masked_fill(~owned.unsqueeze(-1), -torch.inf) + weight[
            torch.tensor([window.row for window in windows])
        ].view(-1, 1, 1)
        normaliser = torch.cat([logits.flatten(), logits.new_zeros(1)]).logsumexp(dim=0)
        if not known:
            return normaliser, False
        return normaliser - logits.masked_fill(~gold, -torch.inf).flatten().logsumexp(dim=0), True
