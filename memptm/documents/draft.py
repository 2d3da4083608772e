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
_BY_PROGRAM = re.compile(  # what programs write into a file's properties
    r"^(?:untitled|title|(?:word )?(?:document|dokument)\s?\d*|microsoft (?:word|powerpoint|excel)|powerpoint presentation"
    r"|powerpoint-präsentation|presentation|slide \d+)\b"
    r"|\.(?:docx?|indd|qxd|tex|dvi|pptx?|xlsx?|pages|pdf|rtf|od[tsp])$|_v?\d+$|^\S*_\S*$",
    re.IGNORECASE,
)


def letters(text: str) -> str:
    """``text`` cleaned, with the Latin ligatures (U+FB00 to U+FB06) as plain letters, so that words can be found."""
    text = clean(text)
    return text if text.isascii() else text.translate(_LIGATURES)


def one_line(text: str) -> str:
    """``text`` with each run of blanks as one space."""
    return _BLANKS.sub(" ", text).strip()


def property_title(said: str | None) -> str:
    """The title in a file's properties; "" where a program put it there, or the name of some file."""
    title = one_line(said or "")
    return "" if _BY_PROGRAM.search(title) else title


def title_of(headings: Sequence[tuple[int, str]]) -> str:
    """The first of (level, words), where no other is as high as it: else it names a section, and "" the whole."""
    first = next(((level, words) for level, words in headings if words), None)
    alone = first is not None and all(level > first[0] for level, words in headings if words is not first[1])
    return first[1] if first is not None and alone else ""


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What a format's reader makes of a file, or of a part of it that is a document of its own (a message, a chat).

    Attributes:
        title: "" where the file names none.
        part: what tells it from the others of the same file; "" where there is but one.
        path: of an attachment or an archive's member: where it lies; "" for the file itself.
    """

    text: str
    title: str = ""
    blocks: tuple[Block, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""
    path: str = ""


class Draft:
    """Collects blocks; each is set apart from the one before by an empty line, unless ``joint`` says otherwise."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []

    def __len__(self) -> int:
        return self._length

    def add(
        self,
        text: str,
        *,
        kind: str = "text",
        level: int = 0,
        page: int | None = None,
        context: str = "",
        joint: str = "\n\n",
        id: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        text = letters(text)
        if not text.strip():
            return
        if self._parts:
            self._parts.append(joint)
            self._length += len(joint)
        start, self._length = self._length, self._length + len(text)
        self._parts.append(text)
        self._blocks.append(
            Block(
                start=start,
                end=self._length,
                kind=kind,
                level=level,
                page=page,
                context=context,
                id=id,
                metadata=metadata or {},
            )
        )

    def append(self, other: Extracted, *, metadata: Mapping[str, Any] | None = None) -> None:
        """Add what was extracted of a part: its blocks, and the text between them."""
        at = 0
        for block in (*other.blocks, Block(start=len(other.text), end=len(other.text))):
            self.add(other.text[at : block.start].strip("\r\n"), metadata=metadata)
            self.add(
                other.text[block.start : block.end].strip("\r\n"),
                kind=block.kind,
                level=block.level,
                page=block.page,
                context=block.context,
                id=block.id,
                metadata={**block.metadata, **(metadata or {})},
            )
            at = block.end

    def finish(self, *, title: str = "", metadata: Mapping[str, Any] | None = None, part: str = "") -> Extracted:
        return Extracted(
            text="".join(self._parts),
            title=one_line(letters(title)),
            blocks=tuple(self._blocks),
            metadata=metadata or {},
            part=part,
        )
