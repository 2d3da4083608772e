"""Train a span reader: `memptm train reader`.

A pre-trained BERT learns to point at the answer of a question in a passage, or to say that it is not there: each question
is also read beside passages that look right and are not (SEEDS.md §5; the null answer is one outcome of the same softmax).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memptm.encoders.base import Encoder
from memptm.encoders.bert import Bert
from memptm.errors import InputError
from memptm.generation.config import ReaderConfig
from memptm.generation.spans import FROZEN, SpanScorer, span_loss
from memptm.generation.windows import ReaderWindow, Windower, collate, load_tokenizer
from memptm.models import resolve
from memptm.progress import Progress, silent
from memptm.training.data.batches import padded_batches
from memptm.training.data.examples import Example, occurrences, read_examples
from memptm.training.data.negatives import mine_once
from memptm.training.data.token_spans import gold_spans
from memptm.training.runtime.arithmetic import device, pin_precision, quick_products
from memptm.training.runtime.checkpoint import Average
from memptm.training.runtime.loop import finished, fit
from memptm.training.runtime.run import Run, digest_of, plain, reader_digest, weights_digest
from memptm.training.runtime.schedule import warm_linear
from memptm.types import Json

PART_TOKENS = 1536  # that go through the model at once: 1.4 times as fast as 6,144, for their states fit the cache
POOL = 4096  # windows sorted by length together, so that batches hold little padding
TITLE_SHARE = 0.5  # how often a title is read: at use, some passages have one and some do not


@dataclass(frozen=True, kw_only=True)
class ReaderRecipe:
    """How to train.

    Attributes:
        epochs: times through the rows.
        steps: at most; None for all of ``epochs``.
        learning_rate: of AdamW, at its highest.
        batch_tokens: of a step, padding included.
        negatives: wrong passages a question and epoch.
        dropout: share of the activations that are zeroed, from 0 to 1.
        warm_up: share of the run, from 0 to 1, in which the learning rate rises.
        weight_decay: AdamW's.
        average: decay of the weights' mean.
        save_every: steps between two checkpoints.
        seed: of all that is drawn at random.
    """

    epochs: int = 3
    steps: int | None = None
    learning_rate: float = 2e-4
    batch_tokens: int = 6144
    negatives: float = 0.3
    dropout: float = 0.1
    warm_up: float = 0.06
    weight_decay: float = 0.01
    average: float = 0.999
    save_every: int = 200
    seed: int = 0


def train_reader(
    data: Sequence[Path],
    out: Path,
    *,
    start: str | Path | None = None,
    recipe: ReaderRecipe | None = None,
    config: ReaderConfig | None = None,
    encoder: Encoder | None = None,
    progress: Progress = silent,
) -> Json:
    """Train on questions with their passages and save the reader's folder.

    Args:
        data: JSONL of {question, context, answers, title?}; answers empty: not in the passage.
        out: folder for the reader; log.jsonl and a checkpoint go there too, and a second call goes on from it.
        start: a reader to start from instead of the bare encoder.
        recipe: how; its defaults if None.
        config: sizes of a new reader; not used with ``start``.
        encoder: finds the wrong passages that look right; the default encoder if None.
        progress: called after every step.
    Returns:
        {"steps", "new_steps" of this call, "examples", "skipped", "seconds", "loss"}; "note" where none was left.
    Raises:
        InputError: no usable rows, a malformed one, or another run in ``out``.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    recipe, config = recipe or ReaderRecipe(), config or ReaderConfig()
    examples = list(read_examples(data))
    usable = [e for e in examples if not e.answers or occurrences(e.answers, e.context)]
    if not any(e.answers for e in usable):
        raise InputError("None of the rows has an answer that stands in its context. A span reader learns from those.")
    run = Run(
        "reader",
        out,
        data={"data": digest_of(usable)},
        start={"reader": reader_digest(Path(start).expanduser()) if start else weights_digest(config.base)},
        settings=plain(
            {
                **asdict(recipe),
                "reader": None if start else asdict(config),
                "encoder": encoder.fingerprint if encoder else "",
            }
        ),
    )
    run.claim("config.json", "model.safetensors")
    run.check()
    pin_precision(out)
    torch.manual_seed(recipe.seed)
    model = _model(start, config, recipe)
    passages, nearest = mine_once(usable, encoder, out, progress=progress)
    feed = Feed(usable, passages, nearest, model.config, recipe)
    average = Average(model, recipe.average)
    fitted = fit(
        ReaderTask(model, feed),
        feed.plan(),
        run,
        warm_up=recipe.warm_up,
        save_every=recipe.save_every,
        remedy="Lower batch_tokens of the recipe.",
        schedule=warm_linear,
        weight_decay=recipe.weight_decay,
        fused=True,
        average=average,
        progress=progress,
    )
    with average.swapped_into(model):
        model.save(out)
    counts = {"examples": len(usable), "skipped": len(examples) - len(usable)}
    return fitted.numbers() | counts | finished(run, fitted)


