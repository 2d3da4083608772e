"""The second stage of a cognitive graph's training: System 2 on graphs expanded over each question's own paragraphs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from memptm.encoders.base import Encoder, Keys, embedding_text
from memptm.evaluation.metrics import exact_match, f1
from memptm.generation.windows import by_length
from memptm.memory.in_memory import InMemoryIndex
from memptm.reasoning.findings import Findings
from memptm.reasoning.frontier import Frontier, SearchResult
from memptm.reasoning.linker import Linker
from memptm.reasoning.system2 import GraphNetwork, GraphTensors, graph_tensors
from memptm.reasoning.trained_system1 import BATCH_TOKENS
from memptm.training.data.gold_graphs import YES_NO, GoldGraph
from memptm.training.losses.pointers import PointerTask
from memptm.types import Json

BEGINNINGS = 3  # pages that a search begins at beside those the question names
CLOSE = 0.8  # F1 from which a span is as good as the answer


class BothSystemsTask:
    """Both systems' task. A graph is expanded by System 1 as it is at that step; this has no gradient.

    Args:
        system1: its graphs are the rows of the plan.
        network: System 2.
        encoder: finds where a search begins.
        pages: most pages read for a question.
        comes_again: whether a question is asked more than once; its paragraphs' keys are kept if so.
    """

    def __init__(
        self, system1: PointerTask, network: GraphNetwork, encoder: Encoder, *, pages: int, comes_again: bool
    ) -> None:
        self.system1, self.network, self.encoder = system1, network, encoder
        self.pages, self.comes_again = pages, comes_again
        self.model = nn.ModuleList([system1.net, network])
        self._keys: dict[int, Keys] = {}
        encoder.encode_passages(["It is loaded here: to load it later would draw from torch's random numbers."])

    def groups(self) -> list[dict[str, Any]]:
        """System 1 at its rates, System 2 as what is new there."""
        return [
            *self.system1.groups(),
            {"params": list(self.network.parameters()), "lr": self.system1.head_rate},
        ]

    def training_step(self, step: int, rows: Sequence[int]) -> Json:  # noqa: ARG002 (TrainingTask's signature)
        """Expand each question's graph, then one step on what was found: System 1's losses on the pages read, and System 2's."""
        totals: dict[str, float] = {}
        for row in rows:
            for name, value in self._question(self.system1.graphs[row], row, 1 / len(rows)).items():
                totals[name] = totals.get(name, 0.0) + value / len(rows)
        return totals

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """There is nothing beside the models."""

    def expand(self, graph: GoldGraph, row: int) -> SearchResult:
        """The pages read among the question's own paragraphs."""
        passages = [page.passage for page in graph.pages if page.passage.text.strip()]
        keys = self._keys.get(row)
        if keys is None:
            keys = self.encoder.encode_passages([embedding_text(one) for one in passages])
            if self.comes_again:
                self._keys[row] = keys
        linker = Linker(InMemoryIndex(passages, self.encoder, keys), graph.question)
        self.system1.net.eval()
        return Frontier(linker, self.system1.pointers, pages=self.pages).expand(BEGINNINGS)

    def _question(self, graph: GoldGraph, row: int, weight: float) -> dict[str, float]:
        findings = Findings(self.expand(graph, row))
        inputs = [one for node in findings.pages for one in node.inputs()]
        number = {page.passage.key: page for page in graph.pages}
        gold = [number[one.passage.key] for one in inputs]
        self.system1.net.train()
        windows = self.system1.pointers.windower.pages([graph.question] * len(inputs), inputs)
        meanings: list[list[Tensor]] = [[] for _ in inputs]
        loss1 = torch.zeros(())
        for part in by_length(windows, tokens=BATCH_TOKENS):
            losses, found = self.system1.losses(part, [gold[window.row] for window in part])
            loss1 = loss1 + sum(losses.values(), torch.zeros(())) * (len(part) / len(windows))
            for window, meaning in zip(part, found, strict=True):
                meanings[window.row].append(meaning)
        made = self._tensors(findings, [torch.stack(some).mean(0) for some in meanings])
        loss2 = self._loss(findings, made, graph)
        loss = loss1 if loss2 is None else loss1 + loss2
        (loss * weight).backward()  # type: ignore[no-untyped-call]
        right = bool(made.pair) or any(is_right(key, graph.answers) for key in made.keys)
        return {"loss": float(loss.detach()), "answered": float(right and loss2 is not None)}

    def _tensors(self, findings: Findings, meanings: Sequence[Tensor]) -> GraphTensors:
        """The tensors of what was found, with meanings that have a gradient."""
        made = graph_tensors(findings)
        places = iter(meanings)
        by_page = [torch.stack([next(places) for _ in node.page.passages]).mean(0) for node in findings.pages]
        return replace(made, meaning=torch.stack([by_page[n] for n in made.page_of]))

    def _loss(self, findings: Findings, made: GraphTensors, graph: GoldGraph) -> Tensor | None:
        """System 2's; None where what was found holds nothing to learn from."""
        x = self.network(made.meaning, made.numbers, made.adjacency)
        answer = graph.answers[0]
        if made.pair:
            one, other = x[made.pair[0]], x[made.pair[1]]
            if made.form == "yes-no" and answer.lower() in YES_NO:
                logit, wanted = self.network.yes(one, other), float(answer.lower() == "yes")
            elif made.form == "either-or" and (side := self._side(made, findings, graph)) is not None:
                logit, wanted = self.network.first_is(one, other), float(side == 0)
            else:
                return None
            return functional.binary_cross_entropy_with_logits(logit, torch.tensor(wanted))
        if not made.keys or answer.lower() in YES_NO:
            return None
        right = torch.tensor([is_right(key, graph.answers) for key in made.keys])
        return odds_loss(base_logits(findings, made) + self.network.shifts(x[made.pages :]), right)

    @staticmethod
    def _side(made: GraphTensors, findings: Findings, graph: GoldGraph) -> int | None:
        """Which of the two compared is the answer; None if that cannot be decided."""
        titles = [findings.pages[page].page.name for page in made.pair]
        scores = [
            max(f1(name, graph.answers), f1(side, graph.answers)) for name, side in zip(titles, made.sides, strict=True)
        ]
        return None if abs(scores[0] - scores[1]) < 0.2 else int(np.argmax(scores))


def odds_loss(logits: Tensor, right: Tensor) -> Tensor:
    """−log p of the right answers together; of the null one, whose log odds are 0, where none is right.

    Args:
        logits: (answers,) log odds of each.
        right: (answers,) bool.
    """
    logits = torch.cat([torch.zeros(1), logits])
    wanted = torch.cat([~right.any(dim=0, keepdim=True), right])
    return logits.logsumexp(0) - logits[wanted].logsumexp(0)


def base_logits(findings: Findings, made: GraphTensors) -> Tensor:
    """(answers,) the log odds of each before System 2: the reader's, with its page's share as the prior."""
    logits = dict.fromkeys(made.keys, -math.inf)
    around = math.log(max(len(findings.read_passages), 1))
    for found in findings.answers:
        value = findings.log_prior[found.place] + around + found.span.log_odds
        logits[found.key] = float(np.logaddexp(logits[found.key], value))
    return torch.tensor([logits[key] for key in made.keys])


def is_right(key: str, answers: Sequence[str]) -> bool:
    """Whether a span says one of the answers, or nearly."""
    return bool(exact_match(key, answers)) or f1(key, answers) >= CLOSE
