"""QA: a question in, an answer with its evidence out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from memptm.answering.asked import Asked, Stream, check_question
from memptm.answering.models import Models
from memptm.answering.options import AskOptions
from memptm.errors import InputError
from memptm.progress import Progress, silent
from memptm.types import Answer, Mode

if TYPE_CHECKING:
    from memptm.answering.read import Text
    from memptm.generation.generator import Generator
    from memptm.generation.reader import Reader
    from memptm.memory.memory import Memory
    from memptm.selection.select import BlockScorer
    from memptm.session import Session

Value = TypeVar("Value")


class _Option(Generic[Value]):
    """A field of ``QA.options``; one that is assigned is validated, and in force from then on."""

    def __set_name__(self, owner: type[QA], name: str) -> None:
        self.name = name

    def __get__(self, qa: QA, owner: type[QA]) -> Value:
        value: Value = getattr(qa.options, self.name)
        return value

    def __set__(self, qa: QA, value: Value) -> None:
        qa.options = replace(qa.options, **{self.name: value})  # type: ignore[arg-type]


class QA:
    """Answers questions from a memory, or from one text in hand.

    Whatever is assigned later is validated as here, and in force for the next question; the models stay as they are.

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
        InputError: there is no such method or mode, there are fewer than one page, or the method reads no parts of passages.
    """

    __slots__ = ("_models", "memory", "options")
    memory: Memory | None
    options: AskOptions
    method = _Option[str]()
    mode = _Option[Mode]()
    recall = _Option[bool]()
    judge = _Option["BlockScorer | str | None"]()
    pages = _Option["int | None"]()
    k = _Option[int]()
    where = _Option["str | None"]()

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
        self.memory = memory
        self.options = AskOptions(method=method, mode=mode, recall=recall, judge=judge, pages=pages)
        self._models = Models(reader, generator)

    @property
    def reader(self) -> Reader:
        """The span reader."""
        return self._models.reader

    @property
    def generator(self) -> Generator:
        """The generator."""
        return self._models.generator

    def load(self) -> None:
        """Have ready what the first question would load."""
        if self.memory is not None:
            self.memory.load()
        self._models.load(self.memory, self.options)

    def __call__(
        self,
        question: str,
        *,
        k: int | None = None,
        where: str | None = None,
        stream: Stream | None = None,
        session: Session | None = None,
    ) -> Answer:
        """Answer ``question`` from the ``k`` best passages of the memory.

        Args:
            question: the text asked.
            k: passages to read; None is ``self.k``, 5 unless it was assigned.
            where: a filter on the passages' fields and metadata, applied before the k best are taken; None is ``self.where``.
            stream: called with each piece of text as it is generated (methods "generate" and "rag-token").
            session: the conversation that the question goes on; question and answer are added to it.
        Raises:
            InputError: no memory, an empty or overlong question, k below 1, a filter that cannot be read, or a session
                with another index.
        """
        from memptm.answering.ask import ask

        memory, (question,) = self._ready([question])
        options = self._options(k, where)
        asked = Asked.alone(question)
        if session is not None:
            if session.memory.manifest.index != memory.manifest.index:
                raise InputError(f"The session is one with {session.memory.path}, and {memory.path} is asked.")
            asked, options = session.follow_up(question), replace(options, where=session.evidence(options.where))
        (answer,) = ask(memory, [asked], models=self._models, options=options, stream=stream)
        if session is not None:
            session.add(question, answer)
        return answer

    def batch(self, questions: Sequence[str], *, k: int | None = None, where: str | None = None) -> list[Answer]:
        """Answer many questions; each answer is the one that its question alone would get.

        Raises:
            InputError: as for a call.
        """
        from memptm.answering.ask import ask

        memory, questions = self._ready(questions)
        asked = [Asked.alone(question) for question in questions]
        return ask(memory, asked, models=self._models, options=self._options(k, where))

    def read(self, question: str, text: Text, *, recall: bool | None = None, progress: Progress = silent) -> Answer:
        """Answer ``question`` from a text, a file or documents alone, however long; offsets count their characters.

        With "graph" and "auto" the reader answers, too: there is nowhere else to go.

        Args:
            question: the text asked.
            text: what is read; a Path is a file of any format that can be indexed.
            recall: True: a judge picks the blocks that are read (MemRecall). False: the reader goes over everything in
                overlapping windows, a generator reads the nearest passages. None: True where this QA was given a judge.
            progress: told of what is done.
        Raises:
            InputError: the question is empty or overlong, or the file cannot be read.
        """
        from memptm.answering.read import read

        memory = self.memory
        return read(
            check_question(question),
            text,
            models=self._models,
            options=self.options,
            encoder=lambda: self._models.encoder if memory is None else memory.encoder,
            recall=recall,
            progress=progress,
        )

    def _options(self, k: int | None, where: str | None) -> AskOptions:
        options = self.options if k is None else replace(self.options, k=k)
        return options if where is None else replace(options, where=where)

    def _ready(self, questions: Sequence[str]) -> tuple[Memory, list[str]]:
        """The memory, and the questions as text."""
        if self.memory is None:
            raise InputError(
                "This QA has no memory. Give it one, as in QA(Memory.open(DIR)), or use read(question, text)."
            )
        return self.memory, [check_question(question) for question in questions]
