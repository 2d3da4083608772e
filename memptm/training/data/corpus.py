"""Text as streams of token ids for a language model: a vocabulary of its own, and segments that go on where the last ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from memptm.errors import InputError
from memptm.working.adaptive import IGNORED

Kind = Literal["word", "bpe"]
END, UNKNOWN = "<end>", "<unknown>"  # of a document, of a word


def make_vocabulary(texts: Sequence[str], kind: Kind, size: int) -> Tokenizer:
    """A tokenizer made of ``texts``.

    Args:
        kind: "word": the most frequent words and marks, the most frequent first, as adaptive softmax wants them; "bpe": parts
            of words, from bytes, so that no text is unknown.
        size: at most so many tokens.
    """
    if kind == "word":
        vocabulary = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
        vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
        words = trainers.WordLevelTrainer(vocab_size=size, special_tokens=[UNKNOWN, END], show_progress=False)
        vocabulary.train_from_iterator(texts, words)
    else:
        vocabulary = Tokenizer(models.BPE())
        vocabulary.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        vocabulary.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        parts = trainers.BpeTrainer(
            vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
        )
        vocabulary.train_from_iterator(texts, parts)
    return vocabulary


def read_texts(paths: Sequence[Path]) -> list[str]:
    """The texts of files, a document each.

    Raises:
        InputError: a file is missing, no text, or empty.
    """
    texts = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path} cannot be read as text ({type(error).__name__}). Give files of UTF-8 text."
            ) from error
        if not text.strip():
            raise InputError(f"{path} holds no text. Leave it out.")
        texts.append(text)
    return texts


@dataclass(frozen=True)
class Segment:
    """``ids``, ``targets``, ``documents``: (b i). A target is the next token of the row; IGNORED where there is none."""

    ids: Tensor
    targets: Tensor
    documents: Tensor

    def to(self, device: torch.device) -> Segment:
        """The same there."""
        return Segment(self.ids.to(device), self.targets.to(device), self.documents.to(device))


class Streams:
    """Documents one after another, cut into ``rows`` streams that are read side by side, a segment at a time.

    Args:
        documents: token ids of each, an end-of-document token behind each.
    Raises:
        InputError: there is less than a segment for each row.
    """

    def __init__(self, documents: Sequence[Sequence[int]], *, rows: int, segment: int) -> None:
        ids = torch.tensor([one for document in documents for one in document])
        numbers = torch.tensor([n for n, document in enumerate(documents) for _ in document])
        length = len(ids) // rows
        if length <= segment:
            raise InputError(
                f"The text has {len(ids):,} tokens, too few for {rows} stream{'s' * (rows > 1)} in segments of {segment}. "
                f"Give more text, or lower {'--batch or ' * (rows > 1)}--segment."
            )
        self.segment, self.length = segment, length
        self._ids = ids[: rows * length].view(rows, length)
        self._numbers = numbers[: rows * length].view(rows, length)

    def __len__(self) -> int:
        """Segments; the last may be shorter."""
        return -(-(self.length - 1) // self.segment)

    def __getitem__(self, n: int) -> Segment:
        start = n * self.segment
        end = min(start + self.segment, self.length - 1)
        ids, documents = self._ids[:, start:end], self._numbers[:, start:end]
        after = self._numbers[:, start + 1 : end + 1]
        targets = self._ids[:, start + 1 : end + 1].masked_fill(after != documents, IGNORED)
        return Segment(ids, targets, documents)

    def __iter__(self) -> Iterator[Segment]:
        return (self[n] for n in range(len(self)))


def encoded(vocabulary: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, END behind each.

    Raises:
        InputError: a vocabulary that ``make_vocabulary`` did not make.
    """
    end = vocabulary.token_to_id(END)
    if end is None:
        raise InputError(f"The vocabulary knows no {END}. Give one that memptm train lm made.")
    return [[*encoding.ids, end] for encoding in vocabulary.encode_batch(list(texts))]
