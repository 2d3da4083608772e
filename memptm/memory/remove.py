"""Which documents a removal means. Users' text is compared in Python and never becomes part of a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memptm.errors import InputError
from memptm.memory.sources import composed, holds, means
from memptm.memory.values import Ids, Values


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What a removal reads of a row; see ``values.Row``."""

    id: int
    passage: str
    document: str
    source: str
    file: str
    owner: str


def owners_to_remove(
    values: Values, *, ids: Sequence[str], source: str | Path | None, where: str | None
) -> tuple[set[str], Ids]:
    """Owner hashes of the documents that meet all conditions, and the ids of all their rows.

    Args:
        ids: of documents, or of passages where no document has it.
        source: of documents, or a folder on the way to theirs where no document has it.
        where: a filter that is rewritten already; one passage that meets it is enough.
    Raises:
        InputError: an unknown id, an id of several documents, or nothing that matches.
    """
    stored = values.scan("id", "passage", "document", "source", "file", "owner")
    rows = [_Stored(**row) for row in stored.to_pylist()]
    chosen = rows if source is None else _of_source(str(source), rows)
    owners = {row.owner for row in chosen}
    if ids:
        owners = {_owner(one, chosen, source) for one in ids}
    if where is not None:
        matching = set(values.matching(where).tolist())
        owners &= {row.owner for row in rows if row.id in matching}
    if not owners:
        raise InputError("No document meets these conditions. Nothing was removed.")
    return owners, np.array(sorted(row.id for row in rows if row.owner in owners), np.int64)


def _of_source(source: str, rows: Sequence[_Stored]) -> list[_Stored]:
    stored = {row.source for row in rows} | {row.file for row in rows}
    for fits in (means, holds):
        fitting = {one for one in stored if one and fits(source, one)}
        found = [row for row in rows if row.source in fitting or row.file in fitting]
        if found:
            return found
    raise InputError(f"The index holds nothing of {source}. Nothing was removed.")


def _owner(wanted: str, rows: Sequence[_Stored], source: str | Path | None) -> str:
    """The one document with the id ``wanted``."""
    written = composed(wanted)
    named = {row.owner: row for row in rows if composed(row.document) == written}
    named = named or {row.owner: row for row in rows if composed(row.passage) == written}
    if not named:
        where = "The index" if source is None else f"What the index has of {source}"
        raise InputError(f"{where} holds no document or passage with the id {wanted}. Nothing was removed.")
    if len(named) > 1:
        sources = list(dict.fromkeys(row.source for row in named.values()))
        if len(sources) > 1:
            shown = ", ".join(sources[:3]) + (" and others" if len(sources) > 3 else "")
            raise InputError(
                f"The id {wanted} stands in {len(sources)} sources ({shown}). Give one of them with it: --source."
            )
        documents = ", ".join(sorted(row.document for row in named.values())[:3])
        raise InputError(
            f"The id {wanted} is that of a passage in {len(named)} documents ({documents}). Give a document's id."
        )
    return next(iter(named))
