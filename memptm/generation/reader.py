"""The span reader: which words of which passage answer a question, with probabilities; or that none do.

Hypotheses are "span s of passage z answers" and the null one, "nothing that was read answers". With the reader's odds of
a span against the null answer in its passage, o(s | z, x) = exp((span logit − null logit) / T):

    p(s, z | x) = w_z · o(s | z, x) / (1 + Σ w o),    w_z = k · p(z | x) · exp(bias),    p(null | x) = 1 / (1 + Σ w o)

so the softmax runs over the spans of all passages at once, as in the open-QA reader of ORQA and REALM (Guu et al. 2020),
with the retriever's log p(z | x) in each logit. Equal answers are summed over spans and passages: p(y | x) = Σ_z p(y, z | x).
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from memptm.documents.tables import between_cells
from memptm.errors import ModelMissing
from memptm.generation.config import REMEDY, ReaderConfig
from memptm.model_files import CONFIG, WEIGHTS, check_weights
from memptm.types import Answer, Candidate, Evidence, Passage, ScoredPassage

if TYPE_CHECKING:
    from torch import Tensor

    from memptm.generation.spans import SpanScorer
    from memptm.generation.windows import ReaderWindow, Windower

SHIPPED = Path(__file__).parent.parent / "weights" / "reader"
BATCH_TOKENS = 1024  # of windows that go through the model at once; see encoders/batching.py
SPANS_KEPT = 24  # of a window; the others count in the normaliser alone
ANSWERS_SHOWN = 5
_ARTICLE = re.compile(r"^(a|an|the) ", re.IGNORECASE)


@dataclass(frozen=True)
class Span:
    """Characters ``start`` to ``end`` of passage number ``passage``; ``log_odds`` against the null answer there."""

    passage: int
    start: int
    end: int
    log_odds: float


@dataclass(frozen=True)
class Reading:
    """What the reader found in the passages of one question. ``log_mass``: log Σ of all odds, a number a passage."""

    spans: tuple[Span, ...]
    log_mass: tuple[float, ...]


class Reader:
    """Reads passages for the span that answers; the model loads on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = ReaderConfig.read(folder / CONFIG)

    @classmethod
    def load(cls, name: str | Path | None = None) -> Reader:
        """The reader in the folder ``name``, or the one memptm ships.

        Raises:
            ModelMissing: there is no reader in the folder, or its files are damaged.
        """
        folder = SHIPPED if name is None else Path(name).expanduser()
        if not (folder / CONFIG).is_file():
            raise ModelMissing(f"There is no reader in {folder}. Give a folder made by memptm train reader.")
        check_weights(folder / WEIGHTS, remedy=REMEDY)
        return cls(folder)

    @cached_property
    def model(self) -> SpanScorer:
        """The scorer, bfloat16 products where they are faster."""
        from memptm.encoders.precision import bfloat16_is_faster
        from memptm.generation.spans import SpanScorer

        model = SpanScorer.load(self.folder)
        if bfloat16_is_faster():
            model.trunk.to_bfloat16()
        return model

    @cached_property
    def windower(self) -> Windower:
        """Cuts passages into model inputs."""
        from memptm.generation.windows import Windower, load_tokenizer
        from memptm.models import resolve

        return Windower(load_tokenizer(resolve(self.config.base)), window=self.config.window, stride=self.config.stride)

    def log_prior(self, similarities: Sequence[float]) -> list[float]:
        """log p(z | x) over the passages retrieved: a softmax of their cosines over the temperature."""
        logits = [similarity / self.config.prior_temperature for similarity in similarities]
        total = log_sum(logits)
        return [logit - total for logit in logits]

    def answer(
        self,
        question: str,
        passages: Sequence[Passage] | Sequence[ScoredPassage],
        *,
        method: str = "reader",
    ) -> Answer:
        """Answer from ``passages``; see ``answer_batch``."""
        return self.answer_batch([question], [passages], method=method)[0]

    def answer_batch(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage] | Sequence[ScoredPassage]],
        *,
        method: str = "reader",
    ) -> list[Answer]:
        """Answer each question.

        Args:
            questions: texts.
            passages: those to read for each question, of any length. Without a prior they were given, not retrieved:
                each stands for itself (w_z = exp(read_bias)).
        Returns:
            One answer a question, the same whatever else is in the batch.
        """
        retrieved = [_with_prior(group) for group in passages]
        readings = self.read(questions, [[one.passage for one in group] for group in retrieved])
        return [
            marginalise(question, group, reading, bias=self._bias(given), method=method)
            for question, given, group, reading in zip(questions, passages, retrieved, readings, strict=True)
        ]

    def null_log_odds(self, questions: Sequence[str], passages: Sequence[Sequence[ScoredPassage]]) -> list[float]:
        """log p(null | x) / (1 − p(null | x)) of each question: that none of its passages answers, for a generator to hear."""
        readings = self.read(questions, [[one.passage for one in group] for group in passages])
        return [
            -answered_log_odds([one.log_prior for one in group], reading, self.config.null_prior_bias)
            for group, reading in zip(passages, readings, strict=True)
        ]

    def _bias(self, passages: Sequence[Passage] | Sequence[ScoredPassage]) -> float:
        retrieved = bool(passages) and isinstance(passages[0], ScoredPassage)
        return self.config.open_bias if retrieved else self.config.read_bias

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Passage]]) -> list[Reading]:
        """The spans of each question's passages, with their odds; no prior in them yet."""
        from memptm.generation.windows import by_length

        rows = [(n, m) for n, group in enumerate(passages) for m in range(len(group))]
        windows = self.windower.windows(
            [questions[n] for n, _ in rows],
            [context_header(passages[n][m]) for n, m in rows],
            [passages[n][m].text for n, m in rows],
        )
        spans: list[list[Span]] = [[] for _ in questions]
        mass: list[list[list[float]]] = [[[] for _ in group] for group in passages]
        for batch in by_length(windows, tokens=BATCH_TOKENS):
            barred = [between_cells(passages[n][m]) for n, m in (rows[window.row] for window in batch)]
            for window, (found, log_mass) in zip(batch, self._score(batch, barred), strict=True):
                n, m = rows[window.row]
                spans[n] += [Span(m, start, end, odds) for start, end, odds in found]
                mass[n][m].append(log_mass)
        return [Reading(tuple(spans[n]), tuple(log_sum(parts) for parts in mass[n])) for n in range(len(questions))]

    def _score(
        self, windows: Sequence[ReaderWindow], barred: Sequence[Sequence[tuple[int, int]]]
    ) -> list[tuple[list[tuple[int, int, float]], float]]:
        import torch

        from memptm.generation.windows import collate

        ids, mask, segments, body = collate(windows)
        with torch.inference_mode():
            spans, null = self.model(ids, mask, segments, body)
            odds = (spans - null[:, None, None]) / self.config.temperature
        return [best_spans(window, odds[n], barred[n]) for n, window in enumerate(windows)]


