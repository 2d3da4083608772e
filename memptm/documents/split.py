"""Documents into passages: exact slices, sentences and rows whole where they fit, sections apart."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from memptm.documents.decode import says_something
from memptm.documents.units import (
    CLAUSE,
    INSIDE,
    PARAGRAPH,
    SENTENCE,
    WORD,
    Units,
    add_graphemes,
    add_lines,
    add_prose,
    add_whole,
    count_words,
)
from memptm.errors import InputError
from memptm.types import PAGE_STARTS, Block, Document, Passage

Fits = Callable[[Passage], bool]

_TOLERANCE = 1.25  # a passage may be so much longer than asked, rather than leave a scrap behind
_CUT_WORTH = {INSIDE: -1.0, WORD: 0.0, CLAUSE: 0.2, SENTENCE: 0.6, PARAGRAPH: 0.75}  # in shares of a full passage
_OVERLAP_WORTH = {INSIDE: -1.0, WORD: 0.0, CLAUSE: 0.3, SENTENCE: 0.8, PARAGRAPH: 0.8}  # in shares of the overlap
_LONGEST_OVERLAP = 1.5
_LONGEST_PART = 1_000_000  # characters of a section taken at once: bounds the memory a huge file needs
_ALONE = frozenset(("turn", "record"))  # kinds of blocks that share no passage
_PART_ENDS = {"text": ("\n", " ", "。"), "table": ("\n",)}


@dataclass(frozen=True, kw_only=True)
class _Section:
    """Blocks whose words may share a passage."""

    blocks: tuple[Block, ...]
    headings: tuple[str, ...] = ()
    context: str = ""


def split(document: Document, *, words: int = 120, overlap: int = 20, fits: Fits | None = None) -> list[Passage]:
    """Passages of about ``words`` words (at most a quarter more), each repeating about ``overlap`` of the one before.

    Cuts fall at the ends of paragraphs, sentences or clauses where one is near, never inside a word of up to 100
    letters and never inside a character as the reader sees it. Scripts without blanks count two characters a word.
    A heading opens a section; sections do not share passages, but a heading without text of its own goes with the
    next. Rows and fences stay whole where they fit; rows have their table's header as ``context``. A block with an id
    (a turn) is a passage of its own. Starts and ends rise strictly; what lies outside all passages is blanks, or
    punctuation without a word, except that rows, fences and turns do not overlap with what is before them unless it is short.

    Args:
        fits: says whether a passage fits the encoder's window; one that does not is split further, and where title,
            headings and context alone fill the window, context and then headings are left out.
    Raises:
        InputError: sizes that cannot work, or blocks that overlap or lie outside the text.
    """
    if words < 1 or not 0 <= overlap < words:
        raise InputError(
            f"Passages of {words} words with an overlap of {overlap} cannot be cut. "
            f"The overlap must be from 0 to {max(words - 1, 0)}, the words at least 1."
        )
    splitter = _Splitter(document, words, overlap, fits)
    if not document.blocks and splitter.is_short:
        stripped = document.text.strip()
        if stripped:
            start = len(document.text) - len(document.text.lstrip())
            splitter.keep(_Section(blocks=()), start, start + len(stripped))
        return splitter.passages
    for section in _sections(document, words):
        splitter.split_section(section)
    return splitter.passages


class _Splitter:
    """One document's way to passages."""

    def __init__(self, document: Document, words: int, overlap: int, fits: Fits | None) -> None:
        self.document, self.words, self.overlap, self.fits = document, words, overlap, fits
        self.passages: list[Passage] = []

    @property
    def is_short(self) -> bool:
        text = self.document.text
        return len(text) <= 40 * self.words and count_words(text) <= _TOLERANCE * self.words

    def split_section(self, section: _Section) -> None:
        units = Units()
        for block in section.blocks:
            _add_block(units, self.document.text, block, self.words)
        self.keep_all(section, units, _pack(units, self.words, self.overlap))

    def keep_all(self, section: _Section, units: Units, runs: Iterator[tuple[int, int]]) -> None:
        """Adds a passage a run of units, none within another.

        Where the passage before had to be split, its last part can be shorter than what is to be repeated of it.
        """
        for first, last in runs:
            if self.passages:
                before = self.passages[-1]
                if units.end[last - 1] <= before.end:
                    continue
                first = max(first, bisect_right(units.start, before.start))
            self.keep(section, units.start[first], units.end[last - 1])

    def keep(self, section: _Section, start: int, end: int) -> None:
        """Adds the passage, or the smaller ones that fit the window; nothing where nothing is said."""
        if not says_something(self.document.text[start:end]):
            return
        passage = self._passage(section, start, end)
        if self.fits is None or self.fits(passage):
            self.passages.append(passage)
            return
        units = self._finer(section, start, end)
        if section.headings or section.context:
            least = self._passage(section, units.start[0], units.start[0] + 1)
            if not self.fits(least):
                lighter = replace(section, context="") if section.context else replace(section, headings=())
                self.keep(lighter, start, end)
                return
        if len(units) == 1:
            self.passages.append(passage)  # the title alone fills the window
            return
        weight = sum(units.weight)
        overlap = min(self.overlap, weight / 8)
        self.keep_all(section, units, _pack(units, weight / 2, overlap, tolerance=1.0))

    def _finer(self, section: _Section, start: int, end: int) -> Units:
        """``text[start:end]`` in the largest units that are more than one."""
        text = self.document.text
        kinds = {block.kind for block in section.blocks if block.start < end and block.end > start}
        units = Units()
        if kinds & {"table", "code"}:
            add_lines(units, text, start, end, longest=float("inf"))
        if len(units) < 2:
            units = Units()
            add_prose(units, text, start, end)
        if len(units) < 2:
            units = Units()
            add_graphemes(units, text, start, end)
        return units

    def _passage(self, section: _Section, start: int, end: int) -> Passage:
        document, n = self.document, len(self.passages)
        at = bisect_right(section.blocks, start, key=lambda block: block.start) - 1
        block = section.blocks[max(at, 0)] if section.blocks else None
        told = next((one for one in section.blocks[max(at, 0) :] if one.kind != "heading" and one.start < end), block)
        metadata = {**document.metadata, **told.metadata} if told and told.metadata else document.metadata
        later = [
            [max(other.start - start, 0), other.page]
            for before, other in pairwise(section.blocks)
            if start < other.start < end and other.page != before.page and other.page is not None
        ]
        if later:
            metadata = {**metadata, PAGE_STARTS: later}
        return Passage(
            id=self._id(section, n),
            document=document.id,
            text=document.text[start:end],
            start=start,
            end=end,
            title=document.title,
            source=document.source,
            page=block.page if block else None,
            headings=section.headings,
            context=section.context,
            metadata=metadata,
        )

    def _id(self, section: _Section, n: int) -> str:
        own = section.blocks[-1].id if section.blocks else ""
        if not own:
            return f"{self.document.id}#{n}" if n else self.document.id
        begin = section.blocks[0].start
        part = 0
        while part < n and self.passages[n - 1 - part].start >= begin:
            part += 1
        return f"{own}#{part}" if part else own


