"""The frontier: pages are read in batches, the best first, and what System 1 sees there leads to the next ones.

Source: CogQA (Ding et al. 2019), algorithm 1. Two of its traps are closed here: a page that gains a clue is read again
with all its clues even if it was waiting already; and where no page led anywhere, no threshold is lowered that could
outlast its question: every sight has the hops below its threshold beside those above. Ours: where no name leads on and
nothing that was read answers, the next nearest passages are read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from memptm.documents.sentences import sentence_at
from memptm.errors import InputError
from memptm.reasoning.graph import Clue, Identity
from memptm.reasoning.linker import TRUST, Linker, Page, Wanted
from memptm.reasoning.question_form import Form, question_form
from memptm.reasoning.system1 import Hop, Look, Sight, System1, identity
from memptm.types import Passage

BATCH = 6  # pages read together
READINGS = 3  # times the budget that pages are read in all, readings with further clues included
MOST_CLUES = 4  # that are read with a page, the strongest
RETRIEVED = 0.8  # priority of the best passage retrieved, where a page that the question names has 1
ANSWERED = 2.0  # log odds that a page answers, above which no further passages are looked for
NODES = 12  # a question, unless told otherwise


@dataclass
class Visit:
    """A page on the frontier or read.

    Attributes:
        start: where the walk begins; 0 for a page that was only led to. names: its names in the question.
        clues: (id of the page it came from, clue), in order of arrival. sights: one a passage, of the last reading.
        waiting: to be read, for the first time or again.
    """

    id: int
    page: Page
    start: float = 0.0
    names: list[tuple[int, int]] = field(default_factory=list)
    clues: list[tuple[int, Clue]] = field(default_factory=list)
    sights: tuple[Sight, ...] = ()
    visits: int = 0
    waiting: bool = True
    priority: float = 0.0

    @property
    def named(self) -> tuple[int, int] | None:
        """The first of its names in the question, if there."""
        return self.names[0] if self.names else None

    def looks(self) -> list[Look]:
        """What is to be read: each passage with the clues, one a sentence."""
        told = self.told()
        texts, scores = tuple(clue.text for clue in told), tuple(clue.score for clue in told)
        return [Look(passage, texts, scores) for passage in self.page.passages]

    def told(self) -> list[Clue]:
        """The strongest clues, in order of arrival."""
        distinct = {clue.place: clue for _, clue in self.clues}
        best = sorted(distinct, key=lambda place: -distinct[place].score)[:MOST_CLUES]
        return [clue for place, clue in distinct.items() if place in best]


@dataclass(frozen=True)
class Trip:
    """What came of a question: the pages that were read, in order of arrival, and why it ended.

    Attributes:
        named: characters of ``question`` that are names. begins: where in it the question itself begins.
    """

    question: str
    visits: tuple[Visit, ...]
    named: tuple[tuple[int, int], ...]
    readings: int
    stopped: str  # "" (nothing left), "nodes" or "seconds"
    begins: int = 0

    @cached_property
    def form(self) -> Form:
        """What is asked for."""
        return question_form(self.question, self.named, self.begins)


class Frontier:
    """One question's walk over a memory.

    Args:
        linker: of the question. system1: reads the pages.
        nodes: most pages that are read. seconds: after which no further batch is begun; None: no such limit.
    Raises:
        InputError: a budget of less than one node, or of no time.
    """

    def __init__(self, linker: Linker, system1: System1, *, nodes: int = NODES, seconds: float | None = None) -> None:
        if nodes < 1:
            raise InputError(f"A budget of {nodes} nodes leaves nothing to read; give at least 1.")
        if seconds is not None and seconds <= 0:
            raise InputError(f"A budget of {seconds:g} seconds leaves no time to read; give more than 0.")
        self.linker, self.system1, self.nodes, self.seconds = linker, system1, nodes, seconds
        self._named: list[tuple[int, int]] = []
        self._visits: list[Visit] = []
        self._owner: dict[Identity, int] = {}  # passage's identity → page
        self._reserve: list[tuple[Page, float]] = []  # retrieved beyond the first ones, each with its start
        self._readings = 0

    def walk(self, k: int) -> Trip:
        """Begin at the pages the question names and at the ``k`` passages nearest to it, and read on.

        Where no name leads on and nothing answers, at the next nearest passages as well.
        """
        began = time.monotonic()
        self._named = self.linker.named()
        self._begin(k)
        stopped, faintly = "", False
        while True:
            batch = self._next()
            if not (batch or faintly or any(visit.clues for visit in self._visits)):
                faintly = True
                self._lead_on(self._visits, faintly=True)
                batch = self._next()
            batch = batch or self._from_reserve()
            if not batch:
                break
            if self._readings and self._late(began):
                stopped = "seconds"
                break
            if self._readings + len(batch) > READINGS * self.nodes:
                break
            self._read(batch)
        read = tuple(visit for visit in self._visits if visit.visits)
        if not stopped and any(visit.waiting and not visit.visits for visit in self._visits):
            stopped = "nodes"
        return Trip(
            self.linker.question, _renumbered(read), tuple(self._named), self._readings, stopped, self.linker.begins
        )

    def _late(self, began: float) -> bool:
        return self.seconds is not None and time.monotonic() - began >= self.seconds

    def _begin(self, k: int) -> None:
        wanted = [Wanted(self.linker.question[start:end]) for start, end in self._named]
        for span, page in zip(self._named, self.linker.link(wanted, search=False), strict=True):
            if page is not None:
                visit = self._visit(page)
                visit.names.append(span)
                visit.start = max(visit.start, TRUST[page.kind])
        found = self.linker.retrieved(max(k, self.nodes))
        best = max((score for _, score in found), default=0.0)
        starts = [(page, RETRIEVED * max(score, 0.0) / best if best > 0 else RETRIEVED) for page, score in found]
        for page, start in starts[:k]:
            visit = self._visit(page)
            visit.start = max(visit.start, start)
        self._reserve = starts[k:]
        for visit in self._visits:
            visit.priority = visit.start

    def _visit(self, page: Page) -> Visit:
        """The page's visit: one that holds its first passage already, with the others too now, else a new one."""
        number = self._owner.get(identity(page.passages[0]))
        if number is None:
            number = len(self._visits)
            self._visits.append(Visit(number, page))
        visit = self._visits[number]
        new = tuple(one for one in page.passages if identity(one) not in self._owner)
        for passage in new:
            self._owner[identity(passage)] = number
        if visit.page is not page and new:
            visit.page, visit.waiting = replace(page, passages=(*visit.page.passages, *new)), True
        return visit

    @property
    def _room(self) -> int:
        """How many further pages the budget allows."""
        return self.nodes - sum(visit.visits > 0 for visit in self._visits)

    @property
    def _answered(self) -> bool:
        """Whether a page answers; or, where no span does, both things that a question compares were read."""
        if question_form(self.linker.question, self._named, self.linker.begins) != "span":
            read = [visit for visit in self._visits if visit.named and visit.visits and visit.page.kind != "entity"]
            return len(read) > 1
        return any(sight.log_mass > ANSWERED for visit in self._visits for sight in visit.sights)

    def _from_reserve(self) -> list[Visit]:
        """The next nearest passages that no name led to; none where what was read answers."""
        if self._answered:
            return []
        batch: list[Visit] = []
        while self._reserve and len(batch) < min(self._room, BATCH):
            page, start = self._reserve.pop(0)
            if identity(page.passages[0]) not in self._owner:
                visit = self._visit(page)
                visit.start = visit.priority = start
                batch.append(visit)
        return batch

    def _next(self) -> list[Visit]:
        """The best that wait, as many as the budget and a batch allow; a page read before is always within the budget."""
        room = self._room
        batch: list[Visit] = []
        for visit in sorted((v for v in self._visits if v.waiting), key=lambda v: (-v.priority, v.id)):
            if visit.visits or room > 0:
                room -= not visit.visits
                batch.append(visit)
            if len(batch) == BATCH:
                break
        return batch

    def _read(self, batch: Sequence[Visit]) -> None:
        looks = [look for visit in batch for look in visit.looks()]
        sights = iter(self.system1.look(self.linker.question, looks))
        for visit in batch:
            visit.sights = tuple(next(sights) for _ in visit.page.passages)
            visit.visits, visit.waiting = visit.visits + 1, False
            self._readings += 1
        self._lead_on(batch)

    def _lead_on(self, visits: Sequence[Visit], *, faintly: bool = False) -> None:
        """To the pages that hops of ``visits`` name. ``faintly``: hops below their page's threshold as well."""
        hops: list[tuple[Visit, Passage, Sight, Hop]] = []
        for visit in visits:
            for passage, sight in zip(visit.page.passages, visit.sights, strict=False):  # none if it was not read
                hops += [(visit, passage, sight, hop) for hop in (sight.faint if faintly else sight.hops)]
        wanted = [
            Wanted(passage.text[hop.start : hop.end], frozenset(identity(one) for one in visit.page.passages))
            for visit, passage, _, hop in hops
        ]
        for (visit, passage, sight, hop), page in zip(hops, self.linker.link(wanted), strict=True):
            if page is not None:
                self._follow(visit, passage, sight, hop, page)

    def _follow(self, source: Visit, passage: Passage, sight: Sight, hop: Hop, page: Page) -> None:
        target = self._visit(page)
        number = sentence_at(list(sight.sentences), hop.start)
        if target is source or number is None:
            return
        start, end = sight.sentences[number]
        clue = Clue(
            text=passage.text[start:end], passage=passage.id, sentence=number, start=start, end=end,
            score=hop.score * TRUST[page.kind], origin=identity(passage),
        )  # fmt: skip
        known = [n for n, (_, one) in enumerate(target.clues) if one.place == clue.place]
        if known:
            target.clues[known[0]] = (source.id, max(target.clues[known[0]][1], clue, key=lambda one: one.score))
            return
        target.clues.append((source.id, clue))
        target.waiting = True
        target.priority = max(target.priority, source.priority * clue.score)


def _renumbered(read: tuple[Visit, ...]) -> tuple[Visit, ...]:
    """Numbered from 0, with the passages that were read; clues come from reading, so none from pages that are left out."""
    number = {visit.id: n for n, visit in enumerate(read)}
    for visit in read:
        visit.page = replace(visit.page, passages=visit.page.passages[: len(visit.sights)])
        visit.clues = [(number[source], clue) for source, clue in visit.clues]
    for visit in read:
        visit.id = number[visit.id]
    return read
