"""Train a generator's LoRA adapter: `memptm train generator`.

It learns to answer as shortly as the data does, from one to three passages in any order, and to say one fixed phrase where
none of them holds the answer: rows without answers, and questions beside passages that look right and are not.
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
from torch import Tensor, nn

from memptm.encoders.base import Encoder
from memptm.errors import InputError
from memptm.evaluation.metrics import exact_match, f1
from memptm.generation.decoding import Ids
from memptm.generation.generator import DEFAULT, Generator
from memptm.generation.load import load_base
from memptm.generation.prompt import NOT_THERE, PromptWriter
from memptm.progress import Progress, silent
from memptm.training.data.batches import padded_batches
from memptm.training.data.examples import Example, read_examples
from memptm.training.data.negatives import mine_once
from memptm.training.runtime.adapter import save_adapter, with_lora
from memptm.training.runtime.arithmetic import pin_precision, quick_products
from memptm.training.runtime.loop import finished, fit
from memptm.training.runtime.run import Run, digest_of, plain, weights_digest
from memptm.types import Json, Passage

POOL = 512  # examples sorted by length together, so that batches hold little padding
MULTIPLE = 32  # widths are padded to it: oneDNN keeps a kernel for each shape
LONGEST_ANSWER = 6  # words; longer ones teach long answers


@dataclass(frozen=True, kw_only=True)
class GeneratorRecipe:
    """How to train.

    Attributes:
        epochs: times through the rows.
        steps: at most; None for all of ``epochs``.
        rank: of the LoRA.
        layers: the topmost that are adapted; None for all.
        learning_rate: of AdamW, at its highest.
        warm_up: share of the run, from 0 to 1, in which the learning rate rises.
        batch_tokens: of a step, padding included.
        window: tokens of an example at most.
        wrong: share of answerable questions given with wrong passages alone.
        beside: p of 0, 1, 2 wrong passages more.
        save_every: steps between two checkpoints.
        seed: of all that is drawn at random.
    """

    epochs: int = 1
    steps: int | None = None
    rank: int = 16
    layers: int | None = 16
    learning_rate: float = 4e-4
    warm_up: float = 0.05
    batch_tokens: int = 1536
    window: int = 320
    wrong: float = 0.13
    beside: tuple[float, float, float] = (0.8, 0.13, 0.07)
    save_every: int = 50
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A prompt and what should follow it.

    Attributes:
        prompt: token ids.
        answer: token ids, with those that end it.
    """

    prompt: Ids
    answer: Ids

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def train_generator(
    data: Sequence[Path],
    out: Path,
    *,
    start: str | None = None,
    recipe: GeneratorRecipe | None = None,
    held_out: Sequence[Path] = (),
    encoder: Encoder | None = None,
    resume: bool = True,
    progress: Progress = silent,
) -> Json:
    """Train a LoRA adapter on questions with their passages and save it, in peft's format, to ``out``.

    Args:
        data: JSONL of {question, context, answers, title?}; answers empty: not in the passage.
        out: log.jsonl and a checkpoint go there too; a second call goes on from it, bit for bit.
        start: the model adapted, SmolLM2-135M-Instruct if None.
        recipe: how; the default suits SmolLM2-135M on two cores.
        held_out: rows of the same kind to measure on at the end.
        encoder: finds the wrong passages that look right; the default encoder if None.
        resume: False starts anew.
        progress: called after every step.
    Returns:
        {"steps", "new_steps" of this call, "examples", "skipped", "seconds", "loss"}; "note" where none was left; and,
        with ``held_out``, {"em", "f1", "n"}.
    Raises:
        InputError: no usable rows, a malformed one, or another run in ``out``.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    recipe, base = recipe or GeneratorRecipe(), start or DEFAULT
    rows = list(read_examples(data))
    examples = [row for row in rows if not row.answers or len(row.answers[0].split()) <= LONGEST_ANSWER]
    if not examples:
        raise InputError(
            f"No row has an answer of at most {LONGEST_ANSWER} words, or none. Give rows with short answers."
        )
    run = Run(
        "generator",
        out,
        data={"data": digest_of(examples)},
        start={"generator": weights_digest(base)},
        settings=plain({**asdict(recipe), "encoder": encoder.fingerprint if encoder else ""}),
    )
    run.claim("adapter_config.json", "adapter_model.safetensors")
    if resume:
        run.check()
    pin_precision(out)
    torch.manual_seed(recipe.seed)
    model, tokenizer = load_base(base, progress=progress)
    adapted = with_lora(model, base=base, rank=recipe.rank, layers=recipe.layers)
    generator = Generator(adapted.get_base_model(), tokenizer, name=base)
    passages, nearest = mine_once(examples, encoder, out, per_question=8, progress=progress)
    steps = Feed(examples, passages, nearest, generator.writer, recipe).plan()
    fitted = fit(
        GeneratorTask(adapted, generator, steps, recipe),
        [[n] for n in range(len(steps))],
        run,
        warm_up=recipe.warm_up,
        save_every=recipe.save_every,
        remedy="Lower batch_tokens of the recipe.",
        weight_decay=0.0,
        fused=True,
        resume=resume,
        progress=progress,
    )
    save_adapter(adapted, out)
    counts = {"examples": sum(map(len, steps)), "skipped": len(rows) - len(examples)}
    result = fitted.numbers() | counts | finished(run, fitted)
    return result | (evaluate(generator, list(read_examples(held_out))) if held_out else {})


class Feed:
    """All steps of a run: the same for the same rows and recipe.

    Args:
        examples: questions with their passages.
        passages: texts, from which the wrong ones are taken.
        nearest: (examples, neighbours) numbers of passages that look right and are not; negative: none.
        writer: makes prompts of them.
        recipe: batches and shares.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        passages: Sequence[str],
        nearest: NDArray[np.int64],
        writer: PromptWriter,
        recipe: GeneratorRecipe,
    ) -> None:
        self.examples, self.passages, self.nearest, self.recipe = examples, passages, nearest, recipe
        self.writer = writer

    def plan(self) -> list[list[Pair]]:
        """The batches, in order."""
        steps: list[list[Pair]] = []
        for epoch in range(self.recipe.epochs):
            chance = random.Random(f"{self.recipe.seed}-{epoch}")
            pairs = [pair for n in range(len(self.examples)) for pair in self._pair(n, chance)]
            chance.shuffle(pairs)
            for start in range(0, len(pairs), POOL):
                batches = list(
                    padded_batches(
                        sorted(pairs[start : start + POOL], key=len), _width, tokens=self.recipe.batch_tokens
                    )
                )
                chance.shuffle(batches)
                steps += batches
        return steps[: self.recipe.steps]

    def _pair(self, n: int, chance: random.Random) -> Iterator[Pair]:
        """The example as it is read in this epoch; nothing if it does not fit the window whole."""
        example = self.examples[n]
        wrong = [self.passages[i] for i in self.nearest[n] if i >= 0]
        chance.shuffle(wrong)
        beside = chance.choices((0, 1, 2), self.recipe.beside)[0]
        if example.answers and wrong and chance.random() < self.recipe.wrong:
            given, answer = [(text, "") for text in wrong[: beside + 1]], NOT_THERE
        else:
            given = [(example.context, example.title), *((text, "") for text in wrong[:beside])]
            answer = example.answers[0].strip() if example.answers else NOT_THERE
            chance.shuffle(given)
        answer_ids = self.writer.answer_ids(answer)
        while given:
            passages = [_passage(text, title) for text, title in given]
            prompt = self.writer.write(example.question, passages)
            if len(prompt.ids) + len(answer_ids) <= self.recipe.window and prompt.read == tuple(passages):
                yield Pair(prompt=prompt.ids, answer=answer_ids)
                return
            spare = [one for one in given if one[0] != example.context]
            if not spare or len(given) == 1:
                return
            given.remove(spare[-1])


