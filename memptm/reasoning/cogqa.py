"""CogQA over a memory: System 1 expands a graph, System 2 judges it, and the answer comes with the graph that explains it.

Source: Ding et al. 2019 (arXiv 1905.05460). Ours: links by retrieval, PageRank where no System 2 was trained,
limits of pages and of time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from memptm.generation.reader import Reader
from memptm.memory.in_memory import InMemoryIndex
from memptm.memory.memory import Memory
from memptm.reasoning.answer import Verdict, conclude
from memptm.reasoning.findings import Findings
from memptm.reasoning.frontier import PAGES, Frontier
from memptm.reasoning.linker import Linker
from memptm.reasoning.system1 import System1
from memptm.reasoning.untrained_system1 import Untrained
from memptm.types import Answer, Mode, Query

if TYPE_CHECKING:
    from memptm.reasoning.system2 import System2

SHIPPED = Path(__file__).parent.parent / "weights" / "graph"
MakeSystem1 = Callable[[Linker], System1]


class CogQA:
    """Answers questions over several hops.

    Args:
        memory: where pages are read and names are looked up.
        reader: finds spans; where no System 1 was trained, it says what answers.
        weights: a folder made by memptm train graph; None: the shipped one where there is one, else no training at all.
        pages, seconds: limits of a question, see ``Frontier``.
    """

    def __init__(
        self,
        memory: Memory | InMemoryIndex,
        reader: Reader,
        *,
        weights: Path | None = None,
        pages: int = PAGES,
        seconds: float | None = None,
        mode: Mode = "hybrid",
    ) -> None:
        self.memory, self.reader, self.mode = memory, reader, mode
        self.weights = weights or (SHIPPED if (SHIPPED / "config.json").is_file() else None)
        self.pages, self.seconds = pages, seconds

    @cached_property
    def systems(self) -> tuple[System1 | None, System2 | None]:
        """The trained systems; None where there are no weights."""
        if self.weights is None:
            return None, None
        from memptm.reasoning.system2 import System2
        from memptm.reasoning.trained_system1 import Pointers

        pointers = Pointers.load(self.weights)
        return pointers, System2.load(self.weights, width=pointers.width)

    def expand(self, query: Query | str, *, k: int = 5, where: str | None = None) -> Findings:
        """What the question leads to, begun at what it names and at the ``k`` nearest passages."""
        linker = Linker(self.memory, query, mode=self.mode, where=where)
        system1 = self.systems[0] or Untrained(self.reader, self.memory.encoder, linker.titles)
        result = Frontier(linker, system1, pages=self.pages, seconds=self.seconds).expand(k)
        return Findings(result)

    def answer(self, query: Query | str, *, k: int = 5, where: str | None = None) -> Answer:
        """The answer; ``Answer.graph`` explains it.

        Raises:
            InputError: less than one page to read, or a filter that cannot be read.
        """
        findings = self.expand(query, k=k, where=where)
        return conclude(findings, self.verdict(findings), trained=self.systems[0] is not None)

    def verdict(self, findings: Findings) -> Verdict | None:
        """What System 2 says of what was found; None where it was not trained, or nothing was read."""
        system2 = self.systems[1]
        return system2.judge(findings) if system2 is not None and findings.read_passages else None
