"""Names in text: what the index calls its passages, named entities, and, without the tagger, words in capitals."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from memptm.documents.entities import entities
from memptm.documents.function_words import FUNCTION_WORDS
from memptm.errors import ExtraMissing
from memptm.memory.titles import Titles, begins_name

KINDS = frozenset(
    ("PERSON", "FAC", "ORG", "GPE", "LOC", "PRODUCT", "EVENT", "WORK_OF_ART", "LAW")
)  # no dates: not pages
_CAPITALS = re.compile(  # of ``_outline``; "iPhone" and "3D" begin in their own way
    r"(?<!\w)(?:(?:[a-z](?=[A-Z][a-z]))?[A-Z][\w'’&.-]*|\d+[A-Z]\w*)"
    r"(?:(?:(?<!\w{4}\.)|(?<=\b(?:Prof|Capt|Brig|Univ)\.))\s+(?:(?:of|the|de|du|la|le|von|van|der|&)\s+){0,2}[A-Z0-9][\w'’&.-]*)*"
)
SHOUTED = 3  # words without a small letter, from which capitals say nothing
_OPENERS = FUNCTION_WORDS | frozenset(  # words that begin sentences in capitals and name nothing
    """
    about after all also although another because before between both can could did do does during each even every
    few first had has have however later many more most one other out since some such then these those through two
    under until upon while will within would
    """.split()  # noqa: SIM905 (else a line a word)
)
_QUOTED = re.compile(r"[\"“«]([^\"“”«»]{2,80})[\"”»]")
Spans = list[tuple[int, int]]


def names(texts: Sequence[str], titles: Titles) -> list[Spans]:
    """Characters of each text that are names, in order and without overlap; names of the index before all others."""
    found = []
    for text, tagged in zip(texts, named_entities(texts), strict=True):
        quoted = [match.span(1) for match in _QUOTED.finditer(text) if begins_name(match[1])]
        found.append(without_overlap([titles.mentions(text), quoted, tagged]))
    return found


def named_entities(texts: Sequence[str]) -> list[Spans]:
    """By spaCy where it is installed, else words in capitals."""
    try:
        tagged = list(entities(texts))
    except ExtraMissing:
        return [capitalised(text) for text in texts]
    return [
        [_bare(text, one.start, one.end) for one in found if one.kind in KINDS]
        for text, found in zip(texts, tagged, strict=True)
    ]


def capitalised(text: str) -> Spans:
    """Runs of words in capitals ("Ada Trent", "Bank of England"), without words that only begin a sentence."""
    found: Spans = []
    outline = _outline(text)
    if len(text.split()) >= SHOUTED and not any(letter.islower() for letter in text):
        return found
    for match in _CAPITALS.finditer(outline):
        start, end = match.span()
        while start < end and (first := re.match(r"[\w'’]+", text[start:end])) and first[0].lower() in _OPENERS:
            start += first.end()
            start += len(text[start:end]) - len(text[start:end].lstrip())
        end = start + len(text[start:end].rstrip(".,-'’&"))
        if end - start > 1:
            found.append((start, end))
    return found


def _outline(text: str) -> str:
    """The text, as long as it was, with A for each capital beyond ASCII and a for each other letter or mark there."""
    return "".join(one if one.isascii() else _outlined(one) for one in text)


def _outlined(letter: str) -> str:
    if letter.isupper() or letter.istitle():
        return "A"
    return "a" if letter.isalnum() or unicodedata.combining(letter) else letter


def without_overlap(layers: Sequence[Spans]) -> Spans:
    """All spans in order, less those that touch one of an earlier layer or an earlier one of their own."""
    kept: Spans = []
    for layer in layers:
        for start, end in layer:
            if start < end and all(end <= first or last <= start for first, last in kept):
                kept.append((start, end))
    return sorted(kept)


def _bare(text: str, start: int, end: int) -> tuple[int, int]:
    """An entity without the article before it and the possessive after it."""
    if article := re.match(r"(?:the|a|an)\s+", text[start:end], re.IGNORECASE):
        start += article.end()
    if re.search(r"['’]s$", text[start:end]):
        end -= 2
    return start, end


def says(text: str, name: str) -> bool:
    """Whether it is there in whole words: "Indiana" says nothing of India."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
