"""MemRecall over documents: passages are cut into blocks, the best of them make one window, and the reader reads that.

The window is one text of blocks, in their order. Blocks that follow each other are joined by what stands between them in
their passage, so that an answer may run from one into the next; others are parted by a line end, and where there are
several passages a title goes before the first block of each. An answer that is not wholly of a document does not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tokenizers import Tokenizer

from memptm.generation.reader import Reader, Reading, Span, answer_key, context_header, log_sum, marginalise
from memptm.progress import Progress, silent
from memptm.selection.block_scorers import LexicalScorer
from memptm.selection.blocks import MOST_TOKENS, split_blocks, tokens_of
from memptm.selection.select import MemRecall, ranked
from memptm.types import Answer, DocumentKey, Evidence, Passage, ScoredPassage

SIEVED = 1024  # blocks a scorer reads at most; of more, those that the question's words find (BM25)
SMALLEST_ROOM = 8  # tokens; a question that leaves less of the window is read beside that much


@dataclass(frozen=True)
class Chosen:
    """The blocks that entered a window, in order.

    Attributes:
        blocks: slices of their passages.
        scores: relevance, in (0, 1).
        gaps: what stands between a block and the one before it; None where they are not neighbours.
    """

    blocks: tuple[Passage, ...]
    scores: tuple[float, ...]
    gaps: tuple[str | None, ...]

    def runs(self) -> list[tuple[int, int]]:
        """(first, behind the last) of the blocks that follow each other without a break."""
        starts = [n for n, gap in enumerate(self.gaps) if gap is None]
        return list(pairwise([*starts, len(self.gaps)]))


def choose(
    question: str,
    passages: Sequence[Passage],
    recall: MemRecall,
    *,
    tokenizer: Tokenizer,
    window: int,
    progress: Progress = silent,
) -> Chosen:
    """The blocks of ``passages`` that fill ``window`` tokens best.

    Args:
        passages: likeliest first; those of one document are put in its order, and what two share is taken once.
        window: tokens of ``tokenizer``, without the question.
    """
    passages = _in_order(passages)
    titles = [title_of(passage) if len(passages) > 1 else "" for passage in passages]
    title_tokens = [len(tokenizer.encode(title, add_special_tokens=False).ids) for title in titles]
    blocks, gaps, owners, sizes = list[Passage](), list[str | None](), list[int](), list[int]()
    for n, passage in enumerate(passages):
        most = min(MOST_TOKENS, max(window - title_tokens[n] - 1, 1))
        end = None
        for one in split_blocks(passage.text, tokens_of(tokenizer), most=most, progress=progress):
            blocks.append(slice_of(passage, one.start, one.end))
            gaps.append(None if end is None else passage.text[end : one.start])
            sizes.append(one.tokens + title_tokens[n] + 1)
            owners.append(n)
            end = one.end
    texts = [f"{titles[n]}. {one.text}" if titles[n] else one.text for n, one in zip(owners, blocks, strict=True)]
    sieved = _sieve(question, texts)
    found = recall(question, [texts[n] for n in sieved], [sizes[n] for n in sieved], window=window, progress=progress)
    numbers = [sieved[n] for n in found.blocks]
    return Chosen(
        blocks=tuple(blocks[n] for n in numbers),
        scores=found.scores,
        gaps=tuple(gaps[n] if n - 1 in numbers else None for n in numbers),
    )


def answer_by_recall(
    reader: Reader,
    question: str,
    passages: Sequence[Passage],
    recall: MemRecall,
    *,
    bias: float,
    method: str = "reader",
    progress: Progress = silent,
) -> Answer:
    """Read one window of the blocks that matter.

    Args:
        bias: added to the log odds of every span, as in ``marginalise``.
    Returns:
        An answer whose evidence are blocks: ``prior`` is a block's share in the scorer's scores, ``posterior`` its share in
        the answer's probability.
    """
    chosen = choose(
        question,
        passages,
        recall,
        tokenizer=reader.windower.tokenizer,
        window=room(reader, question, passages),
        progress=progress,
    )
    return read_chosen(reader, question, chosen, bias=bias, method=method)


def read_chosen(reader: Reader, question: str, chosen: Chosen, *, bias: float, method: str = "reader") -> Answer:
    """The reader's answer from blocks that were chosen; see ``answer_by_recall``."""
    text, places = _written(chosen)
    title = title_of(chosen.blocks[0]) if len({_passage_of(one) for one in chosen.blocks}) == 1 else ""
    window = Passage(id="window", document="window", text=text, start=0, end=len(text), title=title)
    reading = _by_relevance(reader.read([question], [[window]])[0], places, chosen)
    answer = marginalise(question, [ScoredPassage(window, 0.0)], reading, bias=bias, method=method)
    if answer.text is None:
        return answer
    agreeing = [span for span in reading.spans if answer_key(text[span.start : span.end]) == answer_key(answer.text)]
    return replace(answer, evidence=_evidence(chosen, places, agreeing))


