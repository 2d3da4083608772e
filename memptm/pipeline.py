"""QA: a question in, an answer with its evidence out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from memptm.answering.citations import from_generation, from_marginal
from memptm.documents import times
from memptm.documents.conversations import log_weights
from memptm.documents.decode import clean
from memptm.errors import InputError
from memptm.progress import Progress, silent
from memptm.types import Answer, Document, Hit, Passage, ScoredPassage

if TYPE_CHECKING:
    from memptm.generation.generator import Generator
    from memptm.generation.rag import Rag
    from memptm.generation.reader import Reader
    from memptm.memory.memory import Memory
    from memptm.memory.search import Mode
    from memptm.reasoning.cogqa import CogQA
    from memptm.selection.select import BlockScorer, MemRecall
    from memptm.session import FollowUp, Session

METHODS = ("reader", "generate", "rag-sequence", "rag-token", "graph", "auto")
SPANS = ("reader", "graph", "auto")  # answers are words of passages; no generator is needed
STREAMED = ("generate", "rag-token")
MAX_QUESTION = 10_000  # characters; a question is short, and what is longer is a text put in its place
BEAMS = 3  # of rag-sequence
IN_HAND = 5  # passages of a text in hand that a generator reads
RECALLED = 20  # passages, at least, whose blocks MemRecall chooses from
RECALL_TOKENS = 640  # of blocks that a generator reads: as much as five passages

Stream = Callable[[str], None]


class QA:
    """Answers questions from a memory, or from one text in hand.

    Args:
        memory: where passages come from; None is enough for ``read``.
        method: "reader" finds the answer's span in the passages (REALM's marginal over passages); "generate" writes it from
            all passages at once; "rag-sequence" and "rag-token" write it from each apart and sum over them; "graph" goes
            from passage to passage (CogQA), "auto" does so where the reader alone seems not to be enough.
        mode: how passages are searched, by meaning ("dense"), by words ("lexical") or by both ("hybrid").
        reader, generator: a model, its name or its folder; None is the packaged one. Loaded on first use.
        recall: fill the reader's window with the best blocks of many passages (MemRecall), not with whole passages; not
            with "graph" or "auto".
        judge: of MemRecall: "embedding", "bm25", a folder made by memptm train recall, or a BlockScorer; None is the default.
        pages: how many pages method "graph" may read for a question; None is its default.
    Raises:
        InputError: there is no such method, or fewer than one page.
    """

    def __init__(
        self,
        memory: Memory | None = None,
        *,
        method: str = "reader",
        mode: Mode = "hybrid",
        reader: Reader | str | None = None,
        generator: Generator | str | None = None,
        recall: bool = False,
        judge: BlockScorer | str | None = None,
        pages: int | None = None,
    ) -> None:
        if method not in METHODS:
            raise InputError(f"There is no method {method!r}. Methods: {', '.join(METHODS)}.")
        if pages is not None and pages < 1:
            raise InputError(f"With at most {pages} pages there is nothing to read; give at least 1.")
        self.memory, self.method, self.mode, self.pages = memory, method, mode, pages
        self._reader, self._generator = reader, generator
        self.recall, self.judge = recall, judge
        self._judge: BlockScorer | None = None
        self._cogqa: CogQA | None = None

    @property
    def reader(self) -> Reader:
        """The span reader."""
        if self._reader is None or isinstance(self._reader, str):
            from memptm.generation.reader import Reader

            self._reader = Reader.load(self._reader)
        return self._reader

    @property
    def generator(self) -> Generator:
        """The generator."""
        if self._generator is None or isinstance(self._generator, str):
            from memptm.generation.generator import Generator

            self._generator = Generator.load(self._generator)
        return self._generator

    @property
    def mem_recall(self) -> MemRecall:
        """What chooses blocks."""
        from memptm.selection.select import MemRecall

        if self._judge is None:
            from memptm.selection.load import load_block_scorer

            given = self.judge
            self._judge = load_block_scorer(given) if given is None or isinstance(given, str) else given
        return MemRecall(scorer=self._judge)

    def __call__(
        self,
        question: str,
        *,
        k: int = 5,
        where: str | None = None,
        stream: Stream | None = None,
        session: Session | None = None,
    ) -> Answer:
        """Answer ``question`` from the ``k`` best passages of the memory.

        Args:
            question: the text asked.
            k: passages to read.
            where: a filter on the passages' fields and metadata, applied before the k best are taken.
            stream: called with each piece of text as it is generated (methods "generate" and "rag-token").
            session: the conversation that the question goes on; question and answer are added to it.
        Raises:
            InputError: no memory, an empty or overlong question, k below 1, a filter that cannot be read, or a session
                with another index.
        """
        memory, (question,) = self._ready([question], k)
        if session is None:
            return self._answer(memory, question, k=k, where=where, stream=stream)
        if session.memory.manifest.index != memory.manifest.index:
            raise InputError(f"The session is one with {session.memory.path}, and {memory.path} is asked.")
        asked, where = session.follow_up(question), session.evidence(where)
        answer = self._answer(memory, question, k=k, where=where, stream=stream, after=asked)
        session.add(question, answer)
        return answer

    def _answer(
        self,
        memory: Memory,
        question: str,
        *,
        k: int,
        where: str | None,
        stream: Stream | None,
        after: FollowUp | None = None,
    ) -> Answer:
        """By whichever method; what is searched and read for a question in a conversation, ``after`` says."""
        reading, words, queries = (after.reading, after.words, after.queries) if after else (question, question, None)
        if self.method == "graph":
            return dated(replace(self._walk(memory, question, reading, k=k, where=where), question=question))
        hits = memory.search(words, k=self._depth(k), mode=self.mode, where=where, queries=queries)
        if not hits:
            return self._nothing_to_read(question)
        if self.recall:
            answer = self._by_recall(question, hits, stream=stream, after=after)
        elif self.method == "reader":
            answer = self._read_batch([reading], [hits])[0]
        elif self.method == "auto":
            answer = self._route(memory, question, reading, hits, k=k, where=where)
        else:
            answer = self._write(question, self._prior(question, hits), stream=stream, after=after)
        return dated(replace(answer, question=question))

    def batch(self, questions: Sequence[str], *, k: int = 5) -> list[Answer]:
        """Answer many questions; each answer is the one that its question alone would get.

        Raises:
            InputError: as for a call.
        """
        memory, questions = self._ready(questions, k)
        if self.recall or self.method in ("graph", "auto"):  # each question reads other passages
            return [self(question, k=k) for question in questions]
        found = memory.search(list(questions), k=k, mode=self.mode) if questions else []
        answers = [self._nothing_to_read(question) for question in questions]
        full = [n for n, hits in enumerate(found) if hits]
        if full:
            asked, read = [questions[n] for n in full], [found[n] for n in full]
            make = {"reader": self._read_batch, "generate": self._generate_batch}.get(
                self.method, self._marginalise_batch
            )
            made = make(asked, read)
            for n, answer in zip(full, made, strict=True):
                answers[n] = dated(answer)
        return answers

    def read(
        self,
        question: str,
        text: str | Document | Sequence[Document],
        *,
        recall: bool | None = None,
        progress: Progress = silent,
    ) -> Answer:
        """Answer ``question`` from a text or documents alone, however long; offsets count their characters.

        With "graph" and "auto" the reader answers, too: there is nowhere else to go.

        Args:
            text: what is read.
            recall: True: a judge picks the blocks that are read (MemRecall). False: the reader goes over everything in
                overlapping windows, a generator reads the nearest passages. None: True where this QA was given a judge.
            progress: told of what is done.
        Raises:
            InputError: the question is empty or overlong.
        """
        question = check_question(question)
        from memptm.selection import read_document as whole
        from memptm.selection import reading as blocks

        given = [Document(text=text)] if isinstance(text, str) else [text] if isinstance(text, Document) else text
        documents = whole.with_own_keys(given)
        passages = [whole.passage_of(document) for document in documents if document.text.strip()]
        if not passages:
            return self._nothing_to_read(question)
        recalled = self.judge is not None if recall is None else recall
        if self.method not in SPANS:
            read = self._recalled(question, passages, progress) if recalled else self._nearest(question, documents)
            answer = self._write(question, read)
        elif recalled and not blocks.fits(self.reader, question, passages):
            bias = self.reader.config.read_bias
            answer = blocks.answer_by_recall(
                self.reader, question, passages, self.mem_recall, bias=bias, progress=progress
            )
        else:
            answer = whole.answer_from_all(self.reader, question, passages, progress=progress)
        return whole.with_pages(answer, documents)

    def _depth(self, k: int) -> int:
        return max(k, RECALLED) if self.recall else k

    def _by_recall(
        self, question: str, hits: Sequence[Hit], *, stream: Stream | None = None, after: FollowUp | None = None
    ) -> Answer:
        """The answer from one window of the blocks that matter in many passages."""
        from memptm.selection.reading import answer_by_recall

        passages = [hit.passage for hit in hits]
        if self.method in SPANS:
            bias = self.reader.config.open_bias
            asked = after.reading if after else question
            return answer_by_recall(self.reader, asked, passages, self.mem_recall, bias=bias)
        return self._write(question, self._recalled(question, passages), stream=stream, after=after)

    def _recalled(self, question: str, passages: Sequence[Passage], progress: Progress = silent) -> list[ScoredPassage]:
        """What a generator reads of them, best first."""
        from memptm.selection.reading import passages_by_recall

        tokenizer = self.reader.windower.tokenizer
        return passages_by_recall(
            question, passages, self.mem_recall, tokenizer=tokenizer, window=RECALL_TOKENS, progress=progress
        )

    def _walker(self, memory: Memory) -> CogQA:
        from memptm.reasoning.cogqa import CogQA
        from memptm.reasoning.frontier import PAGES

        if self._cogqa is None:
            self._cogqa = CogQA(memory, self.reader)
        self._cogqa.memory, self._cogqa.mode = memory, self.mode  # as they are now, they may have been changed
        self._cogqa.pages = self.pages or PAGES
        return self._cogqa

    def _walk(self, memory: Memory, question: str, reading: str, *, k: int, where: str | None) -> Answer:
        """The graph's answer; ``reading`` ends with the question."""
        return self._walker(memory).answer(question, k=k, where=where, lead=reading.removesuffix(question))

    def _route(
        self, memory: Memory, question: str, reading: str, hits: Sequence[Hit], *, k: int, where: str | None
    ) -> Answer:
        """The reader's answer, or the graph's where that pays; ``Answer.method`` says which."""
        from memptm.reasoning.router import Router

        first = self._read_batch([reading], [hits])[0]
        if Router.load().probability(question, first, hits, memory.titles(where=where)) < 0.5:
            return first
        return self._walk(memory, question, reading, k=k, where=where)

    def _rag(self, generator: Generator) -> Rag:
        from memptm.generation.rag import Rag

        if self.method == "rag-token":
            return Rag(generator, "rag-token", beams=1)  # greedy, so that it can be streamed
        return Rag(generator, "rag-sequence", beams=BEAMS)

    def _write(
        self,
        question: str,
        passages: Sequence[ScoredPassage],
        *,
        stream: Stream | None = None,
        after: FollowUp | None = None,
    ) -> Answer:
        """The generator's answer, by whichever of its methods this is; the reader is heard on whether there is one."""
        odds = self.reader.null_log_odds([after.reading if after else question], [passages])[0]
        generator = self.generator.after(after.said) if after else self.generator
        if self.method == "generate":
            generation = generator.generate(
                question, [one.passage for one in passages], null_log_odds=odds, stream=stream
            )
            return from_generation(question, passages, generation, generator, method=self.method)
        told = stream if self.method in STREAMED else None
        marginal = self._rag(generator).answer(question, passages, null_log_odds=odds, stream=told)
        return from_marginal(question, passages, marginal, method=self.method)

    def _ready(self, questions: Sequence[str], k: int) -> tuple[Memory, list[str]]:
        """The memory, and the questions as text."""
        if self.memory is None:
            raise InputError(
                "This QA has no memory. Give it one, as in QA(Memory.open(DIR)), or use read(question, text)."
            )
        if self.recall and self.method in ("graph", "auto"):
            raise InputError(
                f"Method {self.method!r} reads whole passages, and recall parts of them. Leave out one of the two."
            )
        if k < 1:
            raise InputError(f"k is {k}; at least one passage has to be read.")
        return self.memory, [check_question(question) for question in questions]

    def _nothing_to_read(self, question: str) -> Answer:
        note = "There was no passage to read."
        return Answer(question=question, text=None, probability=1.0, method=self.method, note=note)

    def _prior(self, question: str, hits: Sequence[Hit]) -> list[ScoredPassage]:
        """Passages with log p(z | x), a softmax of the fused scores: likelier for the answers than one of cosines alone
        (scripts/training/calibrate_reader.py prints both). BM25's scores have no common scale: there it is one of cosines.

        Where the question names who spoke, the turns of others count less, and the rest says that nothing answers.
        """
        from memptm.generation.reader import scored

        scores = [hit.similarity if self.mode == "lexical" else hit.score for hit in hits]
        passages = [hit.passage for hit in hits]
        weights = log_weights(question, passages)
        return scored(passages, [p + w for p, w in zip(self.reader.log_prior(scores), weights, strict=True)])

    def _read_batch(self, questions: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[Answer]:
        read = [self._prior(*pair) for pair in zip(questions, found, strict=True)]
        return self.reader.answer_batch(questions, read)

    def _generate_batch(self, questions: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[Answer]:
        read = [self._prior(*pair) for pair in zip(questions, found, strict=True)]
        passages_of = [[one.passage for one in group] for group in read]
        odds = self.reader.null_log_odds(questions, read)
        generations = self.generator.generate_batch(list(questions), passages_of, null_log_odds=odds)
        return [
            from_generation(question, group, generation, self.generator, method=self.method)
            for question, group, generation in zip(questions, read, generations, strict=True)
        ]

    def _marginalise_batch(self, questions: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[Answer]:
        read = [self._prior(*pair) for pair in zip(questions, found, strict=True)]
        odds = self.reader.null_log_odds(questions, read)
        made = self._rag(self.generator).answer_batch(questions, read, null_log_odds=odds)
        return [
            from_marginal(question, group, marginal, method=self.method)
            for question, group, marginal in zip(questions, read, made, strict=True)
        ]

    def _nearest(self, question: str, documents: Sequence[Document]) -> list[ScoredPassage]:
        """The passages of ``documents`` nearest to the question, best first."""
        from memptm.documents.split import split
        from memptm.encoders.base import embedding_text
        from memptm.encoders.load import load_encoder
        from memptm.generation.reader import scored

        encoder = load_encoder(None)

        def fits(passage: Passage) -> bool:
            return encoder.count_tokens([embedding_text(passage)])[0] <= encoder.max_tokens

        passages = [passage for document in documents for passage in split(document, fits=fits)]
        keys = encoder.encode_passages([embedding_text(passage) for passage in passages])
        similarity = keys @ encoder.encode_questions([question])[0]
        best = similarity.argsort(kind="stable")[::-1][:IN_HAND]
        return scored([passages[n] for n in best], self.reader.log_prior([float(similarity[n]) for n in best]))


def dated(answer: Answer) -> Answer:
    """``answer`` with the date that its words ("yesterday") meant, where its passage has the time they were said at."""
    if answer.text is None or not answer.evidence:
        return answer
    metadata = answer.evidence[0].passage.metadata
    found = times.meant(answer.text, metadata)
    if found is None:
        return answer
    said = metadata.get(times.WRITTEN, metadata[times.TIME])
    note = f"“{found.said}” means {found.words}: it was said at {said}."
    return replace(answer, when=found.iso, note=f"{answer.note} {note}".strip())


def check_question(question: str) -> str:
    """``question`` as text: what argv or a pipe could not decode is U+FFFD in it.

    Raises:
        InputError: it is empty, or longer than MAX_QUESTION characters.
    """
    question = clean(question)
    if not question.strip():
        raise InputError("The question is empty. Ask something.")
    if len(question) > MAX_QUESTION:
        raise InputError(
            f"The question has {len(question):,} characters; at most {MAX_QUESTION:,} are read. Shorten it."
        )
    return question
