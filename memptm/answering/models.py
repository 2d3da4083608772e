"""The models that answer, each loaded when it is first needed and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memptm.answering.options import GRAPHS, SPANS, AskOptions

if TYPE_CHECKING:
    from memptm.encoders.base import Encoder
    from memptm.generation.generator import Generator
    from memptm.generation.reader import Reader
    from memptm.memory.memory import Memory
    from memptm.reasoning.cogqa import CogQA
    from memptm.selection.select import BlockScorer, MemRecall
    from memptm.types import Mode


class Models:
    """What the methods share.

    Args:
        reader, generator: a model, its name or its folder; None is the packaged one.
    """

    def __init__(self, reader: Reader | str | None = None, generator: Generator | str | None = None) -> None:
        self._reader, self._generator = reader, generator
        self._scorer: tuple[BlockScorer | str | None, BlockScorer] | None = None  # what was asked for, and what it is
        self._cogqa: CogQA | None = None
        self._encoder: Encoder | None = None

    def load(self, memory: Memory | None, options: AskOptions) -> None:
        """Have ready what a question asked with ``options`` would load."""
        _ = self.reader.model, self.reader.windower
        if options.method not in SPANS:
            _ = self.generator
        if options.recall:
            self.mem_recall(options.judge)
        if options.method in GRAPHS and memory is not None:
            _ = self.cogqa(memory, mode=options.mode, pages=options.pages).systems

    @property
    def reader(self) -> Reader:
        """The span reader."""
        if self._reader is None or isinstance(self._reader, str):
            from memptm.generation.reader import Reader

            self._reader = Reader.load(self._reader)
        return self._reader

    @property
    def generator(self) -> Generator:
        """The generator."""
        if self._generator is None or isinstance(self._generator, str):
            from memptm.generation.generator import Generator

            self._generator = Generator.load(self._generator)
        return self._generator

    @property
    def encoder(self) -> Encoder:
        """The packaged encoder, for texts in hand where there is no index."""
        if self._encoder is None:
            from memptm.encoders.load import load_encoder

            self._encoder = load_encoder(None)
        return self._encoder

    def mem_recall(self, judge: BlockScorer | str | None) -> MemRecall:
        """What chooses blocks, by ``judge``."""
        from memptm.selection.load import load_block_scorer
        from memptm.selection.select import MemRecall

        if self._scorer is None or self._scorer[0] != judge:
            self._scorer = judge, load_block_scorer(judge) if judge is None or isinstance(judge, str) else judge
        return MemRecall(scorer=self._scorer[1])

    def cogqa(self, memory: Memory, *, mode: Mode, pages: int | None) -> CogQA:
        """What goes from passage to passage in ``memory``."""
        from memptm.reasoning.cogqa import CogQA
        from memptm.reasoning.frontier import PAGES

        if self._cogqa is None:
            self._cogqa = CogQA(memory, self.reader)
        self._cogqa.memory, self._cogqa.mode, self._cogqa.pages = memory, mode, pages or PAGES
        return self._cogqa
