"""System 2: a graph network over what System 1 found.

X' = σ(W_r X + Aᵀ σ(W_d X)) (Ding et al. 2019, equation 5), two steps with the same weights; A is the adjacency with
self-edges, its columns divided by their sums; then an MLP a node. Comparisons are decided by an MLP over the difference of
two nodes, made antisymmetric where one of them is the answer and symmetric where it is yes or no: which of the two comes
first in the question must not matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from memptm.generation.reader import answer_key
from memptm.model_files import fill, read_weights
from memptm.reasoning.answer import Verdict
from memptm.reasoning.findings import Findings
from memptm.reasoning.question_form import Form, compared

WIDTH = 128
STEPS = 2
NUMBERS = 10  # of a node beside its meaning, see ``numbers_of``
SHIFT = 4.0  # most that an answer's log odds move
REMEDY = "Copy the folder again, or train both systems of the graph again."
FILE = "system2.safetensors"


@dataclass(frozen=True)
class GraphTensors:
    """What was found, as the network sees it: pages first, then possible answers.

    Attributes:
        meaning: (nodes, width of System 1): of a page its own, of an answer that of the page it stands on.
        numbers: (nodes, NUMBERS), see ``numbers_of``.
        adjacency: (nodes, nodes), 1 where row leads to column; no self-edges.
        pages: how many of the nodes are pages.
        keys: what each answer says.
        page_of: the page of each node's meaning.
        form: what the question asks for.
        pair: the two pages that are compared; () where nothing is, or not both were read.
        sides: what the two are called in the question.
    """

    meaning: Tensor
    numbers: Tensor
    adjacency: Tensor
    pages: int
    keys: tuple[str, ...]
    page_of: tuple[int, ...]
    form: Form
    pair: tuple[int, ...] = ()
    sides: tuple[str, ...] = ()


def graph_tensors(findings: Findings) -> GraphTensors:
    """What a System 1 found that gives pages a meaning."""
    pages = findings.pages
    meanings = [
        np.mean([reading.meaning for reading in v.readings if reading.meaning is not None], axis=0) for v in pages
    ]
    groups: dict[str, list[int]] = {}
    for n, found in enumerate(findings.answers):
        groups.setdefault(found.key, []).append(n)
    keys = tuple(groups)
    page_of, edges = list(range(len(pages))), list(findings.edges)
    for m, key in enumerate(keys):
        places = [findings.answers[n].place for n in groups[key]]
        page_of.append(findings.read_passages[places[0]].page)
        edges += [(findings.read_passages[place].page, len(pages) + m) for place in places]
    count = len(pages) + len(keys)
    adjacency = torch.zeros(count, count)
    for source, target in edges:
        adjacency[source, target] = 1.0
    form, pair, sides = comparison(findings)
    return GraphTensors(
        meaning=torch.from_numpy(np.stack([meanings[n] for n in page_of]).astype(np.float32)),
        numbers=torch.tensor(numbers_of(findings, groups), dtype=torch.float32),
        adjacency=adjacency, pages=len(pages), keys=keys, page_of=tuple(page_of), form=form, pair=pair, sides=sides,
    )  # fmt: skip


def comparison(findings: Findings) -> tuple[Form, tuple[int, ...], tuple[str, ...]]:
    """What the question asks for; the two pages it compares, in its order; what it calls them."""
    question, named = findings.result.question, findings.result.named
    page = {span: node.id for node in findings.pages for span in node.names}
    form, chosen = findings.result.form, compared(question, named, findings.result.begins)
    wanted = (
        [named[n] for n in chosen] if chosen else sorted(named, key=lambda span: not _has_a_name(findings, page, span))
    )
    first = {
        page[span]: span for span in reversed(wanted) if span in page
    }  # of each page, its first span that is wanted
    spans = sorted([span for span in wanted if span in first.values()][:2])
    if form == "span" or len(spans) < 2:
        return form, (), ()
    return form, tuple(page[span] for span in spans), tuple(question[slice(*span)] for span in spans)


def _has_a_name(findings: Findings, page: dict[tuple[int, int], int], span: tuple[int, int]) -> bool:
    """Whether the span's page goes by it, and does not just mention it."""
    return span in page and findings.pages[page[span]].page.kind in ("title", "heading")


