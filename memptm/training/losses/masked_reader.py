"""The reader of REALM's pre-training: what stood in the blank of a sentence, read beside a passage.

Source: Guu et al. 2020 (arXiv 2002.08909), section 3.2: the sentence and the passage's body are one input, and p(y|z,x) is
the product over the blank's tokens, so that the passage is summed out once a span. Google's code sums it out once a
token, which is another model (a span may then take its tokens from several passages).

Ours adds a pointer: a token is drawn from the vocabulary or copied from the passage (See et al. 2017, arXiv 1704.04368).
The paper's reader learns to copy over 200,000 steps of 512 sentences; one that is trained on a laptop cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from memptm.encoders.bert import Bert
from memptm.generation.windows import special

SENTENCE_TOKENS = 64  # of a longer sentence, the part around the blank
SPAN_TOKENS = 12  # a longer span is hidden only so far
PAD_TO = 32


@dataclass(frozen=True)
class Cloze:
    """``ids``: a sentence with [MASK] for each token of its blank, no [CLS] or [SEP]. The blank begins at token ``first``;
    ``hidden`` stood there.
    """

    ids: tuple[int, ...]
    first: int
    hidden: tuple[int, ...]


class Clozer:
    """Makes token ids of sentences and passages, for the encoder and the masked reader alike."""

    def __init__(self, tokenizer: Tokenizer, *, passage_tokens: int) -> None:
        self.tokenizer, self.passage_tokens = tokenizer, passage_tokens
        self.cls, self.sep, self.mask = (special(tokenizer, name) for name in ("[CLS]", "[SEP]", "[MASK]"))

    def cloze(self, sentence: str, span: tuple[int, int]) -> Cloze | None:
        """The sentence with characters ``span`` hidden; None if no token lies there."""
        encoding = self.tokenizer.encode(sentence, add_special_tokens=False)
        inside = [n for n, (start, end) in enumerate(encoding.offsets) if start < span[1] and end > span[0]]
        if not inside:
            return None
        first, last = inside[0], min(inside[-1], inside[0] + SPAN_TOKENS - 1)
        ids = list(encoding.ids)
        hidden = tuple(ids[first : last + 1])
        ids[first : last + 1] = [self.mask] * len(hidden)
        begin = max(0, min((first + last) // 2 - SENTENCE_TOKENS // 2, len(ids) - SENTENCE_TOKENS))
        return Cloze(tuple(ids[begin : begin + SENTENCE_TOKENS]), first - begin, hidden)

    def query(self, cloze: Cloze) -> list[int]:
        """What the encoder reads."""
        return [self.cls, *cloze.ids, self.sep]

    def bodies(self, texts: Sequence[str]) -> list[list[int]]:
        """What the reader sees of passages."""
        return [
            encoding.ids[: self.passage_tokens]
            for encoding in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ]


class MaskedReader(nn.Module):
    """log p(y | z, x) of what is hidden in sentences x, beside passages z.

    Args:
        trunk: its word embeddings are the output's too, and stay.
    """

    def __init__(self, trunk: Bert) -> None:
        super().__init__()
        width = trunk.config.hidden_size
        self.trunk = trunk
        trunk.freeze_embeddings()
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(trunk.config.vocab_size))
        self.pointer, self.pointed = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 1)

    def forward(self, cloze: Sequence[Cloze], bodies: Sequence[Sequence[int]], ends: tuple[int, int]) -> Tensor:
        """Args:
            cloze: n sentences. bodies: the token ids of a passage for each; [] is the null document.
            ends: the ids of [CLS] and [SEP].
        Returns:
            (n,) natural log of the product over the blank's tokens.
        """
        cls, sep = ends
        rows = [[cls, *one.ids, sep, *body, sep] for one, body in zip(cloze, bodies, strict=True)]
        length = -(-max(map(len, rows)) // PAD_TO) * PAD_TO
        ids, segments = (
            torch.zeros(len(rows), length, dtype=torch.long),
            torch.zeros(len(rows), length, dtype=torch.long),
        )
        mask, inside = (
            torch.zeros(len(rows), length, dtype=torch.bool),
            torch.zeros(len(rows), length, dtype=torch.bool),
        )
        most = max(len(one.hidden) for one in cloze)
        places, wanted = torch.zeros(len(rows), most, dtype=torch.long), torch.zeros(len(rows), most, dtype=torch.long)
        given = torch.zeros(len(rows), most, dtype=torch.bool)
        for n, (row, one, body) in enumerate(zip(rows, cloze, bodies, strict=True)):
            ids[n, : len(row)] = torch.tensor(row)
            mask[n, : len(row)] = True
            front = len(one.ids) + 2
            segments[n, front : len(row)] = 1
            inside[n, front : front + len(body)] = True
            first, count = 1 + one.first, len(one.hidden)
            places[n, :count] = torch.arange(first, first + count)
            wanted[n, :count] = torch.tensor(one.hidden)
            given[n, :count] = True
        hidden = self.trunk(ids, mask, segments)
        blanks = hidden.gather(1, places.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        log_p = self._log_p(blanks, hidden, ids, inside, wanted)
        return log_p.masked_fill(~given, 0.0).sum(dim=1)

    def _log_p(self, blanks: Tensor, hidden: Tensor, ids: Tensor, inside: Tensor, wanted: Tensor) -> Tensor:
        """(n, blanks): of each hidden token, by the vocabulary and by the pointer into the passage together."""
        logits = self.transform(blanks) @ self.trunk.words.weight.t() + self.bias
        by_vocabulary = logits.gather(-1, wanted.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(dim=-1)
        scale = hidden.shape[-1] ** -0.5
        scores = self.pointer(blanks) @ self.pointed(hidden).transpose(1, 2) * scale
        scores = scores.masked_fill(~inside.unsqueeze(1), -1e4)
        attention = scores.log_softmax(dim=-1)
        same = (ids.unsqueeze(1) == wanted.unsqueeze(-1)) & inside.unsqueeze(1)
        by_pointer = attention.masked_fill(~same, -1e4).logsumexp(dim=-1)
        gate = self.gate(blanks).squeeze(-1)
        gate = gate.masked_fill(~inside.any(dim=1, keepdim=True), -1e4)
        return torch.logaddexp(functional.logsigmoid(gate) + by_pointer, functional.logsigmoid(-gate) + by_vocabulary)
