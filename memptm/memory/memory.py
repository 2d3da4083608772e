"""Long-term memory: documents in, passages found by meaning and by words, forgotten on request."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, overload

import numpy as np

from memptm.encoders.base import Encoder, Keys
from memptm.errors import InputError, MemptmError
from memptm.memory import folder
from memptm.memory.encode import unit
from memptm.memory.folder import IndexFolder, Manifest
from memptm.memory.ingest import Added, Ingest
from memptm.memory.key_file import SAVE_SHARE, KeyFile
from memptm.memory.keys import KeyIndex
from memptm.memory.listing import Summary, read_titles, summaries
from memptm.memory.opening import encoder_of, open_folder
from memptm.memory.search import check_asked, find, find_words
from memptm.memory.titles import Titles
from memptm.memory.unfinished import notice
from memptm.memory.values import MOST_VERSIONS, SHOWN, Ids, Snapshot, Values, to_passage
from memptm.memory.where import to_sql
from memptm.progress import Progress, silent
from memptm.types import Document, Hit, Json, Mode, Passage

if TYPE_CHECKING:
    from memptm.memory.verify import Check

OPTIMISE_ROWS = 256  # written at once make a write end with optimising; so do too many versions


class Memory:
    """An index folder: values in LanceDB, keys in FAISS, one writer and any number of readers at a time.

    Make one with ``open``. Readers see what a writer commits at their next call. Not to be used across a fork.
    """

    def __init__(self, path: Path, manifest: Manifest, encoder: Encoder | None) -> None:
        self.path, self.manifest = path, manifest
        self._encoder = encoder
        self._folder = IndexFolder(path)
        self._values = Values(path, dimension=manifest.dimension)
        self._keys = KeyFile(self._folder / folder.KEYS, manifest)
        self._titles: tuple[int, Titles] | None = None  # and the version they are of
        self._guard = threading.RLock()
        self._process = os.getpid()

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False, encoder: str | Encoder | None = None) -> Memory:
        """Open the index in the folder ``path``; with ``create``, begin one if there is none.

        Where a build of it was interrupted, a warning says so, unless with ``create``, which a build goes on with.

        Args:
            path: the index's folder.
            create: begin an index if there is none.
            encoder: a name or an Encoder; None takes the index's own, or the default for a new index.
        Raises:
            IndexMissing: nothing is there, and ``create`` is False. BadIndex: something else is there, or a newer
            format. EncoderMismatch: the index holds keys of another encoder. ModelMissing: no such encoder. InputError:
            no index can be begun there.
        """
        place, manifest, found = open_folder(path, create=create, encoder=encoder)
        made = cls(place.path, manifest, found)
        if not create and made.notice:
            warnings.warn(made.notice, stacklevel=2)
        return made

    @property
    def encoder(self) -> Encoder:
        """The encoder of the index, loaded when first asked for.

        Raises:
            ModelMissing: it cannot be loaded. EncoderMismatch: its weights are no longer those of the keys.
        """
        if self._encoder is None:
            self._encoder = encoder_of(self.path, self.manifest)
        return self._encoder

    def __len__(self) -> int:
        """Passages in the index."""
        return len(self._reading().ids)

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is held in memory; the next call opens it again."""
        with self._guard:
            self._keys.close()
            self._values = Values(self.path, dimension=self.manifest.dimension)

    # Writing

    def add(
        self,
        items: str | Path | Document | Iterable[str | Path] | Iterable[Document],
        *,
        words: int = 120,
        overlap: int = 20,
        prune: bool = False,
        progress: Progress = silent,
    ) -> Added:
        """Store files, folders or Documents; what is unchanged costs no encoding.

        A document is known by its source and id: a changed one replaces its passages in one commit. Commits come in
        batches and hold whole documents; whatever stops this, what was committed stays and the next call goes on.

        Args:
            items: files, folders or Documents; one or several.
            words: of a passage, about.
            overlap: words that neighbours share, about.
            prune: drop documents of files that are gone from ``items``.
            progress: told of files or documents read and passages encoded.
        Raises:
            InputError: a path that is not there, or sizes that cannot be. IndexLocked: another process is writing.
        """
        if words < 1 or not 0 <= overlap < words:
            raise InputError(f"words must be at least 1 and overlap from 0 to below words, not {words} and {overlap}.")
        with self._guard, self._writer():
            self._synced()
            run = Ingest(
                values=self._values, folder=self._folder, encoder=lambda: self.encoder, words=words, overlap=overlap,
                progress=progress,
            )  # fmt: skip
            added = run.run(items, prune=prune)
            if run.committed:
                self._finish_write(rows=run.committed)
        return added

    def take_over(self, other: Memory, encode: Callable[[Sequence[Passage]], Keys]) -> None:
        """Store all of ``other`` in this empty index, as it is now: what changes there while ``encode`` runs is not seen.

        Args:
            encode: the (n, dimension) keys of passages.
        Raises:
            InputError: this index is not empty.
        """
        with self._guard, self._writer():
            if len(self._values.snapshot().ids):
                raise InputError("Only an empty index takes over another.")
            self._synced()
            rows = other._values.reading(other._values.rows)
            if len(rows):
                self._values.copy(rows, encode([to_passage(row) for row in rows.select(SHOWN).to_pylist()]))
                self._folder.reserve(start=int(max(self._values.snapshot().ids)) + 1, count=0)
                self._finish_write(rows=len(rows))

    def remove(self, *, ids: Sequence[str] = (), source: str | Path | None = None, where: str | None = None) -> int:
        """Forget documents, from Lance, FAISS and full text at once. Conditions that are given must all hold.

        Args:
            ids: document ids, or ids of any of their passages. Where several sources have it, name the source as well.
            source: as hits show it, or a path; a folder means all below it.
            where: a filter; a document goes with all its passages if one matches.
        Returns:
            How many documents are gone.
        Raises:
            InputError: nothing matches, an id is unknown, or an id names several documents.
        """
        from memptm.memory.remove import owners_to_remove

        if not ids and source is None and where is None:
            raise InputError("Say what to remove: ids, a source, or a filter.")
        with self._guard, self._writer():
            owners, gone = owners_to_remove(self._values, ids=ids, source=source, where=where and to_sql(where))
            self._values.commit([], np.empty((0, self.manifest.dimension), np.float32), replaced=gone)
            self._finish_write(rows=len(gone))
        return len(owners)

    def compact(self) -> None:
        """Merge fragments, bring the full-text index up to date, drop old versions."""
        with self._guard, self._writer():
            self._values.optimise()
            self._synced(save=True)

    def _finish_write(self, *, rows: int) -> None:
        """After a write: optimise when that pays, and bring the keys up to date."""
        if rows >= OPTIMISE_ROWS or self._values.versions() > MOST_VERSIONS:
            self._values.optimise()
        self._synced(save=rows >= SAVE_SHARE * len(self._values.snapshot().ids))

    @contextmanager
    def _writer(self) -> Iterator[None]:
        self._same_process()
        with self._folder.writer():
            self._values.refresh()
            yield

    # Reading

    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        question: str,
        *,
        k: int = 5,
        mode: Mode = "hybrid",
        where: str | None = None,
        queries: Keys | None = None,
        cosines: bool = True,
    ) -> list[Hit]: ...
    @overload
    def search(
        self,
        question: Sequence[str],
        *,
        k: int = 5,
        mode: Mode = "hybrid",
        where: str | None = None,
        queries: Keys | None = None,
        cosines: bool = True,
    ) -> list[list[Hit]]: ...
    def search(
        self,
        question: str | Sequence[str],
        *,
        k: int = 5,
        mode: Mode = "hybrid",
        where: str | None = None,
        queries: Keys | None = None,
        cosines: bool = True,
    ) -> list[Hit] | list[list[Hit]]:
        """The ``k`` best passages for a question, or for each of several.

        Args:
            question: one, or several.
            k: hits wanted.
            mode: "dense" by meaning, "lexical" by words (BM25), "hybrid" by both scores.
            where: a filter over columns and metadata, applied before the best are chosen.
            queries: (questions, dimension), where they are more than the questions' own, as in a session.
            cosines: whether hits found by words carry the cosine, too. Without, "lexical" needs no encoder and no key, and
                ``Hit.similarity`` is NaN.
        Returns:
            At most ``k`` hits, best first, equal texts once; equal scores in the order they were stored.
        Raises:
            InputError: an empty question, ``k`` below 1, an unknown mode, a filter that cannot be read.
        """
        questions = [question] if isinstance(question, str) else list(question)
        check_asked(questions, k=k, mode=mode)
        condition = None if where is None else to_sql(where)
        self._same_process()
        found: list[list[Hit]] = [[] for _ in questions]
        if not questions:
            pass
        elif mode == "lexical" and not cosines:
            with self._guard:
                found = self._values.reading(lambda: find_words(self._values, questions, k=k, where=condition))
        else:
            asked = unit(self.encoder.encode_questions(questions) if queries is None else queries)
            if asked.shape != (len(questions), self.manifest.dimension):
                raise InputError(
                    f"The queries are {asked.shape}; for {len(questions)} questions of this index they must be "
                    f"{(len(questions), self.manifest.dimension)}."
                )
            with self._guard:
                found = self._values.reading(
                    lambda: find(self._values, self._synced(), questions, asked, k=k, mode=mode, where=condition)
                )
        return found[0] if isinstance(question, str) else found

    def load(self, *, mode: Mode = "hybrid") -> None:
        """Have ready what the first search in ``mode`` would load, so that the search takes its own time only.

        The encoder is loaded while table and keys are opened; by words alone ("lexical", without cosines) neither encoder
        nor keys are needed.

        Raises:
            ModelMissing: there is no such encoder. EncoderMismatch: its weights are no longer those of the keys.
        """
        self._same_process()
        if mode == "lexical":
            self._reading()
            return
        with ThreadPoolExecutor(1) as aside:
            opened = aside.submit(self._load_keys)
            try:
                self.encoder.encode_questions(["ready"])
            finally:
                opened.result()

    def _load_keys(self) -> None:
        with self._guard:
            self._values.reading(self._synced)

    def passages(self, *, where: str | None = None) -> Iterator[Passage]:
        """All passages, or those that a filter matches, in the order they were stored; other threads may go on meanwhile.

        What is stored after the first of them is not among them, what is removed before its turn neither.
        """
        condition = None if where is None else to_sql(where)
        snapshot = self._reading()
        ids = snapshot.ids
        if condition is not None:
            with self._guard:
                ids = self._values.reading(lambda: self._values.matching(condition))
        for start in range(0, len(ids), 1000):
            with self._guard:
                found = self._values.reading(partial(self._present, ids[start : start + 1000]))
            yield from found  # without the lock: who asks for passages may take as long as they like

    def titles(self, *, where: str | None = None) -> Titles:
        """What passages are called, of the version at hand: of all of them, or of those that a filter matches."""
        condition = None if where is None else to_sql(where)

        def read() -> Titles:
            version = self._values.snapshot().version
            if condition is None and self._titles is not None and self._titles[0] == version:
                return self._titles[1]
            made = read_titles(self._values, where=condition)
            if condition is None:
                self._titles = (version, made)
            return made

        with self._guard:
            self._same_process()
            return self._values.reading(read)

    def numbered(self, numbers: Sequence[int]) -> list[Passage]:
        """The passages stored under these numbers (of ``titles``), in the order they were stored; those gone are left out."""
        with self._guard:
            self._same_process()
            return self._values.reading(lambda: self._present(np.asarray(numbers, np.int64)))

    def _present(self, ids: Ids) -> list[Passage]:
        return self._values.passages(np.intersect1d(ids, self._values.snapshot().ids))

    def keys(self) -> tuple[list[Passage], Keys]:
        """All passages and their (n, dimension) unit keys, in the order they were stored, of one version."""

        def read() -> tuple[list[Passage], Keys]:
            ids = self._values.snapshot().ids
            return self._values.passages(ids), self._values.keys(ids)

        with self._guard:
            self._same_process()
            return self._values.reading(read)

    def documents(self) -> Iterator[Summary]:
        """All documents, in the order they were stored."""
        with self._guard:
            self._same_process()
            found = self._values.reading(lambda: summaries(self._values))
        yield from found

    @property
    def notice(self) -> str:
        """What a user should know of a build that was interrupted, or is at work; "" if there is none."""
        return notice(self._folder)

    def info(self) -> Json:
        """Counts, encoder, size on disk in bytes, versions kept, the kind of key index; a ``note`` of unfinished builds."""
        ids = self._reading().ids
        with self._guard:
            documents, blank = self._values.reading(self._values.count_documents)
            keys = self._keys.kind(stored=len(ids))
        return {
            "documents": documents,
            "passages": len(ids),
            "pages_without_text": blank,
            "encoder": self.manifest.encoder,
            "dimension": self.manifest.dimension,
            "fingerprint": self.manifest.fingerprint,
            "bytes": self._folder.bytes(),
            "version": self._values.version,
            "versions": self._values.versions(),
            "keys": keys,
            "format": self.manifest.format,
            **({"note": self.notice} if self.notice else {}),
        }

    def verify(self, *, repair: bool = False) -> list[Check]:
        """Every check the index has, each with its remedy; with ``repair``, what can be mended is, first."""
        from memptm.memory.verify import Verification, repair_files  # here: pyarrow.compute takes its time

        self._same_process()
        with self._guard:
            if repair and not self._values.lost():
                with self._writer():
                    repair_files(self._values, self._folder, self._keys)
            return Verification(
                self._values, self._folder, self.manifest, keys=self._synced, encoder=lambda: self.encoder
            ).run()

    def _reading(self) -> Snapshot:
        with self._guard:
            self._same_process()
            return self._values.reading(self._values.snapshot)

    def _synced(self, *, save: bool = False) -> KeyIndex:
        """The keys, at the version at hand."""
        return self._keys.synced(self._values, save=save)

    def _same_process(self) -> None:
        if os.getpid() != self._process:
            raise MemptmError(
                "This Memory was opened before a fork, which its threads do not survive. Open it in the new process, "
                "and start workers with the spawn method."
            )
