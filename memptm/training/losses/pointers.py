"""The first stage of a cognitive graph's training: System 1 on the pages of gold graphs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memptm.documents.sentences import sentences
from memptm.generation.spans import FROZEN, span_loss
from memptm.generation.windows import ReaderWindow, by_length, collate
from memptm.reasoning.system1 import PageInput
from memptm.reasoning.trained_system1 import BATCH_TOKENS, PointerNet, Pointers, sentence_support
from memptm.training.data.gold_graphs import GoldGraph, GoldPage
from memptm.training.data.token_spans import gold_spans, token_spans
from memptm.training.losses.cognitive_graph import hop_loss, support_loss
from memptm.training.runtime.arithmetic import device, quick_products
from memptm.types import Json


class PointerTask:
    """System 1's task: pages of questions, each with what is to be seen there.

    Args:
        graphs: rows of the plan.
        start: the reader's folder that System 1 begins as.
        negatives: other paragraphs a question and step.
        clues: how often, from 0 to 1, a page is read with the clues that lead to it.
        dropout: of the reader's layers, from 0 to 1.
        learning_rate: of the reader.
        head_rate: the learning rate of what is new.
        seed: of what is drawn.
    """

    def __init__(
        self,
        graphs: Sequence[GoldGraph],
        start: Path,
        *,
        negatives: int,
        clues: float,
        dropout: float,
        learning_rate: float,
        head_rate: float,
        seed: int,
    ) -> None:
        self.graphs, self.negatives, self.clues, self.seed = graphs, negatives, clues, seed
        self.learning_rate, self.head_rate = learning_rate, head_rate
        self.net = PointerNet.start(start).to(device())
        for layer in self.net.scorer.trunk.layers:
            layer.dropout = dropout  # type: ignore[assignment]
        for name, parameter in self.net.scorer.trunk.named_parameters():
            parameter.requires_grad_(not name.startswith(FROZEN))
        self.pointers = Pointers(self.net)
        self.width = self.pointers.width

    @property
    def model(self) -> nn.Module:
        return self.net

    def groups(self) -> list[dict[str, Any]]:
        """The reader at one rate, what is new at another."""
        old = [p for p in self.net.scorer.parameters() if p.requires_grad]
        new = [*self.net.hops.parameters(), *self.net.support.parameters()]
        return [{"params": old, "lr": self.learning_rate}, {"params": new, "lr": self.head_rate}]

    def training_step(self, step: int, rows: Sequence[int]) -> Json:
        """One batch of questions: their gold pages and some others."""
        chosen = [page for row in rows for page in self._pages(step, row)]
        return self.pages_step(*zip(*chosen, strict=True))

    def pages_step(self, questions: Sequence[str], inputs: Sequence[PageInput], pages: Sequence[GoldPage]) -> Json:
        """Gradients of these pages, part by part so that their states stay in the cache; the losses' means."""
        self.net.train()
        windows = self.pointers.windower.pages(questions, inputs)
        total = {"loss": 0.0, "hop": 0.0, "answer": 0.0, "support": 0.0}
        for part in by_length(windows, tokens=BATCH_TOKENS):
            share = len(part) / len(windows)
            with quick_products():
                losses, _ = self.losses(part, [pages[window.row] for window in part])
                loss = sum(losses.values(), torch.zeros(())) * share
            loss.backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                total[name] += float(value.detach()) * share
                total["loss"] += float(value.detach()) * share
        return total

    def losses(self, windows: Sequence[ReaderWindow], pages: Sequence[GoldPage]) -> tuple[dict[str, Tensor], Tensor]:
        """The three losses of windows, each with its page; and (windows, width) what each means."""
        ids, mask, segments, body = collate(windows)
        made = self.net(ids, mask, segments, body)
        hops = [token_spans(window, page.hops) for window, page in zip(windows, pages, strict=True)]
        answers = gold_spans(
            windows, [page.answers for page in pages], ids.shape[1], self.net.scorer.config.span_tokens
        )
        support = [
            sentence_support(window, made.support[n], sentences(page.passage.text))
            for n, (window, page) in enumerate(zip(windows, pages, strict=True))
        ]
        losses = {
            "hop": hop_loss(made.hop_start, made.hop_end, hops),
            "answer": span_loss(made.spans, made.null, answers),
            "support": support_loss(support, [page.support for page in pages]),
        }
        return losses, made.meaning

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """There is nothing beside the model."""

    def _pages(self, step: int, row: int) -> list[tuple[str, PageInput, GoldPage]]:
        """The question's gold pages and some of the others; what is drawn depends on seed, step and row alone."""
        graph, chance = self.graphs[row], random.Random(f"{self.seed}-{step}-{row}")
        others = [page for page in graph.pages if not page.is_gold]
        chosen = [page for page in graph.pages if page.is_gold]
        clues = [page.clues if chance.random() < self.clues else () for page in chosen]
        hints = [clue for page in chosen for clue in page.clues]
        for page in chance.sample(others, min(self.negatives, len(others))):
            chosen.append(page)
            clues.append(tuple(hints[:1]) if chance.random() < self.clues / 2 else ())  # a clue proves nothing
        return [(graph.question, PageInput(p.passage, given), p) for p, given in zip(chosen, clues, strict=True)]
