"""The FAISS file of an index: a cache of the stored keys, brought up to date by id, made anew where it is lost."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

from memptm.memory.folder import Manifest
from memptm.memory.keys import Damaged, KeyIndex, kind_of
from memptm.memory.values import Values

SAVE_SHARE = 0.02  # changes worth writing the FAISS file for; below, a reader catches up by id


class KeyFile:
    """The keys of one index, loaded from ``path`` when first asked for. Its owner sees to it that one thread calls at a time."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._keys: KeyIndex | None = None

    def close(self) -> None:
        """Let go of what is held in memory."""
        self._keys = None

    def forget(self) -> None:
        """Begin anew, without the file."""
        self.path.unlink(missing_ok=True)
        self._keys = KeyIndex(self.manifest.dimension)

    def kind(self, *, stored: int) -> str:
        """The kind of key index for that many ``stored`` passages, without loading it."""
        return self._keys.kind if self._keys else kind_of(self.path, stored=stored)

    def synced(self, values: Values, *, save: bool = False) -> KeyIndex:
        """The keys, at the version of ``values``; written where that pays, or with ``save``."""
        snapshot = values.snapshot()
        if self._keys is None:
            self._keys, notice = self._loaded(len(snapshot.ids))
            save = save or bool(notice)
            if notice:
                warnings.warn(notice, stacklevel=2)
        if self._keys.version != snapshot.version:
            changed = self._keys.sync(snapshot.ids, version=snapshot.version, fetch=values.keys)
            save = save or changed > max(1000, SAVE_SHARE * len(snapshot.ids))
        if save and len(snapshot.ids):
            with suppress(OSError):  # a cache: a read-only folder or a full disk does without
                self._keys.save(self.path, index=self.manifest.index)
        return self._keys

    def _loaded(self, stored: int) -> tuple[KeyIndex, str]:
        """The keys from their file, or none, with the notice to give."""
        empty = KeyIndex(self.manifest.dimension)
        try:
            return KeyIndex.load(self.path, index=self.manifest.index, dimension=self.manifest.dimension), ""
        except (Damaged, OSError) as error:
            reason = "it is not there" if isinstance(error, FileNotFoundError) else str(error)
            return (
                empty,
                f"{self.path} cannot be used ({reason}); it is made anew from the stored keys." if stored else "",
            )
