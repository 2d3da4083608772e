"""The loop that every recipe runs: steps, checkpoints, a log, and going on where it stopped."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from memptm.errors import InputError, MemptmError
from memptm.progress import Event, Progress, silent
from memptm.training.runtime.checkpoint import Average, interrupts, restore, store
from memptm.training.runtime.run import Run
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
        """Leave the gradients of a batch in the parameters; the step's numbers, "loss" among them.

        Args:
            step: counted from 1.
            rows: numbers of the rows, as the plan has them.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside the model."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up what ``state`` gave."""
        ...


@dataclass(frozen=True)
class Fitted:
    """What a call of ``fit`` came to.

    Attributes:
        telemetry: the numbers of every step of the run.
        steps: of the run, earlier calls among them.
        new_steps: of this call.
        seconds: that this call took.
    """

    telemetry: Telemetry
    steps: int
    new_steps: int
    seconds: float

    def numbers(self) -> Json:
        """{"steps", "new_steps", "seconds", "loss": the mean of the last steps'}."""
        loss = self.telemetry.mean("loss")
        return {"steps": self.steps, "new_steps": self.new_steps, "seconds": round(self.seconds, 1), "loss": loss}


def finished(run: Run, *parts: Fitted) -> Json:
    """{"note"} for a result where there was nothing left to do; {} else.

    Args:
        run: the run.
        parts: what each call of ``fit`` came to.
    """
    if any(part.new_steps for part in parts):
        return {}
    done = " and ".join(f"{part.steps:,}" for part in parts)
    return {
        "note": f"The run in {run.home_folder} was finished ({done} steps). More --steps or --epochs go on from it."
    }


def fit(
    task: TrainingTask,
    plan: Sequence[Sequence[int]],
    run: Run,
    *,
    warm_up: float,
    save_every: int,
    remedy: str,
    documents: int = 0,
    stage: str = "train",
    schedule: Callable[[int, int, float], float] = warm_cosine,
    weight_decay: float = 0.01,
    fused: bool | None = None,
    clip: float = 1.0,
    average: Average | None = None,
    resume: bool = True,
    saved: Callable[[int], None] | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Go through ``plan``, a batch of row numbers a step, with AdamW; a second call goes on from the run's checkpoint.

    A longer plan goes on from a finished shorter one, at the rates that ``schedule`` has for a run of the new length.

    Args:
        task: what is learned.
        plan: of each step the rows.
        run: its folder, and what it is of.
        warm_up: share of the run, from 0 to 1, in which the rates rise.
        save_every: steps between two checkpoints.
        remedy: the setting to lower where memory runs out.
        documents: retrieved a question, for the alarm of a collapsed retriever; 0: nothing is retrieved.
        stage: of the progress events.
        schedule: (step from 1, steps of the run, warm_up) to the share of the learning rate.
        weight_decay: AdamW's.
        fused: AdamW's; None: as PyTorch chooses.
        clip: the norm that gradients are cut to.
        average: of the weights, kept up to date.
        resume: False starts anew.
        saved: called after each checkpoint, with its step.
        progress: called after every step.
    Raises:
        InputError: a checkpoint of another run or of more steps than planned, or a part with sparse gradients.
        MemptmError: loss or gradients are no numbers; the last checkpoint is kept.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    if any(getattr(module, "sparse", False) for module in task.model.modules()):
        raise InputError("AdamW takes no sparse gradients. Make the model's parts with sparse=False.")
    began = time.monotonic()
    optimizer = torch.optim.AdamW(task.groups(), weight_decay=weight_decay, fused=fused)
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    done = 0
    if resume and run.has_checkpoint():
        run.check()
        done, more = restore(run.folder, task.model, optimizer)
        if average is not None:
            average.restore(_under("average/", more))
        task.restore({name: one for name, one in more.items() if not name.startswith("average/")})
    if done > len(plan):
        raise InputError(
            f"The run in {run.folder} has {done:,} steps behind it, and {len(plan):,} were asked for. "
            "Ask for more (--steps, --epochs), or give another --out."
        )
    telemetry = Telemetry(run.folder, documents=documents, done=done)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    with interrupts() as asked, memory_errors(remedy):
        for step, rows in enumerate(plan[done:], done + 1):
            share = schedule(step, len(plan), warm_up)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate if group.get("constant") else rate * share
            optimizer.zero_grad()
            numbers = task.training_step(step, rows)
            _finite("loss is", numbers["loss"], step, run)
            norm = float(torch.nn.utils.clip_grad_norm_(trained, clip))
            _finite("gradients' norm is", norm, step, run)
            optimizer.step()
            if average is not None:
                average.update(task.model)
            telemetry.add(step, {**numbers, "learning_rate": optimizer.param_groups[0]["lr"], "norm": norm})
            detail = telemetry.collapse() or f"loss {telemetry.mean('loss'):.3f}"
            progress(Event(stage=stage, done=step, total=len(plan), unit="steps", detail=detail))
            if step % save_every == 0 or step == len(plan) or asked:
                held = {f"average/{name}": one for name, one in average.state().items()} if average else {}
                held |= task.state()
                store(run.folder, step, task.model, optimizer, identity=run.identity, more=held)
                if saved is not None:
                    saved(step)
            if asked:
                raise KeyboardInterrupt
    return Fitted(telemetry, len(plan), len(plan) - done, time.monotonic() - began)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


def _finite(what: str, value: float, step: int, run: Run) -> None:
    if not math.isfinite(value):
        raise MemptmError(
            f"The {what} {value} at step {step}; {run.folder} keeps the last checkpoint. "
            "Lower the learning rate, or look for odd rows."
        )


def shuffled(count: int, *, batch: int, epochs: int, steps: int | None, seed: int) -> list[list[int]]:
    """Batches of row numbers, each epoch in an order of its own that only the seed decides.

    Args:
        count: rows.
        batch: rows a step.
        epochs: times through them.
        steps: at most; None: all.
        seed: of the orders.
    """
    batches: list[list[int]] = []
    for epoch in range(epochs):
        order = list(range(count))
        random.Random(f"{seed}-{epoch}").shuffle(order)
        batches += [order[n : n + batch] for n in range(0, count, batch)]
    return batches[:steps]
