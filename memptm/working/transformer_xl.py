"""Transformer-XL: a language model that reads a stream in segments and carries the states of each into the next.

Source: Dai et al. 2019 (arXiv 1901.02860). The memory of layer n holds the inputs of layer n for the newest mem_len tokens,
so that a token's view reaches n times as far as the memory is long. Gradients end at the memory.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from memptm.errors import InputError, ModelMissing
from memptm.model_files import reason
from memptm.working.adaptive import IGNORED, AdaptiveEmbedding, AdaptiveSoftmax
from memptm.working.memorizing import ExternalMemory, Memorizing
from memptm.working.relative import External, KeysValues, RelativeAttention, distances, hidden_keys
from memptm.working.transformer_xl_state import Cache, TransformerXLState


@dataclass(frozen=True, kw_only=True)
class TransformerXLConfig:
    """Sizes and choices, by the paper's names where it has some.

    Attributes:
        vocabulary: words, the most frequent first where there are cutoffs.
        width: of the model.
        inner: of the feed-forward.
        mem_len: states a layer keeps; may differ between training and evaluation.
        clamp_len: distances beyond count as this one; 0: no limit.
        positions: "relative", or "absolute": sinusoids added to the words, counted from each segment's start, which
            clash in the memory; here to show what the relative ones are for.
        same_length: every query sees the mem_len newest keys, itself included.
        pre_norm: LayerNorm before each part instead of after.
        share_biases: u and v are all layers', as in the paper.
        cutoffs, div_val, embedding, tied: see working/adaptive.py.
        memorizing: layers that read an external memory, ``retrieved`` of its keys a query; see working/memorizing.py.
    """

    vocabulary: int
    width: int = 256
    layers: int = 6
    heads: int = 4
    head_width: int = 64
    inner: int = 1024
    mem_len: int = 128
    clamp_len: int = 0
    positions: Literal["relative", "absolute"] = "relative"
    same_length: bool = False
    pre_norm: bool = False
    share_biases: bool = True
    cutoffs: tuple[int, ...] = ()
    div_val: int = 1
    embedding: int | None = None
    tied: tuple[bool, ...] = field(default=())
    memorizing: tuple[int, ...] = ()
    retrieved: int = 32
    dropout: float = 0.1
    attention_dropout: float = 0.0


class Layer(nn.Module):
    """Relative attention and a feed-forward part, each with its residual and LayerNorm."""

    def __init__(self, config: TransformerXLConfig, feed_forward: nn.Module | None = None) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.attention = RelativeAttention(
            config.width, config.heads, config.head_width, dropout=config.attention_dropout
        )
        self.attention_norm, self.output_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.feed_forward = feed_forward or FeedForward(config.width, config.inner, config.dropout)
        self.drop = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden: Tensor,
        past: KeysValues,
        r: Tensor,
        u: Tensor,
        v: Tensor,
        hide: Tensor,
        external: External | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """(b i c) → (b i c), and keys and values of memory and segment. The others as RelativeAttention's."""
        if self.pre_norm:
            attended, known = self.attention(self.attention_norm(hidden), past, r, u, v, hide, external)
            hidden = hidden + self.drop(attended)
            return hidden + self.drop(self.feed_forward(self.output_norm(hidden))), known
        attended, known = self.attention(hidden, past, r, u, v, hide, external)
        hidden = self.attention_norm(hidden + self.drop(attended))
        return self.output_norm(hidden + self.drop(self.feed_forward(hidden))), known

    def project(self, memory: Tensor) -> KeysValues:
        """(b m c) of this layer's earlier inputs as keys and values."""
        return self.attention.project(self.attention_norm(memory) if self.pre_norm else memory)


class FeedForward(nn.Module):
    """Linear, ReLU, linear, at each position."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.up, self.down, self.drop = nn.Linear(width, inner), nn.Linear(inner, width), nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b i c) → (b i c)."""
        fed: Tensor = self.down(self.drop(functional.relu(self.up(hidden))))
        return fed


