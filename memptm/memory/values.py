"""Passages and their keys in LanceDB: the truth of an index. Every commit is atomic; other processes see it whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memptm.encoders.base import Keys
from memptm.errors import BadIndex, InputError, MemptmError
from memptm.memory.folder import FILES, KEYS, text_of, writing
from memptm.memory.lance import lancedb_module
from memptm.memory.lexical import lexical_text
from memptm.memory.sources import composed
from memptm.types import Passage

Ids = NDArray[np.int64]
T = TypeVar("T")

TABLE = "passages"
RESTORE = "Restore that folder from a copy, or run memptm build again with the documents."
KEEP_VERSIONS = timedelta(seconds=2)  # a reader whose version went reads the newest one instead
MOST_VERSIONS = 32  # with more than these, all go but the newest
HELD_UP_TO = 20_000  # passages that are held in memory, some 20 MB
BLANK = "pages_without_text"  # the metadata that the PDF loader writes
ATTEMPTS = 4  # of a read, each at the newest version
SHOWN = [
    "id",
    "passage",
    "document",
    "text",
    "start",
    "end",
    "title",
    "source",
    "page",
    "headings",
    "context",
    "metadata",
]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A passage as it is stored.

    Attributes:
        owner: hash of the document's source and id: which rows go together. ordinal: place among them.
        file: path the document was loaded from, "" if from none. content: hash of document and split settings.
        key_hash: hash of what the encoder read; equal hashes have equal keys.
    """

    id: int
    passage: Passage
    owner: str
    ordinal: int
    file: str
    content: str
    key_hash: str


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Ids of one version, rising, and the places of their rows."""

    version: int
    ids: Ids
    places: NDArray[np.uint64]


class Values:
    """The Lance table of an index; absent until the first passage is stored."""

    def __init__(self, path: Path, *, dimension: int) -> None:
        self.path, self.dimension = path, dimension
        self._table: Any = None
        self._snapshot: Snapshot | None = None
        self._listing: set[str] = set()
        self._shown: tuple[int, pa.Table | None] = (0, None)  # version, and the columns SHOWN by rising id
        self.version = 0

    def refresh(self) -> bool:
        """Go to the newest version; False while there is no table."""
        listing = self._versions()  # before going there: a commit in between shows at the next call
        if self._table is not None and listing == self._listing:
            return True
        if not listing:
            self._table = None
            return False
        if self._table is None:
            try:
                self._table = lancedb_module().connect(self.path).open_table(TABLE)
            except ValueError:  # a build died before its first commit
                return False
        self._table.checkout_latest()
        self._listing, self.version = listing, int(self._table.version)
        return True

    def _versions(self) -> set[str]:
        """Names of the manifests; any commit and any clearing away changes them."""
        try:
            return set(os.listdir(self.path / f"{TABLE}.lance" / "_versions"))  # noqa: PTH208 (twice as fast)
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def lost(self) -> bool:
        """Whether there is no table, though other files of the index speak of passages."""
        if self._versions():
            return False
        if (self.path / KEYS).is_file():
            return True
        try:
            files = json.loads(text_of(self.path / FILES))
            return any(one["documents"] for one in files.values())
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return False

    @property
    def schema(self) -> pa.Schema:
        text, number = pa.string(), pa.int64()
        return pa.schema(
            {
                "id": number,
                "key": pa.list_(pa.float32(), self.dimension),
                **dict.fromkeys(("passage", "document", "owner", "text", "title", "source", "file"), text),
                **dict.fromkeys(("ordinal", "start", "end", "page"), number),
                "headings": pa.list_(text),
                **dict.fromkeys(("context", "metadata"), text),
                "fields": pa.json_(text),
                **dict.fromkeys(("content", "key_hash", "lexical"), text),
            }
        )

    # Reading

    def reading(self, read: Callable[[], T]) -> T:
        """``read()`` at the newest version; again if a writer cleared that version away meanwhile.

        Raises:
            BadIndex: the table is gone. MemptmError: it cannot be read.
        """
        for attempt in range(ATTEMPTS):
            if not self.refresh() and self.lost():
                raise BadIndex(f"The passages of {self.path} are gone: {TABLE}.lance is missing or empty. {RESTORE}")
            try:
                return read()
            except MemptmError:
                raise
            except (OSError, RuntimeError, ValueError) as error:
                if attempt == ATTEMPTS - 1:
                    raise MemptmError(f"{self.path} cannot be read: {str(error).splitlines()[0][:200]}") from error
        raise AssertionError

    def snapshot(self) -> Snapshot:
        """Ids and places of the version at hand; read once a version."""
        if self._table is None:
            return Snapshot(version=0, ids=np.empty(0, np.int64), places=np.empty(0, np.uint64))
        if self._snapshot is None or self._snapshot.version != self.version:
            found = self.scan("id", row_id=True)
            ids = found["id"].to_numpy()
            order = np.argsort(ids, kind="stable")
            self._snapshot = Snapshot(version=self.version, ids=ids[order], places=found["_rowid"].to_numpy()[order])
        return self._snapshot

    def scan(self, *columns: str, where: str | None = None, row_id: bool = False) -> pa.Table:
        """These columns of all rows, or of those that ``where`` (Lance's SQL) holds for."""
        if self._table is None:
            return self.schema.empty_table().select(list(columns))
        query = self._table.search().limit(None).select(list(columns))
        if where is not None:
            query = query.where(where)
        return (query.with_row_id(True) if row_id else query).to_arrow()

    def count_documents(self) -> tuple[int, int]:
        """How many documents there are, and how many pages of them (of PDFs) hold no text."""
        first = self.scan("metadata", where="ordinal = 0")["metadata"].to_pylist()
        blank = [json.loads(one).get(BLANK) for one in first if f'"{BLANK}"' in one]
        return len(first), sum(len(pages) for pages in blank if isinstance(pages, list))

    def matching(self, where: str) -> Ids:
        """Ids of the rows a rewritten user filter holds for, rising.

        Raises:
            InputError: Lance cannot evaluate it.
        """
        try:
            return np.sort(self.scan("id", where=where)["id"].to_numpy())
        except (RuntimeError, ValueError) as error:
            if not ("filter" in str(error) or "expression" in str(error)):
                raise
            raise InputError(f"The filter cannot be applied: {str(error).splitlines()[0][:160]}") from error

    def take(self, ids: Sequence[int] | Ids, *columns: str) -> pa.Table:
        """These columns of the rows with these ids, in their order, at the snapshot's version. Unknown ids raise."""
        snapshot, wanted = self.snapshot(), np.asarray(ids, np.int64)
        if not len(wanted):
            return self.schema.empty_table().select(["id", *columns])
        at = np.searchsorted(snapshot.ids, wanted)
        places = snapshot.places[at].tolist()
        found = self._table.take_row_ids(places).select(["id", *columns]).to_arrow()
        back = np.argsort(found["id"].to_numpy(), kind="stable")
        order = back[np.searchsorted(found["id"].to_numpy()[back], wanted)]
        return found.take(pa.array(order))

    def keys(self, ids: Ids) -> Keys:
        """(n, dimension) keys of these rows, in their order."""
        if len(ids) * 4 < len(self.snapshot().ids):
            return matrix(self.take(ids, "key")["key"], self.dimension)
        found = self.scan("id", "key")
        have = found["id"].to_numpy()
        order = np.argsort(have, kind="stable")
        return matrix(found["key"], self.dimension)[order[np.searchsorted(have[order], ids)]]

    def passages(self, ids: Sequence[int] | Ids) -> list[Passage]:
        """The passages with these ids, in their order. Small tables are held in memory from the second call on."""
        snapshot = self.snapshot()
        if len(snapshot.ids) > HELD_UP_TO:
            return [to_passage(row) for row in self.take(ids, *SHOWN[1:]).to_pylist()]
        version, held = self._shown
        if version != snapshot.version:
            self._shown = (snapshot.version, None)
            return [to_passage(row) for row in self.take(ids, *SHOWN[1:]).to_pylist()]
        if held is None:
            held = self.scan(*SHOWN).sort_by("id").combine_chunks()
            self._shown = (version, held)
        places = np.searchsorted(snapshot.ids, np.asarray(ids, np.int64))
        return [to_passage(row) for row in held.take(pa.array(places)).to_pylist()]

    def lexical(self, terms: str, *, depth: int, where: str | None = None) -> list[tuple[int, float]]:
        """BM25: (id, score), best first, equal scores by id; ``terms`` as ``lexical.question_terms`` makes them."""
        if self._table is None or not terms:
            return []
        from lancedb.query import MatchQuery

        query = self._table.search(MatchQuery(terms, "lexical")).limit(depth + 50).select(["id", "_score"])
        if where is not None:
            query = query.where(where, prefilter=True)
        found = query.to_arrow()
        pairs = zip(found["id"].to_pylist(), found["_score"].to_pylist(), strict=True)
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:depth]

    # Writing: only under the writer's lock

    def commit(self, rows: Sequence[Row], keys: Keys, *, replaced: Ids) -> None:
        """Store ``rows`` and drop the rows ``replaced``, in one version."""
        data = self._arrow(rows, keys)
        with writing(self.path):
            if self._table is None:
                self._create()
            if not len(replaced):
                self._table.add(data)
            elif not rows:
                self._table.delete(_among("id", replaced))
            else:
                merge = self._table.merge_insert("id").when_not_matched_insert_all()
                merge.when_not_matched_by_source_delete(_among("id", replaced)).execute(data)
            self._wrote()

    def move(self, ids: Ids, *, file: str) -> None:
        """The rows ``ids`` are of another file now."""
        with writing(self.path):
            self._table.update(where=_among("id", ids), values={"file": file})
            self._wrote()

    def rows(self) -> pa.Table:
        """All rows in the order of their ids, of one version, whole."""
        return self.scan(*self.schema.names).sort_by("id")

    def copy(self, rows: pa.Table, keys: Keys) -> None:
        """Store another table's ``rows`` under ``keys``, (n, dimension), in one version."""
        column = pa.FixedSizeListArray.from_arrays(pa.array(keys.astype(np.float32).ravel()), self.dimension)
        with writing(self.path):
            self._create()
            self._table.add(rows.set_column(rows.schema.get_field_index("key"), self.schema.field("key"), column))
            self._wrote()

    def _wrote(self) -> None:
        self._listing = set()
        self.refresh()

    def optimise(self) -> None:
        """Bring the full-text index up to date, merge fragments, clear away versions no reader needs."""
        if self._table is not None:
            with writing(self.path):
                keep = KEEP_VERSIONS if self.versions() <= MOST_VERSIONS else timedelta(milliseconds=1)
                self._table.optimize(cleanup_older_than=keep, delete_unverified=True)
                self._wrote()

    def index_text(self) -> None:
        """Make the full-text index anew."""
        from lancedb.index import FTS

        with writing(self.path):
            config = FTS(base_tokenizer="whitespace", lower_case=False, stem=True, remove_stop_words=True)
            self._table.create_index("lexical", config=config, replace=True)
            self._wrote()

    def text_index(self) -> tuple[int, int] | None:
        """Rows in and not yet in the full-text index; None if there is no such index."""
        if self._table is None:
            return None
        for index in self._table.list_indices():
            if index.columns == ["lexical"]:
                stats = self._table.index_stats(index.name)
                return int(stats.num_indexed_rows), int(stats.num_unindexed_rows)
        return None

    def versions(self) -> int:
        """Versions on disk."""
        return sum(name.endswith(".manifest") for name in self._versions())

    def _create(self) -> None:
        if (self.path / KEYS).is_file():
            (self.path / KEYS).unlink()  # of a table that is gone: its versions count from 1, too
        self._table = lancedb_module().connect(self.path).create_table(TABLE, schema=self.schema)
        self.index_text()

    def _arrow(self, rows: Sequence[Row], keys: Keys) -> pa.Table:
        passages = [row.passage for row in rows]
        columns: dict[str, Any] = {
            "id": [row.id for row in rows],
            "key": pa.FixedSizeListArray.from_arrays(
                pa.array(keys.astype(np.float32, copy=False).ravel()), self.dimension
            ),
            "passage": [passage.id for passage in passages],
            **{
                name: [getattr(row, name) for row in rows]
                for name in ("owner", "ordinal", "file", "content", "key_hash")
            },
            **{name: [getattr(passage, name) for passage in passages] for name in SHOWN[2:9]},
            "headings": [list(passage.headings) for passage in passages],
            "context": [passage.context for passage in passages],
            "metadata": [json.dumps(dict(passage.metadata), ensure_ascii=False) for passage in passages],
            "fields": pa.array([json.dumps(flat(passage.metadata)) for passage in passages], pa.string()),
            "lexical": [lexical_text(p.title, *p.headings, p.context, p.text) for p in passages],
        }
        plain = pa.schema([f if f.name != "fields" else pa.field("fields", pa.string()) for f in self.schema])
        return pa.table({name: columns[name] for name in plain.names}, schema=plain).cast(self.schema)


def to_passage(row: Mapping[str, Any]) -> Passage:
    """The passage in a row of the columns ``SHOWN``."""
    rest = {name: row[name] for name in ("document", "text", "start", "end", "title", "source", "page", "context")}
    return Passage(
        id=row["passage"], headings=tuple(row["headings"]), metadata=json.loads(row["metadata"] or "{}"), **rest
    )


def flat(metadata: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Metadata as a filter sees it: ``a.b`` for what is nested, every value as text, lists as JSON, nulls left out.

    Names and values are composed (NFC), as filters are written.
    """
    found: dict[str, str] = {}
    for name, value in metadata.items():
        full = composed(f"{prefix}{name}")
        if isinstance(value, Mapping):
            found |= flat(value, f"{full}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            found[full] = composed(text)
    return found


def matrix(column: pa.ChunkedArray, dimension: int) -> Keys:
    """(n, dimension) of a column of keys."""
    parts = [np.asarray(part.flatten(), np.float32).reshape(-1, dimension) for part in column.chunks]
    return np.concatenate(parts) if parts else np.empty((0, dimension), np.float32)


def _among(column: str, ids: Ids) -> str:
    return f"{column} IN ({','.join(str(int(one)) for one in ids)})"
