"""What was read so far, in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from memptm.errors import InputError


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write them, whole or not at all."""
    half = path.with_name(f"{path.name}.part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, half)
    half.replace(path)


def read_tensors(path: Path, *names: str) -> dict[str, Tensor]:
    """The tensors of a file that ``write_tensors`` made, ``names`` among them.

    Raises:
        InputError: the file is missing or damaged, or one of them is not in it.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} holds no state of a stream ({error}). Begin the stream anew.") from error
    missing = [name for name in names if name not in tensors]
    if missing:
        raise InputError(f"{path} holds another kind of state (no {missing[0]}). Begin the stream anew.")
    return tensors
