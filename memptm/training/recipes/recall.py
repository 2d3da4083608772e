"""Train the judge of MemRecall: `memptm train recall`.

It reads windows of two kinds (CogLTX, Ding et al. 2020, NeurIPS, section 3.3): spans of the text as they come, which is
what coarse scores are made of, and relevant blocks among the hardest or among any others, which is what the window looks
like in rehearsal. A token's label is its block's.

Where relevance is marked (supporting facts, an answer's place), that is learned. Where it is not, it begins with the blocks
that words and meaning put first, and interventions (interventions.py) mend it as the run goes on. Ours differs from the
paper in that the reasoner is not trained along: it is a reader that is there already, and its loss only teaches.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from memptm.encoders.base import Encoder
from memptm.encoders.batching import batches
from memptm.encoders.load import load_encoder
from memptm.errors import InputError
from memptm.generation.reader import Reader
from memptm.progress import Event, Progress, silent
from memptm.selection.block_scorers import EmbeddingScorer, LexicalScorer
from memptm.selection.blocks import split_blocks, tokens_of
from memptm.selection.select import compete, ranked
from memptm.selection.trained_scorer import (
    BlockScoringModel,
    Packed,
    Packer,
    ScorerConfig,
    collate,
    new_scoring_model,
    reader_fingerprint,
    reader_folder,
    reader_tokenizer,
    save_scoring_model,
)
from memptm.training.data.examples import occurrences
from memptm.training.data.interventions import Loss, SpanLoss, intervene
from memptm.training.data.long_texts import LongExample, is_relevant, read_long
from memptm.training.runtime.arithmetic import device, pin_precision
from memptm.training.runtime.loop import finished, fit, shuffled
from memptm.training.runtime.run import Run, digest_of, plain
from memptm.types import Json

REMEDY = "Lower --batch."
FIRST_SCORES = "first_scores.safetensors"
SUPPOSED = 2  # blocks taken for relevant at first, where nothing is marked
DROP_RATE = 0.2  # how often a relevant block is left out of a window, so that relevance does not show by company
RANDOM_NEGATIVE_RATE = 0.5  # share of the windows whose other blocks are drawn from all, not from the hardest
POSITIVE_SPAN_RATE = 0.5  # share of the spans that are drawn around a relevant block


@dataclass(frozen=True, kw_only=True)
class RecallRecipe:
    """How to train.

    Attributes:
        labels: learn what is marked; else what interventions find.
        epochs: times through the rows.
        steps: at most; None: all of ``epochs``.
        batch: questions a step.
        rank: of the updates of the reader's maps.
        learning_rate: of AdamW, at its highest.
        dropout: share of the activations that are zeroed, from 0 to 1.
        supposed: share of the run before interventions begin.
        up: a rise of the loss from which on a block is relevant, in nats.
        down: one up to which it is not, in nats.
        warm_up: share of the run, from 0 to 1, in which the learning rate rises.
        save_every: steps between two checkpoints.
        seed: of all that is drawn at random.
    """

    labels: bool = True
    epochs: int = 2
    steps: int | None = None
    batch: int = 8
    rank: int = 8
    learning_rate: float = 1e-3
    dropout: float = 0.1
    supposed: float = 0.2
    up: float = 0.3
    down: float = 0.0
    warm_up: float = 0.1
    save_every: int = 50
    seed: int = 0


@dataclass(frozen=True)
class Blocked:
    """A question with the blocks of its text.

    Attributes:
        example: the row.
        question: token ids, ends included.
        texts: of each block.
        ids: token ids of each block.
        marked: which are relevant, where that is known.
        first: where its blocks are in the task's tables.
    """

    example: LongExample
    question: list[int]
    texts: list[str]
    ids: list[list[int]]
    marked: list[bool]
    first: int


def train_recall(
    data: Sequence[Path],
    out: Path,
    *,
    start: str | Path | None = None,
    recipe: RecallRecipe | None = None,
    loss: Loss | None = None,
    encoder: Encoder | None = None,
    resume: bool = True,
    progress: Progress = silent,
) -> Json:
    """Train a judge and save it to ``out``.

    Args:
        data: JSONL, see ``read_long``.
        out: log.jsonl, telemetry.png and a checkpoint go there too; a second call goes on from the checkpoint, bit for
            bit on a CPU.
        start: folder of the reader whose trunk the judge starts from and shares; the shipped one if None.
        recipe: how; its defaults if None.
        loss: of the task, for interventions; that of the reader's spans if None.
        encoder: says what is near in meaning where nothing is marked; the default encoder if None.
        resume: False starts anew.
        progress: called after every step.
    Returns:
        {"steps", "new_steps" of this call, "examples", "skipped", "seconds", "loss", "warning", "telemetry": [means]};
        "note" where no step was left.
    Raises:
        InputError: no usable rows, a malformed one, or another run in ``out``.
        ModelMissing: no such reader.
        MemptmError: the loss is no number; the last checkpoint is kept.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    recipe = recipe or RecallRecipe()
    rows = list(read_long(data))
    usable = [row for row in rows if _usable(row, recipe, loss)]
    if not usable:
        raise InputError(
            "No row says what of its text is relevant. Give supporting facts, or answers that stand in the text."
        )
    reader = "" if start is None else str(start)
    run = Run(
        "recall",
        out,
        data={"data": digest_of(usable)},
        start={"reader": reader_fingerprint(reader_folder(reader))},
        settings=plain(
            {
                **asdict(recipe),
                "loss": "" if loss is None else getattr(loss, "__qualname__", type(loss).__qualname__),
                "encoder": encoder.fingerprint if encoder else "",
            }
        ),
    )
    run.claim("config.json", "model.safetensors", FIRST_SCORES)
    if resume:
        run.check()
    pin_precision(out)
    config = ScorerConfig(reader=reader, fingerprint=reader_fingerprint(reader_folder(reader)), rank=recipe.rank)
    packer = Packer(reader_tokenizer(reader))
    blocked = cut(usable, packer, progress=progress)
    if not recipe.labels and loss is None:
        loss = SpanLoss(Reader.load(start))
        loss.model.to(device())
    scores = _first_scores(blocked, recipe, encoder, out, progress)
    torch.manual_seed(recipe.seed)  # after what draws random numbers only where it runs for the first time
    scorer = new_scoring_model(config).to(device()).train()
    for layer in scorer.trunk.layers:
        layer.dropout = recipe.dropout  # type: ignore[assignment]
    task = RecallTask(
        scorer,
        packer,
        blocked,
        config=config,
        recipe=recipe,
        loss=None if recipe.labels else loss,
        scores=scores,
    )
    plan = shuffled(len(usable), batch=recipe.batch, epochs=recipe.epochs, steps=recipe.steps, seed=recipe.seed)
    task.starts = int(recipe.supposed * len(plan))
    fitted = fit(
        task,
        plan,
        run,
        warm_up=recipe.warm_up,
        save_every=recipe.save_every,
        remedy=REMEDY,
        resume=resume,
        progress=progress,
    )
    save_scoring_model(scorer, config, out)
    fitted.telemetry.plot()
    result = fitted.numbers() | {"examples": len(usable), "skipped": len(rows) - len(usable)}
    result |= {"warning": fitted.telemetry.collapse(), "telemetry": fitted.telemetry.table()}
    return result | finished(run, fitted)


