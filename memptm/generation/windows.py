"""A question and a passage as windows of token ids for the span reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from memptm.encoders.bert_config import REMEDY, BertConfig
from memptm.errors import ModelMissing
from memptm.model_files import read_tokenizer

QUESTION_TOKENS = 128  # a longer question keeps its first 64 and last 64 tokens
CONTEXT_TOKENS = 48  # title, headings, table header before the passage
PAD_TO = 32  # oneDNN keeps a kernel a shape; few shapes keep it fast and small


@dataclass(frozen=True)
class ReaderWindow:
    """One model input.

    Attributes:
        row: which passage.
        ids, segments: (tokens,).
        body: (tokens,) where the passage's own words are.
        offsets: (tokens, 2) their characters in the passage.
        owned: (tokens,) the part of the body whose spans count here; neighbouring windows share none of it.
    """

    row: int
    ids: NDArray[np.int64]
    segments: NDArray[np.int64]
    body: NDArray[np.bool_]
    owned: NDArray[np.bool_]
    offsets: NDArray[np.int64]


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of the BERT in ``folder``; text that looks like a special token ("[SEP]") stays text.

    Raises:
        ModelMissing: it cannot be read, or has more words than the model.
    """
    return read_tokenizer(folder, remedy=REMEDY, words=BertConfig.read(folder).vocab_size)


def special(tokenizer: Tokenizer, token: str) -> int:
    """The id of a special token.

    Raises:
        ModelMissing: the vocabulary has none.
    """
    number = tokenizer.token_to_id(token)
    if number is None:
        raise ModelMissing(f"The reader's vocabulary has no {token}: its base must be a BERT model.")
    return number


class Windower:
    """Cuts (question, context, text) into windows: [CLS] question [SEP] context text [SEP].

    Args:
        window: tokens of one.
        stride: that neighbours share, half of the text's room at most.
        context_tokens: that are kept.
    """

    def __init__(self, tokenizer: Tokenizer, *, window: int, stride: int, context_tokens: int = CONTEXT_TOKENS) -> None:
        self.tokenizer, self.window, self.stride = tokenizer, window, stride
        self.context_tokens = context_tokens
        self.cls, self.sep = special(tokenizer, "[CLS]"), special(tokenizer, "[SEP]")

    def windows(self, questions: Sequence[str], contexts: Sequence[str], texts: Sequence[str]) -> list[ReaderWindow]:
        """All windows of all rows, in order; each row has at least one."""
        asked = [self._question(encoding) for encoding in self._encode(questions)]
        around = [encoding.ids[: self.context_tokens] for encoding in self._encode(contexts)]
        found = []
        for row, encoding in enumerate(self._encode(texts)):
            found.extend(self._cut(row, [self.cls, *asked[row], self.sep], around[row], encoding))
        return found

    def room(self, question: str, context: str) -> int:
        """Tokens of a text that fit a window beside them."""
        asked, around = self._question(self._encode([question])[0]), self._encode([context])[0].ids
        return self.window - len(asked) - 3 - len(around[: self.context_tokens])

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        return list(self.tokenizer.encode_batch(list(texts), add_special_tokens=False))

    @staticmethod
    def _question(encoding: Encoding) -> list[int]:
        ids: list[int] = encoding.ids
        half = QUESTION_TOKENS // 2
        return ids if len(ids) <= QUESTION_TOKENS else ids[:half] + ids[-half:]

    def _cut(self, row: int, front: list[int], context: list[int], encoding: Encoding) -> list[ReaderWindow]:
        ids, offsets = np.array(encoding.ids, np.int64), np.array(encoding.offsets, np.int64).reshape(-1, 2)
        room = self.window - len(front) - len(context) - 1
        cuts, start = [], 0
        while True:
            cuts.append((start, min(start + room, len(ids))))
            if start + room >= len(ids):
                break
            start += max(room - min(self.stride, room // 2), 1)
        lead = len(front) + len(context)
        windows = []
        for n, (begin, end) in enumerate(cuts):
            length = lead + end - begin + 1
            body = np.zeros(length, bool)
            body[lead : length - 1] = True
            mine = (
                (cuts[n - 1][1] + begin) // 2 if n else begin,
                (cuts[n + 1][0] + end) // 2 if n + 1 < len(cuts) else end,
            )
            owned = np.zeros(length, bool)
            owned[lead + mine[0] - begin : lead + mine[1] - begin] = True
            places = np.zeros((length, 2), np.int64)
            places[body] = offsets[begin:end]
            segments = np.ones(length, np.int64)
            segments[: len(front)] = 0
            window = np.concatenate([front, context, ids[begin:end], [self.sep]]).astype(np.int64)
            windows.append(ReaderWindow(row, window, segments, body, owned, places))
        return windows


def by_length(windows: Sequence[ReaderWindow], *, tokens: int) -> list[list[ReaderWindow]]:
    """The windows in batches, longest first, each of at most so many tokens with padding, but of one window at least."""
    batches: list[list[ReaderWindow]] = []
    for window in sorted(windows, key=lambda one: -len(one.ids)):
        if not batches or len(batches[-1][0].ids) * (len(batches[-1]) + 1) > tokens:
            batches.append([])
        batches[-1].append(window)
    return batches


def collate(windows: Sequence[ReaderWindow]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(ids, mask, segments, body), each (windows, tokens), padded to a multiple of 32 tokens."""
    length = max(len(window.ids) for window in windows)
    length = -(-length // PAD_TO) * PAD_TO
    ids = torch.zeros(len(windows), length, dtype=torch.long)
    segments = torch.zeros(len(windows), length, dtype=torch.long)
    mask = torch.zeros(len(windows), length, dtype=torch.bool)
    body = torch.zeros(len(windows), length, dtype=torch.bool)
    for n, window in enumerate(windows):
        size = len(window.ids)
        ids[n, :size] = torch.from_numpy(window.ids)
        segments[n, :size] = torch.from_numpy(window.segments)
        body[n, :size] = torch.from_numpy(window.body)
        mask[n, :size] = True
    return ids, mask, segments, body
