"""How a question is asked: one frozen value, validated once, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memptm.errors import InputError
from memptm.types import MODES, Mode

if TYPE_CHECKING:
    from memptm.selection.select import BlockScorer

METHODS = ("reader", "generate", "rag-sequence", "rag-token", "graph", "auto")
SPANS = ("reader", "graph", "auto")  # answers are words of passages; no generator is needed
STREAMED = ("generate", "rag-token")
GRAPHS = ("graph", "auto")  # may go from passage to passage


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """How a question is asked.

    Attributes:
        method: one of ``METHODS``, see ``QA``.
        mode: how passages are searched, by meaning ("dense"), by words ("lexical") or by both ("hybrid").
        k: passages to read; with "graph", those that the search begins at.
        where: a filter on the passages' fields and metadata, applied before the ``k`` best are taken.
        recall: fill the window with the best blocks of many passages (MemRecall), not with whole passages.
        judge: of MemRecall: "embedding", "bm25", a folder made by memptm train recall, or a BlockScorer; None is the default.
        pages: how many pages "graph" may read for a question; None is its default.
    Raises:
        InputError: there is no such method or mode, a number is below 1, the filter cannot be read, or ``recall`` is asked of
            a method that reads whole passages.
    """

    method: str = "reader"
    mode: Mode = "hybrid"
    k: int = 5
    where: str | None = None
    recall: bool = False
    judge: BlockScorer | str | None = None
    pages: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"There is no method {self.method!r}. Methods: {', '.join(METHODS)}.")
        if self.mode not in MODES:
            raise InputError(f"Unknown mode {self.mode!r}. Choose from: {', '.join(MODES)}.")
        if self.k < 1:
            raise InputError(f"k is {self.k}; at least one passage has to be read.")
        if self.pages is not None and self.pages < 1:
            raise InputError(f"With at most {self.pages} pages there is nothing to read; give at least 1.")
        if self.recall and self.method in GRAPHS:
            raise InputError(
                f"Method {self.method!r} reads whole passages, and recall parts of them. Leave out one of the two."
            )
        if self.judge is not None and not isinstance(self.judge, str) and not hasattr(self.judge, "score"):
            raise InputError(f"A judge is a name, a folder or a BlockScorer, not {type(self.judge).__name__}.")
        if self.where is not None:
            from memptm.memory.where import to_sql

            to_sql(self.where)
