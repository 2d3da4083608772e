"""RAG: an answer's probability as a marginal over documents, each read alone (Lewis et al. 2020, arXiv 2005.11401).

RAG-Sequence reads one document for the whole answer, RAG-Token may change it at every token; see marginal.py for the two
formulas. The prior p(z|x) is the softmax over the documents retrieved. A null document, nothing read, takes a small share
of it: where it explains an answer best, the memory did not help.

Whether the documents answer at all is asked first: with p_z the probability of the not-there phrase under document z,

    p(null | x) = 1 / (1 + Σ_z k · p(z|x) · (1 − p_z) / p_z)

the reader's rule (reader.py): one document that answers is enough, however many do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from memptm.generation.beam import Hypothesis, beam_search
from memptm.generation.decoding import DecodingState, Ids, within
from memptm.generation.generator import Generator
from memptm.generation.marginal import sequence_log_likelihood, token_log_likelihood
from memptm.generation.not_there import says_nothing, tell_new, with_odds, without_null
from memptm.generation.prompt import ANSWER_TOKENS
from memptm.types import Candidate, Passage, ScoredPassage

Kind = Literal["rag-sequence", "rag-token"]
PROMPTS = 24  # read at once: each keeps a cache, three times over where it has three beams
NULL_PRIOR = 0.05  # p(z = null | x); nothing has been trained to set it


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """What RAG says of one question.

    Attributes:
        text: None where the documents do not answer.
        probability: p(y | x), the marginal; of the null answer if None.
        null_probability: p(null | x), see above.
        candidates: the best answers with p(y | x).
        read: the documents as they were read; one without text did not fit and has no share.
        posterior: p(z | x, y), a number a document; all 0 if None.
        null_posterior: the null document's.
        utility: log p(y | x) − log p(y | null, x): what reading was worth.
    """

    text: str | None
    probability: float
    null_probability: float
    candidates: tuple[Candidate, ...] = ()
    read: tuple[Passage, ...] = ()
    posterior: tuple[float, ...] = ()
    null_posterior: float = 0.0
    utility: float = 0.0


class Rag:
    """Answers by RAG with any generator.

    Args:
        beams: hypotheses kept; 1 is greedy.
        thorough: every hypothesis is scored under every document; otherwise (fast) a document that did not propose it
            counts 0. Only RAG-Sequence asks.
    """

    def __init__(self, generator: Generator, kind: Kind, *, beams: int = 3, thorough: bool = True) -> None:
        self.generator, self.kind, self.beams, self.thorough = generator, kind, beams, thorough

    def answer(
        self,
        question: str,
        passages: Sequence[ScoredPassage],
        *,
        null_log_odds: float = 0.0,
        stream: Callable[[str], None] | None = None,
    ) -> Marginal:
        """Answer from ``passages``; RAG-Token with one beam can be streamed.

        ``null_log_odds``: as for ``Generator.generate``.

        Raises:
            InputError: the question does not fit the model's window.
        """
        return self._answer([question], [passages], [null_log_odds], stream)[0]

    def answer_batch(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[ScoredPassage]],
        *,
        null_log_odds: Sequence[float] | None = None,
    ) -> list[Marginal]:
        """``answer`` for each question; some with equally many passages go through the model together."""
        found: dict[int, Marginal] = {}
        odds = null_log_odds or [0.0] * len(questions)
        for rows in _batches([len(group) for group in passages]):
            made = self._answer(
                [questions[n] for n in rows],
                [passages[n] for n in rows],
                [odds[n] for n in rows],
                None,
            )
            found.update(zip(rows, made, strict=True))
        return [found[n] for n in range(len(questions))]

    def log_likelihoods(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        log_prior: Tensor,
        answers: Sequence[str],
    ) -> Tensor:
        """(n,) log p(y | x) with gradients to the generator and to the prior.

        Args:
            passages: k a question.
            log_prior: (n, k), or (n, k + 1) with the null document last.
        """
        writer = self.generator.writer
        targets = [writer.answer_ids(answer) for answer in answers]
        prompts, _ = self._prompts(questions, passages, null=log_prior.shape[1] > len(passages[0]))
        documents = log_prior.shape[1]
        repeated = [target for target in targets for _ in range(documents)]
        log_p = self.generator.language_model.token_scores(prompts, repeated).view(len(answers), documents, -1)
        if self.kind == "rag-sequence":
            return sequence_log_likelihood(log_p, log_prior)
        return token_log_likelihood(log_p, log_prior, within(targets, log_p.device))

    def _prompts(
        self, questions: Sequence[str], passages: Sequence[Sequence[Passage]], *, null: bool
    ) -> tuple[list[Ids], list[tuple[Passage, ...]]]:
        """Prompts, rows (question, document), and the documents of each question as they were read."""
        ids: list[Ids] = []
        read: list[tuple[Passage, ...]] = []
        for question, group in zip(questions, passages, strict=True):
            prompts = [self.generator.writer.write(question, [one]) for one in group]
            read.append(tuple((*prompt.read, _unread(one))[0] for prompt, one in zip(prompts, group, strict=True)))
            if null:
                prompts.append(self.generator.writer.write(question, []))
            ids += [prompt.ids for prompt in prompts]
        return ids, read

    @torch.inference_mode()
    def _answer(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[ScoredPassage]],
        null_log_odds: Sequence[float],
        stream: Callable[[str], None] | None,
    ) -> list[Marginal]:
        language_model = self.generator.language_model
        prompts, read = self._prompts(questions, [[one.passage for one in group] for group in passages], null=True)
        there = torch.tensor([[bool(one.text) for one in group] for group in read], device=language_model.device)
        prior = torch.tensor(
            [[one.log_prior for one in group] for group in passages], device=language_model.device
        ).view(len(questions), -1)
        prior = (prior + math.log1p(-NULL_PRIOR)).masked_fill(~there.view_as(prior), -torch.inf)
        log_prior = torch.nn.functional.pad(prior, (0, 1), value=math.log(NULL_PRIOR))
        state = language_model.start(prompts)
        not_there = self.generator.null_log_p(state).view_as(log_prior)
        null = with_odds(null_probability(not_there[:, :-1], prior).log(), prior.new_tensor(null_log_odds))
        listener = stream if float(null[0]) < self.generator.null_threshold else None
        hypotheses = self._decode(state.copy(), log_prior, not_there, listener)
        answers = []
        for n in range(len(questions)):
            if float(null[n]) >= self.generator.null_threshold:
                answers.append(_nothing(float(null[n]), read[n]))
                continue
            rows = torch.arange(log_prior.shape[1], device=log_prior.device) + n * log_prior.shape[1]
            answers.append(self._judge(state, rows, log_prior[n], hypotheses[n], float(null[n]), read[n]))
        return answers

    def _decode(
        self, state: DecodingState, log_prior: Tensor, not_there: Tensor, stream: Callable[[str], None] | None
    ) -> list[list[list[Hypothesis]]]:
        """For each question the hypotheses of its one shared beam, or of each document's own."""
        generator, each = self.generator, 1
        if self.kind == "rag-sequence":
            each = log_prior.shape[1]
            log_prior, not_there = log_prior.new_zeros(log_prior.numel(), 1), not_there.reshape(-1, 1)
        null_log_p = (log_prior + not_there).logsumexp(dim=1)
        streamed = ""

        def tell(ids: Ids) -> None:
            nonlocal streamed
            if stream is not None:
                streamed = tell_new(stream, self._line(ids), streamed, complete=False)

        found = beam_search(
            generator.language_model,
            state,
            log_prior,
            beams=self.beams,
            stops=generator.stops,
            longest=ANSWER_TOKENS,
            first=lambda log_p: without_null(log_p, generator.null_ids[0], null_log_p),
            ended=generator.ends_line,
            tell=tell,
        )
        if stream is not None and found[0]:
            tell_new(stream, self._line(found[0][0].ids), streamed, complete=True)
        return [found[start : start + each] for start in range(0, len(found), each)]

    def _judge(
        self,
        state: DecodingState,
        rows: Tensor,
        log_prior: Tensor,
        beams: Sequence[Sequence[Hypothesis]],
        null: float,
        read: tuple[Passage, ...],
    ) -> Marginal:
        """The best answer of a question whose documents are ``rows`` of ``state``."""
        proposed = self._distinct(beams)
        if not proposed:
            return _nothing(null, read)
        texts = list(proposed)
        if self.kind == "rag-sequence" and not self.thorough:
            table = _own(beams, list(proposed.values()), len(rows)).to(log_prior.device)
            total = (log_prior + table).logsumexp(dim=1)
        else:
            answers = [list(one.ids) for one in proposed.values()]
            log_p = self.generator.language_model.scores_after(state, rows, answers)
            table, priors = log_p.sum(dim=-1), log_prior.expand(len(answers), -1)
            if self.kind == "rag-sequence":
                total = sequence_log_likelihood(log_p, priors)
            else:
                total = token_log_likelihood(log_p, priors, within(answers, log_p.device))
        best = int(total.argmax())
        under = table[best]
        posterior = (log_prior + under).softmax(dim=0).tolist()
        order = total.argsort(descending=True).tolist()
        return Marginal(
            text=texts[best],
            probability=_probability(total[best]),
            null_probability=null,
            candidates=tuple(Candidate(text=texts[n], probability=_probability(total[n])) for n in order[: self.beams]),
            read=read,
            posterior=tuple(posterior[:-1]),
            null_posterior=posterior[-1],
            utility=float(total[best] - under[-1]),
        )

    def _distinct(self, beams: Sequence[Sequence[Hypothesis]]) -> dict[str, Hypothesis]:
        """Line of text → its most probable hypothesis; the not-there phrase was ruled out."""
        found: dict[str, Hypothesis] = {}
        for one in sorted((one for beam in beams for one in beam), key=lambda one: -one.log_p):
            line = self._line(one.ids)
            if not says_nothing(line):
                found.setdefault(line, one)
        return found

    def _line(self, ids: Sequence[int]) -> str:
        stops = set(self.generator.stops.tolist())
        kept = list(ids[:-1]) if ids and ids[-1] in stops else list(ids)
        return self.generator.line_of(kept, complete=False)[0]


