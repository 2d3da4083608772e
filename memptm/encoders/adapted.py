"""Encoders kept as what was trained: low-rank updates of another encoder's weights, and a memory of passages.

A folder of a few megabytes:

    encoder.json         {"base": name, "fingerprint": the base's, "layers"?, "passages"?, "rank"?: MemorySizes,
                          "only_conversations"?: see RecurrentEncoder}
    adapter.safetensors  low-rank updates (low_rank.py)
    memory.safetensors   a PassageMemory for each layer, where there is a memory
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memptm.encoders.base import Encoder
from memptm.encoders.sentence import BertEncoder
from memptm.errors import ModelMissing
from memptm.model_files import check_weights, read_settings, read_weights

if TYPE_CHECKING:
    from torch import Tensor

    from memptm.encoders.bert import Bert

SETTINGS, ADAPTER, MEMORY = "encoder.json", "adapter.safetensors", "memory.safetensors"
REMEDY = "Copy the whole folder again, or train the encoder again."


@dataclass(frozen=True, kw_only=True)
class MemorySizes:
    """Sizes of an encoder's memory of passages.

    Attributes:
        layers: how many have a memory, the topmost ones.
        passages: how many each reads back; 0: a passage reads itself again instead (the control of what memory is worth).
        rank: of the low-rank maps in it.
    """

    layers: int = 2
    passages: int = 2
    rank: int = 16


class AdaptedEncoder(BertEncoder):
    """A BERT encoder with low-rank updates added to its weights: as fast as without them.

    Args:
        name: what the user called it.
        folder: with SETTINGS and ADAPTER.
        base: the encoder that was adapted.
    Raises:
        ModelMissing: the folder is damaged.
    """

    def __init__(self, name: str, folder: Path, base: BertEncoder) -> None:
        self._base = base
        super().__init__(name, self._base.folder, self._base.pooling)
        self._adapter = folder / ADAPTER
        check_weights(self._adapter, remedy=REMEDY)
        self.fingerprint = combined_fingerprint(self._base.fingerprint, self._adapter)

    def bert(self) -> Bert:
        from memptm.encoders.low_rank import merge

        updates = read_weights(self._adapter, remedy=REMEDY)
        try:
            return merge(self._base.bert(), updates)
        except ModelMissing as error:
            raise ModelMissing(f"{self._adapter} does not fit {self._base.name}: {error} {REMEDY}") from error


def save_settings(folder: Path, base: BertEncoder, **more: int) -> None:
    """Write SETTINGS for an encoder made from ``base``."""
    settings = {"base": base.name, "fingerprint": base.fingerprint, **more}
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def save_adapter(folder: Path, base: BertEncoder, updates: dict[str, Tensor]) -> None:
    """Write an AdaptedEncoder's folder; ``updates`` in bfloat16."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: one.detach().bfloat16().contiguous() for name, one in updates.items()}, folder / ADAPTER)
    save_settings(folder, base)


def save_memory(folder: Path, base: BertEncoder, paths: dict[str, Tensor], sizes: MemorySizes) -> None:
    """Write a RecurrentEncoder's folder, of ``base`` and the state of its paths, in bfloat16."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: one.detach().bfloat16().contiguous() for name, one in paths.items()}, folder / MEMORY)
    save_settings(folder, base, **asdict(sizes))


def rebase(folder: Path, base: BertEncoder) -> None:
    """Name another base in ``folder``: the one that the adapter beside it was trained on."""
    save_settings(folder, base, **asdict(sizes_of(base.name, settings_of(folder))))


def sizes_of(name: str, settings: dict[str, Any]) -> MemorySizes:
    """Of the memory of an encoder.

    Raises:
        ModelMissing: its settings do not say.
    """
    try:
        return MemorySizes(**{one: int(settings[one]) for one in ("layers", "passages", "rank")})
    except (KeyError, ValueError, TypeError) as error:
        raise ModelMissing(f"{name} does not say how its memory was made ({error}). Train it again.") from error


def settings_of(folder: Path) -> dict[str, Any]:
    """Of an encoder's folder.

    Raises:
        ModelMissing: they cannot be read.
    """
    found = read_settings(folder / SETTINGS, remedy=REMEDY)
    try:
        return {"base": str(found["base"]), "fingerprint": str(found["fingerprint"]), **found}
    except KeyError as error:
        raise ModelMissing(f"{folder / SETTINGS} has no {error}. {REMEDY}") from error


def without_memory(encoder: Encoder) -> BertEncoder | None:
    """The BERT that ``encoder`` is, or is beside its memory; None where memptm cannot train it."""
    alone = getattr(encoder, "alone", encoder)
    return alone if isinstance(alone, BertEncoder) else None


def combined_fingerprint(base: str, *paths: Path, settings: Mapping[str, int] | None = None) -> str:
    """A fingerprint of the base's, of these files, and of settings that change keys.

    Raises:
        ModelMissing: one is not there.
    """
    digest = hashlib.sha256(base.encode())
    for path in paths:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise ModelMissing(f"{path} cannot be read ({error.strerror}). Train the encoder again.") from error
    if settings is not None:
        digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()[:16]
