"""Every check an index has. A check that fails carries its remedy."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from memptm.encoders.base import Encoder
from memptm.errors import MemptmError
from memptm.memory import folder
from memptm.memory.folder import IndexFolder, Manifest
from memptm.memory.key_file import KeyFile
from memptm.memory.keys import Damaged, KeyIndex
from memptm.memory.unfinished import notice
from memptm.memory.values import RESTORE, TABLE, Values, matrix

SAMPLE = 1000  # keys compared between FAISS and Lance
AGAIN = "Remove the documents it names and run memptm build again, or restore the folder from a copy."
REPAIR = "Run memptm verify --repair."


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked at; ``detail`` says what was found, ``remedy`` what to do if it is not ``ok``."""

    name: str
    ok: bool
    detail: str
    remedy: str


class Verification:
    """One run over an index, at one version.

    Args:
        values, folder, manifest: of the index.
        keys: the key index, at the version of ``values``.
        encoder: loads the index's encoder, or raises if that is another or gone.
    """

    def __init__(
        self,
        values: Values,
        folder: IndexFolder,
        manifest: Manifest,
        *,
        keys: Callable[[], KeyIndex],
        encoder: Callable[[], Encoder],
    ) -> None:
        self.values, self.folder, self.manifest = values, folder, manifest
        self.keys, self.encoder = keys, encoder

    def run(self) -> list[Check]:
        table = self._table()
        if not table.ok:
            return [table]  # no other check would say more
        return [
            table,
            self._check("encoder", self._encoder, "Install that encoder, or build a new index with the one at hand."),
            self._check("rows", self._rows, AGAIN),
            self._check("documents", self._documents, AGAIN),
            self._check("keys", self._stored_keys, AGAIN),
            self._check("faiss file", self._faiss_file, REPAIR),
            self._check("faiss keys", self._faiss_keys, REPAIR),
            self._check("full text", self._full_text, REPAIR),
            self._check("ids", self._counter, REPAIR),
            self._check("small files", self._small_files, f"{REPAIR} It puts them aside."),
            self._check("left over files", self._left_over, "Run memptm build again: it clears them away."),
            self._check("builds", self._builds, "Run the build it names again."),
            self._check("sources", self._sources, "Run memptm build with --prune to drop them."),
        ]

    def _check(self, name: str, look: Callable[[], tuple[bool, str]], remedy: str) -> Check:
        try:
            ok, detail = self.values.reading(look)
        except MemptmError as error:
            ok, detail = False, str(error)
        return Check(name=name, ok=ok, detail=detail, remedy=remedy)

    def _table(self) -> Check:
        lost, versions = self.values.lost(), self.values.versions()
        found = "missing or empty, though other files speak of passages" if lost else f"{versions} versions"
        return Check(name="table", ok=not lost, detail=f"{TABLE}.lance, {found}", remedy=RESTORE)

    def _encoder(self) -> tuple[bool, str]:
        encoder = self.encoder()
        return True, f"{encoder.name}, {encoder.dimension} dimensions"

    def _rows(self) -> tuple[bool, str]:
        rows = self.values.scan("id", "start", "end", "text")
        double = rows.num_rows - len(np.unique(rows["id"].to_numpy()))
        length = pc.utf8_length(rows["text"]).to_numpy()
        start, end = rows["start"].to_numpy(), rows["end"].to_numpy()
        wrong = int(((start < 0) | (end - start != length)).sum())
        return not (double or wrong), f"{rows.num_rows} passages, {double} double ids, {wrong} with wrong offsets"

    def _documents(self) -> tuple[bool, str]:
        rows = self.values.scan("owner", "ordinal", "content", "document")
        found: dict[str, tuple[list[int], set[str], str]] = {}
        for row in rows.to_pylist():
            ordinals, contents, _ = found.setdefault(row["owner"], ([], set(), row["document"]))
            ordinals.append(row["ordinal"])
            contents.add(row["content"])
        broken = [
            name for ordinals, contents, name in found.values()
            if sorted(ordinals) != list(range(len(ordinals))) or len(contents) != 1
        ]  # fmt: skip
        return not broken, f"{len(found)} documents, {len(broken)} not whole" + _some(broken)

    def _stored_keys(self) -> tuple[bool, str]:
        rows = self.values.scan("id", "key")
        lengths = np.linalg.norm(matrix(rows["key"], self.values.dimension), axis=1)
        wrong = int((~np.isfinite(lengths) | ((np.abs(lengths - 1) > 1e-3) & (lengths > 0))).sum())
        return not wrong, f"{len(lengths)} keys, {wrong} not of length 1"

    def _faiss_file(self) -> tuple[bool, str]:
        manifest, path = self.manifest, self.folder / folder.KEYS
        try:
            found = KeyIndex.load(path, index=manifest.index, dimension=manifest.dimension)
        except FileNotFoundError:
            return True, "none yet; the next search makes it"
        except (Damaged, OSError) as error:
            return False, f"{path.name}: {error}"
        return True, f"{len(found.ids)} keys, {found.kind}, of version {found.version}"

    def _faiss_keys(self) -> tuple[bool, str]:
        keys, stored = self.keys(), self.values.snapshot().ids
        held = keys.held()
        missing, extra = len(np.setdiff1d(stored, held)), len(np.setdiff1d(held, stored))
        sample = (
            stored[np.linspace(0, len(stored) - 1, min(SAMPLE, len(stored))).astype(int)] if len(stored) else stored
        )
        sample = np.intersect1d(sample, held)
        wrong = 0
        if len(sample):
            apart = np.abs(keys.vectors(sample) - self.values.keys(sample)).max(axis=1)
            wrong = int((apart > 1e-5).sum())
        detail = f"{len(held)} keys, {missing} missing, {extra} too many, {wrong} of {len(sample)} compared differ"
        return not (missing or extra or wrong), detail

    def _full_text(self) -> tuple[bool, str]:
        if not len(self.values.snapshot().ids):
            return True, "nothing to index yet"
        found = self.values.text_index()
        if found is None:
            return False, "the full-text index is missing"
        return True, f"{found[0]} passages indexed, {found[1]} searched without"

    def _counter(self) -> tuple[bool, str]:
        ids = self.values.snapshot().ids
        following = self.folder.next_id()
        return not len(ids) or following > int(ids[-1]), f"next id {following}"

    def _small_files(self) -> tuple[bool, str]:
        odd = self.folder.odd()
        return not odd, f"{len(odd)} are no files" + _some(odd)

    def _left_over(self) -> tuple[bool, str]:
        """Harmless: a killed build leaves them."""
        names = [path.name for path in self.folder.left_over()]
        return True, f"{len(names)} left by a build that was killed" + _some(names)

    def _builds(self) -> tuple[bool, str]:
        """A notice only: what a build has stored is whole, whether or not it came to its end."""
        return True, notice(self.folder) or "none was interrupted"

    def _sources(self) -> tuple[bool, str]:
        """A notice only: passages of gone files are good passages."""
        files = sorted({one for one in self.values.scan("file")["file"].to_pylist() if one})
        gone = [file for file in files if not os.path.lexists(file)]
        return True, f"{len(files)} files, {len(gone)} gone" + _some(gone)


def _some(names: list[str]) -> str:
    return f": {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}" if names else ""


def repair_files(values: Values, folder: IndexFolder, keys: KeyFile) -> None:
    """Make anew what follows from the rows: key file, full text, the counter of ids. The caller is the index's writer."""
    folder.set_aside()
    ids = values.snapshot().ids
    if len(ids):
        folder.reserve(start=int(ids[-1]) + 1, count=0)
    keys.forget()
    if len(ids):
        values.index_text()
        values.optimise()
    keys.synced(values, save=True)
