"""Reading the files of a model's folder: what is missing or damaged is one line that names the file and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from memptm.errors import ModelMissing

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
VOCABULARIES = (TOKENIZER, "vocab.txt", "vocab.json", "*.model")  # any of these makes a tokenizer
Config = TypeVar("Config")
PLAIN = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}


def reason(error: Exception) -> str:
    """What a library says is wrong, in a line of at most 200 characters."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    first = lines[min(1, len(lines) - 1)] if lines[0].startswith("Error(s) in loading") else lines[0]
    return (f"no {first}" if isinstance(error, KeyError) else first)[:200]


def read_settings(path: Path, *, remedy: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelMissing: there is none; the message ends with ``remedy``, a sentence that says what to do.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelMissing(f"{path} cannot be read ({reason(error)}). {remedy}") from error
    if not isinstance(found, dict):
        raise ModelMissing(f"{path} holds no JSON object. {remedy}")
    return found


def read_config(
    kind: type[Config], path: Path, *, remedy: str, renamed: Mapping[str, str] | None = None, known_only: bool = False
) -> Config:
    """A model's settings, a frozen dataclass, as the JSON beside its weights has them.

    Args:
        kind: the dataclass.
        path: the JSON.
        remedy: a sentence that says what to do where it cannot be read.
        renamed: keys of files that were written before → today's.
        known_only: pass over keys that the dataclass does not have; otherwise they are refused.
    Raises:
        ModelMissing: it is no JSON object, a key is missing or unknown, or a value is of another type.
    """
    hints, own = get_type_hints(kind), {one.name for one in fields(kind)}  # type: ignore[arg-type]
    found = {(renamed or {}).get(key, key): value for key, value in read_settings(path, remedy=remedy).items()}
    found = {key: value for key, value in found.items() if key in own or not known_only}
    for key, value in found.items():
        types = PLAIN.get(hints.get(key, object))
        if types and not (isinstance(value, types) and (bool in types or not isinstance(value, bool))):
            raise ModelMissing(f'{path} has {json.dumps(value)} as its "{key}". {remedy}')
    try:
        return kind(**found)
    except TypeError as error:
        raise ModelMissing(f"{path} does not fit: {_keys_said(error)}. {remedy}") from error


def read_weights(path: Path, *, remedy: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ModelMissing: the file is missing or damaged; the message ends with ``remedy``.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelMissing(f"{path} cannot be read ({reason(error)}). {remedy}") from error


def check_weights(path: Path, *, remedy: str) -> frozenset[str]:
    """The names of the tensors in a safetensors file that is whole, as far as its header says; loads no torch.

    Raises:
        ModelMissing: the file is missing or damaged; the message ends with ``remedy``.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return frozenset(file.keys())
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelMissing(f"{path} cannot be read ({reason(error)}). {remedy}") from error


def fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    remedy: str,
    elsewhere: Callable[[str], bool] = lambda _: False,
    assign: bool = False,
) -> None:
    """Give ``module`` the weights that were read from ``path``.

    Args:
        module: takes them.
        tensors: by the module's names.
        path: of the file, for the message.
        remedy: a sentence that says what to do where they do not fit.
        elsewhere: whether a weight of this name comes from another file, and has no place in this one.
        assign: the module takes the tensors as they are, their type included, instead of copying their numbers.
    Raises:
        ModelMissing: one is missing, has no place, or is of another shape.
    """
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    for name in sorted(wanted.keys() - tensors.keys()):
        if not elsewhere(name):
            raise ModelMissing(f"{path} holds no {name}, which its {CONFIG} asks for. {remedy}")
    for name, tensor in tensors.items():
        if name not in wanted or elsewhere(name):
            raise ModelMissing(f"{path} holds {name}, for which its {CONFIG} has no place. {remedy}")
        if tensor.shape != wanted[name]:
            shapes = f"{tuple(tensor.shape)}, and its {CONFIG} asks for {tuple(wanted[name])}"
            raise ModelMissing(f"{path} holds {name} of shape {shapes}. {remedy}")
    module.load_state_dict(dict(tensors), strict=False, assign=assign)


def read_tokenizer(folder: Path, *, remedy: str, words: int | None = None) -> Tokenizer:
    """The tokenizer.json in ``folder``, without padding and truncation; text that looks like a special token stays text.

    Args:
        folder: of the model.
        remedy: a sentence that says what to do where it cannot be read.
        words: how many words the model has vectors for.
    Raises:
        ModelMissing: it is missing or damaged, or has more words than the model.
    """
    from tokenizers import Tokenizer

    path = folder / TOKENIZER
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise ModelMissing(f"{path} cannot be read ({reason(error)}). {remedy}") from error
    if words is not None and tokenizer.get_vocab_size() > words:
        raise ModelMissing(f"{path} has {tokenizer.get_vocab_size()} words, and the model {words}. {remedy}")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def check_folder(folder: Path, *, remedy: str) -> None:
    """That a model's folder is whole before another library loads it: settings, weights, tokenizer.

    Raises:
        ModelMissing: a file cannot be read, or there is nothing to make a tokenizer of.
    """
    for path in sorted(folder.rglob(CONFIG)):
        read_settings(path, remedy=remedy)
    for path in sorted(folder.rglob("*.safetensors")):
        check_weights(path, remedy=remedy)
    if not any(path.is_file() for name in VOCABULARIES for path in folder.rglob(name)):
        raise ModelMissing(f"{folder} holds no tokenizer ({', '.join(VOCABULARIES)}). {remedy}")


def _keys_said(error: TypeError) -> str:
    """What Python says of a wrong keyword, without the function's name."""
    return str(error).partition("() ")[2] or str(error)
