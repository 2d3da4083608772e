"""Keys of passages that stand in documents, and what a key is known by, so that none is made twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Sequence
from typing import cast

import numpy as np

from memptm.encoders.base import Encoder, Keys, ReadsDocuments, embedding_text
from memptm.errors import MemptmError
from memptm.progress import Progress, silent
from memptm.types import Passage


class Texts:
    """What an encoder reads for passages, and the digest that each passage's key is known by.

    An encoder that reads documents makes a key of a passage and of those up to its ``reach`` before it; the digest is of all
    these. Any other, and one that so reads conversations alone, reads a passage by itself, and equal texts are encoded once.

    Args:
        passages: those of a document in reading order, one document behind another.
    """

    def __init__(self, passages: Sequence[Passage], encoder: Callable[[], Encoder]) -> None:
        self._encoder = encoder
        self.texts = [embedding_text(passage) for passage in passages]
        self.documents: list[range] = []
        self._reaches: list[int] = []  # of each document
        start = 0
        for n in range(1, len(passages) + 1):
            if n == len(passages) or passages[n].document_key != passages[start].document_key:
                self.documents.append(range(start, n))
                self._reaches.append(_reach(encoder(), passages[start]))
                start = n
        own = [digest(text) for text in self.texts]
        self.digests = list(own)
        for document, reach in zip(self.documents, self._reaches, strict=True):
            for n in document if reach else ():
                self.digests[n] = digest(*own[max(document.start, n - reach) : n + 1])

    def encode(self, known: Container[str], *, progress: Progress = silent) -> dict[str, Keys]:
        """Digest → (dimension,) unit key, of those that are not ``known``."""
        return self._encode_alone(known, progress) | self._encode_documents(known, progress)

    def _encode_alone(self, known: Container[str], progress: Progress) -> dict[str, Keys]:
        alone = [
            n for document, reach in zip(self.documents, self._reaches, strict=True) if not reach for n in document
        ]
        new = {self.digests[n]: self.texts[n] for n in alone if self.digests[n] not in known}
        if not new:
            return {}
        made = unit(self._encoder().encode_passages(list(new.values()), progress=progress))
        return dict(zip(new, made, strict=True))

    def _encode_documents(self, known: Container[str], progress: Progress) -> dict[str, Keys]:
        wanted: list[range] = []
        for document, reach in zip(self.documents, self._reaches, strict=True):
            first = next((n for n in document if self.digests[n] not in known), None)
            if reach and first is not None:  # what is further back than the reach changes no key from there on
                wanted.append(range(max(document.start, first - reach), document.stop))
        if not wanted:
            return {}
        reader = cast("ReadsDocuments", self._encoder())
        keys = unit(reader.encode_documents([[self.texts[n] for n in some] for some in wanted], progress=progress))
        numbers = [n for some in wanted for n in some]
        found = zip(numbers, keys, strict=True)
        # a passage before the first unknown one was read for its successors; its own key would lack its past
        return {self.digests[n]: key for n, key in found if self.digests[n] not in known}


def _reach(encoder: Encoder, first: Passage) -> int:
    """How far back keys reach in the document that begins with ``first``."""
    if not isinstance(encoder, ReadsDocuments):
        return 0
    return 0 if encoder.only_conversations and "conversation" not in first.metadata else encoder.reach


def unit(vectors: Keys) -> Keys:
    """Each row divided by its length, so that inner products are cosines whatever the encoder's scale.

    Raises:
        MemptmError: a vector that is not finite.
    """
    if not np.isfinite(vectors).all():
        raise MemptmError("The encoder made a key that is not finite; another encoder or precision is needed.")
    vectors = np.asarray(vectors, np.float32)
    lengths: Keys = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def digest(*parts: str) -> str:
    """32 hexadecimal digits that stand for these texts, in this order."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        made.update(len(data).to_bytes(8, "little") + data)
    return made.hexdigest()
