"""The folder of an index: what it says about itself, who writes to it, and small files that are replaced whole."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from memptm.errors import BadIndex, IndexLocked, IndexMissing, InputError, MemptmError
from memptm.memory.sources import absolute

FORMAT = 1
MANIFEST, LOCK, COUNTER, FILES, KEYS = "memptm.json", "writer.lock", "next-id", "files.json", "keys.faiss"
TEMPORARY = ".tmp"
UNFINISHED = "unfinished.json"
SMALL_FILES = (KEYS, COUNTER, FILES, UNFINISHED)  # all of them can be made anew
LOCK_SECONDS = 0.2  # tried to become the writer: a reader's look at the lock (is_being_written) takes no longer
LONGEST_NAME = 240  # bytes; file systems take 255, and scratch files have longer names


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an index is: format, its own id, and the encoder whose keys it holds."""

    format: int
    index: str
    encoder: str
    dimension: int
    fingerprint: str


class IndexFolder:
    """Paths and small files of one index folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def manifest(self) -> Manifest | None:
        """The manifest, or None where no index was begun yet (nothing there, an empty folder).

        Raises:
            BadIndex: a file, a folder with other things in it, a damaged manifest, or a newer format.
        """
        try:
            if not self.path.exists():
                return None
            if not self.path.is_dir():
                raise BadIndex(f"{self.path} is a file. Give the folder of an index.")
            found = json.loads(text_of(self / MANIFEST))
            if found["format"] > FORMAT:
                raise BadIndex(
                    f"{self.path} has format {found['format']}, this memptm reads up to {FORMAT}. Update memptm."
                )
            known = {name: found[name] for name in Manifest.__dataclass_fields__}
            return Manifest(**known | {"encoder": self._resolved(known["encoder"])})
        except FileNotFoundError:
            if any(not entry.name.endswith(TEMPORARY) for entry in self.path.iterdir()):
                raise BadIndex(
                    f"{self.path} is a folder, but not an index. Give one that memptm build made; "
                    "it makes one in an empty or a new folder."
                ) from None
            return None
        except PermissionError:
            raise BadIndex(f"{self.path} cannot be read: permission denied.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadIndex(f"{self / MANIFEST} is damaged ({error}). Restore it, or build a new index.") from error

    def begin(self, *, encoder: str, dimension: int, fingerprint: str) -> Manifest:
        """Write the manifest of a new index; where another process was faster, its manifest counts."""
        made = Manifest(
            format=FORMAT,
            index=uuid.uuid4().hex,
            encoder=self._portable(encoder),
            dimension=dimension,
            fingerprint=fingerprint,
        )
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            scratch = self / f"{MANIFEST}.{made.index}{TEMPORARY}"
            scratch.write_text(json.dumps(asdict(made), indent=1), encoding="utf-8")
            try:
                with suppress(FileExistsError):
                    (self / MANIFEST).hardlink_to(scratch)
            finally:
                scratch.unlink()
        found = self.manifest()
        if found is None:
            raise IndexMissing(f"{self.path} vanished while it was being made.")
        return found

    def _portable(self, encoder: str) -> str:
        """The name of an encoder such that it is found from every directory, and a folder in the index wherever that goes."""
        if not os.path.exists(Path(encoder).expanduser()):  # noqa: PTH110 (Path's raises for too long a name)
            return encoder
        place, own = Path(absolute(encoder)), Path(absolute(self.path))
        return f"./{place.relative_to(own)}" if place.is_relative_to(own) else str(place)

    def _resolved(self, encoder: str) -> str:
        """What ``_portable`` gave, as a path from here."""
        inside = self.path / encoder
        return absolute(inside) if encoder.startswith("./") and inside.exists() else encoder

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Be the one writer; the lock goes with the process, however that ends.

        Raises:
            IndexLocked: another process or another Memory writes. BadIndex: the folder is read-only.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self / LOCK, timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            raise IndexLocked(
                f"{self.path} is being written to by another process. Try again when that is done."
            ) from None
        except OSError as error:
            raise writing_failed(self.path, error) from error
        try:
            self._sweep()
            yield
        finally:
            lock.release()

    def is_being_written(self) -> bool:
        """Whether a writer is at work now, in any process. Nothing is written to find out."""
        import fcntl

        try:
            with (self / LOCK).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # goes when the file is closed
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _sweep(self) -> None:
        """Remove what killed processes left half written."""
        for scratch in self.left_over():
            with suppress(OSError):
                scratch.unlink()

    def left_over(self) -> list[Path]:
        """Small files of the index that a killed process left half written."""
        return [one for name in (MANIFEST, *SMALL_FILES) for one in self.path.glob(f"{name}.*{TEMPORARY}")]

    def odd(self) -> list[str]:
        """Names of the index's small files where something else stands: a folder, a pipe."""
        return [name for name in SMALL_FILES if os.path.lexists(self / name) and not (self / name).is_file()]

    def set_aside(self) -> None:
        """Rename what is ``odd``, so that the files can be made anew; nothing is deleted. Under the writer's lock."""
        for name in self.odd():
            names = (f"{name}.aside{'' if n == 1 else n}" for n in count(1))
            (self / name).rename(next(one for one in map(self.path.joinpath, names) if not os.path.lexists(one)))

    def next_id(self) -> int:
        """The next id to be given out, as the counter says; 0 where it cannot be read."""
        try:
            return int(text_of(self / COUNTER))
        except (OSError, ValueError):
            return 0

    def reserve(self, *, start: int, count: int) -> int:
        """The first of ``count`` new ids, at least ``start``: never given out before, even if this process dies now."""
        first = max(start, self.next_id())
        replace(self / COUNTER, str(first + count).encode())
        return first

    def bytes(self) -> int:
        """Size of all files of the index."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with suppress(OSError):  # a writer may remove it meanwhile
                    total += (Path(folder) / name).stat().st_size
        return total


def is_index(path: Path) -> bool:
    """Whether a folder is an index: its manifest says so, damaged or newer though it may be."""
    if not (path / MANIFEST).is_file():  # a pipe would be waited for
        return False
    try:
        with (path / MANIFEST).open("rb") as file:
            begun = file.read(1000)
    except OSError:
        return False
    return b'"fingerprint"' in begun and b'"index"' in begun


def text_of(path: Path) -> str:
    """The text of a small file of an index.

    Raises:
        OSError: it cannot be read, or is no file: a pipe would be waited for. ValueError: it is not UTF-8.
    """
    if path.exists() and not path.is_file():
        raise IsADirectoryError(errno.EISDIR, "not a file", str(path))
    return path.read_text(encoding="utf-8")


def replace(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file whole or not at all: beside it, to the disk, then renamed over it.

    Raises:
        OSError: it cannot be written, or something is there that is no file.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "not a file", str(path))
    scratch = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with scratch.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def expanded(path: str | Path) -> Path:
    """The path with ``~`` written out.

    Raises:
        InputError: it begins with a user who is not there.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path} names a user that is not there. Write the path in full.") from error


