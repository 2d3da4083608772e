"""From questions and their queries to hits: by meaning, by words, or by both, a filter applied before the best are taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from memptm.encoders.base import Keys
from memptm.errors import InputError
from memptm.memory.keys import KeyIndex
from memptm.memory.lexical import fuse, question_terms
from memptm.memory.values import Ids, Values
from memptm.types import MODES, Hit, Mode

Ranked = tuple[int, float, float]  # id, score, cosine
FUSED = 50  # hits of each list that hybrid search fuses, at least
SPARE = 10  # hits fetched beyond k, for equal texts


def find(
    values: Values,
    keys: KeyIndex,
    questions: Sequence[str],
    queries: Keys,
    *,
    k: int,
    mode: Mode,
    where: str | None,
) -> list[list[Hit]]:
    """At most ``k`` hits for each question, best first, equal texts once.

    Args:
        keys: at the version of ``values``. queries: (n, dimension) unit vectors. where: Lance's SQL.
    """
    allowed = None if where is None else values.matching(where)
    return _distinct(values, k, lambda depth: _ranked(values, keys, questions, queries, depth, mode, where, allowed))


def find_words(values: Values, questions: Sequence[str], *, k: int, where: str | None) -> list[list[Hit]]:
    """As ``find`` by words alone, without keys: no hit has a cosine."""

    def ranked(depth: int) -> list[list[Ranked]]:
        found = [values.lexical(question_terms(one), depth=depth, where=where) for one in questions]
        return [[(one, score, math.nan) for one, score in row] for row in found]

    return _distinct(values, k, ranked)


def _distinct(values: Values, k: int, ranked: Callable[[int], list[list[Ranked]]]) -> list[list[Hit]]:
    """The ``k`` best of each row of ``ranked(depth)``, equal texts once; ``depth`` grows until there are so many."""
    depth = k + SPARE
    while True:
        rows = ranked(depth)
        hits = _hits(values, rows)
        if all(len(some) >= k or len(row) < depth for some, row in zip(hits, rows, strict=True)):
            return [some[:k] for some in hits]
        depth *= 4


def _ranked(
    values: Values,
    index: KeyIndex,
    questions: Sequence[str],
    queries: Keys,
    depth: int,
    mode: Mode,
    where: str | None,
    allowed: Ids | None,
) -> list[list[Ranked]]:
    if mode == "dense":
        found = index.search(queries, depth=depth, allowed=allowed)
        return [[(one, cosine, cosine) for one, cosine in row] for row in found]
    each = depth if mode == "lexical" else max(depth, FUSED)
    lexical = [values.lexical(question_terms(one), depth=each, where=where) for one in questions]
    dense = index.search(queries, depth=each, allowed=allowed) if mode == "hybrid" else [[] for _ in questions]
    wanted = np.array(list(dict.fromkeys(one for row in lexical for one, _ in row)), np.int64)
    vectors = index.vectors(wanted) if index.kind == "flat" else values.keys(wanted)
    keys = dict(zip(wanted.tolist(), vectors, strict=True))
    ranked = []
    for query, by_meaning, by_words in zip(queries, dense, lexical, strict=True):
        cosines = {one: float(keys[one] @ query) for one, _ in by_words} | dict(by_meaning)
        scored = fuse(cosines, dict(by_words)) if mode == "hybrid" else by_words
        ranked.append([(one, score, cosines[one]) for one, score in scored[:depth]])
    return ranked


def _hits(values: Values, ranked: list[list[Ranked]]) -> list[list[Hit]]:
    wanted = list(dict.fromkeys(one for row in ranked for one, _, _ in row))
    passages = dict(zip(wanted, values.passages(wanted), strict=True))
    found = []
    for row in ranked:
        distinct: dict[str, Hit] = {}
        for one, score, similarity in row:
            passage = passages[one]
            distinct.setdefault(passage.text, Hit(passage=passage, score=score, similarity=similarity))
        found.append(list(distinct.values()))
    return found


def check_asked(questions: Sequence[str], *, k: int, mode: str) -> None:
    """See that a search can be made.

    Raises:
        InputError: an empty question, ``k`` below 1, or an unknown mode.
    """
    if any(not isinstance(one, str) or not one.strip() for one in questions):
        raise InputError("The question is empty. Ask something.")
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}.")
    if mode not in MODES:
        raise InputError(f"Unknown mode {mode!r}. Choose from: {', '.join(MODES)}.")
