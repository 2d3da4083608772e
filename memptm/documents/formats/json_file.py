"""JSON: a chat's export, records that have a text, a list of flat objects as a table, or the text as it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from memptm.documents.draft import Draft, Extracted
from memptm.documents.file import File
from memptm.documents.formats import chats
from memptm.documents.tables import add_table

_SCALAR = (str, int, float, bool, type(None))


def read(file: File) -> Iterator[Extracted]:
    """The documents of a JSON file that is no list of records with texts (records.py has those)."""
    text = file.text()
    try:
        parsed = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        yield Extracted(text=text)
        return
    conversations = chats.read(parsed, file)
    if conversations is not None:
        yield from conversations
        return
    found = _rows(parsed)
    if found is None:
        yield Extracted(text=text)
        return
    name, rows = found
    names = list(dict.fromkeys(key for row in rows for key in row))
    draft = Draft()
    add_table(draft, [names, *([_shown(row.get(key)) for key in names] for row in rows)], name=name, header_rows=1)
    yield draft.finish()


def _rows(parsed: Any) -> tuple[str, list[dict[str, Any]]] | None:
    """(name, objects) of a list of objects with plain values, alone or under the one key of an object."""
    name = ""
    if isinstance(parsed, dict) and len(parsed) == 1:
        name, parsed = next(iter(parsed.items()))
    if not isinstance(parsed, list) or len(parsed) < 2 or not all(isinstance(row, dict) for row in parsed):
        return None
    flat = [{str(key): value for key, value in row.items()} for row in parsed]
    plain = sum(isinstance(value, _SCALAR) for row in flat for value in row.values())
    return (str(name), flat) if plain == sum(map(len, flat)) > 0 else None


def _shown(value: Any) -> str:
    return "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
