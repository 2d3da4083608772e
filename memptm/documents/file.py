"""A file in hand, wherever it lies: on disk, in an archive, attached to a message."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

from memptm.documents.decode import Undecodable, decode
from memptm.documents.refused import Refused

Warn = Callable[[str], None]


def _nothing(name: str) -> bytes | None:  # noqa: ARG001 (what is asked for)
    return None


@dataclass(frozen=True, kw_only=True)
class File:
    """What a format's reader is given.

    Attributes:
        path: what a user is shown: a path, or ``archive.zip/member``, ``message.eml/attachment``.
        data: its bytes.
        warn: gets a line for what is left out though the rest goes in.
        beside: the bytes of the file at a path relative to this one's folder, None where there is none.
        depth: how many archives and messages it lies in.
    """

    path: str
    data: bytes
    warn: Warn
    beside: Callable[[str], bytes | None] = _nothing
    depth: int = 0

    @property
    def stem(self) -> str:
        """The name without folder and ending."""
        return PurePath(self.path).stem

    @property
    def folder(self) -> str:
        """The name of the folder it lies in."""
        return PurePath(self.path).parent.name

    @cached_property
    def json(self) -> Any:
        """What it holds as JSON, parsed once; strings may hold raw tabs.

        Raises:
            ValueError, RecursionError: it is no JSON, or nested too deeply.
            Refused: as for ``text``.
        """
        return json.loads(self.text(), strict=False)

    def text(self, *, declared: str = "") -> str:
        """Its characters.

        Args:
            declared: an encoding that the file names itself.
        Raises:
            Refused: it is binary, or its encoding cannot be told.
        """
        try:
            return decode(self.data, declared=declared)
        except Undecodable as error:
            raise Refused(self.path, str(error)) from None
