"""Transformer-XL's recurrence in a pre-trained decoder with rotary positions: a stream of any length, constant memory.

Rotary positions are relative, so that old keys can be read again wherever they come to stand: keys are kept *before*
rotation, and rotated by their place in the window when they are read. The first tokens of a document stay as attention
sinks (Xiao et al. 2023, arXiv 2309.17453); between them and the newest tokens, the oldest go. No gradient enters the memory.
Axes: b batch, h heads, g heads of keys and values, i query, j key, d width of a head, c width of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from memptm.errors import InputError
from memptm.working.files import read_tensors, write_tensors

FAMILY = ("llama", "mistral", "qwen2")  # the same layers under the same names
FORGOTTEN = -1  # in place of a document's number: no query sees it


@dataclass(frozen=True)
class DecoderState:
    """What was read so far, as far as it is kept. Immutable: a step returns a new one.

    Attributes:
        keys, values: (layers b g j d), keys before rotation, oldest first, attention sinks before all others.
        documents: (b j) number of the document each stands in; queries see their own document alone.
        read: tokens of each stream so far.
    """

    keys: Tensor
    values: Tensor
    documents: Tensor
    read: int

    def __len__(self) -> int:
        """Tokens kept."""
        return self.documents.shape[1]

    def reset(self, rows: Sequence[int]) -> DecoderState:
        """With the memory of these streams forgotten; the others keep theirs."""
        documents = self.documents.clone()
        documents[list(rows)] = FORGOTTEN
        return DecoderState(self.keys, self.values, documents, self.read)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        read = torch.tensor(self.read)
        write_tensors(path, {"keys": self.keys, "values": self.values, "documents": self.documents, "read": read})

    @classmethod
    def load(cls, path: Path) -> DecoderState:
        """Read what ``save`` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        found = read_tensors(path, "keys", "values", "documents", "read")
        return cls(found["keys"], found["values"], found["documents"], int(found["read"]))


