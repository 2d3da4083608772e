"""The files under paths: sorted, each once, nothing that hangs or goes in circles."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from memptm.documents.refused import Refusal
from memptm.errors import InputError

__all__ = ["Refusal", "find"]

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def find(
    paths: Sequence[Path],
    *,
    refuse: Callable[[Refusal], None],
    passed_over: Callable[[Path], bool] = lambda _: False,
) -> Iterator[Path]:
    """The files at and under ``paths``, absolute and normalised, sorted within a folder, each once by its real path.

    Hidden files and folders met on the way are passed over (one that is named in ``paths`` is taken); links are
    followed, and a link back to a folder already walked ends there. Pipes, sockets, devices, broken links and folders
    that cannot be opened go to ``refuse``; nothing is opened but folders.

    Args:
        passed_over: asked of each folder; nothing in it is taken where this is true.
    Raises:
        InputError: a path is not there; before anything is yielded.
    """
    starts = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 (Path.absolute keeps "..")
    for given, start in zip(paths, starts, strict=True):
        if not os.path.lexists(start):
            raise InputError(f"{given} is not there. Check the path.")
    return _walk(starts, refuse, passed_over)


def _walk(
    starts: Sequence[Path], refuse: Callable[[Refusal], None], passed_over: Callable[[Path], bool]
) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    waiting = list(reversed(starts))
    while waiting:
        path = waiting.pop()
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            if stat.S_ISDIR(status.st_mode):
                if passed_over(path):
                    continue
                names = sorted(name for name in os.listdir(path) if not name.startswith("."))  # noqa: PTH208
                waiting.extend(path / name for name in reversed(names))
                continue
        except OSError as error:
            broken = path.is_symlink() and isinstance(error, FileNotFoundError)
            refuse(Refusal(path=_shown(path), reason="a broken link" if broken else _reason(error)))
            continue
        if not stat.S_ISREG(status.st_mode):
            what = _KINDS.get(stat.S_IFMT(status.st_mode), "special")
            refuse(Refusal(path=_shown(path), reason=f"not a file but {what}"))
        elif _shown(path) != str(path):
            refuse(Refusal(path=_shown(path), reason="its name is not valid UTF-8; rename it"))
        else:
            yield path


def _shown(path: Path) -> str:
    """The path as text; U+FFFD for bytes of its name that are none."""
    return os.fsencode(path).decode("utf-8", "replace")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
