"""The recurrent encoder: a passage's key knows the passages before it, a question's the conversation so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from memptm.encoders.adapted import (
    ADAPTER,
    MEMORY,
    REMEDY,
    AdaptedEncoder,
    combined_fingerprint,
    settings_of,
    sizes_of,
)
from memptm.encoders.base import Keys
from memptm.encoders.sentence import BertEncoder
from memptm.model_files import check_weights
from memptm.progress import Event, Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

    from memptm.encoders.recurrent_bert import PassageState, RecurrentBert

CHUNK = 4096  # tokens that go through the layers together


class RecurrentEncoder:
    """A BERT encoder, adapted or as it comes, whose layers also read the passages before (SEEDS: the heart of memptm).

    A text without a past has exactly the key that the encoder alone gives it in the same arithmetic; ``encode_documents`` reads
    short passages, too, in that of many (SHORT in sentence.py).

    Attributes:
        alone: the encoder without its memory.
        reach: how many passages back a key can depend on any.
        only_conversations: whether documents of other kinds have the keys of passages that stand alone. The one memptm
            ships is so: its memory finds more turns of conversations, and no more sections of stories
            (scripts/benchmarks/encoder.py).
    Args:
        name: what the user called it.
        folder: with SETTINGS, MEMORY, and, where the encoder was adapted, too, ADAPTER.
        base: the encoder that the memory was trained on, as it was before it was adapted.
    Raises:
        ModelMissing: the folder is damaged.
    """

    def __init__(self, name: str, folder: Path, base: BertEncoder) -> None:
        settings = settings_of(folder)
        adapted = (folder / ADAPTER).is_file()
        self.alone: BertEncoder = AdaptedEncoder(name, folder, base) if adapted else base
        self.name, self._folder = name, folder
        self.dimension, self.max_tokens = self.alone.dimension, self.alone.max_tokens
        self.only_conversations = bool(settings.get("only_conversations", False))
        self._sizes = sizes_of(name, settings)
        check_weights(folder / MEMORY, remedy=REMEDY)
        changing = asdict(self._sizes) | {"only_conversations": self.only_conversations}
        self.fingerprint = combined_fingerprint(self.alone.fingerprint, folder / MEMORY, settings=changing)
        self.reach = self._sizes.passages * min(self._sizes.layers, self.alone.layers)
        self._models: dict[bool, RecurrentBert] = {}

    def encode_passages(self, texts: Sequence[str], *, progress: Progress = silent) -> Keys:
        """Keys of texts that stand alone."""
        return self.alone.encode_passages(texts, progress=progress)

    def encode_questions(self, texts: Sequence[str]) -> Keys:
        return self.alone.encode_questions(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.alone.count_tokens(texts)

    def encode_documents(self, documents: Sequence[Sequence[str]], *, progress: Progress = silent) -> Keys:
        """(all passages, dimension): keys of each document's passages, given in reading order."""
        import torch

        from memptm.encoders.recurrent_bert import Piece

        rows = [self.alone.token_ids(texts) for texts in documents]
        total, made = sum(map(len, rows)), []
        pasts: dict[int, PassageState | None] = {}
        done = 0
        with torch.inference_mode():
            for chunk in _chunks(rows):
                pieces = [
                    Piece(rows[n][start:end], pasts.pop(n, None), kept=end < len(rows[n])) for n, start, end in chunk
                ]
                keys, found = self.model(bulk=True)(pieces)
                pasts |= {n: past for (n, _, _), past in zip(chunk, found, strict=True) if past is not None}
                made.append(keys.numpy())
                done += len(keys)
                progress(Event(stage="encode", done=done, total=total))
        return np.concatenate(made) if made else np.zeros((0, self.dimension), np.float32)

    def read(self, text: str, past: PassageState | None) -> tuple[Keys, PassageState]:
        """(1, dimension) key of a passage or turn that comes after ``past``, and what comes after it."""
        keys, found = self._one(text, past, kind="read")
        if found is None:
            raise AssertionError("a kept piece has a past")
        return keys, found

    def ask(self, question: str, past: PassageState | None) -> Keys:
        """(1, dimension) query of a question that comes after ``past``."""
        return self._one(question, past, kind="ask")[0]

    def past(self, tensors: dict[str, Tensor]) -> PassageState:
        """What ``PassageState.tensors`` gave.

        Raises:
            ValueError: it is another encoder's, or damaged.
        """
        import torch

        from memptm.encoders.recurrent_bert import PassageState

        model = self.model(bulk=False)
        states, lengths = tensors.get("states"), tensors.get("lengths")
        memories = model.memories()
        shape = (len(memories), 2, memories[0].heads, self.dimension // memories[0].heads)
        if states is None or lengths is None or states.ndim != 5 or (*states.shape[:2], *states.shape[3:]) != shape:
            raise ValueError(f"the state is not one of {self.name}")
        if not states.is_floating_point() or not bool(states.isfinite().all()):
            raise ValueError("the state holds what is no number")
        if lengths.dtype != torch.int64 or lengths.ndim != 1 or len(lengths) > self._sizes.passages:
            raise ValueError("the state's passages cannot be told apart")
        counts = lengths.tolist()
        if min(counts, default=0) < 0 or sum(counts) != states.shape[2]:
            raise ValueError("the lengths of the state's passages do not fit it")
        return PassageState(states, lengths)

    def _one(self, text: str, past: PassageState | None, *, kind: str) -> tuple[Keys, PassageState | None]:
        import torch

        from memptm.encoders.recurrent_bert import Piece

        with torch.inference_mode():
            piece = Piece(self.alone.token_ids([text]), past, kept=kind == "read")
            keys, (found,) = self.model(bulk=False)([piece], kind=kind)
        return np.asarray(keys.numpy()), found

    def model(self, *, bulk: bool) -> RecurrentBert:
        """What it runs: for single texts, or for many."""
        if bulk not in self._models:
            from memptm.encoders.recurrent_bert import RecurrentBert

            made = RecurrentBert(self.alone.model(bulk=bulk), self._sizes, pooling=self.alone.pooling).eval()
            made.load_paths(self._folder / MEMORY)
            self._models[bulk] = made.match_dtype()
        return self._models[bulk]


def _chunks(rows: Sequence[Sequence[Sequence[int]]]) -> Iterator[list[tuple[int, int, int]]]:
    """Parts of documents (number, start, end) of about CHUNK tokens together; a document goes on in the next chunk."""
    chunk: list[tuple[int, int, int]] = []
    used = 0
    for n, document in enumerate(rows):
        start = 0
        for end, row in enumerate(document, 1):
            used += len(row)
            if used >= CHUNK or end == len(document):
                chunk.append((n, start, end))
                start = end
            if used >= CHUNK:
                yield chunk
                chunk, used = [], 0
    if chunk:
        yield chunk