def evaluate(generator: Generator, rows: Sequence[Example]) -> Json:
    """Exact match and F1 on rows with the passage given, and how many there were."""
    with quick_products():
        generations = generator.generate_batch(
            [row.question for row in rows], [[_passage(row.context, row.title)] for row in rows]
        )
    pairs = [(one.text, row.answers) for one, row in zip(generations, rows, strict=True)]
    em = sum(exact_match(text, answers) for text, answers in pairs) / max(1, len(pairs))
    return {"n": len(pairs), "em": em, "f1": sum(f1(text, answers) for text, answers in pairs) / max(1, len(pairs))}


class GeneratorTask:
    """A batch of pairs a step; the loss is −log p of the answers' tokens, a mean over them."""

    def __init__(
        self, adapted: Any, generator: Generator, steps: Sequence[Sequence[Pair]], recipe: GeneratorRecipe
    ) -> None:
        self.model: nn.Module = adapted
        self.language_model, self.steps, self.recipe = generator.language_model, steps, recipe
        self.language_model.multiple = MULTIPLE

    def groups(self) -> list[dict[str, Any]]:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return [{"params": trained, "lr": self.recipe.learning_rate}]

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...

    def training_step(self, step: int, rows: Sequence[int]) -> Json:  # noqa: ARG002 (TrainingTask's signature)
        batch = self.steps[rows[0]]
        with quick_products():
            log_p = self.language_model.score([pair.prompt for pair in batch], [pair.answer for pair in batch])
        loss = -log_p.sum() / sum(len(pair.answer) for pair in batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": float(loss.detach()), "examples": len(batch), "tokens": sum(map(len, batch))}


def _width(pair: Pair) -> int:
    return -(-len(pair) // MULTIPLE) * MULTIPLE


def _passage(text: str, title: str) -> Passage:
    return Passage(id="", document="", text=text, start=0, end=len(text), title=title)
