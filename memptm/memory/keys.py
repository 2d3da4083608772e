"""Keys in FAISS: a cache of what Lance holds, brought up to date by id, rebuilt whenever in doubt."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from memptm.encoders.base import Keys
from memptm.extras import faiss_module
from memptm.memory.folder import replace
from memptm.memory.values import Ids

MAGIC = b"memptm-faiss-1\n"
FLAT_UP_TO = 50_000  # keys; above, exact search is slower than an inverted file with recall@10 ≥ 0.95
PROBES, PROBED_SHARE = 96, 0.15  # cells searched of an inverted file: at least so many, and this share of all
COMPARED = 4  # keys compared for each that is wanted, at least
GPU_DEPTH = 2048  # keys that FAISS finds on a GPU, at most
ONE_THREAD_UP_TO = 50_000  # keys × queries; waking other threads takes longer
GROWTH = 4  # an inverted file is trained anew when it has grown this much


class Damaged(Exception):
    """The file is not the cache this index wrote."""


@cache
def _threads() -> int:
    """How many threads FAISS takes if left alone."""
    return int(faiss_module().omp_get_max_threads())


class KeyIndex:
    """FAISS index over unit vectors with our ids: flat when small, an inverted file when large."""

    def __init__(self, dimension: int) -> None:
        self.dimension, self.version, self.trained_on = dimension, 0, 0
        _threads()
        self.ids: Ids = np.empty(0, np.int64)
        self._index = _flat(dimension)
        self._searched: Any = None

    @property
    def kind(self) -> str:
        return _kind(self.trained_on)

    def sync(self, ids: Ids, *, version: int, fetch: Callable[[Ids], Keys]) -> int:
        """Hold exactly ``ids`` (rising): remove the others, fetch the missing. Returns how many changed."""
        gone = np.setdiff1d(self.ids, ids, assume_unique=True)
        new = np.setdiff1d(ids, self.ids, assume_unique=True)
        large = len(ids) > FLAT_UP_TO
        outgrown = large and len(ids) > GROWTH * self.trained_on
        if outgrown or (not large and self.trained_on and len(ids) * 2 < FLAT_UP_TO):
            self._build(ids, fetch(ids))
        else:
            if len(gone):
                self._index.remove_ids(gone)
            if len(new):
                self._index.add_with_ids(fetch(new), new)
        self.ids, self.version = ids, version
        if len(gone) or len(new):
            self._searched = None
        return len(gone) + len(new)

    def _build(self, ids: Ids, keys: Keys) -> None:
        if len(ids) > FLAT_UP_TO:
            self._index, self.trained_on = _inverted(keys), len(ids)
        else:
            self._index, self.trained_on = _flat(self.dimension), 0
        self._index.add_with_ids(keys, ids)

    def search(self, queries: Keys, *, depth: int, allowed: Ids | None = None) -> list[list[tuple[int, float]]]:
        """The nearest keys of each query, as many as asked for wherever so many are there.

        A flat index is exact. Of an inverted file, the fewer keys a filter leaves, the more cells are searched: as many
        keys are compared as without one. All cells, which is exact, where that finds less than ``depth``.

        Args:
            queries: (n, dimension), unit vectors.
            depth: keys wanted a query.
            allowed: ids to choose from, rising; all if None.
        Returns:
            (id, cosine) a query, best first, equal ones by id: ``depth`` of them, or all that are allowed.
        """
        faiss = faiss_module()
        held = len(self.ids) if allowed is None else len(allowed)
        depth = min(depth, held)
        if depth == 0:
            return [[] for _ in queries]
        faiss.omp_set_num_threads(1 if len(queries) * len(self.ids) < ONE_THREAD_UP_TO else _threads())
        selector = None if allowed is None else faiss.IDSelectorBitmap(_bitmap(allowed))
        if not self.trained_on:
            return self._ranked(queries, depth, selector, cells=None)
        cells = self._cells(depth, held)
        found = self._ranked(queries, depth, selector, cells=cells)
        short = [n for n, row in enumerate(found) if len(row) < depth]
        if short and cells < self._index.nlist:
            for n, row in zip(
                short, self._ranked(queries[short], depth, selector, cells=self._index.nlist), strict=True
            ):
                found[n] = row
        return found

    def _cells(self, depth: int, held: int) -> int:
        """Cells of the inverted file to search for ``depth`` of the ``held`` keys that are allowed."""
        cells, probed = int(self._index.nlist), int(self._index.nprobe)
        compared = max(probed / cells * len(self.ids), COMPARED * depth)
        return min(math.ceil(compared / held * cells), cells)

    def _ranked(self, queries: Keys, depth: int, selector: Any, *, cells: int | None) -> list[list[tuple[int, float]]]:
        """What FAISS finds in so many cells; None: the index has none."""
        faiss = faiss_module()
        index = self._search_index() if selector is None and depth <= GPU_DEPTH else self._index
        if cells is not None:
            scores, ids = index.search(queries, depth, params=faiss.SearchParametersIVF(sel=selector, nprobe=cells))
        elif selector is not None:
            scores, ids = index.search(queries, depth, params=faiss.SearchParameters(sel=selector))
        else:
            scores, ids = index.search(queries, depth)
        return [_in_order(*row) for row in zip(ids, scores, strict=True)]

    def _search_index(self) -> Any:
        """The index, on all GPUs where FAISS has some."""
        if self._searched is None:
            faiss = faiss_module()
            self._searched = self._index
            if getattr(faiss, "get_num_gpus", lambda: 0)() > 0:
                self._searched = faiss.index_cpu_to_all_gpus(self._index)
        return self._searched

    def vectors(self, ids: Ids) -> Keys:
        """(n, dimension): the vectors held for these ids."""
        if not self.trained_on:
            return np.asarray(self._index.reconstruct_batch(ids), np.float32)
        faiss = faiss_module()
        self._index.set_direct_map_type(faiss.DirectMap.Hashtable)
        try:
            return np.stack([self._index.reconstruct(int(one)) for one in ids]).astype(np.float32)
        finally:
            self._index.set_direct_map_type(faiss.DirectMap.NoMap)

    def held(self) -> Ids:
        """The ids that FAISS itself holds, rising."""
        faiss = faiss_module()
        if not self.trained_on:
            return np.sort(faiss.vector_to_array(self._index.id_map).astype(np.int64))
        lists = self._index.invlists
        parts = [
            faiss.rev_swig_ptr(lists.get_ids(cell), lists.list_size(cell)).copy()
            for cell in range(lists.nlist)
            if lists.list_size(cell)
        ]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)

    def save(self, path: Path, *, index: str) -> None:
        """Write the cache: what it stands for, a checksum, FAISS's own bytes. Replaced whole."""
        payload = faiss_module().serialize_index(self._index).data
        about = {
            "index": index,
            "version": self.version,
            "dimension": self.dimension,
            "trained_on": self.trained_on,
            "checksum": _checksum(payload),
        }
        replace(path, MAGIC + json.dumps(about).encode() + b"\n", payload)

    @classmethod
    def load(cls, path: Path, *, index: str, dimension: int) -> KeyIndex:
        """Read what ``save`` wrote.

        Raises:
            FileNotFoundError: there is none. Damaged: cut, altered, or not of this index.
        """
        with _opened(path) as file:
            line = _heading(file)
            payload = np.frombuffer(file.read(), np.uint8)
        try:
            about = json.loads(line)
            if about["checksum"] != _checksum(payload.data):
                raise Damaged("its checksum differs")
            if (about["index"], about["dimension"]) != (index, dimension):
                raise Damaged("it belongs to another index")
            made = cls(dimension)
            made._index = faiss_module().deserialize_index(payload)
            made.version, made.trained_on = int(about["version"]), int(about["trained_on"])
            made.ids = made.held()
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise Damaged(f"it cannot be read ({type(error).__name__})") from error
        return made