class RecallTask:
    """All that a step needs. ``relevance`` and ``scores`` have a number for each block of each example, and are floats.

    Args:
        scorer: the judge.
        packer: puts blocks into windows.
        blocked: rows of the plan.
        config: window sizes, in tokens.
        recipe: how to train.
        loss: teaches relevance; None: it is marked.
        scores: (blocks,) what is thought of each before training, about 0 to 1; from then on the judge's own.
    Attributes:
        starts: steps before the loss is asked.
    """

    def __init__(
        self,
        scorer: BlockScoringModel,
        packer: Packer,
        blocked: Sequence[Blocked],
        *,
        config: ScorerConfig,
        recipe: RecallRecipe,
        loss: Loss | None,
        scores: Tensor,
    ) -> None:
        self.model = self.scorer = scorer
        self.packer, self.blocked, self.config, self.recipe, self.loss = packer, blocked, config, recipe, loss
        self.scores, self.starts = scores, 0
        marked = torch.tensor([float(one) for row in blocked for one in row.marked])
        self.relevance = marked if loss is None else self._supposed()

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.scorer.learned().values()), "lr": self.recipe.learning_rate}]

    def state(self) -> dict[str, Tensor]:
        return {"relevance": self.relevance, "scores": self.scores}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.relevance, self.scores = state["relevance"], state["scores"]

    def training_step(self, step: int, rows: Sequence[int]) -> Json:
        packed: list[tuple[int, Packed]] = []
        changed = 0
        for row in rows:
            chance = random.Random(f"recall-{self.recipe.seed}-{step}-{row}")
            if self.loss is not None and step > self.starts:
                changed += self._mend(self.loss, row, chance)
            packed += [(row, self.passage_span(row, chance)), (row, self.chosen(row, chance))]
        numbers = self._backward(packed)
        return {**numbers, **({"changed": changed / len(rows)} if self.loss is not None else {})}

    def passage_span(self, row: int, chance: random.Random) -> Packed:
        """Blocks that follow each other, as many as the coarse window holds; often around a relevant one."""
        one = self.blocked[row]
        relevant, first = self._relevant(row), chance.randrange(len(one.ids))
        if relevant and chance.random() < POSITIVE_SPAN_RATE:
            first = max(chance.choice(relevant) - chance.randrange(4), 0)
        group = range(first, len(one.ids))
        return self.packer.pack(one.question, one.ids, group, window=self.config.coarse_window)[0]

    def chosen(self, row: int, chance: random.Random) -> Packed:
        """Most of the relevant blocks, and the hardest of the others or any of them, as many as the window holds."""
        one = self.blocked[row]
        relevant = [n for n in self._relevant(row) if chance.random() >= DROP_RATE]
        others = [n for n in range(len(one.ids)) if n not in self._relevant(row)]
        chance.shuffle(relevant)
        if chance.random() < RANDOM_NEGATIVE_RATE:
            chance.shuffle(others)
        else:
            others = ranked(others, self._scores(row))
        room = chance.randint(self.config.coarse_window, self.config.window) - len(one.question)
        blocks = compete([*relevant, *others], [len(ids) for ids in one.ids], window=room)
        return self.packer.pack(one.question, one.ids, blocks or [0], window=self.config.window)[0]

    def _mend(self, loss: Loss, row: int, chance: random.Random) -> int:
        """Intervene on the blocks that are thought best; how many changed sides.

        Where no block in which an answer stands is among them, one is added: without it the loss can tell nothing.
        """
        one, scores = self.blocked[row], self._scores(row)
        holding = [n for n, text in enumerate(one.texts) if occurrences(one.example.answers, text)]
        best = ranked(range(len(one.ids)), scores)
        sizes = [len(ids) for ids in one.ids]
        window = compete(best, sizes, window=self.config.coarse_window - len(one.question))
        if holding and not set(holding) & set(window):
            window = compete(
                [chance.choice(holding), *best], sizes, window=self.config.coarse_window - len(one.question)
            )
        found = intervene(
            loss,
            one.example.question,
            [one.texts[n] for n in window],
            one.example.answers,
            up=self.recipe.up,
            down=self.recipe.down,
        )
        changed = 0
        for n, matters in zip(window, found, strict=True):
            if matters is not None:
                changed += bool(self.relevance[one.first + n]) != matters
                self.relevance[one.first + n] = float(matters)
        return changed

    def _backward(self, packed: Sequence[tuple[int, Packed]]) -> Json:
        """Leave the gradients, and keep what the judge now thinks of the blocks it read."""
        total, apart = 0.0, ([0.0], [0.0])
        for group in batches([len(one.ids) for _, one in packed]):
            some = [packed[n] for n in group]
            logits = self.scorer(*collate([one for _, one in some]))
            losses = []
            for (row, one), line in zip(some, logits, strict=True):
                for n, first, last in one.blocks:
                    place = self.blocked[row].first + n
                    label = self.relevance[place]
                    wanted = label.expand(last - first)
                    losses.append(
                        functional.binary_cross_entropy_with_logits(line[first:last], wanted) / len(one.blocks)
                    )
                    score = line[first:last].detach().sigmoid().mean()
                    self.scores[place] = score
                    apart[int(label)].append(float(score))
            loss = torch.stack(losses).sum() / len(packed)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        wrong, right = (sum(some) / max(len(some) - 1, 1) for some in apart)
        return {"loss": total, "apart": right - wrong}

    def _supposed(self) -> Tensor:
        relevance = torch.zeros(len(self.scores))
        for row, one in enumerate(self.blocked):
            for n in ranked(range(len(one.ids)), self._scores(row))[:SUPPOSED]:
                relevance[one.first + n] = 1.0
        return relevance

    def _relevant(self, row: int) -> list[int]:
        one = self.blocked[row]
        return [n for n in range(len(one.ids)) if self.relevance[one.first + n] > 0.5]

    def _scores(self, row: int) -> dict[int, float]:
        one = self.blocked[row]
        return dict(enumerate(self.scores[one.first : one.first + len(one.ids)].tolist()))


