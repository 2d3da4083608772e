"""What an encoder is, and how a passage is written for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from memptm.errors import ModelMissing
from memptm.progress import Progress, silent
from memptm.types import Passage

if TYPE_CHECKING:
    from torch import Tensor

Keys = NDArray[np.float32]


class Encoder(Protocol):
    """Makes keys of passages and queries of questions; their inner product says how near they are.

    Attributes:
        name: what the user called it.
        dimension: width of a key.
        max_tokens: its window, special tokens included.
        fingerprint: changes with the weights and with the prefixes it puts before texts; an index records it.
    """

    name: str
    dimension: int
    max_tokens: int
    fingerprint: str

    def encode_passages(self, texts: Sequence[str], *, progress: Progress = silent) -> Keys:
        """(n, dimension) float32, in the order given."""
        ...

    def encode_questions(self, texts: Sequence[str]) -> Keys:
        """(n, dimension) float32."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens and prefix included, not truncated."""
        ...


@runtime_checkable
class ReadsDocuments(Protocol):
    """An encoder whose key of a passage depends on the passages before it in its document.

    Attributes:
        reach: how many passages back a key can depend on any.
        only_conversations: whether it reads documents of other kinds a passage at a time.
    """

    reach: int
    only_conversations: bool

    def encode_documents(self, documents: Sequence[Sequence[str]], *, progress: Progress = silent) -> Keys:
        """(all passages, dimension) float32: keys of each document's passages, given in reading order."""
        ...


class StreamState(Protocol):
    """What a recurrent encoder keeps of the texts it has read: bounded, however many they were. Immutable."""

    def tensors(self) -> dict[str, Tensor]:
        """What to save, in safetensors."""
        ...


@runtime_checkable
class Recurrent(Encoder, Protocol):
    """An encoder whose key of a text can depend on the texts read before it."""

    def read(self, text: str, past: StreamState | None) -> tuple[Keys, StreamState]:
        """(1, dimension) key of a passage or turn, and the state after it."""
        ...

    def ask(self, question: str, past: StreamState | None) -> Keys:
        """(1, dimension) query of a question that comes after ``past``."""
        ...

    def past(self, tensors: dict[str, Tensor]) -> StreamState:
        """The state whose ``tensors`` were saved."""
        ...


def check_keys(encoder: Encoder) -> None:
    """That an encoder makes keys of passages and queries of questions, before anything is kept that relies on it.

    Raises:
        ModelMissing: its weights cannot be loaded, or it gives other than ``dimension`` finite numbers.
    """
    texts = ["A lighthouse stands at the cape.", "Its lamp is seen from afar."]
    keys = encoder.encode_documents([texts]) if isinstance(encoder, ReadsDocuments) else encoder.encode_passages(texts)
    for made in (keys, encoder.encode_questions(texts)):
        if made.shape != (len(texts), encoder.dimension) or not np.isfinite(made).all():
            raise ModelMissing(
                f"{encoder.name} gives no keys of {encoder.dimension} finite numbers. Copy the whole model again, or give another."
            )


def embedding_text(passage: Passage) -> str:
    """What the encoder reads for a passage: the words around it (title, headings, table header), then its text."""
    around = [passage.title, *passage.headings, passage.context]
    lines = [part for n, part in enumerate(around) if part and part not in around[:n] and part not in passage.text]
    return "\n".join([*lines, passage.text])