def best_spans(
    window: ReaderWindow, odds: Tensor, barred: Sequence[tuple[int, int]] = ()
) -> tuple[list[tuple[int, int, float]], float]:
    """The best spans (start, end, log odds) that start in the window's own part, and log Σ of the odds of all.

    Args:
        window: what was scored.
        odds: (tokens, longest), of the span from a token to the one so many further on.
        barred: characters of the passage that no span may touch.
    """
    import torch

    length, longest = len(window.ids), odds.shape[1]
    if barred:
        odds = odds.masked_fill(_touching(window, longest, barred, len(odds)), -torch.inf)
    owned = odds[:length].masked_fill(~torch.from_numpy(window.owned)[:, None], -torch.inf).flatten()
    best = owned.topk(min(SPANS_KEPT, len(owned)))
    found = []
    for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        first, last = place // longest, place // longest + place % longest
        if math.isfinite(value):
            found.append((int(window.offsets[first, 0]), int(window.offsets[last, 1]), value))
    return found, float(owned.logsumexp(0))


def _touching(window: ReaderWindow, longest: int, barred: Sequence[tuple[int, int]], tokens: int) -> Tensor:
    """(tokens, longest): whether the span has a token in one of the ``barred`` stretches of characters."""
    import torch

    first, last = window.offsets[:, 0], window.offsets[:, 1]
    inside = np.zeros(tokens + longest, np.int64)
    for start, end in barred:
        inside[: len(first)] |= window.body & (first < end) & (last > start)
    counted = np.concatenate([[0], inside.cumsum()])
    begin = np.arange(tokens)[:, None]
    return torch.from_numpy(counted[begin + 1 + np.arange(longest)] > counted[begin])


