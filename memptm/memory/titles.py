"""The names an index goes by: titles of documents and headings of their sections, and which passages stand under each."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from memptm.documents.function_words import FUNCTION_WORDS

_WORD = re.compile(r"\S+")
_QUALIFIER = re.compile(r"\s*\([^()]*\)$")  # "Tennis (magazine)"
_POSSESSIVE = re.compile(r"['’]s$")
_EDGES = " \t\"'“”‘’«».,;:!?()[]{}*_-–—"
UNNAMED = FUNCTION_WORDS | {"me", "my", "them", "up", "us"}  # no name in running text, though one be called so
LONGEST = 10  # words of a name that is looked for in running text


def name_key(name: str) -> str:
    """Names with the same key are one name: case, form of letters, blanks and marks at the edges do not count."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(plain.split()).strip(_EDGES)


def bare_key(name: str) -> str:
    """The key of a name without what is in brackets at its end."""
    return name_key(_QUALIFIER.sub("", unicodedata.normalize("NFKC", name).strip()))


def begins_name(words: str) -> bool:
    """Whether the first letter is a capital, or of a script that has none."""
    return words[0].isalpha() and not words[0].islower()


class Titles:
    """Name → ids of the passages under it, as stored.

    Args:
        rows: (id, title, headings) of every passage, in the order they were stored.
    """

    def __init__(self, rows: Iterable[tuple[int, str, Sequence[str]]]) -> None:
        self._titles: dict[str, list[int]] = {}
        self._bare: dict[str, list[int]] = {}  # titles without what is in brackets at their end
        self._headings: dict[str, list[int]] = {}
        for number, title, headings in rows:
            key = name_key(title)
            if key:
                self._titles.setdefault(key, []).append(number)
                bare = bare_key(title)
                if bare and bare != key:
                    self._bare.setdefault(bare, []).append(number)
            for heading in headings[-1:]:  # the section a passage stands in, not those around it
                if name_key(heading) and name_key(heading) != key:
                    self._headings.setdefault(name_key(heading), []).append(number)

    def find(self, name: str) -> list[int]:
        """Ids of the passages whose title is ``name``; else whose title is ``name (something)``; else under such a heading.

        Where a name with something in brackets leads nowhere, the name without it is looked for, but for other brackets.
        """
        key = name_key(name)
        for names in (self._titles, self._bare, self._headings):
            if key in names:
                return names[key]
        bare = bare_key(name)
        return next((names[bare] for names in (self._titles, self._headings) if bare and bare in names), [])

    def mentions(self, text: str) -> list[tuple[int, int]]:
        """Characters of ``text`` that are a name of the index, the longest at each place; in order, without overlap.

        A name begins with a capital or a digit: "The Door" is one, a door is not.
        """
        words = [(found.start(), found.end()) for found in _WORD.finditer(text)]
        found: list[tuple[int, int]] = []
        first = 0
        while first < len(words):
            step = 1
            for count in range(min(LONGEST, len(words) - first), 0, -1):
                span = _trimmed(text, words[first][0], words[first + count - 1][1])
                if span is not None and self._is_name(text[slice(*span)]):
                    found.append(span)
                    step = count
                    break
            first += step
        return found

    def _is_name(self, words: str) -> bool:
        if not (begins_name(words) or words[0].isdigit()) or words.isdigit() or words.lower() in UNNAMED:
            return False
        return any(name_key(words) in names for names in (self._titles, self._bare, self._headings))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The span without marks at its edges and without a possessive s."""
    while start < end and text[start] in _EDGES:
        start += 1
    closing = _EDGES.replace(")", "") if "(" in text[start:end] else _EDGES
    while start < end and text[end - 1] in closing:
        end -= 1
    if _POSSESSIVE.search(text[start:end]):
        end -= 2
    return (start, end) if start < end else None
