"""A BERT encoder in one file: the trunk of the packaged encoder and of the reader.

transformers has it too; this one loads in a fraction of the time (no transformers import), keeps the residual stream
and the norms in float32 while the products run in bfloat16 (keys within cosine 0.999 of float32), and is where the
recurrent encoder will attach its memory. A test holds it to transformers' output.

Source: Devlin et al. 2018 (arXiv 1810.04805); post-layer-norm as released.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from memptm.encoders.bert_config import REMEDY, BertConfig
from memptm.encoders.int8 import Int8Layer, Scratch
from memptm.errors import ModelMissing
from memptm.model_files import WEIGHTS, fill, read_weights, reason


class _Undrawn(TorchFunctionMode):
    """Modules are made without drawing weights that would only be overwritten.

    On the meta device torch's own drawing imports its compiler, which takes as long as all of torch.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


class Layer(nn.Module):
    """Self-attention and feed-forward, each added to the stream and normalised after."""

    def __init__(self, config: BertConfig, dropout: float) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.heads, self.dropout = config.num_attention_heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps)
        self.up = nn.Linear(width, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, width)
        self.output_norm = nn.LayerNorm(width, eps)

    def forward(self, hidden: Tensor, visible: Tensor | None) -> Tensor:
        """(b t c) → (b t c), float32. ``visible``: (b 1 1 t) booleans, or None where nothing is padding."""
        query, key, value = self.project(hidden).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.finish(hidden, attended)

    def project(self, hidden: Tensor) -> Tensor:
        """(b t c) → (b, t, 3, heads, c / heads): queries, keys and values."""
        batch, length, width = hidden.shape
        qkv: Tensor = self.qkv(hidden.to(self.qkv.weight.dtype))
        return qkv.view(batch, length, 3, self.heads, width // self.heads)

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """What follows attention: ``hidden`` (b t c) and ``attended`` (b, heads, t, c / heads) → (b t c), float32."""
        precision = self.qkv.weight.dtype
        attended = self.out(attended.transpose(1, 2).reshape(hidden.shape))
        hidden = self.attention_norm(hidden + self._drop(attended))
        fed = self.down(functional.gelu(self.up(hidden.to(precision))))
        normed: Tensor = self.output_norm(hidden + self._drop(fed))
        return normed

    def to_bfloat16(self) -> Layer:
        """Put the linear maps in bfloat16."""
        for part in self.children():
            if isinstance(part, nn.Linear):
                part.to(torch.bfloat16)
        return self

    def quantised(self, scratch: Scratch, widest: dict[str, Tensor]) -> Int8Layer:
        """The layer with its linear maps in 8-bit integers; ``widest`` as Int8Layer's, for "qkv" and "up"."""
        maps = {"qkv": self.qkv, "out": self.out, "up": self.up, "down": self.down}
        norms = self.attention_norm, self.output_norm
        return Int8Layer(maps, widest, norms, heads=self.heads, scratch=scratch).eval()

    def _drop(self, states: Tensor) -> Tensor:
        # No dropout on attention weights: with it, SDPA on a CPU is 2-3 times slower.
        return functional.dropout(states, self.dropout, self.training).float()


class Bert(nn.Module):
    """Token ids to states of the last layer.

    Args:
        config: sizes.
        dropout: on the residual branches, in training mode only.
    """

    def __init__(self, config: BertConfig, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.segments = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.layers = nn.ModuleList(Layer(config, dropout) for _ in range(config.num_hidden_layers))

    @classmethod
    def load(cls, folder: Path, *, dropout: float = 0.0) -> Bert:
        """From a transformers checkpoint in safetensors, float32, evaluation mode.

        Raises:
            ModelMissing: not a BERT, no model.safetensors (pickled weights are never read), or one that is damaged or
                does not fit config.json.
        """
        config, path = BertConfig.read(folder), folder / WEIGHTS
        found = read_weights(path, remedy=REMEDY)
        try:
            state = from_transformers(found, config)
        except (KeyError, RuntimeError) as error:  # one is missing, or query, key and value are of different widths
            raise ModelMissing(f"{path} does not fit its config.json ({reason(error)}). {REMEDY}") from error
        with torch.device("meta"), _Undrawn():
            model = cls(config, dropout=dropout)
        fill(model, state, path, remedy=REMEDY, assign=True)
        return model.eval()

    def save(self, folder: Path) -> None:
        """Write model.safetensors under transformers' names, float32; config.json is the caller's."""
        save_file(to_transformers(self.state_dict(), self.config), folder / WEIGHTS, {"format": "pt"})

    def freeze_embeddings(self) -> None:
        """Let them not be trained: they are half of the weights and learn little from few words."""
        for part in (self.words, self.positions, self.segments):
            part.requires_grad_(False)

    def to_bfloat16(self) -> Bert:
        """Put the linear layers in bfloat16 (the stream, norms and embeddings stay float32); for inference."""
        for layer in self._own_layers():
            layer.to_bfloat16()
        return self

    def pack_weights(self) -> Bert:
        """Store the linear maps' weights by input, not by output; for inference, the results are the same.

        For the few tokens of a question the usual layout is packed anew at every call, in half the time that it takes.
        """
        for layer in self._own_layers():
            for part in (layer.qkv, layer.out, layer.up, layer.down):
                part.weight.data = part.weight.data.t().contiguous().t()
        return self

    def _own_layers(self) -> list[Layer]:
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def quantised(self, ids: Tensor, mask: Tensor) -> Bert:
        """A model with the linear layers in 8-bit integers (int8.py) and all else shared with this one; for inference.

        Args:
            ids, mask: as ``forward``'s, of some text: they show which dimensions of the stream lie far out.
        """
        seen: dict[nn.Module, Tensor] = {}

        def look(part: nn.Module, given: tuple[Tensor]) -> None:
            seen[part] = given[0].float()[mask].abs().amax(0)

        parts = [part for layer in self._own_layers() for part in (layer.qkv, layer.up)]
        hooks = [part.register_forward_pre_hook(look) for part in parts]
        with torch.inference_mode():
            self(ids, mask)
        for hook in hooks:
            hook.remove()
        model, scratch = copy.copy(self), Scratch()
        layers = nn.ModuleList(
            layer.quantised(scratch, {"qkv": seen[layer.qkv], "up": seen[layer.up]}) for layer in self._own_layers()
        )
        model._modules = {**self._modules, "layers": layers}
        return model

    def forward(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        """The states of the last layer.

        Args:
            ids: (batch, tokens) integers.
            mask: (batch, tokens) booleans, False is padding; None: no padding.
            segments: (batch, tokens), 0 or 1; None: all 0.
        Returns:
            (batch, tokens, width), float32.
        """
        for hidden in self.states(ids, mask, segments):
            last = hidden
        return last

    def states(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> Iterator[Tensor]:
        """What each layer gives, the last one last; arguments as ``forward``'s."""
        hidden = self.embed(ids, segments)
        visible = None if mask is None else mask[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, visible)
            yield hidden

    def embed(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """The first layer's input, (batch, tokens, width)."""
        embedded = self.words(ids) + self.positions.weight[: ids.shape[1]]
        embedded = embedded + (self.segments.weight[0] if segments is None else self.segments(segments))
        hidden: Tensor = self.norm(embedded)
        return hidden


PARTS = {  # ours: theirs
    "out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "output_norm": "output.LayerNorm",
}
EMBEDDINGS = {
    "words.weight": "embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
    "segments.weight": "embeddings.token_type_embeddings.weight",
    "norm.weight": "embeddings.LayerNorm.weight",
    "norm.bias": "embeddings.LayerNorm.bias",
}


def from_transformers(state: dict[str, Tensor], config: BertConfig) -> dict[str, Tensor]:
    """transformers' names to ours; query, key and value become one matrix. The pooler is left out."""
    state = {name.removeprefix("bert."): tensor.float() for name, tensor in state.items()}
    ours = {name: state[theirs] for name, theirs in EMBEDDINGS.items()}
    for n in range(config.num_hidden_layers):
        theirs = f"encoder.layer.{n}."
        for kind in ("weight", "bias"):
            qkv = [state[f"{theirs}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            ours[f"layers.{n}.qkv.{kind}"] = torch.cat(qkv)
            for name, their_name in PARTS.items():
                ours[f"layers.{n}.{name}.{kind}"] = state[f"{theirs}{their_name}.{kind}"]
    return ours


def to_transformers(state: dict[str, Tensor], config: BertConfig) -> dict[str, Tensor]:
    """The inverse of ``from_transformers``."""
    theirs = {name: state[ours] for ours, name in EMBEDDINGS.items()}
    for n in range(config.num_hidden_layers):
        layer = f"encoder.layer.{n}."
        for kind in ("weight", "bias"):
            qkv = state[f"layers.{n}.qkv.{kind}"].chunk(3)
            for part, tensor in zip(("query", "key", "value"), qkv, strict=True):
                theirs[f"{layer}attention.self.{part}.{kind}"] = tensor
            for name, their_name in PARTS.items():
                theirs[f"{layer}{their_name}.{kind}"] = state[f"layers.{n}.{name}.{kind}"]
    return {name: tensor.detach().float().contiguous() for name, tensor in theirs.items()}