def _model(start: str | Path | None, config: ReaderConfig, recipe: ReaderRecipe) -> SpanScorer:
    model = SpanScorer.load(Path(start).expanduser()) if start else SpanScorer(config, Bert.load(resolve(config.base)))
    for layer in model.trunk.layers:
        layer.dropout = recipe.dropout  # type: ignore[assignment]
    for name, parameter in model.trunk.named_parameters():
        parameter.requires_grad_(not name.startswith(FROZEN))
    return model.to(device())


class Feed:
    """The batches of each epoch: the same for the same seed and epoch, whatever was asked for before.

    Args:
        examples: questions with their passages.
        passages: texts, from which the wrong ones are taken.
        nearest: (examples, neighbours) numbers of passages that look right and are not; negative: none.
        config: the reader's window and stride, in tokens.
        recipe: batches and shares.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        passages: Sequence[str],
        nearest: NDArray[np.int64],
        config: ReaderConfig,
        recipe: ReaderRecipe,
    ) -> None:
        self.examples, self.passages, self.nearest = examples, passages, nearest
        self.config, self.recipe = config, recipe
        folder = resolve(config.base)
        self.windower = Windower(load_tokenizer(folder), window=config.window, stride=config.stride)
        self._epoch: tuple[int, list[list[tuple[ReaderWindow, tuple[tuple[int, int], ...]]]]] | None = None

    def plan(self) -> list[list[int]]:
        """Of each step its epoch, and the number of its batch in that."""
        every = [[epoch, n] for epoch in range(self.recipe.epochs) for n in range(len(self.batches(epoch)))]
        return every[: self.recipe.steps]

    def batches(self, epoch: int) -> list[list[tuple[ReaderWindow, tuple[tuple[int, int], ...]]]]:
        """Batches of (window, character spans of the answers in its passage)."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._make(epoch))
        return self._epoch[1]

    def _make(self, epoch: int) -> list[list[tuple[ReaderWindow, tuple[tuple[int, int], ...]]]]:
        chance = random.Random(f"{self.recipe.seed}-{epoch}")
        rows = list(self._rows(chance))
        chance.shuffle(rows)
        questions, titles, texts, _ = zip(*rows, strict=True)
        windows = [(window, rows[window.row][3]) for window in self.windower.windows(questions, titles, texts)]
        batches: list[list[tuple[ReaderWindow, tuple[tuple[int, int], ...]]]] = []
        for begin in range(0, len(windows), POOL):
            pool = sorted(windows[begin : begin + POOL], key=_width)
            batches.extend(padded_batches(pool, _width, tokens=self.recipe.batch_tokens))
        chance.shuffle(batches)
        return batches

    def _rows(self, chance: random.Random) -> Iterator[tuple[str, str, str, tuple[tuple[int, int], ...]]]:
        """(question, title, text, spans): each example, and some with a wrong passage."""
        for n, example in enumerate(self.examples):
            title = example.title if chance.random() < TITLE_SHARE else ""
            yield example.question, title, example.context, tuple(occurrences(example.answers, example.context))
            if example.answers and chance.random() < self.recipe.negatives:
                near = self.nearest[n][self.nearest[n] >= 0]
                if len(near):
                    yield example.question, "", self.passages[int(chance.choice(near.tolist()))], ()


def _width(pair: tuple[ReaderWindow, tuple[tuple[int, int], ...]]) -> int:
    return len(pair[0].ids)


class ReaderTask:
    """A batch of windows a step; it goes through the model in parts, whose states stay in the processor's cache."""

    def __init__(self, model: SpanScorer, feed: Feed) -> None:
        self.model, self.feed = model, feed

    def groups(self) -> list[dict[str, Any]]:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return [{"params": trained, "lr": self.feed.recipe.learning_rate}]

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...

    def training_step(self, step: int, rows: Sequence[int]) -> Json:  # noqa: ARG002 (TrainingTask's signature)
        epoch, number = rows
        batch = self.feed.batches(epoch)[number]
        self.model.train()
        total = 0.0
        for part in padded_batches(batch, _width, tokens=PART_TOKENS):
            windows = [window for window, _ in part]
            ids, mask, segments, body = collate(windows)
            gold = gold_spans(windows, [spans for _, spans in part], ids.shape[1], self.model.config.span_tokens)
            with quick_products():
                spans, null = self.model(ids, mask, segments, body)
                loss = span_loss(spans, null, gold) * (len(part) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return {"loss": total}
