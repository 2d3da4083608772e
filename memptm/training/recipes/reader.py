"""Train a span reader: `memptm train reader`.

A pre-trained BERT learns to point at the answer of a question in a passage, or to say that it is not there: each question
is also read beside passages that look right and are not (SEEDS.md §5; the null answer is one outcome of the same softmax).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

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
from memptm.progress import Event, Progress, silent
from memptm.training.data.examples import Example, occurrences, read_examples
from memptm.training.data.negatives import mine_once
from memptm.training.runtime.arithmetic import device, pin_precision, quick_products
from memptm.training.runtime.checkpoint import Average, Log, interrupts, latest, restore, store
from memptm.types import Json

PART_TOKENS = 1536  # that go through the model at once: 1.4 times as fast as 6,144, for their states fit the cache
POOL = 4096  # windows sorted by length together, so that batches hold little padding
TITLE_SHARE = 0.5  # how often a title is read: at use, some passages have one and some do not


@dataclass(frozen=True, kw_only=True)
class ReaderRecipe:
    """How to train.

    Attributes:
        steps: at most; None for all of ``epochs``. negatives: wrong passages a question and epoch.
        average: decay of the weights' mean.
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
        encoder: finds the wrong passages that look right; the default encoder if None.
    Returns:
        {"steps", "examples", "skipped", "seconds", "loss"}.
    Raises:
        InputError: no usable rows, a malformed one, or a checkpoint of another recipe.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    recipe = recipe or ReaderRecipe()
    began = time.monotonic()
    examples = list(read_examples(data))
    usable = [e for e in examples if not e.answers or occurrences(e.answers, e.context)]
    if not any(e.answers for e in usable):
        raise InputError("None of the rows has an answer that stands in its context. A span reader learns from those.")
    pin_precision(out)
    torch.manual_seed(recipe.seed)
    model = _model(start, config or ReaderConfig(), recipe)
    passages, nearest = mine_once(usable, encoder, out, progress=progress)
    feed = Feed(usable, passages, nearest, model.config, recipe)
    planned = sum(len(feed.batches(epoch)) for epoch in range(recipe.epochs))
    total = min(planned, recipe.steps or planned)
    loss = _run(model, feed, out, recipe, total, progress)
    return {
        "steps": total,
        "examples": len(usable),
        "skipped": len(examples) - len(usable),
        "seconds": round(time.monotonic() - began, 1),
        "loss": loss,
    }


def _model(start: str | Path | None, config: ReaderConfig, recipe: ReaderRecipe) -> SpanScorer:
    model = SpanScorer.load(Path(start).expanduser()) if start else SpanScorer(config, Bert.load(resolve(config.base)))
    for layer in model.trunk.layers:
        layer.dropout = recipe.dropout  # type: ignore[assignment]
    for name, parameter in model.trunk.named_parameters():
        parameter.requires_grad_(not name.startswith(FROZEN))
    return model.to(device())


class Feed:
    """The batches of each epoch: the same for the same seed and epoch, whatever was asked for before."""

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
            pool = sorted(windows[begin : begin + POOL], key=lambda pair: len(pair[0].ids))
            batches.extend(_by_tokens(pool, self.recipe.batch_tokens))
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


def _by_tokens(
    pool: Sequence[tuple[ReaderWindow, tuple[tuple[int, int], ...]]], limit: int
) -> Iterator[list[tuple[ReaderWindow, tuple[tuple[int, int], ...]]]]:
    batch: list[tuple[ReaderWindow, tuple[tuple[int, int], ...]]] = []
    for pair in pool:  # shortest first: the newest is the widest
        if batch and (len(batch) + 1) * len(pair[0].ids) > limit:
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def gold_spans(
    windows: Sequence[ReaderWindow], spans: Sequence[Sequence[tuple[int, int]]], length: int, span_tokens: int
) -> Tensor:
    """(windows, length, span_tokens) booleans: the token spans that are exactly one of the character spans."""
    gold = torch.zeros(len(windows), length, span_tokens, dtype=torch.bool)
    for n, window in enumerate(windows):
        tokens = np.flatnonzero(window.body)
        starts = {int(window.offsets[t, 0]): int(t) for t in reversed(tokens)}
        ends = {int(window.offsets[t, 1]): int(t) for t in tokens}
        for begin, end in spans[n]:
            first, last = starts.get(begin), ends.get(end)
            if first is not None and last is not None and 0 <= last - first < span_tokens:
                gold[n, first, last - first] = True
    return gold


def _run(model: SpanScorer, feed: Feed, out: Path, recipe: ReaderRecipe, total: int, progress: Progress) -> float:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    average = Average(model, recipe.average)
    settings, done = {**asdict(recipe), "planned": total, "save_every": None}, 0
    if latest(out, settings):
        note, average.mean = restore(out, model, optimizer)
        done, average.updates = int(note["step"]), int(note["updates"])
    log, running = Log(out / "log.jsonl"), 0.0
    every = chain.from_iterable(feed.batches(epoch) for epoch in range(recipe.epochs))
    with interrupts() as asked:
        for step, batch in enumerate(islice(every, done, total), done + 1):
            optimizer.param_groups[0]["lr"] = rate = recipe.learning_rate * _schedule(step, total, recipe.warm_up)
            loss = _step(model, batch, optimizer, trained)
            average.update(model)
            running = loss if not running else 0.98 * running + 0.02 * loss
            progress(Event(stage="train", done=step, total=total, unit="steps", detail=f"loss {running:.3f}"))
            if step % 20 == 0:
                log.write({"step": step, "loss": running, "learning_rate": rate})
            if step % recipe.save_every == 0 or step == total or asked:
                numbers = {"updates": average.updates}
                store(out, step, model, optimizer, settings=settings, more=average.mean, **numbers)
            if asked:
                raise KeyboardInterrupt
    with average.swapped_into(model):
        model.save(out)
    return running


def _schedule(step: int, total: int, warm_up: float) -> float:
    """Up in a line, then down in a line to 2 %; ``step`` counts from 1."""
    warm = max(1, int(warm_up * total))
    return min(step / warm, max(0.02, (total - step + 1) / max(1, total - warm)))


def _step(
    model: SpanScorer,
    batch: Sequence[tuple[ReaderWindow, tuple[tuple[int, int], ...]]],
    optimizer: torch.optim.Optimizer,
    trained: Sequence[torch.nn.Parameter],
) -> float:
    """One update; the batch goes through the model in parts, whose states stay in the processor's cache."""
    model.train()
    optimizer.zero_grad()
    total = 0.0
    for part in _by_tokens(batch, PART_TOKENS):
        windows = [window for window, _ in part]
        ids, mask, segments, body = collate(windows)
        gold = gold_spans(windows, [spans for _, spans in part], ids.shape[1], model.config.span_tokens)
        with quick_products():
            spans, null = model(ids, mask, segments, body)
            loss = span_loss(spans, null, gold) * (len(part) / len(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    return total
