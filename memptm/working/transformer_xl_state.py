"""Working memory of a Transformer-XL: the newest states of every layer, a row a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from memptm.errors import InputError
from memptm.working.relative import KeysValues
from memptm.working.state_files import (
    MASKED_DOCUMENT,
    check_signature,
    read_tensors,
    signature,
    signed,
    write_tensors,
)


class Cache(NamedTuple):
    """``layers``: keys and values of the memory. ``relative``: (h n+1 d) of the distances n − 1 … 0, a tensor a layer."""

    layers: tuple[KeysValues, ...]
    relative: tuple[Tensor, ...]


@dataclass(frozen=True)
class TransformerXLState:
    """What was read so far, as far as it is kept. Immutable: a step returns a new one.

    Attributes:
        layers: (layers b m c) inputs of each layer, oldest first; m grows up to the model's memory length.
        documents: (b m) number of the document each stands in; queries see their own document alone.
        cache: what the layers make of it, kept while nothing learns, for a token at a time would pay for all of it
            again. It is right for the weights that made it, and is not saved.
        current: (b,) number of the document each stream is in, which rises with every reset; None: as ``documents``
            ends.
        maker: the model that read.
        model: the fingerprint of its weights where a file said so; compared at the first use.
    """

    layers: Tensor
    documents: Tensor
    cache: Cache | None = None
    current: Tensor | None = None
    maker: nn.Module | None = field(default=None, compare=False, repr=False)
    model: str = ""

    @classmethod
    def empty(cls, layers: int, batch: int, width: int, *, like: Tensor) -> TransformerXLState:
        """No memory yet; of ``like``'s device and precision."""
        none = torch.empty(batch, 0, dtype=torch.long, device=like.device)
        return cls(like.new_empty(layers, batch, 0, width), none)

    @property
    def batch(self) -> int:
        """Streams."""
        return self.layers.shape[1]

    def __len__(self) -> int:
        """States kept of a layer."""
        return self.layers.shape[2]

    @property
    def unread(self) -> bool:
        """Whether nothing was read."""
        return self.current is None and not len(self)

    def document(self) -> Tensor:
        """(b, 1) number of the document each stream is in; 0 where nothing was read."""
        if self.current is not None:
            return self.current.unsqueeze(1)
        if not len(self):
            return torch.zeros(self.batch, 1, dtype=torch.long, device=self.documents.device)
        return self.documents[:, -1:].clamp(min=0)

    def written(self, inputs: Sequence[Tensor], documents: Tensor, *, length: int) -> TransformerXLState:
        """With a segment's inputs of each layer (b i c) behind what was there, cut to the ``length`` newest, detached."""
        new = torch.stack([one.detach() for one in inputs])
        current = torch.cat([self.document(), documents], dim=1)[:, -1]
        if not length:
            return TransformerXLState(new[:, :, :0], documents[:, :0], current=current, maker=self.maker)
        layers = torch.cat([self.layers, new], dim=2)[:, :, -length:]
        kept = torch.cat([self.documents, documents], dim=1)[:, -length:]
        return TransformerXLState(layers, kept, current=current, maker=self.maker)

    def cached(self, known: Sequence[KeysValues], relative: tuple[Tensor, ...]) -> TransformerXLState:
        """With keys and values of memory and segment, a pair a layer, cut to what is kept."""
        start = known[0].keys.shape[2] - len(self)
        kept = tuple(KeysValues(one.keys[:, :, start:], one.values[:, :, start:]) for one in known)
        return replace(self, cache=Cache(kept, relative))

    def reset(self, rows: Sequence[int]) -> TransformerXLState:
        """With the memory of these streams forgotten, and each in a new document; the others keep theirs."""
        documents, current = self.documents.clone(), self.document()[:, 0].clone()
        documents[list(rows)] = MASKED_DOCUMENT
        current[list(rows)] += 1
        return replace(self, documents=documents, current=current)

    def for_model(self, model: nn.Module, *, layers: int, batch: int, width: int, like: Tensor) -> TransformerXLState:
        """As ``model`` takes it: (layers b m c) of ``like``'s device and precision.

        Raises:
            InputError: it is of another model, or of other streams.
        """
        if self.batch != batch:
            raise InputError(
                f"The state is of {self.batch} streams, the segment of {batch}. "
                f"Give as many rows, or begin anew with start({batch})."
            )
        found, wanted = (len(self.layers), self.layers.shape[3]), (layers, width)
        if found != wanted or self.documents.shape != (batch, len(self)):
            raise InputError(
                f"The state is of {found[0]} layers of width {found[1]}, the model has {wanted[0]} of {wanted[1]}. "
                "Load the model that made it, or begin the stream anew."
            )
        check_signature(self.model, model)
        moved = self.layers.to(like)
        return TransformerXLState(
            moved,
            self.documents.to(like.device),
            self.cache if moved is self.layers and self.maker is model else None,
            None if self.current is None else self.current.to(like.device),
            model,
        )

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        tensors = {"layers": self.layers, "documents": self.documents, "current": self.document()[:, 0]}
        write_tensors(path, tensors | signed(self.maker, self.model))

    @classmethod
    def load(cls, path: Path) -> TransformerXLState:
        """Read what ``save`` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        tensors = read_tensors(path, "layers", "documents")
        layers, documents, current = tensors["layers"], tensors["documents"], tensors.get("current")
        if layers.dim() != 4 or documents.dim() != 2 or (current is not None and current.shape != layers.shape[1:2]):
            raise InputError(f"{path} holds another kind of state. Begin the stream anew.")
        return cls(layers, documents, current=current, model=signature(tensors))
