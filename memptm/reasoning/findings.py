"""What the expansion found, ready to be weighed: edges, each page's share, and which spans may answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from memptm.documents.sentences import sentence_at
from memptm.generation.reader import Reading, Span, answer_key, scored
from memptm.graph import Clue
from memptm.reasoning.frontier import FrontierNode, SearchResult
from memptm.reasoning.pagerank import pagerank
from memptm.reasoning.system1 import PageReading
from memptm.types import Passage, PassageKey, ScoredPassage

REACHED = (
    2.0  # added to the log odds of answers on a page that the surest edges lead to; fitted on small worlds of two hops
)


@dataclass(frozen=True)
class ReadPassage:
    """A passage that was read for a page.

    Attributes:
        page: number of the first page that read it.
        reading: what System 1 found in it.
    """

    page: int
    passage: Passage
    reading: PageReading

    def sentence(self, start: int, score: float) -> Clue | None:
        """The sentence that character ``start`` is in."""
        number = sentence_at(list(self.reading.sentences), start)
        return None if number is None else self.clue(number, score)

    def clue(self, number: int, score: float) -> Clue:
        """Sentence ``number`` as a clue."""
        start, end = self.reading.sentences[number]
        return Clue(
            text=self.passage.text[start:end], passage=self.passage.id, sentence=number, start=start, end=end,
            score=min(max(score, 0.0), 1.0), origin=self.passage.key,
        )  # fmt: skip


@dataclass(frozen=True)
class PossibleAnswer:
    """A span that may answer: the best of its passage.

    Attributes:
        key: what it says; answers of one key are one answer.
        text: as it stands there.
        place: number of its passage in ``Findings.read_passages``.
    """

    key: str
    text: str
    place: int
    span: Span


@dataclass(frozen=True)
class Findings:
    """The pages that were read and what follows from them without a model.

    Attributes:
        weighed: whether pages differ by PageRank; else all have equal shares.
    """

    result: SearchResult
    weighed: bool = True

    @property
    def pages(self) -> tuple[FrontierNode, ...]:
        """The pages that were read."""
        return self.result.nodes

    @cached_property
    def read_passages(self) -> tuple[ReadPassage, ...]:
        """Every passage that was read, once, under the first page that read it."""
        found: dict[PassageKey, ReadPassage] = {}
        for node in self.pages:
            for passage, reading in zip(node.page.passages, node.readings, strict=True):
                found.setdefault(passage.key, ReadPassage(node.id, passage, reading))
        return tuple(found.values())

    @cached_property
    def edges(self) -> dict[tuple[int, int], tuple[Clue, ...]]:
        """(page, page) → the clues that led from one to the other; never from a page to itself."""
        edges: dict[tuple[int, int], tuple[Clue, ...]] = {}
        for node in self.pages:
            for source, clue in node.clues:
                if source != node.id:
                    edges[source, node.id] = (*edges.get((source, node.id), ()), clue)
        return edges

    def flat(self) -> Findings:
        """The same pages with equal shares for all pages: what System 1 says by itself."""
        return Findings(self.result, weighed=False)

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """(pages,) PageRank of each, begun where the question begins."""
        if not self.weighed:
            return np.full(len(self.pages), 1 / max(len(self.pages), 1))
        seeds = np.array([node.seed_score for node in self.pages], np.float64)
        return pagerank({pair: sum(clue.score for clue in clues) for pair, clues in self.edges.items()}, seeds)

    @cached_property
    def log_prior(self) -> list[float]:
        """log p(z | x) of each place: its page's share, spread evenly over the page's passages."""
        count = np.bincount([place.page for place in self.read_passages], minlength=len(self.pages))
        weights = [max(float(self.shares[place.page]) / count[place.page], 1e-12) for place in self.read_passages]
        total = math.fsum(weights)
        return [math.log(weight / total) for weight in weights]

    @cached_property
    def scored(self) -> list[ScoredPassage]:
        """The passages that were read, each with its log p(z | x)."""
        return scored([place.passage for place in self.read_passages], self.log_prior)

    @cached_property
    def reach(self) -> list[float]:
        """(pages,) how surely edges lead to each page from one that the question itself leads to, from 0 to 1.

        Along the best way: the seed score where it begins times, of each edge, the root of its best clue's score. 0 for a
        page that no edge leads to.
        """
        seeds = [node.seed_score for node in self.pages]
        sure = {pair: math.sqrt(max(clue.score for clue in clues)) for pair, clues in self.edges.items()}
        best = [0.0] * len(seeds)
        for _ in seeds:  # no way is longer than there are pages
            for (source, target), edge in sure.items():
                best[target] = max(best[target], edge * max(seeds[source], best[source]))
        return best

    @cached_property
    def reading(self) -> Reading:
        """What the reader found, over all places; on a page that was reached over an edge its odds are higher.

        A question of several hops is answered where it leads, and the reader, which sees one page at a time, cannot know
        that the page is that place.
        """
        raised = [REACHED * self.reach[place.page] * self.weighed for place in self.read_passages]
        spans = [
            Span(n, span.start, span.end, span.log_odds + raised[n])
            for n, place in enumerate(self.read_passages)
            for span in place.reading.spans
        ]
        masses = [place.reading.log_mass + more for place, more in zip(self.read_passages, raised, strict=True)]
        return Reading(tuple(spans), tuple(masses))

    @cached_property
    def answers(self) -> tuple[PossibleAnswer, ...]:
        """The best span of each place that has one, in the order of places, with System 1's own odds."""
        best = {
            n: replace(max(place.reading.spans, key=lambda span: span.log_odds), passage=n)
            for n, place in enumerate(self.read_passages)
            if place.reading.spans
        }
        found = []
        for n, span in sorted(best.items()):
            text = self.read_passages[n].passage.text[span.start : span.end]
            found.append(PossibleAnswer(answer_key(text), text, n, span))
        return tuple(found)

    def shifted(self, by: dict[str, float]) -> Reading:
        """The reading with the log odds of all spans that say ``key`` moved by ``by[key]``; masses follow."""
        spans, masses = [], [math.exp(mass) for mass in self.reading.log_mass]
        for span in self.reading.spans:
            text = self.read_passages[span.passage].passage.text[span.start : span.end]
            moved = span.log_odds + by.get(answer_key(text), 0.0)
            masses[span.passage] += math.exp(moved) - math.exp(span.log_odds)
            spans.append(Span(span.passage, span.start, span.end, moved))
        return Reading(tuple(spans), tuple(math.log(max(mass, 1e-300)) for mass in masses))

    def path_to(self, page: int, *, longest: int = 4) -> tuple[int, ...]:
        """Pages from where the search began to ``page``: at each step back, the strongest way in.

        It ends at a page that the question names, or one that nothing led to.
        """
        path = [page]
        while len(path) < longest and self.pages[path[0]].named is None:
            into = [
                (float(self.shares[source]) * sum(clue.score for clue in clues), -source)
                for (source, target), clues in self.edges.items()
                if target == path[0] and source not in path
            ]
            if not into:
                break
            path.insert(0, -max(into)[1])
        return tuple(path)
