"""LoRA adapters in training: put on, saved in peft's format, and checkpoints in safetensors that a run goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memptm.errors import InputError
from memptm.types import Json

CHECKPOINT = "checkpoint.safetensors"


def with_lora(model: Any, *, base: str, rank: int, layers: int | None) -> Any:
    """``model`` as a peft model: a LoRA on every linear map of its topmost ``layers`` (all if None), the rest frozen."""
    from peft import LoraConfig, get_peft_model

    count = model.config.get_text_config().num_hidden_layers
    head = model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    topmost = None if layers is None or layers >= count else list(range(count - layers, count))
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=sorted(names),
        layers_to_transform=topmost,
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = base
    return adapted


def save_adapter(adapted: Any, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors (bfloat16)."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    weights = {name: w.detach().bfloat16().contiguous() for name, w in get_peft_model_state_dict(adapted).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = adapted.peft_config["default"]
    config.inference_mode = True
    config.save_pretrained(str(folder))
    config.inference_mode = False


def store(folder: Path, step: int, loss: float, adapted: Any, optimizer: torch.optim.Optimizer, settings: Json) -> None:
    """Write the checkpoint after ``step``, replacing the one before at once or not at all."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name, parameter in _trained(adapted).items():
        tensors[f"weight/{name}"] = parameter.detach().contiguous()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value.detach().contiguous()
    tensors["random"] = torch.get_rng_state()
    note = json.dumps({"step": step, "loss": loss, "settings": settings})
    half = folder / f"{CHECKPOINT}.part"
    save_file(tensors, half, metadata={"memptm": note})
    half.replace(folder / CHECKPOINT)


def latest(folder: Path, settings: Json) -> bool:
    """Whether ``folder`` has a checkpoint to go on from.

    Raises:
        InputError: it has one, made with other settings.
    """
    if not (folder / CHECKPOINT).is_file():
        return False
    found = _note(folder)["settings"]
    different = [name for name in settings if found.get(name) != settings[name]]
    if different:
        raise InputError(
            f"{folder} holds a run with another {different[0]} ({found.get(different[0])}, not {settings[different[0]]}). "
            "Give another folder, or start anew without resuming."
        )
    return True


def restore(folder: Path, adapted: Any, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Take up the folder's checkpoint: (steps done, mean loss then)."""
    from safetensors.torch import load_file

    tensors = load_file(folder / CHECKPOINT)
    with torch.no_grad():
        for name, parameter in _trained(adapted).items():
            parameter.copy_(tensors[f"weight/{name}"])
            optimizer.state[parameter] = {key: tensors[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
    torch.set_rng_state(tensors["random"])
    note = _note(folder)
    return int(note["step"]), float(note["loss"])


def _note(folder: Path) -> Json:
    from safetensors import safe_open

    with safe_open(folder / CHECKPOINT, framework="pt") as file:
        note: Json = json.loads(file.metadata()["memptm"])
    return note


def _trained(adapted: Any) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}
