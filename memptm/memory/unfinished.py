"""Builds that have begun and not ended: an index says so until the same paths are built to the end."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from memptm.memory.folder import UNFINISHED, IndexFolder, text_of, writing
from memptm.memory.folder import replace as replace_file

SECONDS = 2.0  # between two notes of how far a build has come


@dataclass(frozen=True, kw_only=True)
class Build:
    """A build that has begun: its paths, how many files it found there, and how many it has read."""

    paths: tuple[str, ...]
    files: int
    read: int = 0


class Running:
    """The build that is at work."""

    def __init__(self, place: Path, build: Build, others: Sequence[Build]) -> None:
        self._place, self._build, self._others = place, build, others
        self._noted_at = 0.0
        self.read(0)

    def read(self, files: int) -> None:
        """So many files are read; noted every few seconds."""
        if time.monotonic() - self._noted_at >= SECONDS:
            _write(self._place, [*self._others, replace(self._build, read=files)])
            self._noted_at = time.monotonic()


@contextmanager
def unfinished(folder: IndexFolder, paths: Sequence[Path], *, files: int) -> Iterator[Running]:
    """While this lasts, and after an error or the process's death, the index says that it lacks what is under ``paths``.

    Under the writer's lock.
    """
    place = folder / UNFINISHED
    others = [left for build in read(folder) if (left := _without(build, paths))]
    with writing(folder.path):
        running = Running(place, Build(paths=tuple(map(str, paths)), files=files), others)
    yield running
    with writing(folder.path):
        _write(place, others)


def read(folder: IndexFolder) -> list[Build]:
    """The builds that have not ended, oldest first."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        rows = json.loads(text_of(folder / UNFINISHED))
        return [
            Build(paths=tuple(map(str, row["paths"])), files=int(row["files"]), read=int(row["read"])) for row in rows
        ]
    return []


def notice(folder: IndexFolder) -> str:
    """What the user should know of builds that have not ended; "" if all have."""
    builds = read(folder)
    if not builds:
        return ""
    paths = shlex.join(dict.fromkeys(_near(path) for build in builds for path in build.paths))
    count = f"{sum(build.read for build in builds)} of {sum(build.files for build in builds)} files were read"
    if folder.is_being_written():
        return f"A build of {paths} is at work: what it has not stored yet is not found."
    index = shlex.quote(_near(str(folder.path.absolute())))
    return f"A build of {paths} was interrupted ({count}). Go on with: memptm build {paths} --index {index}"


def _without(build: Build, paths: Sequence[Path]) -> Build | None:
    """What is left of ``build`` where ``paths`` are built: not what is under them, nor what is gone."""
    left = tuple(one for one in build.paths if os.path.lexists(one) and not any(map(Path(one).is_relative_to, paths)))
    return replace(build, paths=left) if left else None


def _write(place: Path, builds: Sequence[Build]) -> None:
    if builds:
        replace_file(place, json.dumps([asdict(build) for build in builds]).encode())
    else:
        place.unlink(missing_ok=True)


def _near(path: str) -> str:
    return path.removeprefix(f"{Path.cwd()}/")
