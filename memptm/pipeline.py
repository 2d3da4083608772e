"""QA: a question in, an answer with its evidence out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from memptm.errors import InputError
from memptm.types import Answer, Candidate, Document, Evidence, Hit, Passage

if TYPE_CHECKING:
    from memptm.generation.generator import Generation, Generator
    from memptm.generation.rag import Marginal, Rag
    from memptm.generation.reader import Reader
    from memptm.memory.memory import Memory
    from memptm.memory.search import Mode
    from memptm.reasoning.cogqa import CogQA

METHODS = ("reader", "generate", "rag-sequence", "rag-token", "graph", "auto")
SPANS = ("reader", "graph", "auto")  # answers are words of passages; no generator is needed
STREAMED = ("generate", "rag-token")
MAX_QUESTION = 10_000  # characters; a question is short, and what is longer is a text put in its place
BEAMS = 3  # of rag-sequence
FROM_MODEL = "The model says this without the passages too: check it elsewhere."
IN_HAND = 5  # passages of a text in hand that a generator reads

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
        nodes: how many pages method "graph" may read for a question; None is its default.
    Raises:
        InputError: there is no such method, or a budget of no nodes.
    """

    def __init__(
        self,
        memory: Memory | None = None,
        *,
        method: str = "reader",
        mode: Mode = "hybrid",
        reader: Reader | str | None = None,
        generator: Generator | str | None = None,
        nodes: int | None = None,
    ) -> None:
        if method not in METHODS:
            raise InputError(f"There is no method {method!r}. Methods: {', '.join(METHODS)}.")
        if nodes is not None and nodes < 1:
            raise InputError(f"A budget of {nodes} nodes leaves nothing to read; give at least 1.")
        self.memory, self.method, self.mode, self.nodes = memory, method, mode, nodes
        self._reader, self._generator = reader, generator
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

    def __call__(self, question: str, *, k: int = 5, where: str | None = None, stream: Stream | None = None) -> Answer:
        """Answer ``question`` from the ``k`` best passages of the memory.

        Args:
            question: the text asked.
            k: passages to read.
            where: a filter on the passages' fields and metadata, applied before the k best are taken.
            stream: called with each piece of text as it is generated (methods "generate" and "rag-token").
        Raises:
            InputError: no memory, an empty or overlong question, k below 1, or a filter that cannot be read.
        """
        memory = self._ready([question], k)
        if self.method == "graph":
            return self._walker(memory).answer(question, k=k, where=where)
        hits = memory.search(question, k=k, mode=self.mode, where=where)
        if not hits:
            return self._nothing_to_read(question)
        if self.method == "reader":
            return self._read_batch([question], [hits])[0]
        if self.method == "auto":
            return self._route(memory, question, hits, k=k, where=where)
        return self._write(question, *self._prior(hits), stream=stream)

    def batch(self, questions: Sequence[str], *, k: int = 5) -> list[Answer]:
        """Answer many questions; each answer is the one that its question alone would get.

        Raises:
            InputError: as for a call.
        """
        memory = self._ready(questions, k)
        if self.method in ("graph", "auto"):  # each question reads other passages
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
                answers[n] = answer
        return answers

    def read(self, question: str, text: str) -> Answer:
        """Answer ``question`` from ``text`` alone, however long; offsets count its characters.

        The reader goes over the whole text in overlapping windows (with "graph" and "auto", too: there is nowhere else to
        go). A generator reads its nearest passages.

        Raises:
            InputError: the question is empty or overlong.
        """
        check_question(question)
        if not text.strip():
            return self._nothing_to_read(question)
        if self.method in SPANS:
            whole = Passage(id="text", document="text", text=text, start=0, end=len(text))
            return self.reader.answer(question, [whole])
        return self._write(question, *self._nearest(question, text))

    def _walker(self, memory: Memory) -> CogQA:
        if self._cogqa is None:
            from memptm.reasoning.cogqa import CogQA
            from memptm.reasoning.frontier import NODES

            self._cogqa = CogQA(memory, self.reader, nodes=self.nodes or NODES, mode=self.mode)
        return self._cogqa

    def _route(self, memory: Memory, question: str, hits: Sequence[Hit], *, k: int, where: str | None) -> Answer:
        """The reader's answer, or the graph's where that pays; ``Answer.method`` says which."""
        from memptm.reasoning.router import Router

        first = self._read_batch([question], [hits])[0]
        if Router.load().probability(question, first, hits, memory.titles(where=where)) < 0.5:
            return first
        return self._walker(memory).answer(question, k=k, where=where)

    @property
    def _rag(self) -> Rag:
        from memptm.generation.rag import Rag

        if self.method == "rag-token":
            return Rag(self.generator, "rag-token", beams=1)  # greedy, so that it can be streamed
        return Rag(self.generator, "rag-sequence", beams=BEAMS)

    def _write(
        self, question: str, passages: Sequence[Passage], log_prior: Sequence[float], *, stream: Stream | None = None
    ) -> Answer:
        """The generator's answer, by whichever of its methods this is; the reader is heard on whether there is one."""
        odds = self.reader.null_log_odds([question], [passages], [log_prior])[0]
        if self.method == "generate":
            generation = self.generator.generate(question, passages, null_log_odds=odds, stream=stream)
            return self._from_generation(question, passages, log_prior, generation)
        told = stream if self.method in STREAMED else None
        marginal = self._rag.answer(question, passages, log_prior, null_log_odds=odds, stream=told)
        return self._from_marginal(question, log_prior, marginal)

    def _ready(self, questions: Sequence[str], k: int) -> Memory:
        if self.memory is None:
            raise InputError(
                "This QA has no memory. Give it one, as in QA(Memory.open(DIR)), or use read(question, text)."
            )
        if k < 1:
            raise InputError(f"k is {k}; at least one passage has to be read.")
        for question in questions:
            check_question(question)
        return self.memory

    def _nothing_to_read(self, question: str) -> Answer:
        note = "There was no passage to read."
        return Answer(question=question, text=None, probability=1.0, method=self.method, note=note)

    def _prior(self, hits: Sequence[Hit]) -> tuple[list[Passage], list[float]]:
        """Passages and log p(z | x), a softmax of the fused scores: likelier for the answers than one of cosines alone
        (scripts/calibrate_reader.py prints both). BM25's scores have no common scale: there it is one of cosines.
        """
        scores = [hit.similarity if self.mode == "lexical" else hit.score for hit in hits]
        return [hit.passage for hit in hits], self.reader.log_prior(scores)

    def _read_batch(self, questions: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[Answer]:
        read = [self._prior(hits) for hits in found]
        return self.reader.answer_batch(
            list(questions), [passages for passages, _ in read], [prior for _, prior in read]
        )

    def _generate_batch(self, questions: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[Answer]:
        read = [self._prior(hits) for hits in found]
        passages_of, log_priors = [passages for passages, _ in read], [log_prior for _, log_prior in read]
        odds = self.reader.null_log_odds(questions, passages_of, log_priors)
        generations = self.generator.generate_batch(list(questions), passages_of, null_log_odds=odds)
        return [
            self._from_generation(question, passages, log_prior, generation)
            for question, (passages, log_prior), generation in zip(questions, read, generations, strict=True)
        ]

    def _marginalise_batch(self, questions: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[Answer]:
        passages, log_priors = zip(*(self._prior(hits) for hits in found), strict=True)
        odds = self.reader.null_log_odds(questions, passages, log_priors)
        made = self._rag.answer_batch(questions, passages, log_priors, null_log_odds=odds)
        return [
            self._from_marginal(question, log_prior, marginal)
            for question, log_prior, marginal in zip(questions, log_priors, made, strict=True)
        ]

    def _nearest(self, question: str, text: str) -> tuple[list[Passage], list[float]]:
        """The passages of ``text`` nearest to the question, best first, and log p(z | x) over them."""
        from memptm.documents.split import split
        from memptm.encoders import load_encoder
        from memptm.encoders.base import key_text

        encoder = load_encoder(None)

        def fits(passage: Passage) -> bool:
            return encoder.count_tokens([key_text(passage)])[0] <= encoder.max_tokens

        passages = split(Document(id="text", text=text), fits=fits)
        keys = encoder.encode_passages([key_text(passage) for passage in passages])
        similarity = keys @ encoder.encode_questions([question])[0]
        best = similarity.argsort(kind="stable")[::-1][:IN_HAND]
        return [passages[n] for n in best], self.reader.log_prior([float(similarity[n]) for n in best])

    def _from_generation(
        self, question: str, passages: Sequence[Passage], log_prior: Sequence[float], generation: Generation
    ) -> Answer:
        """The answer with its citations: p(z | x, y) ∝ p(z | x) · p(y | z, x) over the passages that were read."""
        if generation.text is None:
            return Answer(
                question=question, text=None, probability=_share(generation.null_probability), method=self.method
            )
        text = generation.text
        prior_of = dict(zip([passage.id for passage in passages], log_prior, strict=True))
        log_priors = [prior_of[passage.id] for passage in generation.read]
        read = generation.read
        log_likelihood = self.generator.log_likelihoods(
            [question] * len(read), [[one] for one in read], [text] * len(read)
        )
        posterior = _softmax([prior + log_p for prior, log_p in zip(log_priors, log_likelihood, strict=True)])
        evidence = [
            Evidence(
                passage=passage, prior=math.exp(prior), posterior=share, answer_span=find_answer(text, passage.text)
            )
            for passage, prior, share in zip(read, log_priors, posterior, strict=True)
        ]
        probability = _share(generation.probability)
        return Answer(
            question=question,
            text=text,
            probability=probability,
            method=self.method,
            answers=(Candidate(text=text, probability=probability),),
            evidence=tuple(sorted(evidence, key=lambda one: -one.posterior)),
        )

    def _from_marginal(self, question: str, log_prior: Sequence[float], marginal: Marginal) -> Answer:
        """The answer with p(z | x, y) as its citations; it says so where the null document explains the answer best."""
        if marginal.text is None:
            return Answer(question=question, text=None, probability=_share(marginal.probability), method=self.method)
        evidence = [
            Evidence(
                passage=passage,
                prior=math.exp(prior),
                posterior=share,
                answer_span=find_answer(marginal.text, passage.text),
            )
            for passage, prior, share in zip(marginal.read, log_prior, marginal.posterior, strict=True)
        ]
        return Answer(
            question=question,
            text=marginal.text,
            probability=marginal.probability,
            method=self.method,
            answers=marginal.candidates,
            evidence=tuple(sorted(evidence, key=lambda one: -one.posterior)),
            note=FROM_MODEL if marginal.null_posterior > 0.5 else "",
            utility=marginal.utility,
        )


def check_question(question: str) -> None:
    """Raise InputError if ``question`` is empty or longer than MAX_QUESTION characters."""
    if not question.strip():
        raise InputError("The question is empty.")
    if len(question) > MAX_QUESTION:
        raise InputError(
            f"The question has {len(question):,} characters; at most {MAX_QUESTION:,} are read. Shorten it."
        )


def find_answer(answer: str, text: str) -> tuple[int, int] | None:
    """Where ``answer`` first stands in ``text``, as whole words, whatever its case and blanks; None if nowhere."""
    for wanted in (answer.strip(), answer.strip(" \t\n.,;:!?\"'()")):
        if not wanted:
            continue
        words = r"\s+".join(re.escape(word) for word in wanted.split())
        before = r"(?<!\w)" if _has_word_edges(wanted[0]) else ""
        after = r"(?!\w)" if _has_word_edges(wanted[-1]) else ""
        found = re.search(before + words + after, text, re.IGNORECASE)
        if found:
            return found.span()
    return None


def _has_word_edges(character: str) -> bool:
    """Whether words of this character's script are set apart by blanks; below U+2E80 all but Thai and its neighbours."""
    code = ord(character)
    return (character.isalnum() or character == "_") and code < 0x2E80 and not 0x0E00 <= code < 0x1100


def _softmax(logits: Sequence[float]) -> list[float]:
    highest = max(logits, default=0.0)
    weights = [math.exp(logit - highest) if math.isfinite(highest) else 1.0 for logit in logits]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _share(probability: float) -> float:
    return min(1.0, max(0.0, probability))