def _batches(counts: Sequence[int]) -> Iterator[list[int]]:
    """Questions with equally many documents, at most ``PROMPTS`` of them with the null document together."""
    for count in sorted(set(counts)):
        rows = [n for n, other in enumerate(counts) if other == count]
        at_once = max(1, PROMPTS // (count + 1))
        yield from (rows[start : start + at_once] for start in range(0, len(rows), at_once))


def null_probability(not_there: Tensor, log_prior: Tensor) -> Tensor:
    """(n,) p(null | x) from (n, k) log p of the not-there phrase under each document and log p(z | x); see the module."""
    log_odds = torch.log(-torch.expm1(not_there.clamp(max=-1e-7))) - not_there
    count = math.log(log_prior.shape[1])
    return torch.sigmoid(-(log_prior + count + log_odds).logsumexp(dim=1))


def _own(beams: Sequence[Sequence[Hypothesis]], wanted: Sequence[Hypothesis], documents: int) -> Tensor:
    """(wanted, documents) log p where the document's own beam holds the hypothesis, −inf elsewhere."""
    table = torch.full((len(wanted), documents), -torch.inf)
    place = {one.ids: n for n, one in enumerate(wanted)}
    for document, beam in enumerate(beams):
        for one in beam:
            if one.ids in place:
                table[place[one.ids], document] = one.log_p
    return table


def _unread(passage: Passage) -> Passage:
    """What is left of a passage of which nothing fitted beside the question."""
    return replace(passage, text="", end=passage.start)


def _nothing(null: float, read: tuple[Passage, ...]) -> Marginal:
    return Marginal(text=None, probability=null, null_probability=null, read=read, posterior=(0.0,) * len(read))


def _probability(log_p: Tensor) -> float:
    return min(1.0, math.exp(float(log_p)))
