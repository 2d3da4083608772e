"""Transformer-XL's recurrence in a pre-trained decoder with rotary positions: a stream of any length, constant memory.

Rotary positions are relative, so that old keys can be read again wherever they come to stand: keys are kept *before*
rotation, and rotated by their place in the window when they are read. The first tokens of a document stay as attention
sinks (Xiao et al. 2023, arXiv 2309.17453); between them and the newest tokens, the oldest go. No gradient enters the memory.
Axes: b batch, h heads, g heads of keys and values, i query, j key, d width of a head, c width of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from memptm.errors import InputError
from memptm.working.memorizing import ExternalMemory
from memptm.working.nearest import Nearest
from memptm.working.rotary_window import RotaryWindow, rotated
from memptm.working.state_files import (
    MASKED_DOCUMENT,
    check_signature,
    read_tensors,
    signature,
    signed,
    write_tensors,
)

FAMILY = ("llama", "mistral", "qwen2")  # the same layers under the same names


@dataclass(frozen=True)
class DecoderState:
    """What was read so far, as far as it is kept. Immutable: a step returns a new one.

    Attributes:
        keys, values: (layers b g j d), keys before rotation, oldest first, attention sinks before all others.
        documents: (b j) number of the document each stands in; queries see their own document alone.
        read: tokens of each stream so far.
        current: (b,) number of the document each stream is in, which rises with every reset; None: as ``documents``
            ends.
        maker: the model that read.
        model: the fingerprint of its weights where a file said so; compared at the first use.
    """

    keys: Tensor
    values: Tensor
    documents: Tensor
    read: int
    current: Tensor | None = None
    maker: nn.Module | None = field(default=None, compare=False, repr=False)
    model: str = ""

    def __len__(self) -> int:
        """Tokens kept."""
        return self.documents.shape[1]

    def reset(self, rows: Sequence[int]) -> DecoderState:
        """With the memory of these streams forgotten, and each in a new document; the others keep theirs."""
        documents, current = self.documents.clone(), self.document()[:, 0].clone()
        documents[list(rows)] = MASKED_DOCUMENT
        current[list(rows)] += 1
        return replace(self, documents=documents, current=current)

    def document(self) -> Tensor:
        """(b, 1) number of the document each stream is in."""
        if self.current is not None:
            return self.current.unsqueeze(1)
        if not len(self):
            return self.documents.new_zeros(len(self.documents), 1)
        last = self.documents[:, -1:]
        return last + (last == MASKED_DOCUMENT) * 2  # a file of before does not tell how often it was reset

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_tensors(path, self.tensors())

    def tensors(self) -> dict[str, Tensor]:
        """All that it holds, for a file."""
        read, current = torch.tensor(self.read), self.document()[:, 0]
        held = {"keys": self.keys, "values": self.values, "documents": self.documents, "read": read, "current": current}
        return held | signed(self.maker, self.model)

    @classmethod
    def load(cls, path: Path) -> DecoderState:
        """Read what ``save`` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        found = read_tensors(path, "keys", "values", "documents", "read")
        keys, values, documents, current = found["keys"], found["values"], found["documents"], found.get("current")
        same = keys.dim() == 5 and keys.shape == values.shape and documents.shape == (keys.shape[1], keys.shape[3])
        if not same or (current is not None and current.shape != documents.shape[:1]):
            raise InputError(f"{path} holds another kind of state. Begin the stream anew.")
        return cls(keys, values, documents, int(found["read"]), current, model=signature(found))


