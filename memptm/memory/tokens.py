"""A datastore of tokens: keys are a language model's hidden states, values the tokens that followed them.

What a kNN-LM reads (Khandelwal et al. 2020, arXiv 1911.00172). The states are projected to their principal components and
to unit length, so that the keys of a passage take a fraction of the room and go through the same FAISS code as all keys.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memptm.encoders.base import Keys
from memptm.errors import InputError
from memptm.memory.folder import replace
from memptm.memory.keys import Damaged, KeyIndex, is_cache

DIMENSION = 128  # of the keys
SAMPLE = 50_000  # states that the projection is fitted to
FORMAT = 1

Tokens = NDArray[np.int32]


NAMES = ("about.json", "keys", "tokens.safetensors")


@dataclass(frozen=True, kw_only=True)
class About:
    """What a datastore stands for: a model by name and weights, its width, how many tokens, which version of which index."""

    model: str
    fingerprint: str
    width: int
    tokens: int
    index: str = ""
    version: int = 0
    format: int = FORMAT


class TokenStore:
    """Keys of hidden states with the token that followed each.

    Args:
        mean: (width,). projection: (width, dimension), orthonormal columns.
    """

    def __init__(self, about: About, mean: Keys, projection: Keys, keys: KeyIndex, tokens: Tokens) -> None:
        self.about, self.mean, self.projection, self._keys, self.tokens = about, mean, projection, keys, tokens

    @classmethod
    def build(
        cls,
        pairs: Iterable[tuple[Keys, Tokens]],
        *,
        model: str,
        fingerprint: str,
        dimension: int = DIMENSION,
        index: str = "",
        version: int = 0,
    ) -> TokenStore:
        """From (states (n, width), the n tokens that followed), a text at a time.

        Raises:
            InputError: there are none.
        """
        rest, count = iter(pairs), 0
        sample: list[Keys] = []
        tokens: list[Tokens] = []
        for states, followed in rest:
            sample.append(states)
            tokens.append(np.asarray(followed, np.int32))
            count += len(followed)
            if count >= SAMPLE:
                break
        if not count:
            raise InputError("There is no text to remember tokens of. Build the index first.")
        fitted = _components(np.concatenate(sample), dimension)
        keys = [_projected(states, *fitted) for states in sample]
        for states, followed in rest:
            keys.append(_projected(states, *fitted))
            tokens.append(np.asarray(followed, np.int32))
        vectors = np.concatenate(keys)
        held = KeyIndex(vectors.shape[1])
        held.sync(np.arange(len(vectors)), version=1, fetch=lambda ids: vectors[ids])
        about = About(
            model=model,
            fingerprint=fingerprint,
            width=len(fitted[0]),
            tokens=len(vectors),
            index=index,
            version=version,
        )
        return cls(about, *fitted, held, np.concatenate(tokens))

    def __len__(self) -> int:
        return len(self.tokens)

    def search(self, states: Keys, *, k: int) -> tuple[NDArray[np.int64], Keys]:
        """The ``k`` nearest of each of (n, width) states: tokens (n, k), and squared distances (n, k) from 0 to 4.

        Where fewer are found, the token is −1 and the distance infinite.
        """
        tokens = np.full((len(states), k), -1, np.int64)
        distances = np.full((len(states), k), np.inf, np.float32)
        found = self._keys.search(_projected(states, self.mean, self.projection), depth=k)
        for row, hits in enumerate(found):
            tokens[row, : len(hits)] = self.tokens[[one for one, _ in hits]]
            distances[row, : len(hits)] = [2 - 2 * cosine for _, cosine in hits]
        return tokens, distances

    @staticmethod
    def check_place(folder: Path) -> None:
        """See, before work is done, that ``save`` would overwrite nothing but a datastore.

        Raises:
            InputError: a file of such a name is there, and no datastore.
        """
        own = is_cache(folder / "keys") or not any(os.path.lexists(folder / name) for name in NAMES)
        if not own:
            raise InputError(f"{folder} holds files that are no datastore of tokens. Give another folder.")

    def save(self, folder: Path) -> None:
        """Write the folder; about.json comes last, so that a folder with one is whole.

        Raises:
            InputError: something else is there; see ``check_place``.
        """
        from safetensors.numpy import save

        self.check_place(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "about.json").unlink(missing_ok=True)
        self._keys.save(folder / "keys", index=self.about.model)
        arrays = {"tokens": self.tokens, "mean": self.mean, "projection": self.projection}
        replace(folder / "tokens.safetensors", save(arrays))
        replace(folder / "about.json", json.dumps(asdict(self.about), indent=2).encode())

    @classmethod
    def load(cls, folder: Path) -> TokenStore:
        """Read what ``save`` wrote.

        Raises:
            InputError: nothing is there, or it is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        making = f"memptm tokens --index DIR --out {folder}"
        try:
            about = About(**json.loads((folder / "about.json").read_text(encoding="utf-8")))
            arrays = load_file(folder / "tokens.safetensors")
            dimension = arrays["projection"].shape[1]
            keys = KeyIndex.load(folder / "keys", index=about.model, dimension=dimension)
        except FileNotFoundError as error:
            raise InputError(f"{folder} holds no datastore of tokens. Make one with: {making}") from error
        except (OSError, ValueError, TypeError, KeyError, SafetensorError, Damaged) as error:
            raise InputError(f"{folder} is damaged ({error}). Make it again with: {making}") from error
        if about.format != FORMAT or len(arrays["tokens"]) != about.tokens or len(keys.ids) != about.tokens:
            raise InputError(f"{folder} is of another format or cut. Make it again with: {making}")
        return cls(about, arrays["mean"], arrays["projection"], keys, arrays["tokens"])


def _components(states: Keys, dimension: int) -> tuple[Keys, Keys]:
    """Mean, and the first principal directions as columns."""
    sample = states[:SAMPLE].astype(np.float64)
    mean = sample.mean(axis=0)
    _, directions = np.linalg.eigh(np.cov(sample - mean, rowvar=False, bias=True))
    return mean.astype(np.float32), np.ascontiguousarray(directions[:, ::-1][:, :dimension], np.float32)


def _projected(states: Keys, mean: Keys, projection: Keys) -> Keys:
    projected = (np.asarray(states, np.float32) - mean) @ projection
    lengths: Keys = np.linalg.norm(projected, axis=1, keepdims=True)
    return np.asarray(projected / np.maximum(lengths, 1e-12), np.float32)
