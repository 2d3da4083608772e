"""The loop that every recipe for a retriever runs: steps, checkpoints, telemetry, and going on where it stopped."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from memptm.errors import InputError, MemptmError
from memptm.progress import Event, Progress, silent
from memptm.training.runtime.checkpoint import interrupts, latest, restore, store
from memptm.training.runtime.schedule import memory_errors, warm_cosine
from memptm.training.runtime.telemetry import Telemetry
from memptm.types import Json


class TrainingTask(Protocol):
    """What is learned."""

    @property
    def model(self) -> nn.Module:
        """All the parameters."""
        ...

    def groups(self) -> list[dict[str, Any]]:
        """Parameters and their learning rates, as an optimiser takes them; with "constant": True it stays as it is."""
        ...

    def training_step(self, step: int, rows: Sequence[int]) -> Json:
        """Leave the gradients of a batch in the parameters; the step's numbers, "loss" among them."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside the model."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up what ``state`` gave."""
        ...


def fit(
    task: TrainingTask,
    plan: Sequence[Sequence[int]],
    out: Path,
    *,
    settings: Json,
    warm_up: float,
    save_every: int,
    documents: int,
    remedy: str,
    stage: str = "train",
    clip: float = 1.0,
    resume: bool = True,
    saved: Callable[[int], None] | None = None,
    progress: Progress = silent,
) -> Telemetry:
    """Go through ``plan``, a batch of row numbers a step, with AdamW; a second call goes on from ``out``'s checkpoint.

    Args:
        settings: what a run that goes on must share. clip: the norm that gradients are cut to. documents: retrieved a question.
        remedy: the setting to lower where memory runs out. saved: called after each checkpoint, with its step.
    Raises:
        InputError: a checkpoint of other settings, or a part with sparse gradients. MemptmError: loss or gradients are no numbers; the last checkpoint is kept.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    if any(getattr(module, "sparse", False) for module in task.model.modules()):
        raise InputError("AdamW takes no sparse gradients. Make the model's parts with sparse=False.")
    groups = task.groups()
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    settings = {**settings, "planned": len(plan)}
    done = 0
    if resume and latest(out, settings):
        note, more = restore(out, task.model, optimizer)
        done = int(note["step"])
        task.restore(more)
    telemetry = Telemetry(out, documents=documents, done=done)
    rates = [float(group["lr"]) for group in groups]
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    with interrupts() as asked, memory_errors(remedy):
        for step, rows in enumerate(plan[done:], done + 1):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate if group.get("constant") else rate * warm_cosine(step, len(plan), warm_up)
            optimizer.zero_grad()
            numbers = task.training_step(step, rows)
            if not math.isfinite(numbers["loss"]):
                raise MemptmError(
                    f"The loss is {numbers['loss']} at step {step}; {out} keeps the last checkpoint. "
                    "Lower the learning rate, or look for odd rows."
                )
            norm = torch.nn.utils.clip_grad_norm_(trained, clip)
            if not bool(norm.isfinite()):
                raise MemptmError(
                    f"The gradients' norm is {float(norm)} at step {step}; {out} keeps the last checkpoint. "
                    "Lower the learning rate, or look for odd rows."
                )
            optimizer.step()
            telemetry.add(step, numbers)
            detail = telemetry.collapse() or f"loss {telemetry.mean('loss'):.3f}"
            progress(Event(stage=stage, done=step, total=len(plan), unit="steps", detail=detail))
            if step % save_every == 0 or step == len(plan) or asked:
                store(out, step, task.model, optimizer, settings=settings, more=task.state())
                if saved is not None:
                    saved(step)
            if asked:
                raise KeyboardInterrupt
    return telemetry


def shuffled(count: int, *, batch: int, epochs: int, steps: int | None, seed: int) -> list[list[int]]:
    """Batches of row numbers, each epoch in an order of its own that only the seed decides."""
    batches: list[list[int]] = []
    for epoch in range(epochs):
        order = list(range(count))
        random.Random(f"{seed}-{epoch}").shuffle(order)
        batches += [order[n : n + batch] for n in range(0, count, batch)]
    return batches[:steps]
