"""A text as a row of units that a passage may begin and end at: words, characters of scripts without blanks, rows, lines."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

import regex
import sentencex

# How good a cut after a unit is.
INSIDE, WORD, CLAUSE, SENTENCE, PARAGRAPH = range(5)

_UNBROKEN = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{Yi}\u3000-\u303f\uff01-\uff0f\uff1a-\uff20"
_JOINED = r"\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}"
_CLOSING = r"。、，．！？；：…」』】》〉）”’"
_NO_BLANKS = regex.compile(rf"[{_UNBROKEN}]")
_ASCII_WORD = re.compile(r"\S+")
# A unit takes with it what closes it and marks that would be cut off from their letter.
_WORD = regex.compile(
    rf"(?:(?=[{_UNBROKEN}])\X[{_CLOSING}]*+|[^\s{_UNBROKEN}]++)(?:\s*+[{_JOINED}]++[^\s{_UNBROKEN}]*+)*+"
)
_NAME = re.compile(r"\w+")
_GRAPHEME = regex.compile(r"\X")
_LINE = re.compile(r"[^\r\n]+")
_END = r"(?>\r\n?|\n)"  # CR and LF end one line, not two
_PARAGRAPH_END = re.compile(rf"{_END}[ \t]*{_END}|{_END}(?=[ \t]*(?:[-*+•]|\d{{1,3}}[.)])[ \t])")
_CLAUSE_END = re.compile(r"[,;:—–…；：，、]+[\"'”’」』)]*$")

CHARACTERS_A_WORD = 2  # where a script has no blanks
_LONG_WORD = 40  # letters; a longer one weighs more than a word
_LETTERS_A_WORD = 10
_LONGEST_WORD = 100  # letters; a longer one may be cut, if nothing better is near
_PIECE = 50
_WINDOW = 16_000  # characters; the sentence finder's time grows faster than the text


@dataclass(slots=True)
class Units:
    """Parallel lists: unit n is ``text[start[n]:end[n]]``, weighs ``weight[n]`` words; ``after[n]``: see ``INSIDE``."""

    start: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    after: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.start)

    def add(self, start: int, end: int, weight: float, after: int) -> None:
        self.start.append(start)
        self.end.append(end)
        self.weight.append(weight)
        self.after.append(after)


def count_words(text: str) -> float:
    """Words of ``text``; in scripts without blanks two characters count as one, and so do ten letters of an endless word."""
    if text.isascii() or not _NO_BLANKS.search(text):
        words = text.split()
        if len(text) <= _LONG_WORD or max(map(len, words), default=0) <= _LONG_WORD:
            return len(words)
    return sum(_weight(text, start, end) for start, end in _word_spans(text, 0, len(text)))


def add_prose(units: Units, text: str, start: int, end: int) -> None:
    """Words of ``text[start:end]``, with the ends of clauses, sentences and paragraphs marked."""
    first = len(units)
    for begin, stop in _word_spans(text, start, end):
        if stop - begin > _LONGEST_WORD:
            _add_pieces(units, text, begin, stop)
        else:
            clause = not text[stop - 1].isalnum() and _CLAUSE_END.search(text, begin, stop)
            inside = stop < end and not text[stop].isspace() and not _has_no_blanks(text, begin, stop)
            units.add(begin, stop, _weight(text, begin, stop), CLAUSE if clause else INSIDE if inside else WORD)
    if len(units) > first:
        for strength, position in _ends(text, start, end):
            # the last unit that begins before the position
            n = bisect_left(units.start, position, lo=first) - 1
            if n >= first and units.end[n] <= position:
                units.after[n] = max(units.after[n], strength)
        units.after[-1] = PARAGRAPH


def add_whole(units: Units, text: str, start: int, end: int, *, after: int = PARAGRAPH) -> None:
    """``text[start:end]`` as one unit, without the blanks around it but for its first line's indent."""
    span = _trimmed(text, start, end)
    if span:
        units.add(*span, count_words(text[slice(*span)]), after)


def add_lines(units: Units, text: str, start: int, end: int, *, longest: float) -> None:
    """Lines of ``text[start:end]``, a unit each; one of more than ``longest`` words is broken into words.

    Cells and names count as words though no blank parts them.
    """
    for line in _LINE.finditer(text, start, end):
        span = _trimmed(text, *line.span())
        if not span:
            continue
        weight = max(count_words(text[slice(*span)]), len(_NAME.findall(text, *span)))
        if weight > longest:
            add_prose(units, text, *span)
        else:
            units.add(*span, weight, SENTENCE)
    if len(units):
        units.after[-1] = PARAGRAPH


def add_graphemes(units: Units, text: str, start: int, end: int) -> None:
    """Characters as a reader sees them: no emoji or flag is parted."""
    for grapheme in _GRAPHEME.finditer(text, start, end):
        units.add(grapheme.start(), grapheme.end(), 1 / CHARACTERS_A_WORD, INSIDE)


def _word_spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    pattern = _ASCII_WORD if text.isascii() else _WORD
    return (match.span() for match in pattern.finditer(text, start, end))


def _weight(text: str, start: int, end: int) -> float:
    if end - start > _LONG_WORD:
        return (end - start) / _LETTERS_A_WORD
    return 1 / CHARACTERS_A_WORD if _has_no_blanks(text, start, end) else 1


def _has_no_blanks(text: str, start: int, end: int) -> bool:
    return text[start] > "\u0dff" and _NO_BLANKS.match(text, start, end) is not None


def _add_pieces(units: Units, text: str, start: int, end: int) -> None:
    """A word of more than ``_LONGEST_WORD`` letters, in pieces."""
    begin = start
    for grapheme in _GRAPHEME.finditer(text, start, end):
        if grapheme.end() - begin >= _PIECE and grapheme.end() < end:
            units.add(begin, grapheme.end(), (grapheme.end() - begin) / _LETTERS_A_WORD, INSIDE)
            begin = grapheme.end()
    units.add(begin, end, (end - begin) / _LETTERS_A_WORD, WORD)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    stretch = text[start:end]
    kept = stretch.strip()
    if not kept:
        return None
    first = start + stretch.index(kept[0])
    indent = first
    while indent > start and text[indent - 1] in " \t":
        indent -= 1
    return indent, start + len(stretch.rstrip())


def _ends(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(strength, position after the end) of sentences and paragraphs in ``text[start:end]``."""
    while start < end:
        stop = _window_end(text, start, end)
        window = text[start:stop]
        for sentence in sentencex.get_sentence_boundaries("en", window):
            yield SENTENCE, start + sentence["end_index"]
        for gap in _PARAGRAPH_END.finditer(window):
            yield PARAGRAPH, start + gap.end()
        start = stop


def _window_end(text: str, start: int, end: int) -> int:
    if end - start <= _WINDOW:
        return end
    for mark in ("\n\n", "\n", ". ", "。", " "):
        found = text.rfind(mark, start + _WINDOW // 2, start + _WINDOW)
        if found >= 0:
            return found + len(mark)
    return start + _WINDOW
