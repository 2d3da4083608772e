"""What was read so far, in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from memptm.errors import InputError

MASKED_DOCUMENT = -1  # in place of a document's number: no query sees it
SOME = 64  # numbers at either end of a weight that its fingerprint sees


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write them, whole or not at all."""
    half = path.with_name(f"{path.name}.part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, half)
    half.replace(path)


def fingerprint(model: nn.Module) -> str:
    """A hash of some numbers of every weight, the same in float32 and bfloat16; training changes it."""
    digest = hashlib.blake2b(digest_size=8)
    for name, weight in model.named_parameters():
        flat = weight.detach().flatten()
        some = torch.cat([flat[:SOME], flat[-SOME:]]).cpu().to(torch.bfloat16)
        digest.update(name.encode() + str(tuple(weight.shape)).encode() + some.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def signed(maker: nn.Module | None, known: str = "") -> dict[str, Tensor]:
    """{"model": the fingerprint of ``maker``'s weights, or the ``known`` one}, for a file; {} where there is none."""
    name = known if maker is None else fingerprint(maker)
    return {"model": torch.tensor(list(name.encode()), dtype=torch.uint8)} if name else {}


def signature(tensors: Mapping[str, Tensor]) -> str:
    """What ``signed`` wrote; "" where a file of before has none."""
    return bytes(tensors["model"].tolist()).decode("utf-8", "replace") if "model" in tensors else ""


def check_signature(known: str, model: nn.Module) -> None:
    """That a state of the model ``known`` is this model's; "" is anyone's.

    Raises:
        InputError: it is of other weights.
    """
    if known and known != fingerprint(model):
        raise InputError(
            "The state is of another model's weights. Load the model that made it, or begin the stream anew."
        )


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