def _add_block(units: Units, text: str, block: Block, words: int) -> None:
    start, end = block.start, block.end
    if block.kind == "heading":
        add_whole(units, text, start, end, after=INSIDE)
    elif block.kind == "table":
        add_lines(units, text, start, end, longest=words)
    elif block.kind == "code":
        if count_words(text[start:end]) <= words:
            add_whole(units, text, start, end)
        else:
            add_lines(units, text, start, end, longest=words)
    else:
        add_prose(units, text, start, end)


def _pack(units: Units, words: float, overlap: float, *, tolerance: float = _TOLERANCE) -> Iterator[tuple[int, int]]:
    """(first, last) of units that make a passage, last excluded; each passage has at least one unit of its own."""
    count = len(units)
    total = list(accumulate(units.weight, initial=0.0))
    first = done = 0
    while done < count:
        if total[count] - total[first] <= words * tolerance:
            yield first, count
            return
        most = max(bisect_right(total, total[first] + words) - 1, done + 1)
        cut = max(
            range(done + 1, most + 1),
            key=lambda n: ((total[n] - total[first]) / words + _CUT_WORTH[units.after[n - 1]], n),
        )
        yield first, cut
        if cut < count:
            first = _next_first(units, total, first, cut, words, overlap)
        done = cut


def _next_first(units: Units, total: Sequence[float], first: int, cut: int, words: float, overlap: float) -> int:
    """Where the next passage begins: about ``overlap`` words before ``cut``, at a sentence's start if one is near."""
    if not overlap:
        return cut
    best, best_worth = cut, _OVERLAP_WORTH[units.after[cut - 1]] - 1
    for n in range(cut - 1, first, -1):
        repeated = total[cut] - total[n]
        if repeated > _LONGEST_OVERLAP * overlap or total[cut + 1] - total[n] > words:
            break
        worth = _OVERLAP_WORTH[units.after[n - 1]] - abs(repeated - overlap) / overlap
        if worth > best_worth:
            best, best_worth = n, worth
    return best


