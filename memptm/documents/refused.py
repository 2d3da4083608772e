"""A file that does not go in, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memptm.errors import InputError
from memptm.types import Json


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A line of a build's report."""

    path: str
    reason: str

    def to_json(self) -> Json:
        return {"path": self.path, "reason": self.reason}


class Refused(InputError):
    """A file cannot be loaded; ``path`` and ``reason`` say which and why."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = str(path), reason
        super().__init__(f"{path}: {reason}")

    @property
    def refusal(self) -> Refusal:
        return Refusal(path=self.path, reason=self.reason)
