"""The frontier: pages are read in batches, the best first, and the names System 1 finds there lead to the next pages.

Two traps of the original are closed here. A page that gains a clue is read again with all its clues, even if it was
waiting already. Where no page led anywhere, names below the threshold are followed, and no threshold is lowered that
could outlast its question: every reading holds them beside those above it. Ours: where no name leads on and nothing that
was read answers, the next nearest passages are read.

Source: CogQA (Ding et al. 2019, arXiv 1905.05460), algorithm 1.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from memptm.documents.sentences import sentence_at
from memptm.errors import InputError
from memptm.graph import Clue
from memptm.reasoning.linker import TRUST, Linker, Page, Wanted
from memptm.reasoning.question_form import Form, question_form
from memptm.reasoning.system1 import Hop, PageInput, PageReading, System1, best_hops
from memptm.types import Passage, PassageKey

BATCH = 6  # pages read together
READINGS = 3  # times the number of pages allowed that pages are read in all, readings with further clues included
MOST_CLUES = 4  # that are read with a page, the strongest
RETRIEVED = 0.8  # seed score of the best passage retrieved, where a page that the question names has 1
ANSWERED = 2.0  # log odds that a page answers, above which no further passages are looked for
MENTIONED = 0.5  # least score of a name that is another page's, where System 1 found nothing to follow
PAGES = 12  # read for a question, unless told otherwise


@dataclass
class FrontierNode:
    """A page that waits to be read or was read.

    Attributes:
        id: number in order of arrival.
        page: its name and passages.
        seed_score: how surely the question itself leads here, from 0 to 1; 0 for a page that only a clue led to.
        names: its names in the question, as (start, end) characters.
        clues: (id of the page it came from, clue), in order of arrival.
        readings: of its last reading, one a passage.
        visits: how often it was read.
        waiting: to be read, for the first time or again.
        priority: of those that wait, the highest is read first.
    """

    id: int
    page: Page
    seed_score: float = 0.0
    names: list[tuple[int, int]] = field(default_factory=list)
    clues: list[tuple[int, Clue]] = field(default_factory=list)
    readings: tuple[PageReading, ...] = ()
    visits: int = 0
    waiting: bool = True
    priority: float = 0.0

    @property
    def named(self) -> tuple[int, int] | None:
        """The first of its names in the question; None if the question does not name it."""
        return self.names[0] if self.names else None

    def inputs(self) -> list[PageInput]:
        """What System 1 reads: each passage with the strongest clues."""
        clues = self.strongest_clues()
        texts, scores = tuple(clue.text for clue in clues), tuple(clue.score for clue in clues)
        return [PageInput(passage, texts, scores) for passage in self.page.passages]

    def strongest_clues(self) -> list[Clue]:
        """At most ``MOST_CLUES`` of them, one a sentence, in order of arrival."""
        distinct = {clue.place: clue for _, clue in self.clues}
        best = sorted(distinct, key=lambda place: -distinct[place].score)[:MOST_CLUES]
        return [clue for place, clue in distinct.items() if place in best]


@dataclass(frozen=True)
class SearchResult:
    """What a question led to.

    Attributes:
        question: as it was read, with its lead (what stands before it in a conversation).
        nodes: the pages that were read, in order of arrival, numbered from 0.
        named: (start, end) characters of ``question`` that are names.
        readings: how often pages were read in all.
        stopped: what ended the search: "" (nothing was left), "pages" or "seconds".
        begins: the character of ``question`` at which the question itself begins, behind its lead.
    """

    question: str
    nodes: tuple[FrontierNode, ...]
    named: tuple[tuple[int, int], ...]
    readings: int
    stopped: str
    begins: int = 0

    @cached_property
    def form(self) -> Form:
        """What is asked for."""
        return question_form(self.question, self.named, self.begins)


class Frontier:
    """One question's search through a memory.

    Args:
        linker: of the question.
        system1: reads the pages.
        pages: most pages that are read.
        seconds: after which no further batch is begun; None: no such limit.
    Raises:
        InputError: less than one page, or no time.
    """

    def __init__(self, linker: Linker, system1: System1, *, pages: int = PAGES, seconds: float | None = None) -> None:
        if pages < 1:
            raise InputError(f"With at most {pages} pages there is nothing to read; give at least 1.")
        if seconds is not None and seconds <= 0:
            raise InputError(f"In {seconds:g} seconds there is no time to read; give more than 0.")
        self.linker, self.system1, self.pages, self.seconds = linker, system1, pages, seconds
        self._named: list[tuple[int, int]] = []
        self._nodes: list[FrontierNode] = []
        self._owner: dict[PassageKey, int] = {}  # passage → node
        self._reserve: list[tuple[Page, float]] = []  # retrieved beyond the first ones, each with its seed score
        self._readings = 0

    def expand(self, k: int) -> SearchResult:
        """Begin at the pages the question names and at the ``k`` passages nearest to it, and read on from there.

        Where no name leads on and nothing answers, go on from the next nearest passages as well.
        """
        began = time.monotonic()
        self._named = self.linker.named()
        self._begin(k)
        stopped, lowered = "", False
        while True:
            batch = self._next()
            if not (batch or lowered or any(node.clues for node in self._nodes)):
                lowered = True
                self._follow_hops(self._nodes, below_threshold=True)
                batch = self._next()
            batch = batch or self._from_reserve()
            if not batch:
                break
            if self._readings and self._late(began):
                stopped = "seconds"
                break
            if self._readings + len(batch) > READINGS * self.pages:
                break
            self._read(batch)
        read = tuple(node for node in self._nodes if node.visits)
        if not stopped and any(node.waiting and not node.visits for node in self._nodes):
            stopped = "pages"
        return SearchResult(
            self.linker.question, _renumbered(read), tuple(self._named), self._readings, stopped, self.linker.begins
        )

    def _late(self, began: float) -> bool:
        return self.seconds is not None and time.monotonic() - began >= self.seconds

    def _begin(self, k: int) -> None:
        wanted = [Wanted(self.linker.question[start:end]) for start, end in self._named]
        for span, page in zip(self._named, self.linker.link(wanted, search=False), strict=True):
            if page is not None:
                node = self._node_of(page)
                node.names.append(span)
                node.seed_score = max(node.seed_score, TRUST[page.kind])
        found = self.linker.retrieved(max(k, self.pages))
        best = max((score for _, score in found), default=0.0)
        seeds = [(page, RETRIEVED * max(score, 0.0) / best if best > 0 else RETRIEVED) for page, score in found]
        for page, score in seeds[:k]:
            node = self._node_of(page)
            node.seed_score = max(node.seed_score, score)
        self._reserve = seeds[k:]
        for node in self._nodes:
            node.priority = node.seed_score

    def _node_of(self, page: Page) -> FrontierNode:
        """The page's node: one that holds its first passage already, with the others too now, else a new one."""
        number = self._owner.get(page.passages[0].key)
        if number is None:
            number = len(self._nodes)
            self._nodes.append(FrontierNode(number, page))
        node = self._nodes[number]
        new = tuple(one for one in page.passages if one.key not in self._owner)
        for passage in new:
            self._owner[passage.key] = number
        if node.page is not page and new:
            node.page, node.waiting = replace(page, passages=(*node.page.passages, *new)), True
        return node

    @property
    def _room(self) -> int:
        """How many further pages may be read."""
        return self.pages - sum(node.visits > 0 for node in self._nodes)

    @property
    def _answered(self) -> bool:
        """Whether a page answers; or, where no span does, both things that a question compares were read."""
        if question_form(self.linker.question, self._named, self.linker.begins) != "span":
            read = [node for node in self._nodes if node.named and node.visits and node.page.kind != "entity"]
            return len(read) > 1
        return any(reading.log_mass > ANSWERED for node in self._nodes for reading in node.readings)

    def _from_reserve(self) -> list[FrontierNode]:
        """The next nearest passages that no name led to; none where what was read answers."""
        if self._answered:
            return []
        batch: list[FrontierNode] = []
        while self._reserve and len(batch) < min(self._room, BATCH):
            page, score = self._reserve.pop(0)
            if page.passages[0].key not in self._owner:
                node = self._node_of(page)
                node.seed_score = node.priority = score
                batch.append(node)
        return batch

    def _next(self) -> list[FrontierNode]:
        """The best that wait, as many as may be read and a batch allows; a page read before counts for nothing."""
        room = self._room
        batch: list[FrontierNode] = []
        for node in sorted((one for one in self._nodes if one.waiting), key=lambda one: (-one.priority, one.id)):
            if node.visits or room > 0:
                room -= not node.visits
                batch.append(node)
            if len(batch) == BATCH:
                break
        return batch

    def _read(self, batch: Sequence[FrontierNode]) -> None:
        inputs = [one for node in batch for one in node.inputs()]
        readings = iter(self.system1.read_pages(self.linker.question, inputs))
        for node in batch:
            node.readings = tuple(next(readings) for _ in node.page.passages)
            node.visits, node.waiting = node.visits + 1, False
            self._readings += 1
        self._follow_hops(batch)

    def _follow_hops(self, nodes: Sequence[FrontierNode], *, below_threshold: bool = False) -> None:
        """Add the pages that hops of ``nodes`` name.

        Where System 1 found nothing to follow in a passage, the names of other pages that stand in it are followed.

        Args:
            below_threshold: hops below their page's threshold as well.
        """
        hops: list[tuple[FrontierNode, Passage, PageReading, Hop]] = []
        for node in nodes:
            for passage, reading in zip(node.page.passages, node.readings, strict=False):  # none if it was not read
                found = reading.below_threshold if below_threshold else reading.hops or self._mentions(passage, reading)
                hops += [(node, passage, reading, hop) for hop in found]
        wanted = [
            Wanted(passage.text[hop.start : hop.end], frozenset(one.key for one in node.page.passages))
            for node, passage, _, hop in hops
        ]
        for (node, passage, reading, hop), page in zip(hops, self.linker.link(wanted), strict=True):
            if page is not None:
                self._follow(node, passage, reading, hop, page)

    def _mentions(self, passage: Passage, reading: PageReading) -> tuple[Hop, ...]:
        """The best few names of other pages that stand in a passage, each as sure as its sentence matters."""
        hops = []
        for start, end in self.linker.mentions(passage):
            number = sentence_at(list(reading.sentences), start)
            if number is not None:
                hops.append(Hop(start, end, max(reading.support[number], MENTIONED)))
        return best_hops(passage.text, hops)

    def _follow(self, source: FrontierNode, passage: Passage, reading: PageReading, hop: Hop, page: Page) -> None:
        target = self._node_of(page)
        number = sentence_at(list(reading.sentences), hop.start)
        if target is source or number is None:
            return
        start, end = reading.sentences[number]
        clue = Clue(
            text=passage.text[start:end], passage=passage.id, sentence=number, start=start, end=end,
            score=hop.score * TRUST[page.kind], origin=passage.key,
        )  # fmt: skip
        known = [n for n, (_, one) in enumerate(target.clues) if one.place == clue.place]
        if known:
            target.clues[known[0]] = (source.id, max(target.clues[known[0]][1], clue, key=lambda one: one.score))
            return
        target.clues.append((source.id, clue))
        target.waiting = True
        target.priority = max(target.priority, source.priority * clue.score)


def _renumbered(read: tuple[FrontierNode, ...]) -> tuple[FrontierNode, ...]:
    """Numbered from 0, with the passages that were read.

    Clues come from reading, so none comes from a page that is left out.
    """
    number = {node.id: n for n, node in enumerate(read)}
    for node in read:
        node.page = replace(node.page, passages=node.page.passages[: len(node.readings)])
        node.clues = [(number[source], clue) for source, clue in node.clues]
    for node in read:
        node.id = number[node.id]
    return read
