"""The same passages under another encoder: their keys made anew, and an index that holds them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from memptm.encoders.base import Encoder, Keys, ReadsDocuments, embedding_text
from memptm.errors import InputError
from memptm.memory.encode import Texts, digest, unit
from memptm.memory.folder import IndexFolder, is_index
from memptm.memory.memory import Memory
from memptm.progress import Event, Progress, silent
from memptm.types import Passage

PART = 512  # texts that are encoded and kept at once


class Stopped(Exception):
    """Encoding was told to end before it was done; what was encoded is kept."""


class KeyCache:
    """Keys by what the encoder reads, kept on disk: a run that was killed goes on, and changed texts alone cost encoding.

    Args:
        folder: a part file for each ``PART`` texts; the keys of each encoder stand apart.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.encoded = 0

    def keys(
        self,
        texts: Sequence[str],
        encoder: Encoder,
        *,
        going: Callable[[], bool] = lambda: True,
        progress: Progress = silent,
    ) -> Keys:
        """(n, dimension) unit keys of ``texts``, in their order.

        Raises:
            Stopped: ``going`` said so between two parts.
        """
        place = self.folder / encoder.fingerprint
        hashes = [digest(text) for text in texts]
        known = _read(place)
        new = {one: text for one, text in zip(hashes, texts, strict=True) if one not in known}
        names = list(new)
        for start in range(0, len(names), PART):
            if not going():
                raise Stopped
            some = names[start : start + PART]
            made = unit(encoder.encode_passages([new[one] for one in some]))
            known |= dict(zip(some, made, strict=True))
            _write(place, some, made)
            self.encoded += len(some)
            progress(Event(stage="encode", done=min(start + PART, len(names)), total=len(names)))
        return np.array([known[one] for one in hashes], np.float32).reshape(len(hashes), encoder.dimension)

    def document_keys(self, passages: Sequence[Passage], encoder: Encoder, *, progress: Progress = silent) -> Keys:
        """(n, dimension) unit keys of passages, a document's in reading order, by an encoder that reads documents."""
        place = self.folder / encoder.fingerprint
        known, texts = _read(place), Texts(passages, lambda: encoder)
        waiting: list[Passage] = []
        for n, document in enumerate(texts.documents):
            waiting += [passages[one] for one in document]
            if len(waiting) >= PART or n + 1 == len(texts.documents):
                new = Texts(waiting, lambda: encoder).encode(known)
                if new:
                    _write(place, list(new), np.stack(list(new.values())))
                known |= new
                self.encoded += len(new)
                waiting = []
                progress(Event(stage="encode", done=document.stop, total=len(passages)))
        return np.array([known[one] for one in texts.digests], np.float32).reshape(len(passages), encoder.dimension)

    def forget(self) -> None:
        """Remove the part files, and the folders that are empty then."""
        for part in self.folder.glob("*/*"):
            if part.suffix in (".npz", ".part"):
                part.unlink()
        for place in (*self.folder.glob("*/"), self.folder):
            with suppress(OSError):  # there is something else in it
                place.rmdir()


def _read(place: Path) -> dict[str, Keys]:
    known: dict[str, Keys] = {}
    for path in sorted(place.glob("*.npz")):
        with np.load(path, allow_pickle=False) as part:
            known |= dict(zip(part["names"].tolist(), part["keys"], strict=True))
    return known


def _write(place: Path, names: Sequence[str], keys: Keys) -> None:
    """A part file, whole or not at all, named by what is in it."""
    place.mkdir(parents=True, exist_ok=True)
    half = place / f"{digest(*names)}.part"
    with half.open("wb") as file:
        np.savez(file, names=np.array(names), keys=keys)
    half.replace(half.with_suffix(".npz"))


def rekey(
    memory: Memory, path: Path, encoder: Encoder, *, cache: KeyCache | None = None, progress: Progress = silent
) -> Memory:
    """Write ``memory``'s passages as a new index at ``path``, keyed by ``encoder``, which it records.

    It is made beside ``path`` and moved there when it is complete; what was encoded before a kill is not encoded again.

    Raises:
        InputError: an index of another encoder is at ``path``, or one that lacks passages. BadIndex: something else is.
    """
    if path.resolve() == memory.path.resolve():
        raise InputError(f"{path} is the index itself. Give a new folder for the one with other keys.")
    found = IndexFolder(path).manifest()
    if found is not None and found.fingerprint == encoder.fingerprint:
        return _made_before(memory, path, encoder)
    if found is not None:
        raise InputError(f"{path} holds an index of another encoder. Move it away, or give another folder.")
    half, kept = path.with_name(f".{path.name}.rekeyed"), cache or KeyCache(path.with_name(f"{path.name}.keys"))

    def encode(passages: Sequence[Passage]) -> Keys:
        if isinstance(encoder, ReadsDocuments):
            return kept.document_keys(passages, encoder, progress=progress)
        return kept.keys([embedding_text(passage) for passage in passages], encoder, progress=progress)

    if is_index(half):  # of a run that was killed
        shutil.rmtree(half)
    with Memory.open(half, create=True, encoder=encoder) as made:
        made.take_over(memory, encode)
    if path.exists():
        path.rmdir()  # empty, for it holds no manifest
    half.replace(path)
    kept.forget()
    return Memory.open(path, encoder=encoder)


def _made_before(memory: Memory, path: Path, encoder: Encoder) -> Memory:
    """The index of that encoder at ``path``, if it holds what ``memory`` holds; it may hold more."""
    made = Memory.open(path, encoder=encoder)
    held = {_named(passage) for passage in made.passages()}
    missing = sum(_named(passage) not in held for passage in memory.passages())
    if missing:
        raise InputError(
            f"{path} was made before: it lacks {missing} passages that {memory.path} holds now. Move it away, or give another folder."
        )
    return made


def _named(passage: Passage) -> tuple[str, str, str, str]:
    return passage.source, passage.document, passage.id, passage.text
