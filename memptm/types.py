"""What flows through memptm: documents in, passages kept, hits found, answers given. Frozen data and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from memptm.graph import CognitiveGraph
from memptm.graph import Json as Json
from memptm.graph import PassageKey as PassageKey

PAGE_STARTS = (
    "page_starts"  # metadata of a passage that goes over pages: [offset in its text, page] of each further one
)
PLACE = (
    "sheet",
    "table",
    "row",
    "speaker",
    "time",
    "conversation",
    "from",
    "date",
    "cell",
)  # metadata that say where it stands
Mode = Literal["dense", "lexical", "hybrid"]  # how passages are searched: by meaning, by words, by both
MODES: tuple[Mode, ...] = get_args(Mode)
DocumentKey = tuple[str, str]  # source, id


@dataclass(frozen=True, kw_only=True)
class Block:
    """A stretch of a document's text with one role; what the splitter must know beyond the characters.

    Attributes:
        start, end: characters of ``Document.text``; blocks are in order and do not overlap.
        kind: "heading", "text", "record" (a row of a table), "code" (a fence, kept whole where it fits) or "turn" (of a
            conversation). Records and turns are passages of their own; what is "omitted" is in
            none.
        level: of a heading, 1 is the topmost.
        page: 1-based page the block starts on, for paged files.
        context: words that belong to the block but not to its text (a table's header row, a turn's date).
        id: the passage's id, where the document names its parts (a turn); "" else.
        metadata: added to the document's metadata for the passages of this block.
    """

    start: int
    end: int
    kind: str = "text"
    level: int = 0
    page: int | None = None
    context: str = ""
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A text to remember.

    Attributes:
        text: what offsets count in; decoded, NUL removed, otherwise as it stands in the file.
        id: unique within its source; "" lets the memory derive one from the content.
        title, source: what is shown as the citation; ``source`` is a path or any string.
        metadata: JSON values; filters (``where``) read them, encoders do not.
        blocks: structure found by the loader; empty means plain text.
    """

    text: str
    id: str = ""
    title: str = ""
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()

    @property
    def key(self) -> DocumentKey:
        """What tells it from all others: two sources may use one id."""
        return self.source, self.id

    def to_json(self) -> Json:
        return {
            "id": self.id,
            "title": self.title,
            "text": self.text,
            "source": self.source,
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A piece of a document: ``document.text[start:end] == text``.

    Attributes:
        id: the document's id for its first passage, ``{document}#{n}`` for the others, or the block's own id.
        document: id of the document it belongs to.
        headings: titles of the sections it stands in, outermost first.
        context: see ``Block.context``; encoder and reader see it before the text.
        page: 1-based, of its beginning; None but for paged files.
    """

    id: str
    document: str
    text: str
    start: int
    end: int
    title: str = ""
    source: str = ""
    page: int | None = None
    headings: tuple[str, ...] = ()
    context: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> PassageKey:
        """What tells it from all others, and a slice of it from slices that start elsewhere: ids alone do not.

        A passage that is cut at its end keeps its key.
        """
        return self.source, self.document, self.id, self.start

    @property
    def document_key(self) -> DocumentKey:
        """The key of the document that it is part of."""
        return self.source, self.document

    def page_at(self, offset: int) -> int | None:
        """The page that the character at ``offset`` of its text stands on."""
        later = self.metadata.get(PAGE_STARTS)
        page = self.page
        for start, number in later if isinstance(later, list) else ():
            if start <= offset:
                page = number
        return page

    def to_json(self) -> Json:
        return {
            "id": self.id,
            "title": self.title,
            "source": self.source,
            "page": self.page,
            "section": list(self.headings),
            "metadata": {name: value for name, value in self.metadata.items() if name in PLACE},
            "text": self.text,
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A passage found. ``score`` orders hits: cosine for dense, BM25 for lexical, their fused sum for hybrid.

    ``similarity`` is the cosine of question and key whatever the mode; NaN where no key was looked at.
    """

    passage: Passage
    score: float
    similarity: float

    def to_json(self) -> Json:
        return {**self.passage.to_json(), "score": self.score}


@dataclass(frozen=True)
class Query:
    """What is asked.

    Attributes:
        text: the question.
        lead: what is read before it, with the blank that parts them; "" but in a conversation, where the last answer leads.
    """

    text: str
    lead: str = ""

    @property
    def whole(self) -> str:
        """The question with its lead before it: what a span reader reads."""
        return self.lead + self.text


@dataclass(frozen=True)
class ScoredPassage:
    """A passage to read. ``log_prior``: log p(z | x), natural, over the passages that are read for one question."""

    passage: Passage
    log_prior: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A passage that was read for an answer.

    Attributes:
        prior: p(z | x), before reading. posterior: p(z | x, y), its share in the answer that is given.
        answer_span: characters of ``passage.text`` that say the answer; None where it does not stand there.
    """

    passage: Passage
    prior: float
    posterior: float
    answer_span: tuple[int, int] | None = None

    @property
    def page(self) -> int | None:
        """The page of the answer, where it stands in the passage; else that of the passage's beginning."""
        return self.passage.page_at(self.answer_span[0]) if self.answer_span else self.passage.page

    def to_json(self) -> Json:
        return {
            **self.passage.to_json(),
            "page": self.page,
            "prior": self.prior,
            "posterior": self.posterior,
            "answer_span": list(self.answer_span) if self.answer_span else None,
        }


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One possible answer and its probability."""

    text: str
    probability: float

    def to_json(self) -> Json:
        return {"text": self.text, "probability": self.probability}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A distribution over answers. ``text`` is None where the memory does not hold the answer.

    Attributes:
        probability: of ``text``; where that is None, of the null answer.
        answers: candidates, likeliest first; their sum and the null answer's probability make at most 1.
        evidence: the passages read, by posterior; empty for the null answer.
        note: what a user should know about how the answer came about ("" is the rule).
        utility: log p(y | x) − log p(y | null, x), natural: what reading was worth to the answer; RAG's methods know it.
        when: ISO 8601, the date that an answer such as "yesterday" meant where the passage says when that was said; "" else.
        graph: how the answer came about, hop by hop; method "graph" has one.
    """

    question: str
    text: str | None
    probability: float
    method: str
    answers: tuple[Candidate, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    note: str = ""
    utility: float | None = None
    when: str = ""
    graph: CognitiveGraph | None = None

    def __str__(self) -> str:
        return self.text if self.text is not None else "Not in memory."

    def to_json(self) -> Json:
        return {
            "question": self.question,
            "answer": self.text,
            "probability": self.probability,
            "method": self.method,
            "answers": [candidate.to_json() for candidate in self.answers],
            "evidence": [evidence.to_json() for evidence in self.evidence],
            **({"note": self.note} if self.note else {}),
            **({} if self.utility is None else {"utility": self.utility}),
            **({"when": self.when} if self.when else {}),
            **({} if self.graph is None else {"graph": self.graph.to_json()}),
        }
