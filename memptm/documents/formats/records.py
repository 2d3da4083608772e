"""JSON Lines: a document a line, or a conversation a turn a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from memptm.documents.conversations import Turn, without_time
from memptm.documents.conversations import document as conversation
from memptm.documents.decode import Undecodable, clean, encoding_of_mark, says_something
from memptm.documents.draft import LONGEST_TITLE, one_line
from memptm.types import Document

Warn = Callable[[str], None]

_FIELDS = frozenset(("id", "title", "text", "source", "metadata"))


class BadRecord(ValueError):
    """A line that is no document; the message says why."""


def read_lines(path: Path, *, warn: Warn) -> Iterator[Document]:
    """Documents of a JSONL file, one after the other; conversations follow when all their turns are known.

    A line that is broken goes to ``warn`` with its true number; the others go in. Blank lines are passed over.
    """
    turns = _Conversations(str(path))
    for number, line in _lines(path):
        try:
            if isinstance(line, Exception):
                raise BadRecord(f"not in the file's encoding: {line}")
            if not line.strip():
                continue
            record = _parsed(line)
            if "conversation" in record:
                turns.add(record, number)
            else:
                yield document(record, source=str(path), number=number)
                if note := _odd_metadata(record):
                    warn(f"{path} line {number}: {note}")
        except BadRecord as error:
            warn(f"{path} line {number}: {error}")
    yield from turns.documents(warn=warn)


def read_list(parsed: Any, *, source: str, warn: Warn) -> Iterator[Document] | None:
    """Documents of JSON that is a record or a list of records; None if it is something else."""
    records = parsed if isinstance(parsed, list) else [parsed]
    if not any(isinstance(record, dict) and isinstance(record.get("text"), str) for record in records):
        return None
    return _listed(records, source, warn)


def document(record: dict[str, Any], *, source: str, number: int) -> Document:
    """The document of one record; its id is its own or the line's number. Metadata that is no object is left out.

    Fields that have no other meaning are metadata, too.

    Raises:
        BadRecord: no text.
    """
    metadata = record.get("metadata")
    other = {name: value for name, value in record.items() if name not in _FIELDS and value is not None}
    own = record.get("id")
    return Document(
        id=str(number) if own in (None, "") else clean(str(own)),
        title=one_line(clean(str(record.get("title") or "")))[:LONGEST_TITLE],
        text=_text(record),
        source=clean(str(record.get("source") or source)),
        metadata=_cleaned({**other, **(metadata if isinstance(metadata, dict) else {})}),
    )


def _odd_metadata(record: dict[str, Any]) -> str:
    """What to say of metadata that is no object, so that it has no names to filter by; "" else."""
    if isinstance(record.get("metadata"), dict | None):
        return ""
    return '"metadata" is not an object such as {"kind": "fern"}; the text was taken without it'


class _Conversations:
    """Gathers turns, whatever order the conversations come in."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._turns: dict[str, list[Turn]] = {}

    def add(self, record: dict[str, Any], number: int) -> None:
        speaker, time = (clean(str(record.get(name) or "")) for name in ("speaker", "time"))
        own = record.get("id")
        turn = Turn(
            id=str(number) if own in (None, "") else clean(str(own)), text=_text(record), speaker=speaker, time=time
        )
        self._turns.setdefault(clean(str(record["conversation"])), []).append(turn)

    def documents(self, *, warn: Warn) -> Iterator[Document]:
        odd = without_time([turn for turns in self._turns.values() for turn in turns])
        if odd:
            warn(f"{self._source}: {odd}")
        for name, turns in self._turns.items():
            yield conversation(turns, name=name, source=self._source)


def _lines(path: Path) -> Iterator[tuple[int, str | UnicodeDecodeError]]:
    """(number from 1, line or why it does not decode); lines end as on any system, and may begin with marks.

    Files that were put together hold the byte-order mark of each.
    """
    with path.open("rb") as file:
        encoding, _ = encoding_of_mark(file.read(4)) or ("utf-8", 0)
    errors = "surrogateescape" if encoding == "utf-8" else "strict"
    with path.open(encoding=encoding, errors=errors) as lines:
        try:
            for number, line in enumerate(lines, start=1):
                yield number, _undecoded(line) or line.lstrip("\ufeff")
        except UnicodeDecodeError as error:
            raise Undecodable(f"begins with the mark of {encoding} but does not decode: {error.reason}") from None


def _undecoded(line: str) -> UnicodeDecodeError | None:
    """Why a line's bytes, escaped where they do not fit, are not UTF-8."""
    try:
        line.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        return error
    return None


def _parsed(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line, strict=False)  # tabs and form feeds within strings are taken as they are
    except RecursionError:
        raise BadRecord("nested too deeply") from None
    except ValueError as error:
        raise BadRecord(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise BadRecord("not an object")
    return record


def _listed(records: list[Any], source: str, warn: Warn) -> Iterator[Document]:
    for number, record in enumerate(records, start=1):
        try:
            if not isinstance(record, dict):
                raise BadRecord("not an object")
            yield document(record, source=source, number=number)
            if note := _odd_metadata(record):
                warn(f"{source} record {number}: {note}")
        except BadRecord as error:
            warn(f"{source} record {number}: {error}")


def _text(record: dict[str, Any]) -> str:
    text = record.get("text")
    if not isinstance(text, str):
        raise BadRecord('"text" is not a string' if "text" in record else 'no "text"')
    text = clean(text)
    if not says_something(text):
        raise BadRecord('"text" holds no letters or digits' if text.strip() else '"text" is empty')
    return text


def _cleaned(value: Any) -> Any:
    """JSON with lone surrogates replaced, keys included."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    return value
