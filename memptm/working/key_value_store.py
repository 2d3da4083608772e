"""What a layer stored of one stream, and the nearest of it: the store behind an external memory.

Axes: h head, t token, i query, d width of a head.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memptm.extras import faiss_module

LINKS, DEPTH = 16, 64  # of the graph: neighbours of a key, and how far it is searched
Floats = NDArray[np.float32]


class KeyValueStore:
    """Keys and values, oldest first, in a buffer with room behind, so that adding seldom moves what is there.

    Args:
        heads, width: h, d.
        limit: tokens kept, the oldest go; 0: no limit.
        exact: compare with every key; else through a graph (HNSW), whose search hardly grows. A graph cannot forget:
            what went is passed over until half of it is gone.
    """

    def __init__(self, heads: int, width: int, *, limit: int = 0, exact: bool = True) -> None:
        self.limit, self.exact = limit, exact
        self._buffers = np.empty((2, heads, 0, width), np.float32)
        self._begin = self._end = 0
        self._graphs: list[Any] = []
        self._linked = 0  # where in the buffer the graphs' first key stands; below 0 once it was left behind

    def __len__(self) -> int:
        """Tokens kept."""
        return self._end - self._begin

    @property
    def keys(self) -> Floats:
        """(h t d)."""
        kept: Floats = self._buffers[0, :, self._begin : self._end]
        return kept

    @property
    def values(self) -> Floats:
        """(h t d)."""
        kept: Floats = self._buffers[1, :, self._begin : self._end]
        return kept

    def add(self, keys: Floats, values: Floats) -> None:
        """Store these (h t d) behind what is there."""
        count = keys.shape[1]
        if self._end + count > self._buffers.shape[2]:
            self._move(len(self) + count)
        self._buffers[0, :, self._end : self._end + count] = keys
        self._buffers[1, :, self._end : self._end + count] = values
        self._end += count
        if self.limit:
            self._begin = max(self._begin, self._end - self.limit)
        if not self.exact:
            self._link(count)

    def nearest(self, head: int, queries: Floats, count: int) -> NDArray[np.int64]:
        """(i, count) places of the keys with the largest products with queries (i d); −1 where none was found."""
        faiss = faiss_module()
        if self.exact:
            _, found = faiss.knn(queries, self.keys[head], count, metric=faiss.METRIC_INNER_PRODUCT)
            return np.asarray(found, np.int64)
        kept = faiss.IDSelectorRange(self._begin - self._linked, self._end - self._linked)
        settings = faiss.SearchParametersHNSW(efSearch=max(DEPTH, 2 * count), sel=kept)
        _, found = self._graphs[head].search(queries, count, params=settings)
        return np.where(found < 0, -1, found + self._linked - self._begin).astype(np.int64)

    def _move(self, needed: int) -> None:
        """To the front of a buffer of twice what is needed."""
        heads, width = self._buffers.shape[1], self._buffers.shape[3]
        larger = np.empty((2, heads, 2 * needed, width), np.float32)
        larger[:, :, : len(self)] = self._buffers[:, :, self._begin : self._end]
        self._buffers = larger
        self._linked -= self._begin
        self._begin, self._end = 0, self._end - self._begin

    def _link(self, count: int) -> None:
        """Bring the graphs up to date with the newest ``count`` keys."""
        faiss = faiss_module()
        if not self._graphs or (self.limit and self._end - self._linked > 2 * self.limit):
            heads, width = self._buffers.shape[1], self._buffers.shape[3]
            self._graphs = [faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT) for _ in range(heads)]
            self._linked, count = self._begin, len(self)
        for graph, keys in zip(self._graphs, self._buffers[0], strict=True):
            graph.add(keys[self._end - count : self._end])
