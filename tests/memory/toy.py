"""A small, real encoder: a hashed bag of words. It counts what it encodes."""

import re
import zlib

import numpy as np

from memptm.progress import Event, silent

STOP = {
    "the",
    "a",
    "an",
    "of",
    "in",
    "is",
    "are",
    "to",
    "and",
    "or",
    "for",
    "on",
    "at",
    "by",
    "with",
    "what",
    "who",
    "when",
    "where",
    "how",
    "which",
}


class Toy:
    def __init__(self, dimension=64, *, name="toy", fingerprint="toy-1", scale=1.0, max_tokens=256):
        self.name, self.dimension, self.fingerprint = name, dimension, fingerprint
        self.scale, self.max_tokens = scale, max_tokens
        self.encoded = []

    def encode_passages(self, texts, *, progress=silent):
        self.encoded.extend(texts)
        progress(Event(stage="encode", done=len(texts), total=len(texts)))
        return self._vectors(texts)

    def encode_questions(self, texts):
        return self._vectors(texts)

    def count_tokens(self, texts):
        return [len(words(text)) + 2 for text in texts]

    def _vectors(self, texts):
        made = np.full((len(texts), self.dimension), 1e-3, np.float32)
        for row, text in zip(made, texts, strict=True):
            for word in words(text):
                weight = 0.1 if word in STOP else 1.0
                row[zlib.crc32(f"{word}{self.fingerprint}".encode()) % self.dimension] += weight
        return made / np.linalg.norm(made, axis=1, keepdims=True) * np.float32(self.scale)


def words(text):
    return re.findall(r"\w+", text.lower())
