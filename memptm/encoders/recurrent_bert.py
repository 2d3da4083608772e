"""The recurrent encoder: a pre-trained sentence encoder in which each layer also reads the passages before.

Layer l of a passage needs of the passages before it their inputs of layer l alone. So the passages of many documents go
through a layer together, whatever their order, and the next layer follows: a document costs no serial steps. A stream goes
passage by passage with the keys and values it kept; both give the same keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from memptm.encoders.adapted import REMEDY, MemorySizes
from memptm.encoders.batching import batches, padded, pooled
from memptm.encoders.bert import Bert, Layer
from memptm.encoders.int8 import Int8Layer
from memptm.model_files import fill, read_weights
from memptm.working.passage_memory import Before, MemoryProjection, PassageMemory

SLOTS = 16  # attention is a third faster over a multiple of it

Row = Sequence[int]  # token ids of a passage, special tokens included
_Span = tuple[int, int]  # where a passage's slots begin, and how many they are


@dataclass(frozen=True)
class PassageState:
    """What a stream's next passage reads of the ones before, nearest last.

    Attributes:
        states: (layers, 2, m, heads, d_head): keys and values of m slots.
        lengths: (passages,), slots of each; they sum to m.
    """

    states: Tensor
    lengths: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """To be kept in a file, in float32: another process may compute in another arithmetic."""
        return {"states": self.states.float().contiguous(), "lengths": self.lengths}


@dataclass(frozen=True)
class Piece:
    """Passages in reading order, and what came before the first of them. ``kept``: what its next passage would read is wanted."""

    rows: Sequence[Row]
    past: PassageState | None = None
    kept: bool = True


class RecurrentBert(nn.Module):
    """A BERT with a PassageMemory beside the attention of its topmost layers.

    Args:
        bert: of which nothing is changed.
        sizes: of the memory; its paths are new, gates zero-initialised.
    """

    def __init__(self, bert: Bert, sizes: MemorySizes, *, pooling: str) -> None:
        super().__init__()
        self.bert, self.sizes, self.pooling = bert, sizes, pooling
        width, heads = bert.config.hidden_size, bert.config.num_attention_heads
        count = min(sizes.layers, bert.config.num_hidden_layers)

        def path() -> PassageMemory:
            return PassageMemory(width, heads, passages=max(sizes.passages, 1), rank=sizes.rank)

        # what a passage reads of those before it, and what a question reads of a conversation, are learned apart
        self.paths = nn.ModuleDict({kind: nn.ModuleList(path() for _ in range(count)) for kind in ("read", "ask")})

    def memories(self, kind: str = "read") -> list[PassageMemory]:
        """The paths of passages ("read") or of questions ("ask"), one a layer."""
        return [path for path in self.paths[kind].children() if isinstance(path, PassageMemory)]

    def load_paths(self, path: Path) -> None:
        """Take up the paths' weights from a file.

        Raises:
            ModelMissing: it cannot be read, or is of a model of another size.
        """
        tensors = {name: one.float() for name, one in read_weights(path, remedy=REMEDY).items()}
        fill(self.paths, tensors, path, remedy=REMEDY)

    @property
    def _layers(self) -> list[Layer | Int8Layer]:
        return [layer for layer in self.bert.layers if isinstance(layer, Layer | Int8Layer)]

    def match_dtype(self) -> RecurrentBert:
        """The paths in the arithmetic of the bert; for inference."""
        if self._layers[0].qkv.weight.dtype == torch.bfloat16:
            for path in (*self.memories("read"), *self.memories("ask")):
                path.to_bfloat16()
        return self

    def forward(self, pieces: Sequence[Piece], *, kind: str = "read") -> tuple[Tensor, list[PassageState | None]]:
        """(all passages, width) unit keys, in order, and for each piece that is kept what its next passage would read.

        Args:
            kind: "read" passages, or "ask" questions.
        """
        memories = self.memories(kind)
        layout = _Layout(pieces, back=self.sizes.passages)
        below = len(self._layers) - len(memories)
        hidden = []
        for bucket in layout.buckets:
            states = self.bert.embed(bucket.ids)
            for layer in self._layers[:below]:
                states = layer(states, bucket.visible)
            hidden.append(states)
        kept = []
        for number, (layer, path) in enumerate(zip(self._layers[below:], memories, strict=True)):
            memory, own = self._projected(layer, hidden, layout, number)
            read = path.project_memory(memory, layout.longest)
            hidden = [
                layer.finish(states, _attended(path, states, qkv, read, bucket))
                for states, qkv, bucket in zip(hidden, own, layout.buckets, strict=True)
            ]
            kept.append(memory if layout.kept else memory[:, :0])
        made = [pooled(one, bucket.mask, self.pooling) for one, bucket in zip(hidden, layout.buckets, strict=True)]
        order = torch.tensor([n for bucket in layout.buckets for n in bucket.rows])
        return torch.cat(made)[order.argsort()], layout.pasts(kept)

    def _projected(
        self, layer: Layer | Int8Layer, hidden: list[Tensor], layout: _Layout, number: int
    ) -> tuple[Tensor, list[Tensor]]:
        """Keys and values of all slots, (2, slots, heads, d_head), without gradient; and each bucket's (b, t, 3, heads, d_head)."""
        own = []
        for states in hidden:
            part = layer.project(states)
            own.append(part.clone() if isinstance(layer, Int8Layer) else part)  # the next call writes over it
        slots = [part.detach()[:, :, 1:].permute(2, 0, 1, 3, 4).flatten(1, 2) for part in own]
        carried = [past.states[number].to(slots[0].dtype) for past in layout.pasts_before]
        return torch.cat([*carried, *slots], dim=1), own


