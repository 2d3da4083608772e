"""ZIP archives: every member as a file of its own, within limits."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Callable, Iterator

from memptm.documents.archives import checked
from memptm.documents.draft import Extracted
from memptm.documents.file import File
from memptm.documents.refused import Refused

MOST_DEPTH = 3  # of archives in archives, and messages in messages


def read(file: File, *, member: Callable[[File], Iterator[Extracted]]) -> Iterator[Extracted]:
    """Documents of all members, in the order of their names; what cannot be read is said in one line each.

    Args:
        member: reads one.
    Raises:
        Refused: archives in archives, too deep; too many or too large members; a password.
    """
    if file.depth >= MOST_DEPTH:
        raise Refused(file.path, f"archives in archives, more than {MOST_DEPTH} deep; unpack it")
    with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        entries = {entry.filename: entry for entry in checked(archive, file.path)}

        def beside(name: str) -> Callable[[str], bytes | None]:
            def read_other(other: str) -> bytes | None:
                found = entries.get(posixpath.normpath(posixpath.join(posixpath.dirname(name), other)))
                return archive.read(found) if found is not None else None

            return read_other

        for name in sorted(entries):
            if any(part.startswith((".", "__MACOSX")) for part in name.split("/")):
                continue
            try:
                inner = File(
                    path=f"{file.path}/{name}",
                    data=archive.read(entries[name]),
                    warn=file.warn,
                    beside=beside(name),
                    depth=file.depth + 1,
                )
                yield from member(inner)
            except Refused as error:
                file.warn(f"{error.path}: left out: {error.reason}")
            except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
                file.warn(f"{file.path}/{name}: left out: it cannot be unpacked ({error})")
