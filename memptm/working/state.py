"""Working memory of a Transformer-XL: the newest states of every layer, a row a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from memptm.working.files import read_tensors, write_tensors
from memptm.working.relative import KeysValues

FORGOTTEN = -1  # in place of a document's number: no query sees it


class Cache(NamedTuple):
    """``layers``: keys and values of the memory. ``relative``: (h n+1 d) of the distances n − 1 … 0, a tensor a layer."""

    layers: tuple[KeysValues, ...]
    relative: tuple[Tensor, ...]


@dataclass(frozen=True)
class State:
    """What was read so far, as far as it is kept. Immutable: a step returns a new one.

    Attributes:
        layers: (layers b m c) inputs of each layer, oldest first; m grows up to the model's memory length.
        documents: (b m) number of the document each stands in; queries see their own document alone.
        cache: what the layers make of it, kept while nothing learns, for a token at a time would pay for all of it again.
            It is right for the weights that made it, and is not saved.
    """

    layers: Tensor
    documents: Tensor
    cache: Cache | None = None

    @classmethod
    def empty(cls, layers: int, batch: int, width: int, *, like: Tensor) -> State:
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

    def document(self) -> Tensor:
        """(b, 1) number of the document each stream is in; 0 where nothing was read."""
        if not len(self):
            return torch.zeros(self.batch, 1, dtype=torch.long, device=self.documents.device)
        return self.documents[:, -1:].clamp(min=0)

    def written(self, inputs: Sequence[Tensor], documents: Tensor, *, length: int) -> State:
        """With a segment's inputs of each layer (b i c) behind what was there, cut to the ``length`` newest, detached."""
        new = torch.stack([one.detach() for one in inputs])
        if not length:
            return State(new[:, :, :0], documents[:, :0])
        layers = torch.cat([self.layers, new], dim=2)[:, :, -length:]
        return State(layers, torch.cat([self.documents, documents], dim=1)[:, -length:])

    def cached(self, known: Sequence[KeysValues], relative: tuple[Tensor, ...]) -> State:
        """With keys and values of memory and segment, a pair a layer, cut to what is kept."""
        start = known[0].keys.shape[2] - len(self)
        kept = tuple(KeysValues(one.keys[:, :, start:], one.values[:, :, start:]) for one in known)
        return State(self.layers, self.documents, Cache(kept, relative))

    def reset(self, rows: Sequence[int]) -> State:
        """With the memory of these streams forgotten; the others keep theirs."""
        documents = self.documents.clone()
        documents[list(rows)] = FORGOTTEN
        return State(self.layers, documents, self.cache)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_tensors(path, {"layers": self.layers, "documents": self.documents})

    @classmethod
    def load(cls, path: Path) -> State:
        """Read what ``save`` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        tensors = read_tensors(path, "layers", "documents")
        return cls(tensors["layers"], tensors["documents"])
