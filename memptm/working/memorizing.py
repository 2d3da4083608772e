"""External memory inside attention: a layer also reads the nearest of all its past keys, however long ago they were.

Source: Memorizing Transformers, Wu et al. 2022 (arXiv 2203.08913). Keys and values of a layer are stored as they are made,
per stream and head; a query reads its k nearest, found by inner product of unit vectors (so that old keys stay comparable
while the model learns) with FAISS, and a gate for each head mixes that with local attention. Nothing stored gets a gradient.
Axes: b batch, h head, i query, k neighbour, d width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from memptm.errors import InputError
from memptm.working.key_value_store import KeyValueStore
from memptm.working.state_files import check_signature, read_tensors, signature, signed, write_tensors

EARLIER = -1  # a document's number before anything was stored


class ExternalMemory:
    """Keys and values of a layer's past, for each stream and head.

    It belongs to its streams, row by row: adding changes it, and other streams need one of their own, or a ``reset``.

    Args:
        rows: b, streams.
        heads: h.
        width: d.
        limit: tokens a stream keeps, the oldest go; 0: no limit.
        exact: compare with every key; else through a graph (HNSW), whose search hardly grows with the memory.
        reader: the model, and which of its layers; None: any.
    """

    def __init__(
        self,
        rows: int,
        heads: int,
        width: int,
        *,
        limit: int = 0,
        exact: bool = True,
        reader: tuple[nn.Module, int] | None = None,
    ) -> None:
        self.reader = reader
        self.rows, self.heads, self.width, self.limit, self.exact = rows, heads, width, limit, exact
        self._stores = [self._empty() for _ in range(rows)]
        self.documents = [EARLIER] * rows

    def _empty(self) -> KeyValueStore:
        return KeyValueStore(self.heads, self.width, limit=self.limit, exact=self.exact)

    def check(self, reader: tuple[nn.Module, int], batch: int, begun: Tensor | None) -> None:
        """That it is this layer's, and these streams'.

        Args:
            reader: the model, and which of its layers.
            batch: streams that are read.
            begun: where the streams are new, (b, 1) the number of the document that each begins; else None.
        Raises:
            InputError: it is another layer's or model's, of another number of streams, or holds what new streams have
                not read.
        """
        if self.reader is not None and (self.reader[0] is not reader[0] or self.reader[1] != reader[1]):
            raise InputError(
                f"This external memory is another model's, or layer {self.reader[1]}'s, and layer {reader[1]} reads it. "
                "Take the memories from the model's external(), and give them in that order."
            )
        self._check_rows(batch)
        for row, number in enumerate([] if begun is None else begun[:, 0].tolist()):
            if self.size(row) and self.documents[row] == number:
                raise InputError(
                    f"The external memory holds {self.size(row)} tokens of stream {row}, of which the state has read none. "
                    "Go on with the state that was read with it, or reset() the memory."
                )

    def size(self, row: int) -> int:
        """Tokens that a stream has stored."""
        return len(self._stores[row])

    def add(self, keys: Tensor, values: Tensor, documents: Tensor) -> None:
        """Store a segment's keys and values (b h i d); documents (b i) as they stand in: a new one drops the old.

        Raises:
            InputError: of another number of streams.
        """
        self._check_rows(len(keys))
        for row in range(self.rows):
            numbers = documents[row].tolist()
            last = numbers[-1]
            begin = max((n + 1 for n, number in enumerate(numbers) if number != last), default=0)
            if begin or self.documents[row] != last:
                self.reset([row])
            self.documents[row] = last
            self._stores[row].add(_numpy(keys[row, :, begin:]), _numpy(values[row, :, begin:]))

    def search(self, queries: Tensor, *, top: int) -> tuple[Tensor, Tensor, Tensor]:
        """For queries (b h i d): keys and values (b h i k d) of the nearest, and booleans (b h i k) where there is one.

        Raises:
            InputError: of another number of streams.
        """
        self._check_rows(len(queries))
        shape = (*queries.shape[:3], top)
        keys, values = (np.zeros((*shape, self.width), np.float32) for _ in range(2))
        there = np.zeros(shape, bool)
        for row, store in enumerate(self._stores):
            count = min(top, len(store))
            for head in range(self.heads if count else 0):
                nearest = store.nearest(head, _numpy(queries[row, head]), count)
                found = np.clip(nearest, 0, None)
                keys[row, head, :, :count] = store.keys[head][found]
                values[row, head, :, :count] = store.values[head][found]
                there[row, head, :, :count] = nearest >= 0
        like = queries.detach()
        return (
            torch.from_numpy(keys).to(like),
            torch.from_numpy(values).to(like),
            torch.from_numpy(there).to(like.device),
        )

    def reset(self, rows: Sequence[int]) -> None:
        """Forget what these streams stored."""
        for row in rows:
            self._stores[row], self.documents[row] = self._empty(), EARLIER

    def _check_rows(self, batch: int) -> None:
        if batch != self.rows:
            raise InputError(
                f"The external memory belongs to {self.rows} streams, and {batch} are read. "
                f"Take one of {batch} from the model's external(), or read the streams that it belongs to."
            )

    def tensors(self) -> dict[str, Tensor]:
        """All that it holds, for a file."""
        found = {"documents": torch.tensor(self.documents)}
        for row, store in enumerate(self._stores):
            found[f"keys/{row}"] = torch.from_numpy(store.keys.copy())
            found[f"values/{row}"] = torch.from_numpy(store.values.copy())
        return found

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Hold what ``tensors`` gave."""
        self.documents = [int(one) for one in tensors["documents"]]
        for row in range(self.rows):
            self._stores[row] = self._empty()
            self._stores[row].add(tensors[f"keys/{row}"].numpy(), tensors[f"values/{row}"].numpy())

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        about = {} if self.reader is None else {"layer": torch.tensor(self.reader[1]), **signed(self.reader[0])}
        write_tensors(path, self.tensors() | about)

    def load(self, path: Path) -> None:
        """Hold what ``save`` wrote.

        Raises:
            InputError: the file is missing, damaged, of other sizes, or of another layer or other weights.
        """
        tensors = read_tensors(path, "documents")
        names = [f"{kind}/{row}" for row in range(self.rows) for kind in ("keys", "values")]
        stored = [tensors[name] for name in names if name in tensors]
        same = len(tensors["documents"]) == self.rows and len(stored) == len(names)
        for keys, values in zip(stored[::2], stored[1::2], strict=False):
            same = (
                same and keys.dim() == 3 and keys.shape[::2] == (self.heads, self.width) and keys.shape == values.shape
            )
        if not same:
            raise InputError(f"{path} holds the memory of another model or of other streams. Begin the stream anew.")
        if self.reader is not None:
            model, layer = self.reader
            if int(tensors.get("layer", torch.tensor(layer))) != layer:
                raise InputError(
                    f"{path} holds the memory of layer {int(tensors['layer'])}, not {layer}. Give that file."
                )
            check_signature(signature(tensors), model)
        self.take(tensors)