def _by_relevance(reading: Reading, places: Sequence[tuple[int, int]], chosen: Chosen) -> Reading:
    """The spans that are wholly of a document, each one's odds times its block's share of the best block's score.

    What the scorer thinks of a block stands for p(z | x): in a window of blocks the reader takes more spans for the answer
    than it would among passages that stand alone. Spans that the reading left out keep their mass.
    """
    best, kept = math.log(max(chosen.scores, default=1.0)), list[Span]()
    lost = list[float]()
    for span in reading.spans:
        blocks = _blocks_of(span, places, chosen)
        if blocks is not None:
            weight = math.log(max(chosen.scores[n] for n in blocks)) - best
            kept.append(replace(span, log_odds=span.log_odds + weight))
            lost.append(math.exp(span.log_odds - reading.log_mass[0]) * -math.expm1(weight))
    mass = reading.log_mass[0] + math.log(max(1 - math.fsum(lost), 1e-9))
    return Reading(tuple(kept), (mass,))


def passages_by_recall(
    question: str,
    passages: Sequence[Passage],
    recall: MemRecall,
    *,
    tokenizer: Tokenizer,
    window: int,
    progress: Progress = silent,
) -> list[ScoredPassage]:
    """What a generator reads: the chosen blocks, neighbours as one passage, best first."""
    chosen = choose(question, passages, recall, tokenizer=tokenizer, window=window, progress=progress)
    runs = [joined(chosen, first, last) for first, last in chosen.runs()]
    scores = [max(chosen.scores[first:last]) for first, last in chosen.runs()]
    best = ranked(range(len(runs)), dict(enumerate(scores)))
    total = math.log(math.fsum(scores)) if scores else 0.0
    return [ScoredPassage(runs[n], math.log(scores[n]) - total) for n in best]


def fits(reader: Reader, question: str, passages: Sequence[Passage]) -> bool:
    """Whether the reader's window holds everything, so that there is nothing to choose."""
    left, longest = room(reader, question, passages), 20  # characters of a token, rarely more
    if len(passages) > 1 or len(passages[0].text) > longest * left:
        return False
    return len(reader.windower.tokenizer.encode(passages[0].text, add_special_tokens=False).ids) <= left


def room(reader: Reader, question: str, passages: Sequence[Passage]) -> int:
    """Tokens that the reader's window has for blocks beside the question, and the title of a single passage."""
    title = title_of(passages[0]) if len(passages) == 1 else ""
    return max(reader.windower.room(question, title), SMALLEST_ROOM)


def title_of(passage: Passage) -> str:
    """What is written before a passage's blocks: title, headings, table header."""
    return context_header(replace(passage, text=""))


def slice_of(passage: Passage, start: int, end: int) -> Passage:
    """Characters ``start`` to ``end`` of the passage's text, as a passage of the same id."""
    return replace(passage, text=passage.text[start:end], start=passage.start + start, end=passage.start + end)