def answered_log_odds(log_prior: Sequence[float], reading: Reading, bias: float) -> float:
    """log (1 − p(null | x)) / p(null | x): that one of the passages answers. Arguments as ``marginalise``'s."""
    around_each = math.log(max(len(log_prior), 1)) + bias
    return log_sum([p + around_each + mass for p, mass in zip(log_prior, reading.log_mass, strict=True)])


def scored(passages: Sequence[Passage], log_prior: Sequence[float]) -> list[ScoredPassage]:
    """Each passage with its log p(z | x)."""
    return [ScoredPassage(*pair) for pair in zip(passages, log_prior, strict=True)]


def _with_prior(passages: Sequence[Passage] | Sequence[ScoredPassage]) -> list[ScoredPassage]:
    """With equal priors where there are none."""
    equal = -math.log(max(len(passages), 1))
    return [one if isinstance(one, ScoredPassage) else ScoredPassage(one, equal) for one in passages]


def marginalise(
    question: str, retrieved: Sequence[ScoredPassage], reading: Reading, *, bias: float, method: str
) -> Answer:
    """p(y | x) from the odds of spans and p(z | x); the formula is this module's.

    Args:
        retrieved: the passages that were read, in the order of ``reading``.
        bias: added to every log odds.
    """
    passages = [one.passage for one in retrieved]
    k = math.log(max(len(passages), 1))
    weight = [one.log_prior + k + bias for one in retrieved]
    log_total = log_sum([0.0, answered_log_odds([one.log_prior for one in retrieved], reading, bias)])
    groups: dict[str, list[tuple[float, Span]]] = {}
    for span in reading.spans:
        text = passages[span.passage].text[span.start : span.end]
        groups.setdefault(answer_key(text), []).append((weight[span.passage] + span.log_odds - log_total, span))
    ranked = sorted(
        (
            (math.fsum(math.exp(p) for p, _ in group), max(group, key=lambda pair: pair[0])[1])
            for group in groups.values()
        ),
        key=lambda pair: (-pair[0], pair[1].passage, pair[1].start),
    )
    candidates = tuple(
        Candidate(text=passages[span.passage].text[span.start : span.end], probability=min(p, 1.0))
        for p, span in ranked[:ANSWERS_SHOWN]
    )
    null = math.exp(-log_total)
    if null >= 0.5 or not candidates:
        return Answer(question=question, text=None, probability=null, method=method, answers=candidates)
    evidence = _evidence(retrieved, groups[answer_key(candidates[0].text)])
    first = candidates[0]
    return Answer(
        question=question,
        text=first.text,
        probability=first.probability,
        method=method,
        answers=candidates,
        evidence=evidence,
    )


def _evidence(retrieved: Sequence[ScoredPassage], group: Sequence[tuple[float, Span]]) -> tuple[Evidence, ...]:
    """p(z | x, y): each passage's share of the answer's probability, with its best span."""
    total = log_sum([p for p, _ in group])
    shares = [0.0] * len(retrieved)
    places: list[tuple[float, Span] | None] = [None] * len(retrieved)
    for p, span in group:
        shares[span.passage] += math.exp(p - total)
        best = places[span.passage]
        if best is None or p > best[0]:
            places[span.passage] = (p, span)
    evidence = [
        Evidence(
            passage=one.passage,
            prior=math.exp(one.log_prior),
            posterior=min(share, 1.0),
            answer_span=(place[1].start, place[1].end) if place else None,
        )
        for one, share, place in zip(retrieved, shares, places, strict=True)
    ]
    return tuple(sorted(evidence, key=lambda one: (-one.posterior, -one.prior)))


def context_header(passage: Passage) -> str:
    """What the reader sees before a passage's text: title, headings, table header."""
    parts = [passage.title, *passage.headings, passage.context]
    return ". ".join(
        part for n, part in enumerate(parts) if part and part not in parts[:n] and part not in passage.text
    )


def answer_key(text: str) -> str:
    """Answers with the same key are one answer: case, outer punctuation and a leading article do not count."""
    plain = " ".join(text.lower().split()).strip(string.punctuation + " “”‘’")
    return _ARTICLE.sub("", plain) or text


def log_sum(logits: Sequence[float]) -> float:
    """Log Σ exp; −∞ of none."""
    return float(np.logaddexp.reduce(np.asarray(logits, np.float64)))
