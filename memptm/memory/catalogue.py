"""Which documents each file holds. A document may stand in several files, and goes only when none of them holds it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memptm.memory.folder import replace, text_of

GIVEN = ""  # the file of documents that no file holds: they were given as Documents


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A file as it was when it was last read.

    Attributes:
        hash: of its bytes; "" where it must be read again, whatever they are.
        settings: of the split.
        documents: owner hashes (see ``values.Row``) of what it holds.
    """

    hash: str
    settings: str
    documents: frozenset[str]


class Catalogue:
    """The records of all files of an index, and of each document the files that hold it.

    The file ``path`` is written beside the table and may lag behind it where a build was killed: what it does not know of
    is held by the file that its rows name, which is then read again.

    Args:
        path: where it is kept; a missing or damaged one only makes files be read again.
        stored: owner → file, as the rows have it.
    """

    def __init__(self, path: Path, stored: Mapping[str, str]) -> None:
        self._path = path
        self._records: dict[str, FileRecord] = {}
        self._holders: dict[str, set[str]] = {}
        self._read(stored)
        self._written = self._as_json()

    def record(self, file: str) -> FileRecord:
        """What is known of a file; an empty record of one that is not known."""
        return self._records.get(file, FileRecord(hash="", settings="", documents=frozenset()))

    def holders(self, owner: str) -> frozenset[str]:
        """The files that hold a document."""
        return frozenset(self._holders.get(owner, ()))

    def under(self, paths: Sequence[Path]) -> list[str]:
        """Files that are one of ``paths`` or stand below one, sorted."""
        texts = {str(path) for path in paths}
        folders = tuple(text.rstrip("/") + "/" for text in texts)
        return sorted(file for file in self._records if file and (file in texts or file.startswith(folders)))

    def put(self, file: str, record: FileRecord) -> frozenset[str]:
        """Set what a file holds; returns what it held and no longer does."""
        before = self.record(file).documents
        self._records[file] = record
        for owner in record.documents:
            self._holders.setdefault(owner, set()).add(file)
        for owner in before - record.documents:
            self._holders[owner].discard(file)
        return before - record.documents

    def give(self, owners: Iterable[str]) -> None:
        """These documents were given as Documents, whatever files hold them, too."""
        given = self.record(GIVEN).documents | frozenset(owners)
        self.put(GIVEN, FileRecord(hash="", settings="", documents=given))

    def release(self, file: str, owners: Iterable[str]) -> frozenset[str]:
        """These documents are no longer held by a file, which must be read again; returns those that were."""
        before = self.record(file).documents
        left = before - frozenset(owners)
        if left == before:
            return frozenset()
        return self.put(file, FileRecord(hash="", settings="", documents=left))

    def forget(self, file: str) -> frozenset[str]:
        """A file is gone; returns what it held."""
        held = self.release(file, self.record(file).documents)
        self._records.pop(file, None)
        return held

    def changed(self, owner: str, *, file: str) -> None:
        """``file`` has made a document another than the other files hold: they must be read again."""
        for other in self.holders(owner) - {file}:
            self._records[other] = FileRecord(hash="", settings="", documents=self._records[other].documents)

    def write(self) -> None:
        """Bring the file up to date."""
        made = self._as_json()
        if made != self._written:
            with suppress(OSError):
                replace(self._path, json.dumps(made).encode())
                self._written = made

    def _as_json(self) -> dict[str, Any]:
        shared = {owner for owner in self.record(GIVEN).documents if len(self._holders[owner]) > 1}
        rows = {file: record for file, record in self._records.items() if file != GIVEN or shared}
        return {
            file: {
                "hash": record.hash,
                "settings": record.settings,
                "documents": sorted(record.documents if file != GIVEN else shared),  # the others' rows say so
            }
            for file, record in rows.items()
        }

    def _read(self, stored: Mapping[str, str]) -> None:
        loaded: dict[str, set[str]] = {}
        for owner, file in stored.items():
            loaded.setdefault(file, set()).add(owner)
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            for file, row in json.loads(text_of(self._path)).items():
                record = _record(row, loaded.get(file, set()), stored)
                self.put(file, record)
        for file, owners in loaded.items():
            unknown = {owner for owner in owners if file == GIVEN or not self._holders.get(owner)}
            if unknown - self.record(file).documents:
                self.put(file, FileRecord(hash="", settings="", documents=self.record(file).documents | unknown))


def _record(row: Mapping[str, Any], loaded: set[str], stored: Mapping[str, str]) -> FileRecord:
    """A row of the file. That of an older index has a count where the documents stand now."""
    documents = row["documents"]
    named = loaded if isinstance(documents, int) else frozenset(documents)
    there = frozenset(named & stored.keys())
    whole = len(there) == (documents if isinstance(documents, int) else len(documents))
    return FileRecord(hash=str(row["hash"]) if whole else "", settings=str(row["settings"]), documents=there)
