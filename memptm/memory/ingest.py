"""From files and documents to stored passages: what is new is encoded, what is known is left alone."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from memptm.documents.find import Refusal, find
from memptm.documents.load import Refused, load
from memptm.documents.split import split
from memptm.encoders.base import Encoder, Keys, embedding_text
from memptm.errors import InputError
from memptm.memory import folder
from memptm.memory.encode import Texts, digest
from memptm.memory.folder import IndexFolder
from memptm.memory.values import Ids, Row, Values
from memptm.progress import Event, Progress
from memptm.types import Document, Json, Passage

BATCH = 512  # passages a commit, at least; a document is always committed whole


@dataclass(frozen=True, kw_only=True)
class Added:
    """What one ``Memory.add`` did. Counts are documents; ``documents`` and ``passages`` are the index's totals.

    Attributes:
        refused: files and documents that could not be read. warnings: what the user should know, a line each.
        encoded: passages the encoder read; the others' keys were known.
    """

    added: int
    updated: int
    unchanged: int
    removed: int
    refused: tuple[Refusal, ...]
    warnings: tuple[str, ...]
    documents: int
    passages: int
    encoded: int
    seconds: float

    def to_json(self) -> Json:
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "refused": [{"path": str(one.path), "reason": one.reason} for one in self.refused],
            "warnings": list(self.warnings),
            "documents": self.documents,
            "passages": self.passages,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """A document that is split, and not yet stored."""

    passages: Sequence[Passage]
    owner: str
    content: str
    file: str


@dataclass(kw_only=True)
class Ingest:
    """One run of ``Memory.add``; the caller holds the writer's lock, and ``values`` is at the newest version."""

    values: Values
    folder: IndexFolder
    encoder: Callable[[], Encoder]
    words: int
    overlap: int
    progress: Progress
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    encoded: int = 0
    committed: int = 0
    refused: list[Refusal] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _contents: dict[str, str] = field(default_factory=dict)  # owner → content hash, of what is stored
    _owners: dict[str, set[str]] = field(default_factory=dict)  # file → owners
    _seen: set[str] = field(default_factory=set)
    _waiting: list[_Waiting] = field(default_factory=list)
    _waiting_passages: int = 0
    _finished: dict[str, Json] = field(default_factory=dict)  # files read to their end since the last commit
    _files: dict[str, Json] = field(default_factory=dict)
    _written: dict[str, Json] = field(default_factory=dict)
    _dropped: set[str] = field(default_factory=set)

    def run(self, items: Any, *, prune: bool) -> Added:
        """Store ``items`` (paths or documents).

        Raises:
            InputError: a path that is not there, or something that is neither path nor document.
        """
        began = time.monotonic()
        self._read_state()
        try:
            if isinstance(items, Document):
                items = [items]
            if isinstance(items, str | Path):
                items = [items]
            self._take(items, prune=prune)
            self._flush()
            self._drop()
        finally:
            self._write_files()
        return Added(
            added=self.added,
            updated=self.updated,
            unchanged=self.unchanged,
            removed=self.removed,
            refused=tuple(self.refused),
            warnings=tuple(self.warnings),
            documents=len(self._contents),
            passages=len(self.values.snapshot().ids),
            encoded=self.encoded,
            seconds=time.monotonic() - began,
        )

    @property
    def _settings(self) -> str:
        """What, beside the documents, decides how passages look."""
        return f"{self.words}/{self.overlap}"

    def _read_state(self) -> None:
        stored = self.values.scan("owner", "content", "file", where="ordinal = 0")
        for owner, content, file in zip(*(stored[name].to_pylist() for name in stored.column_names), strict=True):
            self._contents[owner] = content
            self._owners.setdefault(file, set()).add(owner)
        with suppress(OSError, ValueError):  # only saves reading unchanged files
            found = json.loads((self.folder / folder.FILES).read_bytes())
            self._files = found if isinstance(found, dict) else {}
        self._written = dict(self._files)

    def _take(self, items: Iterable[Any], *, prune: bool) -> None:
        paths: list[Path] = []
        total = len(items) if isinstance(items, Sequence) else None
        for done, item in enumerate(items):
            if isinstance(item, Document):
                self._document(item, file="")
                self.progress(Event(stage="read", done=done + 1, total=total, unit="documents"))
            elif isinstance(item, str | Path):
                paths.append(Path(os.path.abspath(Path(item).expanduser())))  # noqa: PTH100 (links stay as named)
            else:
                raise InputError(f"A memory takes paths and Documents, not {type(item).__name__}.")
        if paths:
            self._paths(paths, prune=prune)

    def _paths(self, paths: list[Path], *, prune: bool) -> None:
        known = {path for path in paths if not os.path.lexists(path) and self._under([path])}
        for path in filter(folder.is_index, paths):
            self.refused.append(Refusal(path=str(path), reason="an index, not documents"))
        there = [path for path in paths if not (prune and path in known)]
        files = list(find(there, refuse=self.refused.append, passed_over=folder.is_index))
        for done, path in enumerate(files):
            self.progress(Event(stage="read", done=done, total=len(files), unit="files", detail=path.name))
            self._file(path)
        self.progress(Event(stage="read", done=len(files), total=len(files), unit="files"))
        if not (files or known or self.refused):
            self.warnings.append(f"No file was found in {', '.join(map(str, paths[:3]))}. Hidden ones are passed over.")
        gone = [file for file in self._under(paths) if not os.path.lexists(file)]
        if prune:
            for file in gone:
                self._dropped |= self._owners[file]
                self._files.pop(file, None)
        elif gone:
            shown = ", ".join(gone[:3]) + (" and others" if len(gone) > 3 else "")
            count = "1 file is" if len(gone) == 1 else f"{len(gone)} files are"
            self.warnings.append(
                f"{count} gone, and the index still holds their passages: {shown}. --prune drops them."
            )

    def _under(self, paths: Sequence[Path]) -> list[str]:
        """Files of the index that are one of ``paths`` or stand below one."""
        return sorted(file for file in self._owners if file and any(Path(file).is_relative_to(path) for path in paths))

    def _file(self, path: Path) -> None:
        file = str(path)
        owners = self._owners.get(file, set())
        record = {"hash": _file_hash(path), "settings": self._settings}
        known = self._files.get(file, {})
        if owners and record["hash"] and known == {**record, "documents": len(owners)}:
            self.unchanged += len(owners)
            self._seen |= owners
            return
        seen: set[str] = set()
        try:
            for document in load(path, warn=self.warnings.append):
                name = document.id or digest(document.source or file, str(len(seen)))[:16]
                named = replace(document, id=name, source=document.source or file)
                seen.add(self._document(named, file=file))
        except Refused as error:
            self.refused.append(Refusal(path=error.path, reason=error.reason))
            return
        except OSError as error:
            self.refused.append(Refusal(path=file, reason=(error.strerror or str(error)).lower()))
            return
        self._dropped |= owners - seen  # only now that the whole file is read
        self._finished[file] = {**record, "documents": len(seen & self._stored_or_waiting())}

    def _stored_or_waiting(self) -> set[str]:
        return self._contents.keys() | {one.owner for one in self._waiting}

    def _document(self, document: Document, *, file: str) -> str:
        """Take in one document; returns its owner hash."""
        content = _content_hash(document)
        if not document.id:
            document = replace(document, id=digest(document.source, content)[:16])
        content = digest(content, self._settings)
        owner = digest(document.source, document.id)
        if owner in self._seen:
            if self._contents.get(owner) != content and not any(w.content == content for w in self._waiting):
                self.warnings.append(
                    f"{document.source or 'A document'}: id {document.id} appears twice; the first is kept."
                )
            return owner
        self._seen.add(owner)
        if self._contents.get(owner) == content:
            self.unchanged += 1
            return owner
        passages = split(document, words=self.words, overlap=self.overlap, fits=self._fits)
        if not passages:
            self.refused.append(Refusal(path=document.source or document.id, reason="it holds no text"))
            if owner in self._contents:
                self._dropped.add(owner)
            return owner
        self._waiting.append(_Waiting(passages=passages, owner=owner, content=content, file=file))
        self._waiting_passages += len(passages)
        if self._waiting_passages >= BATCH:
            self._flush()
        return owner

    def _fits(self, passage: Passage) -> bool:
        encoder = self.encoder()
        return encoder.count_tokens([embedding_text(passage)])[0] <= encoder.max_tokens

    def _flush(self) -> None:
        """Encode and store what waits, in one commit."""
        if self._waiting:
            passages = [passage for one in self._waiting for passage in one.passages]
            hashes, keys = self._keys(passages)
            replaced = self._ids_of({one.owner for one in self._waiting} & self._contents.keys())
            snapshot = self.values.snapshot().ids
            start = int(snapshot[-1]) + 1 if len(snapshot) else 0
            with folder.writing(self.folder.path):
                first = self.folder.reserve(start=start, count=len(passages))
            rows = [
                Row(passage=passage, owner=one.owner, ordinal=n, file=one.file, content=one.content, id=0, key_hash="")
                for one in self._waiting
                for n, passage in enumerate(one.passages)
            ]
            rows = [replace(row, id=first + n, key_hash=hashes[n]) for n, row in enumerate(rows)]
            self.values.commit(rows, keys, replaced=replaced)
            self.committed += len(rows)
            for one in self._waiting:
                self.updated += one.owner in self._contents
                self.added += one.owner not in self._contents
                self._contents[one.owner] = one.content
            self._waiting.clear()
            self._waiting_passages = 0
        self._files |= self._finished
        self._finished.clear()

    def _keys(self, passages: Sequence[Passage]) -> tuple[list[str], Keys]:
        """Digests of what the encoder reads, and (n, dimension) unit keys; known ones are not encoded again."""
        texts = Texts(passages, self.encoder)
        known: dict[str, Keys] = {}
        wanted = ",".join(f"'{one}'" for one in dict.fromkeys(texts.digests))
        stored = self.values.scan("id", "key_hash", where=f"key_hash IN ({wanted})")
        if stored.num_rows:
            first = dict(zip(stored["key_hash"].to_pylist(), stored["id"].to_pylist(), strict=True))
            known = dict(zip(first, self.values.keys(np.array(list(first.values()), np.int64)), strict=True))
        before = self.encoded

        def report(event: Event) -> None:
            self.progress(replace(event, done=before + event.done, total=None))

        new = texts.encode(known, progress=report)
        self.encoded += len(new)
        return texts.digests, np.stack([(known | new)[one] for one in texts.digests])

    def _ids_of(self, owners: set[str]) -> Ids:
        if not owners:
            return np.empty(0, np.int64)
        return self.values.matching("owner IN (" + ",".join(f"'{one}'" for one in sorted(owners)) + ")")

    def _drop(self) -> None:
        """Remove documents that their files no longer hold."""
        dropped = self._dropped & self._contents.keys()
        ids = self._ids_of(dropped)
        if len(ids):
            self.values.commit([], np.empty((0, self.values.dimension), np.float32), replaced=ids)
            self.committed += 1
        for owner in dropped:
            del self._contents[owner]
        self.removed += len(dropped)

    def _write_files(self) -> None:
        if self._files == self._written:
            return
        with suppress(OSError):
            folder.replace(self.folder / folder.FILES, json.dumps(self._files).encode())


def _content_hash(document: Document) -> str:
    try:
        metadata = json.dumps(dict(document.metadata), sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The metadata of {document.id or document.title or document.text[:40]!r} cannot be kept: {error}. Give text, "
            "numbers, true, false, None, and lists and dicts of these, under names that are text."
        ) from error
    return digest(document.text, document.title, metadata, repr(document.blocks))


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError:
        return ""
