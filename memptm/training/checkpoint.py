"""What every recipe needs to stop and go on: checkpoints, a running mean of the weights, a log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memptm.types import Json

CHECKPOINT = "checkpoint.pt"


class Average:
    """An exponential mean of a model's trained weights; it reads better than the last step's."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.mean = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        for name, parameter in model.named_parameters():
            if name in self.mean:
                self.mean[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def swapped_into(self, model: nn.Module) -> Iterator[None]:
        """Inside, the model has the mean's weights; after, its own again."""
        own = {name: p.detach().clone() for name, p in model.named_parameters() if name in self.mean}
        _copy(model, self.mean)
        try:
            yield
        finally:
            _copy(model, own)


@torch.no_grad()
def _copy(model: nn.Module, weights: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        if name in weights:
            parameter.copy_(weights[name])


def store(folder: Path, step: int, model: nn.Module, optimizer: Any, schedule: Any, average: Average) -> None:
    """Write the checkpoint after ``step``, replacing the one before at once or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    state = {
        "step": step,
        "model": trained,
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "mean": average.mean,
        "updates": average.updates,
        "random": torch.get_rng_state(),
    }
    half = folder / (CHECKPOINT + ".part")
    torch.save(state, half)
    half.replace(folder / CHECKPOINT)


def restore(folder: Path, model: nn.Module, optimizer: Any, schedule: Any, average: Average) -> int:
    """Take up the folder's checkpoint; the number of steps it stands for, 0 if there is none."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    _copy(model, state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    average.mean, average.updates = state["mean"], state["updates"]
    torch.set_rng_state(state["random"])
    return int(state["step"])


class Log:
    """A JSON line a record, appended."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def write(self, record: Json) -> None:
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(record) + "\n")
