"""A document under construction: text and the blocks that tile it, for formats that have to be extracted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memptm.documents.decode import clean
from memptm.types import Block

_LIGATURES = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st", "\ufb06": "st"}
)
LONGEST_TITLE = 200  # characters; a title goes before every passage
_BLANKS = re.compile(r"\s+")


def letters(text: str) -> str:
    """``text`` cleaned, with the Latin ligatures (U+FB00 to U+FB06) as plain letters, so that words can be found."""
    text = clean(text)
    return text if text.isascii() else text.translate(_LIGATURES)


def one_line(text: str) -> str:
    """``text`` with each run of blanks as one space."""
    return _BLANKS.sub(" ", text).strip()


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What a format's reader makes of a file; an empty title means the file names none."""

    text: str
    title: str = ""
    blocks: tuple[Block, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Draft:
    """Collects blocks; each is set apart from the one before by an empty line, unless ``joint`` says otherwise."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []

    def add(
        self,
        text: str,
        *,
        kind: str = "text",
        level: int = 0,
        page: int | None = None,
        context: str = "",
        joint: str = "\n\n",
    ) -> None:
        text = letters(text)
        if not text.strip():
            return
        if self._parts:
            self._parts.append(joint)
            self._length += len(joint)
        start, self._length = self._length, self._length + len(text)
        self._parts.append(text)
        self._blocks.append(Block(start=start, end=self._length, kind=kind, level=level, page=page, context=context))

    def add_table(self, rows: Sequence[Sequence[str]], *, header: bool) -> None:
        """Rows a line each, cells parted by " | "; with ``header`` the first row is every part's context."""
        lines = [" | ".join(one_line(cell) for cell in row).strip() for row in rows]
        lines = [letters(line) for line in lines if line.strip(" |")]
        if lines:
            self.add("\n".join(lines), kind="table", context=lines[0] if header and len(lines) > 1 else "")

    def finish(self, *, title: str = "", metadata: Mapping[str, Any] | None = None) -> Extracted:
        return Extracted(
            text="".join(self._parts),
            title=one_line(letters(title)),
            blocks=tuple(self._blocks),
            metadata=metadata or {},
        )