def _sections(document: Document, words: int) -> Iterator[_Section]:
    """Runs of blocks under one heading with one context; every stretch of text is in one of them."""
    trail: list[tuple[int, str]] = []
    waiting: list[Block] = []  # headings without text so far
    run: list[Block] = []
    for block in _tiled(document):
        if run and not (_belongs(block, run[-1]) and block.end - run[0].start <= _LONGEST_PART):
            yield _section([*waiting, *run], trail, words)
            waiting, run = [], []
        if block.kind == "omitted":
            continue
        if block.kind == "heading":
            while trail and trail[-1][0] >= block.level:
                trail.pop()
            trail.append((block.level, " ".join((block.context or document.text[block.start : block.end]).split())))
            waiting.append(block)
        else:
            run.append(block)
    if waiting or run:
        yield _section([*waiting, *run], trail, words)


def _section(blocks: list[Block], trail: list[tuple[int, str]], words: int) -> _Section:
    context = "" if blocks[-1].kind == "heading" else _shortened(blocks[-1].context, words)
    return _Section(blocks=tuple(blocks), headings=tuple(title for _, title in trail if title), context=context)


def _belongs(block: Block, before: Block) -> bool:
    return (
        block.kind != "heading"
        and not (block.id or before.id or {block.kind, before.kind} & _ALONE)
        and (block.context, block.metadata) == (before.context, before.metadata)
    )


def _shortened(context: str, words: int) -> str:
    """At most ``words`` / 2 words: a header must leave room for its rows."""
    parts = context.split()
    most = max(words // 2, 1)
    return context if len(parts) <= most else " ".join(parts[:most]) + " …"


def _tiled(document: Document) -> Iterator[Block]:
    """The document's blocks, with plain text between them where they leave a gap, overlong ones in parts."""
    text, at = document.text, 0
    for block in (*document.blocks, Block(start=len(text), end=len(text))):
        if not at <= block.start <= block.end <= len(text):
            raise InputError(
                f"Document {document.id or document.title!r}: the block {block.start}–{block.end} overlaps the one "
                f"before it or lies outside the text of {len(text)} characters."
            )
        for gap in (Block(start=at, end=block.start), block):
            if gap.start < gap.end and not text[gap.start : gap.end].isspace():
                yield from _parts(text, gap)
        at = block.end


def _parts(text: str, block: Block) -> Iterator[Block]:
    if block.kind not in _PART_ENDS or block.end - block.start <= _LONGEST_PART:
        yield block
        return
    cuts = [block.start]
    while block.end - cuts[-1] > _LONGEST_PART:
        found = max(text.rfind(mark, cuts[-1] + 1, cuts[-1] + _LONGEST_PART) for mark in _PART_ENDS[block.kind])
        cuts.append(found + 1 if found >= 0 else cuts[-1] + _LONGEST_PART)
    for start, end in pairwise([*cuts, block.end]):
        yield replace(block, start=start, end=end)