def kind_of(path: Path, *, stored: int) -> str:
    """The kind of the index in a file, by its first line; of ``stored`` keys where there is none."""
    try:
        with _opened(path) as file:
            trained_on = int(json.loads(_heading(file))["trained_on"])
    except (OSError, ValueError, KeyError, TypeError, Damaged):
        trained_on = stored if stored > FLAT_UP_TO else 0
    return _kind(trained_on)


def _kind(trained_on: int) -> str:
    return "ivf" if trained_on else "flat"


def _heading(file: BinaryIO) -> bytes:
    """What the file says of itself; the file stands behind it."""
    if file.read(len(MAGIC)) != MAGIC:
        raise Damaged("not a cache of memptm")
    return file.readline(1000)


def _opened(path: Path) -> BinaryIO:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise Damaged("not a file")
    return path.open("rb")


def is_cache(path: Path) -> bool:
    """Whether a file begins as ``KeyIndex.save`` writes them."""
    try:
        with _opened(path) as file:
            return bool(_heading(file))
    except (Damaged, OSError):
        return False


def _flat(dimension: int) -> Any:
    faiss = faiss_module()
    return faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))


def _inverted(keys: Keys) -> Any:
    faiss = faiss_module()
    dimension, cells = keys.shape[1], int(2 * np.sqrt(len(keys)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, cells, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = max(PROBES, int(PROBED_SHARE * cells))
    chance = np.random.default_rng(0)
    sample = keys[chance.choice(len(keys), min(len(keys), 40 * cells), replace=False)]
    index.train(np.ascontiguousarray(sample))
    return index


def _bitmap(ids: Ids) -> NDArray[np.uint8]:
    """A bit for every number up to the last of ``ids``, set where it is one of them."""
    bits = np.zeros(int(ids[-1]) // 8 + 1, np.uint8)
    np.bitwise_or.at(bits, ids >> 3, np.left_shift(1, ids & 7).astype(np.uint8))
    return bits


def _in_order(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> list[tuple[int, float]]:
    pairs = ((int(one), float(score)) for one, score in zip(ids, scores, strict=True) if one >= 0)
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def _checksum(data: Any) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