def joined(chosen: Chosen, first: int, last: int) -> Passage:
    """Neighbouring blocks as one passage."""
    text = "".join((chosen.gaps[n] or "") * (n > first) + chosen.blocks[n].text for n in range(first, last))
    return replace(chosen.blocks[first], text=text, end=chosen.blocks[last - 1].end)


def _passage_of(block: Passage) -> tuple[DocumentKey, str]:
    """What slices of one passage have in common."""
    return block.document_key, block.id


def _in_order(passages: Sequence[Passage]) -> list[Passage]:
    """Documents in the order of their likeliest passage, passages in that of their document; none repeats another's end."""
    by_document: dict[DocumentKey, list[Passage]] = {}
    for passage in passages:
        by_document.setdefault(passage.document_key, []).append(passage)
    found = []
    for group in by_document.values():
        end = 0
        for passage in sorted(group, key=lambda one: (one.start, one.end)):
            if passage.end > end:
                found.append(slice_of(passage, max(end - passage.start, 0), len(passage.text)))
                end = passage.end
    return found


def _sieve(question: str, texts: Sequence[str]) -> list[int]:
    """All blocks, or those ``SIEVED`` of very many that BM25 puts first."""
    if len(texts) <= SIEVED:
        return list(range(len(texts)))
    scores = dict(enumerate(LexicalScorer().score(question, texts).coarse(range(len(texts)))))
    return sorted(ranked(range(len(texts)), scores)[:SIEVED])


def _written(chosen: Chosen) -> tuple[str, list[tuple[int, int]]]:
    """The window's text, and where each block is in it."""
    parts, places, length = list[str](), list[tuple[int, int]](), 0
    several = len({_passage_of(one) for one in chosen.blocks}) > 1
    for n, (block, gap) in enumerate(zip(chosen.blocks, chosen.gaps, strict=True)):
        before = gap
        if before is None:
            first = n == 0 or _passage_of(chosen.blocks[n - 1]) != _passage_of(block)
            title = f"{title_of(block)}. " if several and first and title_of(block) else ""
            before = ("\n" if n else "") + title
        parts += [before, block.text]
        length += len(before)
        places.append((length, length + len(block.text)))
        length += len(block.text)
    return "".join(parts), places


def _blocks_of(span: Span, places: Sequence[tuple[int, int]], chosen: Chosen) -> tuple[int, int] | None:
    """The first and last block that a span touches; None if part of it lies outside, or between blocks far apart."""
    first = next((n for n, (start, end) in enumerate(places) if start <= span.start < end), None)
    last = next((n for n, (start, end) in enumerate(places) if start < span.end <= end), None)
    if first is None or last is None or any(chosen.gaps[n] is None for n in range(first + 1, last + 1)):
        return None
    return first, last


def _evidence(chosen: Chosen, places: Sequence[tuple[int, int]], agreeing: Sequence[Span]) -> tuple[Evidence, ...]:
    """Blocks with their shares; those that one wording of the answer runs over are one."""
    touched = [_blocks_of(span, places, chosen) or (0, 0) for span in agreeing]
    total = log_sum([span.log_odds for span in agreeing])
    scores = math.fsum(chosen.scores)
    found = []
    for first, last in _merged(len(chosen.blocks), touched):
        own = [span for span, (begin, _) in zip(agreeing, touched, strict=True) if first <= begin < last]
        best = max(own, key=lambda span: span.log_odds, default=None)
        start = places[first][0]
        found.append(
            Evidence(
                passage=joined(chosen, first, last),
                prior=math.fsum(chosen.scores[first:last]) / scores,
                posterior=min(1.0, math.fsum(math.exp(span.log_odds - total) for span in own)),
                answer_span=(best.start - start, best.end - start) if best else None,
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.posterior, -one.prior)))


def _merged(count: int, touched: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """(first, behind the last) blocks, in order, so that every pair of ``touched`` is within one."""
    crossed = {n for first, last in touched for n in range(first + 1, last + 1)}
    starts = [n for n in range(count) if n not in crossed]
    return pairwise([*starts, count])