class RecurrentDecoder:
    """Reads streams with a causal model of the Llama family.

    Args:
        model: of transformers. memory: tokens kept between segments, sinks among them. sinks: a document's first tokens that
            stay. segment: tokens read at once; with the memory they must fit what the model was trained for.
    Raises:
        InputError: another architecture, or more than the model was trained for.
    """

    def __init__(self, model: Any, *, memory: int = 1024, sinks: int = 4, segment: int = 256) -> None:
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

    def start(self, batch: int) -> DecoderState:
        """The state of ``batch`` streams of which nothing was read."""
        config, like = self.model.config, self.decoder.embed_tokens.weight
        none = like.new_empty(config.num_hidden_layers, batch, config.num_key_value_heads, 0, self.head_width)
        return DecoderState(none, none, torch.empty(batch, 0, dtype=torch.long, device=like.device), 0)

    @torch.no_grad()
    def read(self, ids: Tensor, state: DecoderState | None = None) -> tuple[Tensor, DecoderState]:
        """Read ids (b i) of any length; (b i c) states of the last layer, normalised, and the state after them.

        The tokens belong to the document that each stream is in, or, after a reset, to a new one.
        """
        state = state or self.start(len(ids))
        if state.documents.shape[0] != len(ids):
            raise InputError(f"The state is of {state.documents.shape[0]} streams, the ids of {len(ids)}.")
        found = []
        for start in range(0, ids.shape[1], self.segment):
            hidden, state = self._segment(ids[:, start : start + self.segment], state)
            found.append(hidden)
        return torch.cat(found, dim=1), state

    def logits(self, hidden: Tensor) -> Tensor:
        """(… c) → (… words)."""
        scores: Tensor = self.model.get_output_embeddings()(hidden)
        return scores

    @torch.no_grad()
    def losses(self, ids: Tensor, state: DecoderState | None = None) -> tuple[Tensor, DecoderState]:
        """−log p of ids[:, 1:], (b i − 1), natural, float32; and the state after all but the last of them."""
        found, state = [], state or self.start(len(ids))
        for start in range(0, ids.shape[1] - 1, self.segment):
            part = ids[:, start : start + self.segment + 1]
            hidden, state = self.read(part[:, :-1], state)
            log_p = self.logits(hidden).float().log_softmax(dim=-1)
            found.append(-log_p.gather(-1, part[:, 1:, None]).squeeze(-1))
        return torch.cat(found, dim=1), state

    @torch.no_grad()
    def generate(
        self, ids: Tensor, *, state: DecoderState | None = None, tokens: int = 64
    ) -> Iterator[tuple[Tensor, DecoderState]]:
        """Go on from ids (b i) with the likeliest token each time; yields (b,) tokens and the state before they are read."""
        for _ in range(tokens):
            hidden, state = self.read(ids, state)
            token = self.logits(hidden[:, -1]).argmax(dim=-1)
            yield token, state
            ids = token.unsqueeze(1)

    def _segment(self, ids: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        kept, count = len(state), ids.shape[1]
        own = state.documents[:, -1:].clamp(min=0) if kept else state.documents.new_zeros(len(ids), 1)
        begun = (state.documents[:, -1:] == FORGOTTEN).long() if kept else torch.zeros_like(own)
        documents = torch.cat([state.documents, (own + begun).expand(-1, count)], dim=1)
        hidden = self.decoder.embed_tokens(ids)
        places = torch.arange(kept + count, device=ids.device).unsqueeze(0)
        turn = self.decoder.rotary_emb(hidden, places)
        seen = self._seen(documents, count)
        new = []
        for n, layer in enumerate(self.decoder.layers):
            hidden, key, value = self._layer(layer, hidden, state.keys[n], state.values[n], turn, seen)
            new.append((key, value))
        keep = self._kept(documents)
        keys, values = (torch.stack([self._chosen(pair[which], keep) for pair in new]) for which in (0, 1))
        state = DecoderState(keys, values, documents.gather(1, keep), state.read + count)
        return self.decoder.norm(hidden), state

    def _layer(
        self, layer: Any, hidden: Tensor, keys: Tensor, values: Tensor, turn: tuple[Tensor, Tensor], seen: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(b i c) → (b i c), and all keys and values (b g j d), those of the segment behind the memory's."""
        attention = layer.self_attn
        normed = layer.input_layernorm(hidden)
        query, key, value = (
            self._by_head(part(normed)) for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        key, value = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
        cos, sin = turn
        count = hidden.shape[1]
        turned = rotated(query, cos[:, -count:], sin[:, -count:]), rotated(key, cos, sin)
        attended = functional.scaled_dot_product_attention(*turned, value, attn_mask=seen, enable_gqa=True)
        hidden = hidden + attention.o_proj(attended.transpose(1, 2).flatten(-2))
        return hidden + layer.mlp(layer.post_attention_layernorm(hidden)), key, value

    def _seen(self, documents: Tensor, count: int) -> Tensor:
        """(b 1 i j) booleans: keys of the past, in the query's document."""
        places = torch.arange(documents.shape[1], device=documents.device)
        past = places[None, :] <= places[-count:, None]
        return (past & (documents[:, -count:, None] == documents[:, None, :])).unsqueeze(1)

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

    def _chosen(self, states: Tensor, keep: Tensor) -> Tensor:
        """(b g j d) at the places ``keep`` (b k) → (b g k d)."""
        places = keep[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
        return states.gather(2, places)

    def _by_head(self, states: Tensor) -> Tensor:
        """(b t hd) → (b h t d)."""
        return states.view(*states.shape[:2], -1, self.head_width).transpose(1, 2)


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(b h t d) turned by the angles of (1 t d): halves, not neighbours, as the Llama family has it."""
    first, second = states.chunk(2, dim=-1)
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    return states * cos + torch.cat([-second, first], dim=-1) * sin