class Memorizing(nn.Module):
    """Mixes what local attention found with what the external memory holds.

    Args:
        heads: h.
        top: k, neighbours read. The gate begins nearly closed, so that a trained model is not disturbed.
    """

    def __init__(self, heads: int, *, top: int = 32) -> None:
        super().__init__()
        self.top = top
        self.gate = nn.Parameter(torch.full((heads,), -3.0))
        self.sharpness = nn.Parameter(torch.full((heads,), math.log(10.0)))

    def forward(
        self, local: Tensor, query: Tensor, key: Tensor, value: Tensor, memory: ExternalMemory, documents: Tensor
    ) -> Tensor:
        """(b h i d) → (b h i d); then the segment's keys and values are stored.

        Args:
            local: what local attention found.
            query, key, value: (b h i d), the segment's, without positions.
            documents: (b i): a memory of another document is not read.
        """
        unit = functional.normalize(query, dim=-1)
        keys, values, there = memory.search(unit, top=self.top)
        own = documents == torch.tensor(memory.documents, device=documents.device).unsqueeze(1)
        there = there & own[:, None, :, None]
        scores = torch.einsum("bhid,bhikd->bhik", unit, keys) * self.sharpness.exp()[:, None, None]
        # A query without neighbours reads zeros, and its gate is 0.
        weights = scores.masked_fill(~there, -1e4).softmax(dim=-1)
        read = torch.einsum("bhik,bhikd->bhid", weights, values)
        gate = self.gate.sigmoid()[:, None, None] * there.any(dim=-1, keepdim=True)
        memory.add(functional.normalize(key, dim=-1), value, documents)
        return gate * read + (1 - gate) * local


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())
