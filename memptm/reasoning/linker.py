"""From names to passages: by title or heading, then by mention, then by search. Nothing is kept from one question to the next.

CogQA links by a dump of Wikipedia's hyperlinks; here the long-term memory is asked at the time of the question, so that
any index will do and a document that was removed leaves no node behind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from memptm.memory.in_memory import InMemoryIndex
from memptm.memory.lexical import terms
from memptm.memory.memory import Memory
from memptm.memory.titles import bare_key, name_key
from memptm.memory.where import LONGEST
from memptm.reasoning.names import names, says
from memptm.types import Hit, Mode, Passage, PassageKey, Query

OF_A_TITLE = 3  # passages of a long document that stand for its title
LOADED = 64  # passages under one name, at most; of more, search finds those that matter
LOOKED_AT = 10  # hits among which a mention is looked for
TRUST = {"title": 1.0, "heading": 0.9, "entity": 0.6, "passage": 0.4}  # in a link, by how it was found
LEAST_SIMILARITY = 0.5  # cosine of a name and a passage that does not write it so
NAME_SHOWN = 60  # characters of a passage without a title
Key = tuple[str, frozenset[PassageKey]]


@dataclass(frozen=True)
class Wanted:
    """A name to link.

    Attributes:
        source: keys of the passages it was read in, which it does not lead to.
    """

    name: str
    source: frozenset[PassageKey] = frozenset()


@dataclass(frozen=True)
class Page:
    """What a node reads: passages under one name.

    Attributes:
        kind: as ``graph.Node``'s: how it was found.
    """

    kind: str
    name: str
    passages: tuple[Passage, ...]


class Linker:
    """Looks names up in one version of a memory, for one question.

    Args:
        memory: where names are looked up.
        query: the question, and what is read before it.
        mode: how passages are searched.
        where: a filter on passages; what it leaves out is never linked to.
    Attributes:
        question: as it is read, with its lead.
        begins: the character of it at which the question itself begins.
        titles: the names the index goes by.
    """

    def __init__(
        self,
        memory: Memory | InMemoryIndex,
        query: Query | str,
        *,
        mode: Mode = "hybrid",
        where: str | None = None,
    ) -> None:
        query = Query(query) if isinstance(query, str) else query
        self.memory, self.question, self.mode, self.where = memory, query.whole, mode, where
        self.begins = len(query.lead)
        self.titles = memory.titles(where=where)
        self._known: dict[Key, Page | None] = {}
        self._called: dict[str, list[Passage]] = {}

    def named(self) -> list[tuple[int, int]]:
        """Characters of the question that are names; none reaches from the lead into it."""
        before, within = names([self.question[: self.begins], self.question[self.begins :]], self.titles)
        return [*before, *((start + self.begins, end + self.begins) for start, end in within)]

    def mentions(self, passage: Passage) -> list[tuple[int, int]]:
        """(start, end) characters of a passage that are titles or headings of other pages, each name once, in order.

        Not its own names and not those that the question says, where the search began; and no heading that several
        documents have ("Introduction"), for it names none of them.
        """
        known = {name_key(passage.title), *(name_key(heading) for heading in passage.headings)}
        question = name_key(self.question)
        found = []
        for start, end in self.titles.mentions(passage.text):
            key = name_key(passage.text[start:end])
            if key not in known and not says(question, key) and not self._is_common(key):
                found.append((start, end))
            known.add(key)
        return found

    def _is_common(self, name: str) -> bool:
        """Whether it is a heading in several documents and the title of none."""
        passages = self._under(name)
        return len({one.document_key for one in passages}) > 1 and not _is_title(passages[0], name)

    def retrieved(self, k: int) -> list[tuple[Page, float]]:
        """The ``k`` passages nearest to the question, each with its score."""
        hits = self.memory.search(self.question, k=k, mode=self.mode, where=self.where)
        return [
            (page_of(hit.passage), hit.similarity if self.mode == "lexical" else hit.score) for hit in hits
        ]  # BM25 has no common scale

    def link(self, wanted: Sequence[Wanted], *, search: bool = True) -> list[Page | None]:
        """The page each name leads to; None where it leads nowhere.

        Args:
            search: whether a name that stands nowhere as it is written is searched for by meaning.
        """
        left = [one for one in dict.fromkeys(wanted) if (_key(one)) not in self._known]
        for one in left:
            self._known[_key(one)] = self._by_title(one)
        left = [one for one in left if self._known[_key(one)] is None and not self._is_own(one)]
        if left:
            found = self.memory.search([one.name for one in left], k=LOOKED_AT, mode="lexical", where=self.where)
            for one, hits in zip(left, found, strict=True):
                self._known[_key(one)] = _by_mention(one, [hit.passage for hit in hits])
        left = [one for one in left if self._known[_key(one)] is None] if search else []
        if left:
            near = self.memory.search([one.name for one in left], k=3, mode=self.mode, where=self.where)
            for one, hits in zip(left, near, strict=True):
                self._known[_key(one)] = _by_nearness(one, hits)
        return [self._known.get(_key(one)) for one in wanted]

    def _under(self, name: str) -> list[Passage]:
        """The passages under a name, the first ones of many."""
        if name not in self._called:
            numbers = self.titles.find(name)[:LOADED]
            self._called[name] = self.memory.numbered(numbers) if numbers else []
        return self._called[name]

    def _is_own(self, wanted: Wanted) -> bool:
        """Whether a page names itself, or the document that it is a part of."""
        sources = {source[:2] for source in wanted.source}
        return any(
            one.key in wanted.source or (_is_title(one, wanted.name) and one.document_key in sources)
            for one in self._under(wanted.name)
        )

    def _by_title(self, wanted: Wanted) -> Page | None:
        passages = self._under(wanted.name)
        if not passages or self._is_own(wanted):
            return None
        if len(passages) > OF_A_TITLE:
            passages = self._nearest(wanted.name, passages)
        return page_of(*passages, wanted=wanted.name)

    def _nearest(self, name: str, begun: Sequence[Passage]) -> list[Passage]:
        """Those of a long document that are nearest to the question, in reading order.

        Args:
            begun: its first passages, which say what to search in.
        """
        titled = _is_title(begun[0], name)
        column, values = (
            ("title", [one.title for one in begun]) if titled else ("document", [one.document for one in begun])
        )
        listed = ", ".join("'" + one.replace("'", "''") + "'" for one in dict.fromkeys(values))
        within = f"{column} IN ({listed})" + (f" AND ({self.where})" if self.where else "")
        if len(within) > LONGEST:
            return list(begun[:OF_A_TITLE])
        hits = self.memory.search(self.question, k=LOADED, mode="dense", where=within)
        found = [hit.passage for hit in hits if _goes_by(hit.passage, name, titled=titled)][:OF_A_TITLE]
        return sorted(found, key=lambda one: (one.source, one.document, one.start)) or list(begun[:OF_A_TITLE])


def _is_title(passage: Passage, name: str) -> bool:
    """Whether its document is called so; see ``Titles.find``."""
    title = name_key(passage.title)
    return bool(title) and (name_key(name) in (title, bare_key(passage.title)) or bare_key(name) == title)


def _goes_by(passage: Passage, name: str, *, titled: bool) -> bool:
    """Whether it stands under the name: as its document's title, or as its section's heading."""
    if titled:
        return _is_title(passage, name)
    return bool(passage.headings) and name_key(passage.headings[-1]) in (name_key(name), bare_key(name))


def page_of(*passages: Passage, wanted: str = "") -> Page:
    """The page of passages that go by one name: a section's own heading, else their title, else their first words.

    Args:
        wanted: the name that led to them; where it is their document's title, the page is the document.
    """
    first = passages[0]
    heading = first.headings[-1] if first.headings else ""
    if heading and name_key(heading) != name_key(first.title) and not (wanted and _is_title(first, wanted)):
        return Page("heading", heading, passages)
    if first.title:
        return Page("title", first.title, passages)
    words = " ".join(first.text[: 2 * NAME_SHOWN].split())
    return Page("passage", words if len(words) <= NAME_SHOWN else words[: NAME_SHOWN - 1] + "…", passages)


def _by_mention(wanted: Wanted, passages: Sequence[Passage]) -> Page | None:
    says = re.compile(rf"(?<!\w){re.escape(wanted.name)}(?!\w)", re.IGNORECASE)
    for passage in passages:
        if passage.key not in wanted.source and says.search(passage.text):
            return Page("entity", wanted.name, (passage,))
    return None


def _by_nearness(wanted: Wanted, hits: Sequence[Hit]) -> Page | None:
    """The nearest other passage, if it shares a word of the name or is near indeed: most names lead nowhere."""
    parts = {word for word in terms(wanted.name) if len(word) > 3}
    for hit in hits:
        if hit.passage.key not in wanted.source:
            known = hit.similarity >= LEAST_SIMILARITY or not parts.isdisjoint(
                terms(f"{hit.passage.title} {hit.passage.text}")
            )
            return page_of(hit.passage) if known else None
    return None


def _key(wanted: Wanted) -> Key:
    return name_key(wanted.name), wanted.source
