"""How well a generator answers from each passage: log p(y|z,x), what a retriever learns from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memptm.generation.decoding import within
from memptm.generation.generator import Generator
from memptm.training.data.examples import Example
from memptm.types import Passage
from memptm.working.state_files import fingerprint

NULL = -1  # in place of a passage: nothing is read
AT_ONCE = 8  # prompts of a forward pass without gradients


class Judge:
    """Scores the first answer of a question under single passages.

    Args:
        frozen: scores are kept, and no gradient flows.
    """

    def __init__(
        self, generator: Generator, examples: Sequence[Example], passages: Sequence[Passage], *, frozen: bool
    ) -> None:
        self.generator, self.examples, self.passages, self.frozen = generator, examples, passages, frozen
        self._known: dict[tuple[int, int], float] = {}

    @property
    def name(self) -> str:
        """Of the generator, with what tells its weights apart where they stay as they are."""
        weights = f" {fingerprint(self.generator.language_model.model)}" if self.frozen else ""
        return self.generator.name + weights

    def __call__(self, rows: Sequence[int], documents: Tensor) -> Tensor:
        """(n, k) natural log p(y|z,x) of the answers' tokens and end.

        Args:
            rows: n examples. documents: (n, k) indices of passages, or NULL.
        """
        pairs = _pairs(rows, documents)
        if not self.frozen:
            return self._score(pairs).sum(dim=1).view(len(rows), -1)
        new = sorted({*pairs} - self._known.keys())
        for start in range(0, len(new), AT_ONCE):
            some = new[start : start + AT_ONCE]
            with torch.no_grad():
                self._known.update(zip(some, self._score(some).sum(dim=1).tolist(), strict=True))
        return torch.tensor([self._known[pair] for pair in pairs]).view(len(rows), -1)

    def tokens(self, rows: Sequence[int], documents: Tensor) -> tuple[Tensor, Tensor]:
        """(n, k, t) log p of each token, 0 past an answer's end; and (n, t) where an answer's tokens are."""
        log_p = self._score(_pairs(rows, documents))
        answer_mask = within([self._answer(row) for row in rows], log_p.device)
        return log_p.view(len(rows), -1, log_p.shape[1]), answer_mask

    def state(self) -> dict[str, Tensor]:
        """What is known, for a checkpoint."""
        pairs = torch.tensor(list(self._known), dtype=torch.int64).view(-1, 2)
        return {"judged": pairs, "judged_log_p": torch.tensor(list(self._known.values()), dtype=torch.float64)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up what ``state`` gave."""
        pairs = (tuple(pair) for pair in state["judged"].tolist())
        self._known = dict(zip(pairs, state["judged_log_p"].tolist(), strict=True))

    def _answer(self, row: int) -> list[int]:
        return self.generator.writer.answer_ids(self.examples[row].answers[0])

    def _score(self, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """(pairs, t)."""
        writer = self.generator.writer
        prompts = [
            writer.write(self.examples[row].question, [] if one == NULL else [self.passages[one]]).ids
            for row, one in pairs
        ]
        return self.generator.language_model.token_scores(prompts, [self._answer(row) for row, _ in pairs])


def _pairs(rows: Sequence[int], documents: Tensor) -> list[tuple[int, int]]:
    """(example, document) of each place of (n, k) ``documents``."""
    return [(row, int(one)) for row, some in zip(rows, documents.tolist(), strict=True) for one in some]
