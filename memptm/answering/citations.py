"""From what was written to an answer with its citations: p(z | x, y) of each passage, and where it says the answer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from memptm.types import Answer, Candidate, Evidence, ScoredPassage

if TYPE_CHECKING:
    from memptm.generation.generator import Generation, Generator
    from memptm.generation.rag import Marginal

FROM_MODEL = "The model says this without the passages too: check it elsewhere."


def from_generation(
    question: str,
    retrieved: Sequence[ScoredPassage],
    generation: Generation,
    generator: Generator,
    *,
    method: str,
) -> Answer:
    """The answer with its citations: p(z | x, y) ∝ p(z | x) · p(y | z, x) over the passages that were read.

    Args:
        retrieved: those that were given to ``generator``.
    """
    if generation.text is None:
        return Answer(question=question, text=None, probability=_share(generation.null_probability), method=method)
    text = generation.text
    read = generation.read  # the first of the passages, the last of them perhaps shortened
    log_priors = [one.log_prior for one in retrieved[: len(read)]]
    log_likelihood = generator.log_likelihoods([question] * len(read), [[one] for one in read], [text] * len(read))
    posterior = _softmax([prior + log_p for prior, log_p in zip(log_priors, log_likelihood, strict=True)])
    evidence = [
        Evidence(passage=passage, prior=math.exp(prior), posterior=share, answer_span=find_answer(text, passage.text))
        for passage, prior, share in zip(read, log_priors, posterior, strict=True)
    ]
    probability = _share(generation.probability)
    return Answer(
        question=question,
        text=text,
        probability=probability,
        method=method,
        answers=(Candidate(text=text, probability=probability),),
        evidence=tuple(sorted(evidence, key=lambda one: -one.posterior)),
    )


def from_marginal(question: str, retrieved: Sequence[ScoredPassage], marginal: Marginal, *, method: str) -> Answer:
    """The answer with p(z | x, y) as its citations; it says so where the null document explains the answer best."""
    if marginal.text is None:
        return Answer(question=question, text=None, probability=_share(marginal.probability), method=method)
    evidence = [
        Evidence(
            passage=passage,
            prior=math.exp(one.log_prior),
            posterior=share,
            answer_span=find_answer(marginal.text, passage.text),
        )
        for passage, one, share in zip(marginal.read, retrieved, marginal.posterior, strict=True)
        if passage.text
    ]
    return Answer(
        question=question,
        text=marginal.text,
        probability=marginal.probability,
        method=method,
        answers=marginal.candidates,
        evidence=tuple(sorted(evidence, key=lambda one: -one.posterior)),
        note=FROM_MODEL if marginal.null_posterior > 0.5 else "",
        utility=marginal.utility,
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
