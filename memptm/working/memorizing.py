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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from memptm.errors import ExtraMissing, InputError
from memptm.working.files import read_tensors, write_tensors

LINKS, DEPTH = 16, 64  # of the approximate index's graph: neighbours of a key, and how far it is searched
EARLIER = -1  # a document's number before anything was stored


class ExternalMemory:
    """Keys and values of a layer's past, for each stream and head. It belongs to the streams: adding changes it.

    Args:
        rows, heads, width: b, h, d. limit: tokens a stream keeps, the oldest go; 0: no limit. exact: compare with every key;
            else through a graph (HNSW), whose search hardly grows with the memory.
    """

    def __init__(self, rows: int, heads: int, width: int, *, limit: int = 0, exact: bool = True) -> None:
        self.rows, self.heads, self.width, self.limit, self.exact = rows, heads, width, limit, exact
        none = np.empty((heads, 0, width), np.float32)
        self._keys: list[NDArray[np.float32]] = [none for _ in range(rows)]
        self._values: list[NDArray[np.float32]] = [none for _ in range(rows)]
        self._graphs: list[list[Any]] = [[] for _ in range(rows)]
        self.documents = [EARLIER] * rows

    def size(self, row: int) -> int:
        """Tokens that a stream has stored."""
        return int(self._keys[row].shape[1])

    def add(self, keys: Tensor, values: Tensor, documents: Tensor) -> None:
        """Store a segment's unit keys and values (b h i d); documents (b i) as they stand in: a new one drops the old."""
        for row in range(self.rows):
            numbers = documents[row].tolist()
            last = numbers[-1]
            begin = max((n + 1 for n, number in enumerate(numbers) if number != last), default=0)
            if begin or self.documents[row] != last:
                self.reset([row])
            self.documents[row] = last
            new = [_numpy(part[row, :, begin:]) for part in (keys, values)]
            self._keys[row] = np.concatenate([self._keys[row], new[0]], axis=1)
            self._values[row] = np.concatenate([self._values[row], new[1]], axis=1)
            over = self.size(row) - self.limit if self.limit else 0
            if over > 0:
                self._keys[row], self._values[row] = self._keys[row][:, over:], self._values[row][:, over:]
            if not self.exact:
                self._link(row, new[0], anew=over > 0)

    def _link(self, row: int, new: NDArray[np.float32], *, anew: bool) -> None:
        """Bring the graphs up to date; they cannot forget, so that a cut memory is linked anew."""
        faiss = _faiss()
        if anew or not self._graphs[row]:
            self._graphs[row] = [
                faiss.IndexHNSWFlat(self.width, LINKS, faiss.METRIC_INNER_PRODUCT) for _ in range(self.heads)
            ]
            new = self._keys[row]
        for graph, keys in zip(self._graphs[row], new, strict=True):
            graph.hnsw.efSearch = DEPTH
            graph.add(np.ascontiguousarray(keys))

    def search(self, queries: Tensor, *, top: int) -> tuple[Tensor, Tensor, Tensor]:
        """For unit queries (b h i d): keys and values (b h i k d) of the nearest, and booleans (b h i k) where there is one."""
        shape = (*queries.shape[:3], top)
        keys, values = (np.zeros((*shape, self.width), np.float32) for _ in range(2))
        there = np.zeros(shape, bool)
        for row in range(self.rows):
            count = min(top, self.size(row))
            for head in range(self.heads if count else 0):
                nearest = self._nearest(row, head, _numpy(queries[row, head]), count)
                found = np.clip(nearest, 0, None)
                keys[row, head, :, :count] = self._keys[row][head][found]
                values[row, head, :, :count] = self._values[row][head][found]
                there[row, head, :, :count] = nearest >= 0
        like = queries.detach()
        return (
            torch.from_numpy(keys).to(like),
            torch.from_numpy(values).to(like),
            torch.from_numpy(there).to(like.device),
        )

    def _nearest(self, row: int, head: int, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        if self.exact:
            _, found = _faiss().knn(queries, self._keys[row][head], count, metric=_faiss().METRIC_INNER_PRODUCT)
        else:
            _, found = self._graphs[row][head].search(queries, count)
        return np.asarray(found, np.int64)

    def reset(self, rows: Sequence[int]) -> None:
        """Forget what these streams stored."""
        for row in rows:
            self._keys[row], self._values[row] = self._keys[row][:, :0], self._values[row][:, :0]
            self._graphs[row], self.documents[row] = [], EARLIER

    def tensors(self) -> dict[str, Tensor]:
        """All that it holds, for a file."""
        found = {"documents": torch.tensor(self.documents)}
        for row in range(self.rows):
            found[f"keys/{row}"] = torch.from_numpy(np.ascontiguousarray(self._keys[row]))
            found[f"values/{row}"] = torch.from_numpy(np.ascontiguousarray(self._values[row]))
        return found

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Hold what ``tensors`` gave."""
        self.documents = [int(one) for one in tensors["documents"]]
        for row in range(self.rows):
            self._keys[row], self._values[row] = tensors[f"keys/{row}"].numpy(), tensors[f"values/{row}"].numpy()
            self._graphs[row] = []
            if not self.exact and self.size(row):
                self._link(row, self._keys[row], anew=True)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_tensors(path, self.tensors())

    def load(self, path: Path) -> None:
        """Hold what ``save`` wrote.

        Raises:
            InputError: the file is missing, damaged, or of other sizes.
        """
        tensors = read_tensors(path, "documents", "keys/0")
        if tensors["keys/0"].shape[::2] != (self.heads, self.width) or len(tensors["documents"]) != self.rows:
            raise InputError(f"{path} holds the memory of another model or of other streams. Begin the stream anew.")
        self.take(tensors)


class Memorizing(nn.Module):
    """Mixes what local attention found with what the external memory holds.

    Args:
        heads: h. top: k, neighbours read. The gate begins nearly closed, so that a trained model is not disturbed.
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
            local: what local attention found. query, key, value: (b h i d), the segment's, without positions.
            documents: (b i): a memory of another document is not read.
        """
        unit = functional.normalize(query, dim=-1)
        keys, values, there = memory.search(unit, top=self.top)
        own = documents == torch.tensor(memory.documents, device=documents.device).unsqueeze(1)
        there = there & own[:, None, :, None]
        scores = torch.einsum("bhid,bhikd->bhik", unit, keys) * self.sharpness.exp()[:, None, None]
        # A query without neighbours reads zeros, and its gate is shut.
        weights = scores.masked_fill(~there, -1e4).softmax(dim=-1)
        read = torch.einsum("bhik,bhikd->bhid", weights, values)
        gate = self.gate.sigmoid()[:, None, None] * there.any(dim=-1, keepdim=True)
        memory.add(functional.normalize(key, dim=-1), value, documents)
        return gate * read + (1 - gate) * local


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ExtraMissing(
            'FAISS is not installed. Get it with: pip install "memptm[cpu]" (or "memptm[gpu]")'
        ) from error
    return faiss