@dataclass(frozen=True)
class _Bucket:
    """Passages of like length. ``rows``: their numbers. ``visible``: (b, 1, 1, t), or None where nothing is padding."""

    rows: Sequence[int]
    ids: Tensor
    mask: Tensor
    before: Before | None

    @property
    def visible(self) -> Tensor | None:
        return None if bool(self.mask.all()) else self.mask[:, None, None]


class _Layout:
    """Where the slots of all passages stand: first those carried over, then the buckets', a bucket behind another.

    Args:
        back: passages that are read back; 0: a passage reads itself.
    """

    def __init__(self, pieces: Sequence[Piece], *, back: int) -> None:
        self.back, self._pieces = back, pieces
        self.kept = any(piece.kept for piece in pieces)
        self.pasts_before = [piece.past for piece in pieces if piece.past is not None]
        rows = [row for piece in pieces for row in piece.rows]
        self._spans: list[list[_Span]] = []  # of each piece's passages, carried ones first
        at = 0
        for piece in pieces:
            spans = []
            for count in piece.past.lengths.tolist() if piece.past is not None else ():
                spans.append((at, count))
                at += count
            self._spans.append(spans)
        groups = batches([len(row) for row in rows])
        places, tensors = [0] * len(rows), []
        for group in groups:
            ids, mask = padded([rows[n] for n in group])
            tensors.append((ids, mask))
            for n, number in enumerate(group):
                places[number] = at + n * ids.shape[1]
            at += ids.numel()
        before: list[list[_Span]] = []
        for piece, spans in zip(pieces, self._spans, strict=True):
            for row in piece.rows:
                own = (places[len(before)], len(row))
                before.append(spans[-back:][::-1] if back else [own])
                spans.append(own)
        self.buckets = [
            _Bucket(group, ids, mask, _before([before[n] for n in group]))
            for group, (ids, mask) in zip(groups, tensors, strict=True)
        ]

    @property
    def longest(self) -> int:
        """The largest d that any passage reads."""
        return max((int(bucket.before.tokens.max()) for bucket in self.buckets if bucket.before is not None), default=0)

    def pasts(self, kept: Sequence[Tensor]) -> list[PassageState | None]:
        """For each kept piece its last passages' keys and values. ``kept``: a layer each, (2, slots, heads, d_head)."""
        found: list[PassageState | None] = []
        for piece, spans in zip(self._pieces, self._spans, strict=True):
            if not piece.kept:
                found.append(None)
                continue
            last = spans[-self.back :] if self.back else []
            places = torch.tensor([n for start, length in last for n in range(start, start + length)], dtype=torch.long)
            states = torch.stack([layer[:, places] for layer in kept])
            found.append(PassageState(states, torch.tensor([length for _, length in last], dtype=torch.long)))
        return found


def _before(found: Sequence[Sequence[_Span]]) -> Before | None:
    """Of spans that stand before each passage, nearest first."""
    widest = max(sum(length for _, length in spans) for spans in found)
    if widest == 0:
        return None
    slots = -(-(widest + 1) // SLOTS) * SLOTS
    places, tokens, passages = (np.zeros((len(found), slots), np.int64) for _ in range(3))
    for n, spans in enumerate(found):
        at = 0
        for back, (start, length) in enumerate(spans, 1):
            inside = slice(at, at + length)
            places[n, inside] = np.arange(start, start + length)[::-1]
            tokens[n, inside] = np.arange(at, at + length)
            passages[n, inside] = back
            at += length
    return Before(*(torch.from_numpy(one) for one in (places, tokens, passages)))


def _attended(path: PassageMemory, hidden: Tensor, qkv: Tensor, kept: MemoryProjection, bucket: _Bucket) -> Tensor:
    """A layer's own attention and what it reads of the passages before, (b, heads, t, d_head)."""
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bucket.visible)
    if bucket.before is None:
        return attended
    added: Tensor = path(hidden, query, kept, bucket.before)
    return attended + added
