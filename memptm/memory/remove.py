"""Which documents a removal means. Users' text is compared in Python and never becomes part of a query."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memptm.errors import InputError
from memptm.memory.values import Ids, Values


def owners_to_remove(
    values: Values, *, ids: Sequence[str], source: str | Path | None, where: str | None
) -> tuple[set[str], Ids]:
    """Owner hashes of the documents that meet all conditions, and the ids of all their rows.

    Raises:
        InputError: an unknown id, an id of several sources, or nothing that matches.
    """
    columns = ("id", "passage", "document", "source", "file", "owner")
    stored = values.scan(*columns)
    rows = list(zip(*(stored[name].to_pylist() for name in columns), strict=True))
    chosen = {row[5] for row in rows}
    if source is not None:
        names = {str(source), os.path.abspath(Path(source).expanduser())}  # noqa: PTH100 (links stay as named)
        chosen = {row[5] for row in rows if row[3] in names or row[4] in names}
        if not chosen:
            raise InputError(f"The index holds nothing of {source}. Nothing was removed.")
    if ids:
        chosen &= {_owner(one, [row for row in rows if row[5] in chosen]) for one in ids}
    if where is not None:
        matching = set(values.matching(where).tolist())
        chosen &= {row[5] for row in rows if row[0] in matching}
    if not chosen:
        raise InputError("No document meets these conditions. Nothing was removed.")
    return chosen, np.array(sorted(row[0] for row in rows if row[5] in chosen), np.int64)


def _owner(wanted: str, rows: Sequence[tuple[int, str, str, str, str, str]]) -> str:
    named = {row[5]: row[3] for row in rows if row[2] == wanted} or {row[5]: row[3] for row in rows if row[1] == wanted}
    if not named:
        raise InputError(f"The index holds no document or passage with the id {wanted}. Nothing was removed.")
    if len(named) > 1:
        sources = ", ".join(sorted(named.values())[:3])
        raise InputError(f"The id {wanted} stands in {len(named)} sources ({sources}). Name the source as well.")
    return next(iter(named))
