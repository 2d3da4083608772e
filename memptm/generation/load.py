"""Loading a generator's model: safetensors folders, GGUF files (converted once into a cache), LoRA adapters merged in."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from memptm.encoders import precision
from memptm.errors import ModelMissing
from memptm.generation.llamacpp import LlamaCpp, load_llamacpp
from memptm.models import resolve
from memptm.progress import Event, Progress, silent
from memptm.working.state_files import reason

ADAPTER = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
UNUSUAL = (  # settings of a LoRA that need peft itself
    "alora_invocation_tokens",
    "alpha_pattern",
    "fan_in_fan_out",
    "layer_replication",
    "modules_to_save",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_dora",
    "use_rslora",
)


def load(name: str, *, progress: Progress = silent) -> tuple[Any, Any]:
    """(model, tokenizer) for a model's name or path, or a folder with a LoRA adapter that names its base.

    bfloat16 where it is faster (measured on two AVX512-BF16 cores: 1,590 against 577 prompt tokens/s, 32 against
    24 generated), else float32. On the GPU where there is one.

    Raises:
        ModelMissing: nothing can be loaded under that name.
    """
    path, adapter = resolve(name), None
    if (path / ADAPTER).is_file():
        settings = json.loads((path / ADAPTER).read_text(encoding="utf-8"))
        if not (path / WEIGHTS).is_file():
            raise ModelMissing(f"{path} holds no {WEIGHTS}. Train it again, or give another adapter.")
        path, adapter = resolve(settings["base_model_name_or_path"]), path
    gguf = _gguf(path)
    if gguf is not None:
        path, adapter = converted(gguf, adapter=adapter, progress=progress), None
    dtype = torch.bfloat16 if bfloat16_is_faster() else torch.float32
    model, tokenizer = _read(path, dtype if adapter is None else torch.float32)
    if adapter is not None:
        model = merge_adapter(model, adapter)  # before anything is rounded
    model = model.to(device="cuda" if torch.cuda.is_available() else "cpu", dtype=dtype)
    model.requires_grad_(False)
    return model, tokenizer


def load_base(name: str, *, progress: Progress = silent) -> tuple[Any, Any]:
    """(model, tokenizer) in float32, for training."""
    path = resolve(name)
    gguf = _gguf(path)
    return _read(path if gguf is None else converted(gguf, progress=progress), torch.float32)


def load_gguf(name: str) -> tuple[LlamaCpp, Any]:
    """(model, tokenizer) computed by llama.cpp, of a GGUF file, or a name or folder that holds one.

    Raises:
        ModelMissing: there is no such file. ExtraMissing: llama.cpp is not installed.
    """
    gguf = _gguf(resolve(name))
    if gguf is None:
        raise ModelMissing(f"{name} holds no GGUF file, which llama.cpp needs. Give one, or leave llama.cpp out.")
    return load_llamacpp(gguf)


def bfloat16_is_faster() -> bool:
    """Whether the generator computes in bfloat16: on a GPU, and on a processor where that is faster than float32."""
    return torch.cuda.is_available() or precision.bfloat16_is_faster()


def merge_adapter(model: Any, folder: Path) -> Any:
    """``model`` with the LoRA adapter of ``folder`` added into its weights, so that it costs nothing when answering.

    Plain LoRA is added here: W + scale · B A; importing peft takes longer than loading the model. The rest is peft's.
    """
    settings = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    if settings.get("peft_type") != "LORA" or settings.get("bias", "none") != "none" or any(map(settings.get, UNUSUAL)):
        from peft import PeftModel

        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    from safetensors.torch import load_file

    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelMissing(
            f"The adapter in {folder} cannot be read ({reason(error)}). Train or copy it again."
        ) from error
    scale = settings["lora_alpha"] / settings["r"]
    with torch.no_grad():
        for key in [key for key in weights if key.endswith(".lora_A.weight")]:
            module = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            down, up = weights[key].float(), weights[key.replace(".lora_A.", ".lora_B.")].float()
            try:
                target = model.get_submodule(module).weight
                target += (scale * (up @ down)).to(target)
            except (AttributeError, RuntimeError) as error:
                raise ModelMissing(
                    f"The adapter in {folder} does not fit its base model ({module}). Give the base it was trained on."
                ) from error
    return model


def cache_folder() -> Path:
    """Where converted models are kept: MEMPTM_CACHE, else memptm in XDG_CACHE_HOME, else in ~/.cache."""
    if os.environ.get("MEMPTM_CACHE"):
        return Path(os.environ["MEMPTM_CACHE"]).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "memptm"


def converted(gguf: Path, *, adapter: Path | None = None, progress: Progress = silent) -> Path:
    """The folder with ``gguf`` as safetensors (float16), the adapter merged in; converted on first use.

    Keyed by the SHA-256 of the files, so a changed file or adapter is converted anew.
    """
    files = [gguf] if adapter is None else [gguf, adapter / ADAPTER, adapter / WEIGHTS]
    folder = cache_folder() / f"{gguf.stem}-{_digest(files)}"
    if folder.is_dir():
        return folder
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():  # another process was first
            return folder
        progress(Event(stage="convert", done=0, total=1, unit="models", detail=f"{gguf.name}, once: half a minute"))
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            _convert(gguf, adapter, partial)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        progress(Event(stage="convert", done=1, total=1, unit="models", detail=gguf.name))
    return folder


def _gguf(path: Path) -> Path | None:
    """The GGUF file that ``path`` is, or that a folder without a config holds alone."""
    found = [path] if path.suffix == ".gguf" else sorted(path.glob("*.gguf"))
    return found[0] if len(found) == 1 and not (path / "config.json").is_file() else None


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _read(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    with _quiet():
        try:
            config = AutoConfig.from_pretrained(path)
            kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
            model = kind.from_pretrained(path, config=config, dtype=dtype, use_safetensors=True)
            tokenizer = AutoTokenizer.from_pretrained(path)
        except (OSError, ValueError, KeyError, RuntimeError, EOFError, SafetensorError) as error:
            raise ModelMissing(
                f"{path} cannot be loaded as a generator: {reason(error)} Give a model in safetensors or GGUF."
            ) from error
    return model, tokenizer


def _convert(gguf: Path, adapter: Path | None, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"gguf_file": gguf.name}
    with _quiet(), redirect_stderr(StringIO()):  # the reader of GGUF draws a bar of its own
        try:
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **source)
            model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **source)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, struct.error) as error:
            raise ModelMissing(f"{gguf} cannot be read: {reason(error)}. Give a whole GGUF file.") from error
        model.hf_quantizer, model.is_quantized = None, False  # it is plain now; transformers would refuse to save it
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        if adapter is not None:
            model = merge_adapter(model, adapter)
        model.half().save_pretrained(folder)  # GGUF's numbers are products of float16: float16 keeps them to 2^-11
        tokenizer.save_pretrained(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own bars: progress is the caller's to draw."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()
        logging.set_verbosity(level)
