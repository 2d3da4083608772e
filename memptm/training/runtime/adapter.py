"""LoRA adapters in training: put on, and saved in peft's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from memptm.generation.load import base_of, load_base
from memptm.models import resolve
from memptm.progress import Progress, silent


def with_lora(model: Any, *, base: str, rank: int, layers: int | None) -> Any:
    """``model`` as a peft model: a LoRA on every linear map of its topmost ``layers`` (all if None), the rest frozen.

    Args:
        model: a Transformers model.
        base: the name that the adapter gives it.
        rank: of the updates.
        layers: counted from the top.
    """
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


def trainable_adapter(name: str, *, rank: int = 16, progress: Progress = silent) -> tuple[Any, Any]:
    """(peft model, tokenizer) to train on: the adapter in the folder ``name``, or a new one on the model of that name.

    Args:
        name: a model's name, or a folder with an adapter.
        rank: of a new one.
        progress: called while a model is loaded.
    Raises:
        ModelMissing: nothing can be loaded under that name.
    """
    folder = resolve(name)
    if not (folder / "adapter_config.json").is_file():
        model, tokenizer = load_base(name, progress=progress)
        return with_lora(model, base=name, rank=rank, layers=None), tokenizer
    base = base_of(folder)
    from peft import PeftModel

    model, tokenizer = load_base(base, progress=progress)
    adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=True)
    adapted.peft_config["default"].base_model_name_or_path = base
    return adapted, tokenizer


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