def cut(examples: Sequence[LongExample], packer: Packer, *, progress: Progress = silent) -> list[Blocked]:
    """The examples with their texts in blocks, each text cut once."""
    known: dict[str, tuple[list[tuple[int, int]], list[str], list[list[int]]]] = {}
    found, first = list[Blocked](), 0
    for done, example in enumerate(examples, 1):
        if example.text not in known:
            blocks = split_blocks(example.text, tokens_of(packer.tokenizer))
            texts = [example.text[one.start : one.end] for one in blocks]
            known[example.text] = [(one.start, one.end) for one in blocks], texts, packer.blocks(texts)
        places, texts, ids = known[example.text]
        marked = [is_relevant(start, end, example.relevant) for start, end in places]
        found.append(Blocked(example, packer.question(example.question), texts, ids, marked, first))
        first += len(texts)
        progress(Event(stage="cut", done=done, total=len(examples), unit="texts"))
    return found


def _usable(row: LongExample, recipe: RecallRecipe, loss: Loss | None) -> bool:
    """Whether a row teaches: something is marked, or the loss can say something about it."""
    if recipe.labels:
        return bool(row.relevant)
    return loss is not None or bool(occurrences(row.answers, row.text))


def _first_scores(
    blocked: Sequence[Blocked], recipe: RecallRecipe, encoder: Encoder | None, out: Path, progress: Progress
) -> Tensor:
    """What is thought of every block at first: by words, and where nothing is marked by meaning as well.

    Kept in ``out``: a run that goes on must begin alike, and on another machine embeddings differ a little.
    """
    kept = out / FIRST_SCORES
    total = sum(len(one.ids) for one in blocked)
    if kept.is_file():
        scores = load_file(kept)["scores"]
        if len(scores) == total:
            return scores
    scorers: list[LexicalScorer | EmbeddingScorer] = [LexicalScorer()]
    if not recipe.labels:
        scorers.append(EmbeddingScorer(encoder or load_encoder()))
    scores = torch.zeros(total)
    for done, one in enumerate(blocked, 1):
        for scorer in scorers:
            found = scorer.score(one.example.question, one.texts).coarse(range(len(one.texts)))
            best = max(found) or 1.0
            scores[one.first : one.first + len(found)] += torch.tensor(found) / best / len(scorers)
        progress(Event(stage="first scores", done=done, total=len(blocked), unit="questions"))
    out.mkdir(parents=True, exist_ok=True)
    save_file({"scores": scores}, kept)
    return scores