def check_place(path: Path) -> None:
    """See that a file or a folder can be written at ``path``, whose parents may be missing, before work is done for it.

    Raises:
        InputError: it cannot; the message says why.
    """
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
        raise InputError(f"{path.name[:40]}… cannot be written: its name is too long. Give a shorter one.")
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"{path} is a device or a pipe. Give a file or a folder.")
        other = next((one for one in path.absolute().parents if one.exists() and not one.is_dir()), None)
        if other is not None:
            raise InputError(f"{path} cannot be written: {other} is not a folder. Give another path.")
        there = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
        writable = os.access(there.parent if there.is_file() else there, os.W_OK)  # files are replaced
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}. Give another path.") from error
    if not writable:
        raise InputError(f"{path} cannot be written: permission denied. Check its rights, or give another path.")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system or Lance raises when it cannot write into one clear error."""
    try:
        yield
    except MemptmError:
        raise
    except (OSError, RuntimeError) as error:
        raise writing_failed(path, error) from error


def writing_failed(path: Path, error: Exception) -> MemptmError:
    """The error to raise when the operating system or Lance could not write."""
    text = str(error)
    if getattr(error, "errno", None) == 28 or "No space left" in text or "os error 28" in text:
        return MemptmError(f"The disk of {path} is full. What was stored so far is kept; free space, then go on.")
    if isinstance(error, PermissionError) or "Read-only file system" in text or "ermission denied" in text:
        return BadIndex(f"{path} cannot be written to: it is read-only for you.")
    return MemptmError(f"{path} cannot be written to: {text.splitlines()[0][:200] if text else type(error).__name__}")
