"""Loading a generator's model: safetensors folders, GGUF files (converted once into a cache), LoRA adapters merged in."""

from __future__ import annotations

import hashlib
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

from memptm.encoders import precision
from memptm.errors import ModelMissing
from memptm.generation.llamacpp import LlamaCpp, load_llamacpp
from memptm.model_files import check_folder, check_weights, read_settings, read_weights, reason
from memptm.models import resolve
from memptm.progress import Event, Progress, silent

ADAPTER = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
REMEDY = "Copy the whole model again, or give another in safetensors or GGUF."
ADAPTER_REMEDY = "Copy the adapter again, or train it again."
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
        path, adapter = resolve(base_of(path)), path
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
        ModelMissing: there is no such file.
        ExtraMissing: llama.cpp is not installed.
    """
    gguf = _gguf(resolve(name))
    if gguf is None:
        raise ModelMissing(f"{name} holds no GGUF file, which llama.cpp needs. Give one, or leave llama.cpp out.")
    return load_llamacpp(gguf)


def bfloat16_is_faster() -> bool:
    """Whether the generator computes in bfloat16: on a GPU, and on a processor where that is faster than float32."""
    return torch.cuda.is_available() or precision.bfloat16_is_faster()


def base_of(folder: Path) -> str:
    """The name of the model that the adapter in ``folder`` was trained on.

    Raises:
        ModelMissing: the adapter's files are missing or damaged.
    """
    name = read_settings(folder / ADAPTER, remedy=ADAPTER_REMEDY).get("base_model_name_or_path")
    if not isinstance(name, str):
        raise ModelMissing(f"{folder / ADAPTER} names no base_model_name_or_path. {ADAPTER_REMEDY}")
    check_weights(folder / WEIGHTS, remedy=ADAPTER_REMEDY)
    return name


def merge_adapter(model: Any, folder: Path) -> Any:
    """``model`` with the LoRA adapter of ``folder`` added into its weights, so that it costs nothing when answering.

    Plain LoRA is added here: W + scale · B A; importing peft takes longer than loading the model. The rest is peft's.

    Raises:
        ModelMissing: the adapter is damaged, or of another model.
    """
    settings = read_settings(folder / ADAPTER, remedy=ADAPTER_REMEDY)
    if settings.get("peft_type") != "LORA" or settings.get("bias", "none") != "none" or any(map(settings.get, UNUSUAL)):
        from peft import PeftModel

        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    weights = read_weights(folder / WEIGHTS, remedy=ADAPTER_REMEDY)
    try:
        scale = settings["lora_alpha"] / settings["r"]
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise ModelMissing(f"{folder / ADAPTER} holds no lora_alpha and r. {ADAPTER_REMEDY}") from error
    modules = {key.removesuffix(".lora_A.weight").removesuffix(".lora_B.weight") for key in weights}
    with torch.no_grad():
        for name in sorted(modules):
            module = name.removeprefix("base_model.model.")
            try:
                up, down = (weights[f"{name}.lora_{part}.weight"].float() for part in ("B", "A"))
                target = model.get_submodule(module).weight
                target += (scale * (up @ down)).to(target)
            except (KeyError, AttributeError, RuntimeError) as error:
                raise ModelMissing(
                    f"{folder / WEIGHTS} does not fit its base model ({module}). Give the base it was trained on."
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

    check_folder(path, remedy=REMEDY)
    with _quiet():
        try:
            config = AutoConfig.from_pretrained(path)
            kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
            model, loaded = kind.from_pretrained(
                path, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(path)
        except Exception as error:  # of many kinds, by what is wrong and by the model's architecture
            raise ModelMissing(f"{path} cannot be loaded as a generator ({reason(error)}). {REMEDY}") from error
    if loaded["missing_keys"]:  # transformers draws them at random, and says so in its log
        raise ModelMissing(f"{path} holds no {min(loaded['missing_keys'])}, which its config.json asks for. {REMEDY}")
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
