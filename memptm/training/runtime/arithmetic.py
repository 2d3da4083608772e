"""What a run computes on, and how: one arithmetic for all its processes, since which is fastest is raced."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from memptm.encoders.precision import Choice, bfloat16_is_faster, choice, take
from memptm.memory.folder import replace

FILE = "arithmetic.json"


def device() -> torch.device:
    """Where models are trained: a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def quick_products() -> torch.autocast:
    """Matrix products in bfloat16 where they are faster; sums, softmax and weights stay in float32."""
    kind = device().type
    faster = torch.cuda.is_bf16_supported() if kind == "cuda" else bfloat16_is_faster()
    return torch.autocast(kind, torch.bfloat16, enabled=faster)


def pin_precision(folder: Path) -> None:
    """Compute as the run in ``folder`` began to; one that begins writes down how."""
    path = folder / FILE
    if path.is_file():
        take(Choice(**json.loads(path.read_text(encoding="utf-8"))))
        return
    folder.mkdir(parents=True, exist_ok=True)
    replace(path, json.dumps(asdict(choice())).encode())
