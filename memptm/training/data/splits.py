"""Which rows are held out. One rule for every recipe, so that nothing measured was ever trained on.

SQuAD and Natural Questions: by passage (a passage's hash decides, so all its questions stay together).
SQuAD 2.0: by article.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from memptm.types import Json

HELD_OUT_SHARE = 6  # one in six
CALIBRATION_SHARE = 16


def held_out_passage(context: str) -> bool:
    """Whether a passage belongs to the held-out sixth: decided by its SHA-256, so by its text alone."""
    return hashlib.sha256(context.encode()).digest()[0] % HELD_OUT_SHARE == 0


def calibration_passage(context: str) -> bool:
    """Whether a training passage is set aside to fit probabilities on (one in sixteen): not trained on, not reported."""
    return hashlib.sha256(context.encode()).digest()[1] % CALIBRATION_SHARE == 0


def held_out_titles(rows: Iterable[Json], *, articles: int = 2) -> frozenset[str]:
    """The articles that sort first alphabetically."""
    return frozenset(sorted({row["title"] for row in rows})[:articles])


def by_passage(rows: Sequence[Json]) -> tuple[list[Json], list[Json]]:
    """(train, held out), split by ``context``."""
    train = [row for row in rows if not held_out_passage(row["context"])]
    return train, [row for row in rows if held_out_passage(row["context"])]


def by_article(rows: Sequence[Json]) -> tuple[list[Json], list[Json]]:
    """(train, held out), split by ``title``."""
    titles = held_out_titles(rows)
    return [row for row in rows if row["title"] not in titles], [row for row in rows if row["title"] in titles]
