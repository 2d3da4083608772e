"""ZIP archives within limits: what would fill the machine is refused before it is unpacked."""

from __future__ import annotations

import zipfile

from memptm.documents.refused import Refused

MOST_MEMBERS = 20_000
MOST_BYTES = 1 << 30  # unpacked, all members together: a small archive can hold a huge file


def checked(archive: zipfile.ZipFile, path: str) -> list[zipfile.ZipInfo]:
    """The members of an archive that can be read.

    Raises:
        Refused: too many, too large, or with a password.
    """
    members = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(members) > MOST_MEMBERS:
        raise Refused(path, f"holds {len(members):,} files; at most {MOST_MEMBERS:,} are read. Unpack it")
    if sum(entry.file_size for entry in members) > MOST_BYTES:
        raise Refused(path, f"unpacks to more than {MOST_BYTES >> 30} GB; split it")
    if any(entry.flag_bits & 1 for entry in members):
        raise Refused(path, "needs a password; unpack it")
    return members
