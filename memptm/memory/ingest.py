"""From files and documents to stored passages: what is new is encoded, what is known is left alone."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from memptm.documents.find import Refusal, find
from memptm.documents.load import Refused, load
from memptm.documents.split import split
from memptm.encoders.base import Encoder, Keys, embedding_text
from memptm.errors import InputError
from memptm.memory import folder
from memptm.memory.catalogue import GIVEN, Catalogue, FileRecord
from memptm.memory.encode import Texts, digest
from memptm.memory.folder import IndexFolder
from memptm.memory.sources import absolute
from memptm.memory.unfinished import unfinished
from memptm.memory.values import Ids, Row, Values
from memptm.progress import Event, Progress
from memptm.types import Document, Json, Passage

BATCH = 512  # passages a commit, at most but for one long document, which is always committed whole
FIRST_BATCH = 64  # the first, before it is known how long encoding takes
SECONDS = 5.0  # after which what was read and encoded is committed


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
    _catalogue: Catalogue = field(init=False)
    _loaded_from: dict[str, str] = field(default_factory=dict)  # owner → file, as the rows say
    _seen: set[str] = field(default_factory=set)
    _given: set[str] = field(default_factory=set)  # owners of Documents
    _waiting: dict[str, _Waiting] = field(default_factory=dict)  # by owner
    _waiting_passages: int = 0
    _finished: dict[str, FileRecord] = field(default_factory=dict)  # files read to their end since the last commit
    _unreadable: set[str] = field(default_factory=set)
    _released: set[str] = field(default_factory=set)  # owners that a file held before and does not now
    _batch: int = FIRST_BATCH
    _kept_at: float = 0.0  # when the last commit ended
    _noted_at: float = 0.0  # when the catalogue was last written
    _noting: float = 0.0  # seconds that took

    def run(self, items: Any, *, prune: bool) -> Added:
        """Store ``items`` (paths or documents).

        Raises:
            InputError: a path that is not there, or something that is neither path nor document.
        """
        began = self._kept_at = self._noted_at = time.monotonic()
        self._read_state()
        try:
            if isinstance(items, Document):
                items = [items]
            if isinstance(items, str | Path):
                items = [items]
            self._take(items, prune=prune)
        finally:
            self._catalogue.write()
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
            self._contents[owner], self._loaded_from[owner] = content, file
        self._catalogue = Catalogue(self.folder / folder.FILES, self._loaded_from)

    def _take(self, items: Iterable[Any], *, prune: bool) -> None:
        paths: list[Path] = []
        total = len(items) if isinstance(items, Sequence) else None
        for done, item in enumerate(items):
            if isinstance(item, Document):
                self._document(item, file=GIVEN)
                self.progress(Event(stage="read", done=done + 1, total=total, unit="documents"))
            elif isinstance(item, str | Path):
                paths.append(Path(absolute(item)))
            else:
                raise InputError(f"A memory takes paths and Documents, not {type(item).__name__}.")
        if paths:
            self._paths(paths, prune=prune)
        self._flush()
        self._catalogue.give(self._given)
        self._drop()

    def _paths(self, paths: list[Path], *, prune: bool) -> None:
        known = {path for path in paths if not os.path.lexists(path) and self._catalogue.under([path])}
        for path in filter(folder.is_index, paths):
            self.refused.append(Refusal(path=str(path), reason="an index, not documents"))
        there = [path for path in paths if not (prune and path in known)]
        files = list(find(there, refuse=self.refused.append, passed_over=folder.is_index))
        with unfinished(self.folder, paths, files=len(files)) as build:
            for done, path in enumerate(files):
                self.progress(Event(stage="read", done=done, total=len(files), unit="files", detail=path.name))
                self._file(path)
                build.read(done + 1)
            self.progress(Event(stage="read", done=len(files), total=len(files), unit="files"))
            if not (files or known or self.refused):
                self.warnings.append(
                    f"No file was found in {', '.join(map(str, paths[:3]))}. Hidden ones are passed over."
                )
            self._flush()
            self._release_absent(paths, {str(path) for path in files}, prune=prune)
            self._drop()

    def _release_absent(self, paths: Sequence[Path], found: set[str], *, prune: bool) -> None:
        """Files under ``paths`` that are gone: what others hold, too, is theirs; the rest stays until pruning."""
        under = [file for file in self._catalogue.under(paths) if file not in found]
        gone = [file for file in under if _is_gone(file) or any(map(folder.is_index, Path(file).parents))]
        lost = self._unreadable | set(gone)
        for file in sorted(lost):
            held = self._catalogue.record(file).documents
            others = {owner for owner in held if self._catalogue.holders(owner) - lost}
            self._released |= self._catalogue.release(file, held if prune and file in gone else others)
            if not self._catalogue.record(file).documents:
                self._catalogue.forget(file)
        left = [file for file in gone if self._catalogue.record(file).documents]
        if left:
            shown = ", ".join(left[:3]) + (" and others" if len(left) > 3 else "")
            count = "1 file is" if len(left) == 1 else f"{len(left)} files are"
            self.warnings.append(
                f"{count} gone, and the index still holds their passages: {shown}. --prune drops them."
            )

    def _file(self, path: Path) -> None:
        file = str(path)
        known = self._catalogue.record(file)
        hashed = _file_hash(path)
        if known.documents and hashed and (known.hash, known.settings) == (hashed, self._settings):
            self.unchanged += len(known.documents - self._seen)
            self._seen |= known.documents
            return
        seen: set[str] = set()
        try:
            for document in load(path, warn=self.warnings.append):
                name = document.id or digest(document.source or file, str(len(seen)))[:16]
                named = replace(document, id=name, source=document.source or file)
                owner, kept = self._document(named, file=file)
                if not kept and owner not in seen:
                    hashed = ""  # another file has another text of it: read again, in case that file goes
                seen.add(owner)
        except Refused as error:
            self.refused.append(Refusal(path=error.path, reason=error.reason))
            self._unreadable.add(file)
            return
        except OSError as error:
            self.refused.append(Refusal(path=file, reason=(error.strerror or str(error)).lower()))
            self._unreadable.add(file)
            return
        held = frozenset(seen & self._seen)  # without those that hold no text
        self._finished[file] = FileRecord(hash=hashed, settings=self._settings, documents=held)

    def _document(self, document: Document, *, file: str) -> tuple[str, bool]:
        """Take in one document; returns its owner hash, and False where another text of it was taken in before."""
        content = _content_hash(document)
        if not document.id:
            document = replace(document, id=digest(document.source, content)[:16])
        content = digest(content, self._settings)
        owner = digest(document.source, document.id)
        if owner in self._seen:
            waiting = self._waiting.get(owner)
            kept = content == (self._contents.get(owner) if waiting is None else waiting.content)
            if not kept:
                self.warnings.append(
                    f"{document.source or 'A document'}: id {document.id} appears twice; the first is kept."
                )
        elif self._contents.get(owner) == content:
            self.unchanged += 1
            kept = True
        else:
            passages = split(document, words=self.words, overlap=self.overlap, fits=self._fits)
            if not passages:
                self.refused.append(Refusal(path=document.source or document.id, reason="it holds no text"))
                if file == GIVEN:
                    self._released |= self._catalogue.release(GIVEN, {owner})
                return owner, True
            self._waiting[owner] = _Waiting(passages=passages, owner=owner, content=content, file=file)
            self._waiting_passages += len(passages)
            self._catalogue.changed(owner, file=file)
            kept = True
        self._seen.add(owner)
        if file == GIVEN:
            self._given.add(owner)
        if self._waiting_passages >= min(self._batch, BATCH) or time.monotonic() - self._kept_at >= SECONDS:
            self._flush()
        return owner, kept

    def _fits(self, passage: Passage) -> bool:
        encoder = self.encoder()
        return encoder.count_tokens([embedding_text(passage)])[0] <= encoder.max_tokens

    def _flush(self) -> None:
        """Encode and store what waits, in one commit."""
        if self._waiting:
            began, encoded = time.monotonic(), self.encoded
            waiting = list(self._waiting.values())
            passages = [passage for one in waiting for passage in one.passages]
            hashes, keys = self._keys(passages)
            self._adapt_batch(self.encoded - encoded, time.monotonic() - began)
            replaced = self._ids_of(self._waiting.keys() & self._contents.keys())
            snapshot = self.values.snapshot().ids
            start = int(snapshot[-1]) + 1 if len(snapshot) else 0
            with folder.writing(self.folder.path):
                first = self.folder.reserve(start=start, count=len(passages))
            numbers = count(first)
            key_hashes = iter(hashes)
            rows = [
                Row(
                    id=next(numbers), passage=passage, owner=one.owner, ordinal=n, file=one.file, content=one.content,
                    key_hash=next(key_hashes),
                )
                for one in waiting
                for n, passage in enumerate(one.passages)
            ]  # fmt: skip
            self.values.commit(rows, keys, replaced=replaced)
            self.committed += len(rows)
            for one in waiting:
                self.updated += one.owner in self._contents
                self.added += one.owner not in self._contents
                self._contents[one.owner], self._loaded_from[one.owner] = one.content, one.file
            self._waiting.clear()
            self._waiting_passages = 0
        for file, record in self._finished.items():
            self._released |= self._catalogue.put(file, record)
        self._finished.clear()
        self._kept_at = time.monotonic()
        if self._kept_at - self._noted_at >= max(SECONDS, 20 * self._noting):  # it is written whole each time
            self._catalogue.write()
            self._noted_at = time.monotonic()
            self._noting = self._noted_at - self._kept_at

    def _adapt_batch(self, encoded: int, seconds: float) -> None:
        """The next batch takes about ``SECONDS`` to encode."""
        if encoded:
            self._batch = max(FIRST_BATCH // 4, min(2 * self._batch, int(encoded * SECONDS / max(seconds, 1e-3))))

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
        found = known | new
        return texts.digests, np.stack([found[one] for one in texts.digests])

    def _ids_of(self, owners: set[str]) -> Ids:
        if not owners:
            return np.empty(0, np.int64)
        return self.values.matching("owner IN (" + ",".join(f"'{one}'" for one in sorted(owners)) + ")")

    def _drop(self) -> None:
        """Remove documents that no file holds any more; of those that another holds, name that one."""
        released = self._released & self._contents.keys()
        holders = {owner: self._catalogue.holders(owner) for owner in released}
        dropped = {owner for owner in released if not holders[owner]}
        ids = self._ids_of(dropped)
        if len(ids):
            self.values.commit([], np.empty((0, self.values.dimension), np.float32), replaced=ids)
            self.committed += 1
        for owner in dropped:
            del self._contents[owner], self._loaded_from[owner]
        self.removed += len(dropped)
        moved: dict[str, list[str]] = {}
        for owner in released - dropped:
            if self._loaded_from[owner] not in holders[owner]:
                self._loaded_from[owner] = min(holders[owner])
                moved.setdefault(self._loaded_from[owner], []).append(owner)
        for file, owners in moved.items():
            self.values.move(self._ids_of(set(owners)), file=file)
            self.committed += len(owners)
        self._released.clear()


def _is_gone(file: str) -> bool:
    """Whether it is certain that there is no such file: a folder that may not be read hides its files."""
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


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
