"""What an index holds, without the texts: its documents, and what its passages are called."""

from __future__ import annotations

from dataclasses import dataclass

from memptm.memory.titles import Titles
from memptm.memory.values import Values


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A document of the index, without its text. ``file``: where it was loaded from, "" if given as a Document."""

    id: str
    title: str
    source: str
    file: str
    passages: int


def summaries(values: Values) -> list[Summary]:
    """All documents, in the order they were stored."""
    rows = values.scan("id", "document", "title", "source", "file", "owner").sort_by("id").to_pylist()
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["owner"]] = counts.get(row["owner"], 0) + 1
    firsts = {row["owner"]: row for row in reversed(rows)}.values()
    return [
        Summary(
            id=row["document"], title=row["title"], source=row["source"], file=row["file"],
            passages=counts[row["owner"]],
        )
        for row in reversed(firsts)
    ]  # fmt: skip


def read_titles(values: Values, *, where: str | None) -> Titles:
    """What passages are called: all of them, or those that a condition in SQL matches."""
    if where is None:
        table = values.scan("id", "title", "headings").sort_by("id")
    else:
        table = values.take(values.matching(where), "title", "headings")
    return Titles(zip(*(table[name].to_pylist() for name in ("id", "title", "headings")), strict=True))
