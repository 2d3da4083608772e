"""Which passages may be read for a sentence with a blank: none from which the blank could simply be copied back.

REALM (Guu et al. 2020, section 3.4) leaves out the passage that the sentence came from. Passages overlap here, and
collections hold copies, so near duplicates of the sentence are left out wherever they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from memptm.training.data.masks import Blank
from memptm.types import Passage

SHINGLE = 4  # words in a row
SAME = 0.4  # of a sentence's shingles in a passage, from which on the passage gives the sentence away
_WORD = re.compile(r"\w+")


class Candidates:
    """Args:
    passages: of the index. same_document: other passages of the sentence's own document may be read, as they must where
        the index is one long document.
    """

    def __init__(self, passages: Sequence[Passage], *, same_document: bool) -> None:
        self.passages, self.same_document = passages, same_document
        self._shingles: dict[int, frozenset[tuple[str, ...]]] = {}
        self._documents: dict[tuple[str, str], list[int]] = {}
        for n, passage in enumerate(passages):
            self._documents.setdefault(passage.document_key, []).append(n)

    def own(self, blank: Blank) -> list[int]:
        """The passages that are no candidates whatever they say: the sentence's own, and its document's where those are out."""
        source = self.passages[blank.passage]
        return [blank.passage] if self.same_document else self._documents[source.document_key]

    def choose(self, blank: Blank, ranked: Sequence[int], count: int) -> list[int]:
        """The first ``count`` of ``ranked`` passages that are no trivial ones for ``blank``."""
        source = self.passages[blank.passage]
        wanted = shingles(source.text[blank.start : blank.end])
        own, chosen = set(self.own(blank)), list[int]()
        for one in ranked:
            if len(chosen) == count:
                break
            if one not in own and len(wanted & self._of(one)) < SAME * len(wanted):
                chosen.append(one)
        return chosen

    def _of(self, one: int) -> frozenset[tuple[str, ...]]:
        if one not in self._shingles:
            self._shingles[one] = shingles(self.passages[one].text)
        return self._shingles[one]


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Runs of ``SHINGLE`` words, whatever their case; a shorter text is one run."""
    words = _WORD.findall(text.lower())
    return frozenset(tuple(words[n : n + SHINGLE]) for n in range(max(1, len(words) - SHINGLE + 1)))