class RecurrentDecoder:
    """Reads streams with a causal model of the Llama family.

    Args:
        model: of transformers.
        memory: tokens kept between segments, sinks among them.
        sinks: a document's first tokens that stay.
        segment: tokens read at once; with the memory they must fit what the model was trained for.
        nearest: for some layers, what they make of the nearest keys that have left the window; see ``external``.
    Raises:
        InputError: another architecture, or more than the model was trained for.
    """

    def __init__(
        self,
        model: Any,
        *,
        memory: int = 1024,
        sinks: int = 4,
        segment: int = 256,
        nearest: Mapping[int, Nearest] | None = None,
    ) -> None:
        config = model.config
        if config.model_type not in FAMILY:
            raise InputError(
                f"Streams are read by models of the Llama family ({', '.join(FAMILY)}), not {config.model_type}."
            )
        if memory + segment > config.max_position_embeddings or not 0 <= sinks <= memory or segment < 1:
            raise InputError(
                f"Memory and segment are {memory} and {segment} tokens; together they must be at most the "
                f"{config.max_position_embeddings} that the model was trained for, and sinks ({sinks}) at most the memory."
            )
        self.model, self.memory, self.sinks, self.segment = model, memory, sinks, segment
        self.decoder = model.get_decoder()
        self.head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        device = self.decoder.embed_tokens.weight.device
        self.nearest = {layer: one.to(device) for layer, one in (nearest or {}).items()}
        unknown = [layer for layer in self.nearest if not 0 <= layer < config.num_hidden_layers]
        if unknown:
            raise InputError(f"The model has layers 0 to {config.num_hidden_layers - 1}, not {unknown[0]}.")

    def start(self, batch: int) -> DecoderState:
        """The state of ``batch`` streams of which nothing was read."""
        config, like = self.model.config, self.decoder.embed_tokens.weight
        none = like.new_empty(config.num_hidden_layers, batch, config.num_key_value_heads, 0, self.head_width)
        return DecoderState(none, none, torch.empty(batch, 0, dtype=torch.long, device=like.device), 0)

    def external(self, batch: int, *, limit: int = 0, exact: bool = True) -> list[ExternalMemory]:
        """An empty external memory for ``batch`` streams, one a layer that reads it; it takes what leaves the window.

        It belongs to the streams: reading changes it, and ``reset`` it with them.
        """
        heads = self.model.config.num_key_value_heads
        return [
            ExternalMemory(batch, heads, self.head_width, limit=limit, exact=exact, reader=(self.model, n))
            for n in self.nearest
        ]

    @torch.no_grad()
    def read(
        self, ids: Tensor, state: DecoderState | None = None, external: Sequence[ExternalMemory] = ()
    ) -> tuple[Tensor, DecoderState]:
        """Read ids (b i) of any length; (b i c) states of the last layer, normalised, and the state after them.

        The tokens belong to the document that each stream is in, or, after a reset, to a new one.
        """
        found = []
        for hidden, after in self.segments(ids, state, external):
            found.append(hidden)
            state = after
        return torch.cat(found, dim=1), self.start(len(ids)) if state is None else state

    @torch.no_grad()
    def segments(
        self, ids: Tensor, state: DecoderState | None = None, external: Sequence[ExternalMemory] = ()
    ) -> Iterator[tuple[Tensor, DecoderState]]:
        """``read``, a segment at a time, so that a long text costs no more memory than a short one."""
        state = self.start(len(ids)) if state is None else state  # a state of length 0 is one, too
        for part in torch.split(ids, self.segment, dim=1):
            window = self.open(state, room=part.shape[1])
            hidden = self.advance(window, part, external)
            state = self.close(window, external)
            yield hidden, state

    def logits(self, hidden: Tensor) -> Tensor:
        """(… c) → (… words)."""
        scores: Tensor = self.model.get_output_embeddings()(hidden)
        return scores

    @torch.no_grad()
    def losses(
        self, ids: Tensor, state: DecoderState | None = None, external: Sequence[ExternalMemory] = ()
    ) -> tuple[Tensor, DecoderState]:
        """−log p of ids[:, 1:], (b i − 1), natural, float32; and the state after all but the last of them.

        Raises:
            InputError: fewer than two tokens.
        """
        if ids.shape[1] < 2:
            raise InputError(
                f"There are {ids.shape[1]} tokens, and a loss takes one more than is predicted. Give at least 2."
            )
        found, state = [], self.start(len(ids)) if state is None else state
        for start in range(0, ids.shape[1] - 1, self.segment):
            part = ids[:, start : start + self.segment + 1]
            hidden, state = self.read(part[:, :-1], state, external)
            log_p = self.logits(hidden).float().log_softmax(dim=-1)
            found.append(-log_p.gather(-1, part[:, 1:, None]).squeeze(-1))
        return torch.cat(found, dim=1), state

    @torch.no_grad()
    def generate(
        self, ids: Tensor, *, state: DecoderState | None = None, tokens: int = 64
    ) -> Iterator[tuple[Tensor, RotaryWindow]]:
        """Go on from ids (b i) with the likeliest token each time; yields (b,) tokens and the window before they are read.

        ``close`` makes a state of the window.

        Raises:
            InputError: no ids.
        """
        if not ids.shape[1]:
            raise InputError("There is nothing to go on from. Give at least one token.")
        hidden, state = self.read(ids, state)
        window = self.open(state, room=self.segment)
        for n in range(tokens):
            token = self.logits(hidden[:, -1]).argmax(dim=-1)
            yield token, window
            if n + 1 < tokens:
                window = window if window.room else self.open(self.close(window), room=self.segment)
                hidden = self.advance(window, token.unsqueeze(1))

    def open(self, state: DecoderState, *, room: int) -> RotaryWindow:
        """The window with what ``state`` keeps, and room for so many tokens, at most a segment.

        Raises:
            InputError: the state is of another model, or keeps more than the memory.
        """
        config, like = self.model.config, self.decoder.embed_tokens.weight
        found, wanted = state.keys.shape[::2], (config.num_hidden_layers, config.num_key_value_heads, self.head_width)
        if found != wanted:
            raise InputError(
                f"The state is of layers, heads and widths {tuple(found)}, the model has {wanted}. "
                "Load the model that made it, or begin the stream anew."
            )
        check_signature(state.model, self.model)
        kept, places = len(state), len(state) + room
        if places > self.memory + self.segment:
            raise InputError(
                f"The state keeps {kept} tokens, more than the memory's {self.memory}. Read on with the memory it was made with."
            )
        state_keys, state_values = state.keys.to(like), state.values.to(like)
        cos, sin = self.decoder.rotary_emb(like, torch.arange(places, device=like.device).unsqueeze(0))
        layers, batch, heads, _, width = state_keys.shape
        turned = rotated(state_keys.flatten(0, 1), cos[:, :kept], sin[:, :kept]).view_as(state_keys)
        keys: list[Tensor] = []
        turned_keys: list[Tensor] = []
        values: list[Tensor] = []
        for buffers, part in ((keys, state_keys), (turned_keys, turned), (values, state_values)):
            for n in range(layers):
                buffer = like.new_empty(batch, heads, places, width)
                buffer[:, :, :kept] = part[n]
                buffers.append(buffer)
        documents = torch.zeros(batch, places, dtype=torch.long, device=like.device)
        documents[:, :kept] = state.documents
        document = state.document().to(like.device)
        return RotaryWindow(keys, turned_keys, values, documents, document, cos, sin, kept, state.read)

    def advance(self, window: RotaryWindow, ids: Tensor, external: Sequence[ExternalMemory] = ()) -> Tensor:
        """Read ids (b i) into the window's room; (b i c) states of the last layer, normalised.

        Raises:
            InputError: the window, or an external memory, is of other streams, or a memory of another layer.
        """
        count = ids.shape[1]
        if len(window.documents) != len(ids):
            raise InputError(
                f"The state is of {len(window.documents)} streams, the ids of {len(ids)}. "
                f"Give as many rows, or begin anew with start({len(ids)})."
            )
        if external and len(external) != len(self.nearest):
            raise InputError(
                f"There are {len(external)} external memories, and {len(self.nearest)} layers read one. "
                "Take them from the decoder's external()."
            )
        begun = None if window.read else window.document
        for one, layer in zip(external, self.nearest, strict=bool(external)):
            one.check((self.model, layer), len(ids), begun)
        documents = window.begin(count)
        hidden = self.decoder.embed_tokens(ids)
        seen = self._seen(documents, count)
        memories = dict(zip(self.nearest, external, strict=True)) if external else {}
        for n, layer in enumerate(self.decoder.layers):
            hidden = self._layer(n, layer, hidden, window, seen, memories.get(n))
        window.end(count)
        normed: Tensor = self.decoder.norm(hidden)
        return normed

    def close(self, window: RotaryWindow, external: Sequence[ExternalMemory] = ()) -> DecoderState:
        """The state with what of the window is kept; what is not goes into the external memory."""
        documents = window.documents[:, : window.length]
        keep = self._kept(documents)
        if external and keep.shape[1] < window.length:
            gone = torch.ones_like(documents).scatter(1, keep, 0).nonzero()[:, 1].view(len(documents), -1)
            for n, memory in zip(self.nearest, external, strict=True):
                memory.add(_chosen(window.keys[n], gone), _chosen(window.values[n], gone), documents.gather(1, gone))
        keys, values = (torch.stack([_chosen(one, keep) for one in part]) for part in (window.keys, window.values))
        current = window.document[:, 0]
        return DecoderState(keys, values, documents.gather(1, keep), window.read, current, self.model)

    def _layer(
        self,
        n: int,
        layer: Any,
        hidden: Tensor,
        window: RotaryWindow,
        seen: Tensor | None,
        memory: ExternalMemory | None,
    ) -> Tensor:
        """(b i c) → (b i c); keys and values of the segment go into the window."""
        attention = layer.self_attn
        normed = layer.input_layernorm(hidden)
        query, key, value = (
            self._by_head(part(normed)) for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        cos, sin = window.angles(hidden.shape[1])
        keys, values = window.write(n, key, rotated(key, cos, sin), value)
        attended = _attended(rotated(query, cos, sin), keys, values, seen)
        if memory is not None:
            documents = window.documents[:, window.length : window.length + hidden.shape[1]]
            far = rotated(query, *window.angles(1, at=min(self.memory, window.cos.shape[1] - 1)))
            attended = self.nearest[n](attended, far, memory, documents)
        hidden = hidden + attention.o_proj(attended.transpose(1, 2).flatten(-2))
        left: Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return left

    def _seen(self, documents: Tensor, count: int) -> Tensor | None:
        """(b 1 i j) booleans: keys of the past, in the query's document. None: one query that sees everything."""
        own = documents[:, -count:, None] == documents[:, None, :]
        if count == 1 and bool(own.all()):
            return None
        places = torch.arange(documents.shape[1], device=documents.device)
        past = places[None, :] <= places[-count:, None]
        return (past & own).unsqueeze(1)

    def _kept(self, documents: Tensor) -> Tensor:
        """(b, memory or fewer) places to keep: the newest, and before them the first of the document each row is in."""
        length = documents.shape[1]
        if length <= self.memory:
            return torch.arange(length, device=documents.device).expand(len(documents), -1)
        newest = torch.arange(length - self.memory, length, device=documents.device).expand(len(documents), -1).clone()
        first = (documents == documents[:, -1:]).int().argmax(dim=1, keepdim=True)
        sinks = first + torch.arange(self.sinks, device=documents.device)
        newest[:, : self.sinks] = torch.minimum(newest[:, : self.sinks], sinks) if self.sinks else newest[:, :0]
        return newest

    def _by_head(self, states: Tensor) -> Tensor:
        """(b t hd) → (b h t d)."""
        return states.view(*states.shape[:2], -1, self.head_width).transpose(1, 2)


def _attended(query: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None) -> Tensor:
    """(b h i d): attention of heads that share keys and values (b g j d), without copying those for each."""
    batch, heads, count, width = query.shape
    if count > 1:
        return functional.scaled_dot_product_attention(query, keys, values, attn_mask=seen, enable_gqa=True)
    grouped = query.view(batch, keys.shape[1], -1, width)
    return functional.scaled_dot_product_attention(grouped, keys, values, attn_mask=seen).view(batch, heads, 1, width)


def _chosen(states: Tensor, places: Tensor) -> Tensor:
    """(b g j d) at the places (b k) → (b g k d)."""
    return states.gather(2, places[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))
