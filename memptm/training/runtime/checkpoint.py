"""What every recipe needs to stop and go on: checkpoints, a running mean of the weights, a log."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from memptm.errors import InputError
from memptm.model_files import reason
from memptm.types import Json

CHECKPOINT = "checkpoint.safetensors"


class Average:
    """An exponential mean of a model's trained weights; it reads better than the last step's.

    Args:
        model: its trained weights are where the mean begins.
        decay: share of the old mean that stays at a step, from 0 to 1; less in the first steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.mean = {name: p.detach().clone() for name, p in _trained(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        for name, parameter in model.named_parameters():
            if name in self.mean:
                self.mean[name].lerp_(parameter, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {"updates": torch.tensor(self.updates), **{f"mean/{name}": mean for name, mean in self.mean.items()}}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what ``state`` gave."""
        self.updates = int(state["updates"])
        for name, mean in self.mean.items():
            mean.copy_(state[f"mean/{name}"])

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


def store(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    identity: Json,
    more: Mapping[str, Tensor],
) -> None:
    """Write the checkpoint after ``step``, replacing the one before at once or not at all.

    Args:
        folder: of the run.
        step: counted from 1.
        model: its trained weights and its buffers are written.
        optimizer: its moments are written.
        identity: what the run is of; see ``Run``.
        more: further tensors, by name.
    """
    tensors = {f"more/{name}": tensor.detach().contiguous() for name, tensor in more.items()}
    for name, parameter in _trained(model).items():
        tensors[f"weight/{name}"] = parameter.detach().contiguous()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value.detach().contiguous()
    tensors |= {f"buffer/{name}": buffer.detach().clone() for name, buffer in _kept(model).items()}
    tensors["random"] = torch.get_rng_state()
    note = json.dumps({"step": step, "identity": identity})
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"{CHECKPOINT}.part"
    save_file(tensors, half, metadata={"memptm": note})
    half.replace(folder / CHECKPOINT)


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Tensor]]:
    """Take up the folder's checkpoint: after which step it was written, and the further tensors it was given.

    Args:
        folder: of the run.
        model: is given the weights.
        optimizer: is given the moments.
    Raises:
        InputError: it is damaged, or of another model.
    """
    with _readable(folder), torch.no_grad():
        tensors = load_file(folder / CHECKPOINT)
        for name, parameter in _trained(model).items():
            weight = tensors[f"weight/{name}"]
            if weight.shape != parameter.shape:
                raise ValueError(f"{name} is {tuple(weight.shape)}, not {tuple(parameter.shape)}")
            parameter.copy_(weight)
            if f"step/{name}" in tensors:  # a parameter that never had a gradient has no state
                means = {key: tensors[f"{key}/{name}"].to(parameter.device) for key in ("exp_avg", "exp_avg_sq")}
                count = tensors[f"step/{name}"]
                optimizer.state[parameter] = {
                    "step": count.to(parameter.device) if optimizer.defaults.get("fused") else count,
                    **means,
                }
        for name, buffer in _kept(model).items():
            if f"buffer/{name}" in tensors:  # an older checkpoint has none
                buffer.copy_(tensors[f"buffer/{name}"])
        torch.set_rng_state(tensors["random"])
    more = {name.removeprefix("more/"): tensor for name, tensor in tensors.items() if name.startswith("more/")}
    return int(read_note(folder)["step"]), more


def read_note(folder: Path) -> Json:
    """What the folder's checkpoint says of itself, its tensors left on disk: {"step", "identity"}.

    Raises:
        InputError: it cannot be read.
    """
    with _readable(folder), safe_open(folder / CHECKPOINT, framework="np") as file:
        note: Json = json.loads(file.metadata()["memptm"])
    return note


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{folder / CHECKPOINT} cannot be gone on from ({reason(error)}). Give another --out, or remove the folder."
        ) from error


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _kept(model: nn.Module) -> dict[str, Tensor]:
    """Buffers that belong to the model's weights, such as the statistics of a normalisation."""
    names = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in names}


class Log:
    """A JSON line a record, appended.

    Args:
        path: of the file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def keep(self, done: int) -> list[Json]:
        """The records up to step ``done``; the others are dropped from the file."""
        if not self.path.is_file():
            return []
        records = [
            json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines() if line.endswith("}")
        ]
        kept = [record for record in records if record["step"] <= done]
        half = self.path.with_suffix(".part")
        half.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        half.replace(self.path)
        return kept

    def write(self, record: Json) -> None:
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(record) + "\n")


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that is no longer empty after Ctrl-C, so that a step ends before the run does."""
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # only the main thread can
        yield asked
        return
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