def numbers_of(findings: Findings, groups: dict[str, list[int]]) -> list[list[float]]:
    """What is known of each node without a model: scaled to about −1 to 1."""
    rows = []
    for node in findings.pages:
        places = [place for place in findings.read_passages if place.page == node.id]
        mass = max((place.reading.log_mass for place in places), default=0.0)
        support = max((max(place.reading.support, default=0.0) for place in places), default=0.0)
        share = math.log(max(float(findings.shares[node.id]), 1e-6)) / 5
        rows.append(
            [
                0.0,
                _squashed(mass),
                share,
                node.seed_score,
                float(node.named is not None),
                len(node.clues) / 3,
                support,
                0,
                0,
                0,
            ]
        )
    for found in groups.values():
        answers = [findings.answers[n] for n in found]
        best = max(answers, key=lambda one: one.span.log_odds + findings.log_prior[one.place])
        place = findings.read_passages[best.place]
        clue = place.sentence(best.span.start, 0.0)
        support = place.reading.support[clue.sentence] if clue else 0.0
        share = math.log(max(float(findings.shares[place.page]), 1e-6)) / 5
        asked = float(best.key in answer_key(findings.result.question))
        rows.append(
            [
                1.0, _squashed(best.span.log_odds), share, findings.pages[place.page].seed_score,
                float(findings.pages[place.page].named is not None), len(findings.pages[place.page].clues) / 3, support,
                len(answers) / 3, len(best.text.split()) / 8, asked,
            ]
        )  # fmt: skip
    return rows


class GraphNetwork(nn.Module):
    """The network.

    Args:
        meaning: width of System 1's vectors.
    """

    def __init__(self, meaning: int, *, width: int = WIDTH) -> None:
        super().__init__()
        self.begin = nn.Linear(meaning + NUMBERS, width)
        self.keep = nn.Linear(width, width, bias=False)  # W_r
        self.send = nn.Linear(width, width, bias=False)  # W_d
        self.score = _mlp(width)
        self.choose = _mlp(width)
        self.agree = _mlp(width)
        for parameter in self.score[-1].parameters():  # it begins as the reader's odds and PageRank's shares
            nn.init.zeros_(parameter)

    def forward(self, meaning: Tensor, numbers: Tensor, adjacency: Tensor) -> Tensor:
        """(nodes, meaning), (nodes, NUMBERS), (nodes, nodes) → (nodes, width)."""
        x: Tensor = self.begin(torch.cat([meaning, numbers], dim=-1))
        a = column_normalised(adjacency)
        for _ in range(STEPS):
            x = functional.gelu(self.keep(x) + a.t() @ functional.gelu(self.send(x)))
        return x

    def shifts(self, x: Tensor) -> Tensor:
        """(answers, width) → (answers,): added to each one's log odds."""
        moved: Tensor = SHIFT * torch.tanh(self.score(x).squeeze(-1))
        return moved

    def first_is(self, one: Tensor, other: Tensor) -> Tensor:
        """Logit that the first of two nodes is the answer; swapping them changes its sign."""
        logit: Tensor = (self.choose(one - other) - self.choose(other - one)).squeeze(-1)
        return logit

    def yes(self, one: Tensor, other: Tensor) -> Tensor:
        """Logit of "yes" about two nodes; swapping them changes nothing."""
        logit: Tensor = (self.agree(one - other) + self.agree(other - one)).squeeze(-1)
        return logit


def column_normalised(adjacency: Tensor) -> Tensor:
    """A: the adjacency with self-edges, each column divided by its sum."""
    a = adjacency + torch.eye(len(adjacency))
    return a / a.sum(dim=0, keepdim=True)


class System2:
    """The trained network, as a judge of what was found."""

    def __init__(self, network: GraphNetwork) -> None:
        self.network = network.eval()

    @classmethod
    def load(cls, folder: Path, *, width: int) -> System2 | None:
        """From ``folder``; None where System 1 was trained alone.

        Raises:
            ModelMissing: the weights cannot be read, or are of another System 1.
        """
        if not (folder / FILE).is_file():
            return None
        network, path = GraphNetwork(width), folder / FILE
        fill(
            network, {name: one.float() for name, one in read_weights(path, remedy=REMEDY).items()}, path, remedy=REMEDY
        )
        return cls(network)

    def judge(self, findings: Findings) -> Verdict:
        """Its verdict on what was found."""
        tensors = graph_tensors(findings)
        with torch.inference_mode():
            x = self.network(tensors.meaning, tensors.numbers, tensors.adjacency)
            if tensors.pair:
                one, other = x[tensors.pair[0]], x[tensors.pair[1]]
                if tensors.form == "yes-no":
                    p = float(torch.sigmoid(self.network.yes(one, other)))
                    return Verdict({}, _ranked(("yes", p), ("no", 1 - p)), tensors.pair)
                p = float(torch.sigmoid(self.network.first_is(one, other)))
                return Verdict({}, _ranked((tensors.sides[0], p), (tensors.sides[1], 1 - p)), tensors.pair)
            moved = self.network.shifts(x[tensors.pages :]).tolist()
        return Verdict(dict(zip(tensors.keys, moved, strict=True)))


def save_network(network: GraphNetwork, folder: Path) -> None:
    """Write the weights, float16."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: t.detach().to(torch.float16).contiguous() for n, t in network.state_dict().items()}, folder / FILE)


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))


def _squashed(log_odds: float) -> float:
    return math.tanh(log_odds / 8)


def _ranked(*sides: tuple[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(sides, key=lambda side: -side[1]))
