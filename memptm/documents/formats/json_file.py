"""JSON: a chat's export, records that have a text, a list of objects as a table, or the text as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memptm.documents.draft import Draft, Extracted
from memptm.documents.file import File
from memptm.documents.formats import chats
from memptm.documents.tables import add_table

_MOST_COLUMNS = 200  # of a table; names beyond are data themselves
_DEEPEST = 8  # objects within objects
_SCALAR = (str, int, float, bool, type(None))


def read(file: File) -> Iterator[Extracted]:
    """The documents of a JSON file that is no list of records with texts (records.py has those)."""
    try:
        parsed = file.json
    except (ValueError, RecursionError):
        yield Extracted(text=file.text())
        return
    conversations = chats.read(parsed, file)
    if conversations is not None:
        yield from conversations
        return
    found = _rows(parsed)
    if found is None:
        yield Extracted(text=file.text())
        return
    name, rows = found
    names = list(dict.fromkeys(key for row in rows for key in row))
    draft = Draft()
    add_table(
        draft, [names, *([_shown(row.get(key)) for key in names] for row in rows)], name=name, header_rows=1, first=0
    )
    yield draft.finish()


def _rows(parsed: Any) -> tuple[str, list[dict[str, Any]]] | None:
    """(name, flat objects) of a list of objects, alone or under the one key of an object."""
    name = ""
    if isinstance(parsed, dict) and len(parsed) == 1:
        name, parsed = next(iter(parsed.items()))
    if not isinstance(parsed, list) or len(parsed) < 2 or not all(isinstance(row, dict) for row in parsed):
        return None
    flat = [_flat(row) for row in parsed]
    known = [row for row in flat if row is not None]
    columns = {key for row in known for key in row}
    return (str(name), known) if len(known) == len(flat) and 0 < len(columns) <= _MOST_COLUMNS else None


def _flat(row: dict[str, Any], before: str = "") -> dict[str, Any] | None:
    """``a.b`` for what is in an object in it, lists of plain values in a line; None where lists hold objects, or it is deep."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        name = f"{before}{key}"
        if isinstance(value, dict):
            inner = _flat(value, f"{name}.") if name.count(".") < _DEEPEST else None
            if inner is None:
                return None
            found |= inner
        elif isinstance(value, list):
            if not all(isinstance(one, _SCALAR) for one in value):
                return None
            found[name] = ", ".join(_shown(one) for one in value)
        else:
            found[name] = value
    return found


def _shown(value: Any) -> str:
    return "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