class TransformerXL(nn.Module):
    """The model. Call it with ids and the state of the last call; ``losses`` and ``generate`` do so for you.

    Args:
        parts: modules (… c) → (… c) in place of the feed-forward parts of these layers, such as a product-key memory.
    Raises:
        InputError: an odd width, or a layer that there is not.
    """

    def __init__(self, config: TransformerXLConfig, *, parts: Mapping[int, nn.Module] | None = None) -> None:
        super().__init__()
        if config.width % 2:
            raise InputError(f"The width is {config.width}, and sines and cosines share it. Give an even --width.")
        _check_layers([*(parts or {}), *config.memorizing], config.layers)
        self.config, self.mem_len = config, config.mem_len
        self.words = AdaptiveEmbedding(
            config.vocabulary,
            config.width,
            cutoffs=config.cutoffs,
            div_val=config.div_val,
            embedding=config.embedding,
        )
        self.softmax = AdaptiveSoftmax(self.words, tied=config.tied)
        self.layers = nn.ModuleList(Layer(config, (parts or {}).get(n)) for n in range(config.layers))
        sets = 1 if config.share_biases else config.layers
        self.u = nn.Parameter(torch.empty(sets, config.heads, config.head_width))
        self.v = nn.Parameter(torch.empty(sets, config.heads, config.head_width))
        self.memorizing = nn.ModuleDict(
            {str(n): Memorizing(config.heads, top=config.retrieved) for n in config.memorizing}
        )
        self.drop = nn.Dropout(config.dropout)
        self.apply(_initialise)
        for parameter in (self.u, self.v, self.softmax.cluster, *self.words.tables, *self.words.projections):
            nn.init.normal_(parameter, 0.0, 0.02)
        for parameter in self.softmax.projections.values():
            nn.init.normal_(parameter, 0.0, 0.02)

    def start(self, batch: int) -> TransformerXLState:
        """The state of ``batch`` streams of which nothing was read."""
        return TransformerXLState.empty(self.config.layers, batch, self.config.width, like=self.u)

    def external(self, batch: int, *, limit: int = 0, exact: bool = True) -> list[ExternalMemory]:
        """An empty external memory for ``batch`` streams, one a layer that reads it; see ExternalMemory."""
        config = self.config
        return [
            ExternalMemory(batch, config.heads, config.head_width, limit=limit, exact=exact, reader=(self, n))
            for n in config.memorizing
        ]

    def with_external(self, layers: Sequence[int], *, retrieved: int = 32) -> TransformerXL:
        """A copy that reads an external memory in these layers, its gates nearly closed, to be trained on.

        Raises:
            InputError: a layer that there is not.
        """
        _check_layers(layers, self.config.layers)
        made = copy.deepcopy(self)
        made.config = replace(self.config, memorizing=tuple(layers), retrieved=retrieved)
        made.memorizing = nn.ModuleDict({str(n): Memorizing(self.config.heads, top=retrieved) for n in layers})
        return made.to(self.u)

    def forward(
        self,
        ids: Tensor,
        state: TransformerXLState | None = None,
        documents: Tensor | None = None,
        external: Sequence[ExternalMemory] = (),
    ) -> tuple[Tensor, TransformerXLState]:
        """Read a segment.

        Args:
            ids: (b i).
            state: after the segment before; None: nothing was read.
            documents: (b i) number of the document each token stands in, not negative; None: the one that was read
                last.
            external: read and added to by the layers that have one; () leaves it out.
        Returns:
            (b i c) states of the last layer, and the state after this segment.
        Raises:
            InputError: a state, or external memories, of another model or of other streams; a number of documents that
                is not that of the words.
        """
        state = (self.start(len(ids)) if state is None else state).for_model(
            self, layers=self.config.layers, batch=len(ids), width=self.config.width, like=self.u
        )
        if external and len(external) != len(self.config.memorizing):
            raise InputError(
                f"There are {len(external)} external memories, and {len(self.config.memorizing)} layers read one. "
                "Take them from the model's external()."
            )
        begun = state.document() if documents is None and state.unread else None
        for one, at in zip(external, self.config.memorizing, strict=bool(external)):
            one.check((self, at), len(ids), begun)
        documents = state.document().expand(-1, ids.shape[1]) if documents is None else documents
        if documents.shape != ids.shape:
            raise InputError(
                f"There are document numbers of shape {tuple(documents.shape)}, and words of {tuple(ids.shape)}. "
                "Give one number a word."
            )
        hide = self._hidden(documents, state)
        keep = not self.training and not torch.is_grad_enabled()
        needed = len(state) + ids.shape[1] + 1
        cache = state.cache if keep else None
        if cache is None or cache.relative[0].shape[1] < needed:
            cache = self._projected(state, ids.shape[1])
        hidden, inputs, known = self.drop(self._embedded(ids)), [], []
        for n, layer in enumerate(self.layers):
            inputs.append(hidden)
            own = 0 if self.config.share_biases else n
            past, r = cache.layers[n], cache.relative[n][:, -needed:]
            read = self._external(n, external, documents)
            hidden, both = layer(hidden, past, r, self.u[own], self.v[own], hide, read)
            known.append(both)
        written = state.written(inputs, documents, length=self.mem_len)
        return self.drop(hidden), written.cached(known, cache.relative) if keep else written

    def _embedded(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.words(ids)
        if self.config.positions == "absolute":
            embedded = embedded + distances(ids.shape[1], self.config.width, device=ids.device)[:-1].flip(0).to(
                embedded
            )
        return embedded

    def _projected(self, state: TransformerXLState, count: int) -> Cache:
        """What the layers make of the memory and of distances up to that of a full memory and ``count`` more."""
        r = distances(
            max(len(state), self.mem_len) + count, self.config.width, clamp=self.config.clamp_len, device=self.u.device
        )
        r = self.drop(torch.zeros_like(r) if self.config.positions == "absolute" else r)
        layers = [layer for layer in self.layers if isinstance(layer, Layer)]
        return Cache(
            tuple(layer.project(memory) for layer, memory in zip(layers, state.layers, strict=True)),
            tuple(layer.attention.by_distance(r) for layer in layers),
        )

    def _external(self, layer: int, external: Sequence[ExternalMemory], documents: Tensor) -> External | None:
        if not external or layer not in self.config.memorizing:
            return None
        memory = external[self.config.memorizing.index(layer)]
        return partial(self.memorizing[str(layer)], memory=memory, documents=documents)

    def _hidden(self, documents: Tensor, state: TransformerXLState) -> Tensor:
        """(b 1 i j) booleans: what the segment's queries must not see."""
        keys = torch.cat([state.documents, documents], dim=1)
        limit = self.mem_len if self.config.same_length else 0
        hide = hidden_keys(documents.shape[1], keys.shape[1], same_length=limit, device=documents.device)
        return (hide | (documents[:, :, None] != keys[:, None, :]))[:, None]

    def losses(
        self,
        ids: Tensor,
        targets: Tensor,
        state: TransformerXLState | None = None,
        documents: Tensor | None = None,
        external: Sequence[ExternalMemory] = (),
    ) -> tuple[Tensor, TransformerXLState]:
        """−log p of each target (b i), natural, in token order, 0 where it is −100; and the state after."""
        hidden, state = self(ids, state, documents, external)
        return self.softmax.losses(hidden, targets, self.words), state

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """(b i c) → (b i words) of the next word, float32."""
        return self.softmax.log_probabilities(hidden, self.words)

    def check_words(self, ids: Tensor) -> None:
        """That the model knows all words of ids (…): with cutoffs, others would be read as zeros.

        Raises:
            InputError: it does not.
        """
        lowest, highest = (int(one) for one in ids.aminmax())
        if lowest < 0 or highest >= self.config.vocabulary:
            raise InputError(
                f"The text has word {highest if lowest >= 0 else lowest}, and the model knows {self.config.vocabulary}, from 0 "
                "on. Encode it with the tokenizer.json that the model was trained with."
            )

    @torch.no_grad()
    def generate(
        self,
        ids: Tensor,
        *,
        state: TransformerXLState | None = None,
        tokens: int = 64,
        temperature: float = 1.0,
        top: int = 0,
    ) -> Iterator[Tensor]:
        """Go on from ids (b i), a word a time, each read once: yields (b,) words.

        Args:
            state: of what was read before.
            temperature: 0 takes the likeliest.
            top: choose among so many; 0: all.
        Raises:
            InputError: no ids, or one that the model does not know.
        """
        if not ids.shape[1]:
            raise InputError("There is nothing to go on from. Give at least one word.")
        self.check_words(ids)
        for _ in range(tokens):
            hidden, state = self(ids, state)
            log_p = self.log_probabilities(hidden[:, -1])
            if temperature == 0:
                word = log_p.argmax(dim=-1)
            else:
                logits = log_p / temperature
                if top:
                    lowest = logits.topk(min(top, logits.shape[-1]), dim=-1).values[:, -1:]
                    logits = logits.masked_fill(logits < lowest, -torch.inf)
                word = torch.multinomial(logits.softmax(dim=-1), 1).squeeze(1)
            yield word
            ids = word.unsqueeze(1)

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.contiguous() for name, tensor in self.state_dict().items()}, folder / "model.safetensors"
        )
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, parts: Mapping[int, nn.Module] | None = None) -> TransformerXL:
        """Read what ``save`` wrote, evaluation mode; ``parts`` as it was made with.

        Raises:
            ModelMissing: not such a folder.
        """
        try:
            raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            listed = {name: tuple(raw[name]) for name in ("cutoffs", "tied", "memorizing")}
            model = cls(TransformerXLConfig(**{**raw, **listed}), parts=parts)
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelMissing(
                f"{folder} holds no Transformer-XL of memptm ({reason(error)}). Make one with memptm train lm."
            ) from error
        return model.eval()


def mean_loss(losses: Tensor, targets: Tensor) -> Tensor:
    """Over real targets; 0 where all are −100."""
    return losses.sum() / (targets != IGNORED).sum().clamp(min=1)


def _check_layers(layers: Sequence[int], count: int) -> None:
    unknown = [layer for layer in layers if not 0 <= layer < count]
    if unknown:
        raise InputError(f"The model has layers 0 to {count - 1}, not {unknown[0]}.")


def _initialise(module: nn.Module) -> None:
    """As the original's; embedding bags and keys of a memory keep theirs."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
