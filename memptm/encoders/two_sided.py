"""An encoder whose questions are read with weights of their own, while passages keep the keys they have.

What training with a frozen index makes (training/recipes/rag.py): the index need not be encoded again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memptm.encoders.adapted import REMEDY, without_memory
from memptm.encoders.base import Encoder, Keys, ReadsDocuments
from memptm.encoders.sentence import BertEncoder, bert_pooling
from memptm.errors import InputError, ModelMissing
from memptm.model_files import read_settings
from memptm.progress import Progress, silent

if TYPE_CHECKING:
    from memptm.encoders.bert import Bert


TWO_SIDED = "two_sided.json"  # {"passages": name, "fingerprint"}, in the folder of the BERT that reads questions


class TwoSidedEncoder:
    """Questions by the weights in ``folder``, passages by the encoder that its two_sided.json names.

    Args:
        name: what the user called it.
        folder: with the BERT that reads questions.
        passages: the encoder that makes the keys of passages.
        known: the fingerprint that it had when the questions' was trained beside it.
    Attributes:
        fingerprint: the passages' encoder's, for it made the keys.
    Raises:
        ModelMissing: the folder is damaged, or the passages' encoder is not the one it was trained with.
    """

    def __init__(self, name: str, folder: Path, passages: Encoder, known: str) -> None:
        pooling = bert_pooling(folder)
        if pooling is None:
            raise ModelMissing(f"{folder} holds no BERT that reads questions. Train the encoder again.")
        if passages.fingerprint != known:
            raise ModelMissing(f"{name} was trained beside another {passages.name}. Put that one back, or train again.")
        self.name, self.passages, self.questions = name, passages, BertEncoder(name, folder, pooling)
        self.dimension, self.max_tokens = self.passages.dimension, self.passages.max_tokens
        self.fingerprint = self.passages.fingerprint
        reads = self.passages if isinstance(self.passages, ReadsDocuments) else None
        self.reach, self.only_conversations = (reads.reach, reads.only_conversations) if reads else (0, False)

    def encode_passages(self, texts: Sequence[str], *, progress: Progress = silent) -> Keys:
        return self.passages.encode_passages(texts, progress=progress)

    def encode_documents(self, documents: Sequence[Sequence[str]], *, progress: Progress = silent) -> Keys:
        """As the passages' encoder, which reads documents where ``reach`` is above 0."""
        if not isinstance(self.passages, ReadsDocuments):
            return self.encode_passages([text for texts in documents for text in texts], progress=progress)
        return self.passages.encode_documents(documents, progress=progress)

    def encode_questions(self, texts: Sequence[str]) -> Keys:
        return self.questions.encode_questions(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.passages.count_tokens(texts)


def passages_of(folder: Path) -> tuple[str, str]:
    """Name and fingerprint of the encoder of passages that ``folder`` names.

    Raises:
        ModelMissing: its TWO_SIDED cannot be read.
    """
    settings = read_settings(folder / TWO_SIDED, remedy=REMEDY)
    try:
        return str(settings["passages"]), str(settings["fingerprint"])
    except KeyError as error:
        raise ModelMissing(f"{folder / TWO_SIDED} has no {error}. {REMEDY}") from error


def query_and_passage_encoders(encoder: Encoder) -> tuple[BertEncoder, BertEncoder]:
    """(questions, passages): the two encoders in one, the same one twice if it has a single side; without their memory.

    Raises:
        InputError: it is no BERT that memptm runs itself, so it cannot be trained here.
    """
    passages = without_memory(keyed(encoder))
    questions = encoder.questions if isinstance(encoder, TwoSidedEncoder) else passages
    if questions is None or passages is None:
        raise InputError(
            f"{encoder.name} cannot be trained: memptm trains BERT encoders with mean or [CLS] pooling. "
            "Build the index with one, such as the default."
        )
    return questions, passages


def keyed(encoder: Encoder) -> Encoder:
    """The encoder that makes the keys of passages."""
    return encoder.passages if isinstance(encoder, TwoSidedEncoder) else encoder


def memory_left(encoder: Encoder) -> str:
    """What to say where an encoder is made of ``encoder`` without a memory: "" if that had none, either."""
    keys = keyed(encoder)
    if without_memory(keys) in (keys, None):
        return ""
    return f"The memory of {keys.name} is not carried over: the new encoder reads each passage by itself."


def shared_encoder(encoder: Encoder) -> BertEncoder:
    """An encoder that reads questions and passages alike.

    Raises:
        InputError: it has two sides, or cannot be trained here.
    """
    questions, passages = query_and_passage_encoders(encoder)
    if questions is not passages:
        raise InputError("The index is opened with an encoder of two sides. Open it with the one that keyed it.")
    return questions


def save_questions(model: Bert, encoder: Encoder, folder: Path) -> None:
    """Write ``model`` as the side that reads questions, beside ``encoder``'s passages; sentence-transformers loads it too."""
    questions, _ = query_and_passage_encoders(encoder)
    questions.write(model, folder)
    settings = {"passages": keyed(encoder).name, "fingerprint": keyed(encoder).fingerprint}
    (folder / TWO_SIDED).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
