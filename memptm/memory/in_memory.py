"""A few passages in hand, searched as a memory is: for a question that comes with its own passages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import overload

from memptm.encoders.base import Encoder, Keys, embedding_text
from memptm.memory.encode import unit
from memptm.memory.lexical import BM25, fuse, terms
from memptm.memory.titles import Titles
from memptm.types import Hit, Mode, Passage


class InMemoryIndex:
    """Searches ``passages`` by the same rules as Memory, in memory and without an index; filters are not known here.

    Args:
        passages: some dozens; search goes over all of them. keys: (n, dimension) of them, if they are known already.
    """

    def __init__(self, passages: Sequence[Passage], encoder: Encoder, keys: Keys | None = None) -> None:
        self.passages, self.encoder = list(passages), encoder
        if keys is not None:
            self._keys = unit(keys)

    def titles(self, *, where: str | None = None) -> Titles:  # noqa: ARG002 (Memory's name for it)
        """What the passages are called."""
        return Titles((n, one.title, one.headings) for n, one in enumerate(self.passages))

    def numbered(self, numbers: Sequence[int]) -> list[Passage]:
        """The passages of these numbers, in order."""
        return [self.passages[n] for n in sorted(set(numbers))]

    @overload
    def search(  # type: ignore[overload-overlap]
        self, question: str, *, k: int = 5, mode: Mode = "hybrid", where: str | None = None
    ) -> list[Hit]: ...
    @overload
    def search(
        self, question: Sequence[str], *, k: int = 5, mode: Mode = "hybrid", where: str | None = None
    ) -> list[list[Hit]]: ...
    def search(
        self,
        question: str | Sequence[str],
        *,
        k: int = 5,
        mode: Mode = "hybrid",
        where: str | None = None,  # noqa: ARG002
    ) -> list[Hit] | list[list[Hit]]:
        """The ``k`` best for a question, or for each of several; see ``Memory.search``."""
        if isinstance(question, str):
            return self.search([question], k=k, mode=mode)[0]
        if not question or not self.passages:
            nothing: list[list[Hit]] = [[] for _ in question]
            return nothing
        cosines = unit(self.encoder.encode_questions(list(question))) @ self._keys.T
        asked = [dict.fromkeys(terms(one), 1.0) for one in question]
        self._bm25.count(term for one in asked for term in one)
        found = []
        for words, row in zip(asked, cosines.tolist(), strict=True):
            by_meaning = dict(enumerate(row))
            by_words = {n: score for n in by_meaning if (score := self._bm25.score(n, words))}
            if mode == "dense":
                ranked = sorted(by_meaning.items(), key=lambda pair: (-pair[1], pair[0]))
            elif mode == "lexical":
                ranked = sorted(by_words.items(), key=lambda pair: (-pair[1], pair[0]))
            else:
                ranked = fuse(by_meaning, by_words)
            found.append([Hit(passage=self.passages[n], score=s, similarity=by_meaning[n]) for n, s in ranked[:k]])
        return found

    @cached_property
    def _keys(self) -> Keys:
        return unit(self.encoder.encode_passages([embedding_text(one) for one in self.passages]))

    @cached_property
    def _bm25(self) -> BM25:
        return BM25([embedding_text(one) for one in self.passages])
