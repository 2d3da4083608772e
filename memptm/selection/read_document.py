"""A document in hand: read whole, window after window, however long it is; and what is cited of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count

from memptm.generation.reader import Reader, Reading, log_sum, marginalise, scored
from memptm.progress import Event, Progress, silent
from memptm.selection.blocks import split_blocks, tokens_of
from memptm.selection.reading import slice_of
from memptm.types import Answer, Document, DocumentKey, Evidence, Passage

PART = 100_000  # characters read at once: bounds the memory that a huge document needs
CITED_WITHIN = 1_000  # characters on each side of an answer in which the block that is cited is looked for


def with_own_keys(documents: Iterable[Document]) -> list[Document]:
    """The documents, each once and under a key of its own: one without an id is "text", a key that is taken gets a number."""
    once = {(one.key, one.title, one.text): one for one in documents}.values()
    given = {one.key for one in once if one.id}
    used: set[DocumentKey] = set()
    met: Counter[DocumentKey] = Counter()
    found = []
    for document in once:
        key = document.source, document.id or "text"
        met[key] += 1
        if key in used or (not document.id and key in given):
            numbered = ((key[0], f"{key[1]} ({n})") for n in count(max(met[key], 2)))
            key = next(new for new in numbered if new not in given and new not in used)
        used.add(key)
        found.append(replace(document, id=key[1]))
    return found


def passage_of(document: Document) -> Passage:
    """The document as one passage."""
    return Passage(
        id=document.id,
        document=document.id,
        text=document.text,
        start=0,
        end=len(document.text),
        title=document.title,
        source=document.source,
        metadata=document.metadata,
    )


def answer_from_all(
    reader: Reader, question: str, passages: Sequence[Passage], *, progress: Progress = silent
) -> Answer:
    """The reader's answer from every window of the passages; its evidence are the blocks around the answers.

    The odds of a passage's parts are added up, as those of its windows are.
    """
    spans, mass = [], []
    total, done = sum(len(passage.text) for passage in passages), 0
    for n, passage in enumerate(passages):
        masses = []
        for start, end in _parts(passage.text):
            reading = reader.read([question], [[slice_of(passage, start, end)]])[0]
            spans += [replace(s, passage=n, start=s.start + start, end=s.end + start) for s in reading.spans]
            masses.append(reading.log_mass[0])
            done += end - start
            progress(Event(stage="read", done=done, total=total, unit="characters"))
        mass.append(log_sum(masses))
    retrieved = scored(passages, [-math.log(len(passages))] * len(passages))
    reading = Reading(tuple(spans), tuple(mass))
    answer = marginalise(question, retrieved, reading, bias=reader.config.read_bias, method="reader")
    cited = [_narrowed(one, one.answer_span, reader) for one in answer.evidence if one.answer_span]
    return replace(answer, evidence=tuple(cited))


def with_pages(answer: Answer, documents: Sequence[Document]) -> Answer:
    """The answer with the page that each citation stands on, where its document has pages."""
    pages = {
        document.key: [(block.start, block.page) for block in document.blocks if block.page is not None]
        for document in documents
    }

    def paged(one: Evidence) -> Evidence:
        known = pages.get(one.passage.document_key, [])
        cited_at = one.passage.start + (one.answer_span[0] if one.answer_span else 0)
        at = bisect_right([start for start, _ in known], cited_at)
        return replace(one, passage=replace(one.passage, page=known[max(at - 1, 0)][1])) if known else one

    return replace(answer, evidence=tuple(paged(one) for one in answer.evidence))


def _narrowed(evidence: Evidence, span: tuple[int, int], reader: Reader) -> Evidence:
    """Of a long passage only the blocks that the answer stands in."""
    passage = evidence.passage
    begin, end = max(span[0] - CITED_WITHIN, 0), min(span[1] + CITED_WITHIN, len(passage.text))
    blocks = split_blocks(passage.text[begin:end], tokens_of(reader.windower.tokenizer))
    touched = [b for b in blocks if begin + b.start < span[1] and begin + b.end > span[0]]
    start, stop = begin + min(touched[0].start, span[0] - begin), begin + max(touched[-1].end, span[1] - begin)
    return replace(evidence, passage=slice_of(passage, start, stop), answer_span=(span[0] - start, span[1] - start))


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Stretches of the text that end at a line end, or a blank, where there is one."""
    start = 0
    while start < len(text):
        end = min(start + PART, len(text))
        if end < len(text):
            cut = text.rfind("\n", start + PART // 2, end)
            cut = cut if cut > 0 else text.rfind(" ", start + PART // 2, end)
            end = cut + 1 if cut > 0 else end
        yield start, end
        start = end
