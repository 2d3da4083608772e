"""The span scorer: a BERT trunk, a score for each span of a passage, and one for "it is not here".

Source: REALM (Guu et al. 2020, arXiv 2002.08909, section 3.2; the open-QA reader of ORQA): a span's score is an MLP of
its first and last token's states. Ours adds the two pointers (a linear start and end term) and the null score.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from memptm.encoders.bert import Bert
from memptm.generation.config import REMEDY, ReaderConfig
from memptm.model_files import CONFIG, WEIGHTS, fill, read_weights
from memptm.models import resolve

FROZEN = ("words.", "positions.", "segments.")  # of the trunk: they stay the base model's and are not saved again


class SpanScorer(nn.Module):
    """Logits of all spans of a passage and of the null answer."""

    def __init__(self, config: ReaderConfig, trunk: Bert) -> None:
        super().__init__()
        self.config, self.trunk = config, trunk
        width = trunk.config.hidden_size
        self.pointers = nn.Linear(width, 2)
        self.first = nn.Linear(width, config.span_width)
        self.last = nn.Linear(width, config.span_width)
        self.span = nn.Linear(config.span_width, 1)
        self.null = nn.Sequential(nn.Linear(width, config.span_width), nn.GELU(), nn.Linear(config.span_width, 1))

    @classmethod
    def load(cls, folder: Path) -> SpanScorer:
        """From a folder written by ``save``; float32, evaluation mode.

        Raises:
            ModelMissing: not such a folder, or its base model is not to be had.
        """
        config = ReaderConfig.read(folder / CONFIG)
        model = cls(config, Bert.load(resolve(config.base)))
        load_learned(model, folder / WEIGHTS, trunk="trunk.")
        return model.eval()

    def save(self, folder: Path) -> None:
        """config.json and model.safetensors (float16, without the base's embeddings)."""
        folder.mkdir(parents=True, exist_ok=True)
        save_learned(self, folder / WEIGHTS, trunk="trunk.")
        (folder / CONFIG).write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor, body: Tensor) -> tuple[Tensor, Tensor]:
        """Score every span, and that none is the answer.

        Args:
            ids, segments: (batch, tokens) integers.
            mask: booleans, False is padding.
            body: (batch, tokens) booleans, True where an answer may start or end (the passage's own words).
        Returns:
            spans: (batch, tokens, span_tokens) logits, [b, i, n] for the span from token i to i + n; −inf where either
                end is not body.
            null: (batch,) logits.
            Both are float32 and on the processor, as what came in, wherever the model is.
        """
        ids, mask, segments, body = (one.to(self.span.weight.device) for one in (ids, mask, segments, body))
        hidden = self.trunk(ids, mask, segments)
        return self.span_logits(hidden, body).cpu(), self.null(hidden[:, 0]).squeeze(-1).float().cpu()

    def span_logits(self, hidden: Tensor, body: Tensor) -> Tensor:
        """(b t c) → (b t n), see ``forward``."""
        beyond = self.config.span_tokens - 1
        start, end = self.pointers(hidden).float().unbind(-1)
        first, last = self.first(hidden), self.last(hidden)
        last = functional.pad(last, (0, 0, 0, beyond)).unfold(1, beyond + 1, 1)  # b t w n
        pair = functional.gelu(first.unsqueeze(-1) + last)
        score = torch.einsum("btwn,w->btn", pair, self.span.weight[0].to(pair.dtype)).float()
        score = score + start.unsqueeze(-1) + functional.pad(end, (0, beyond)).unfold(1, beyond + 1, 1)
        ends = functional.pad(body, (0, beyond)).unfold(1, beyond + 1, 1)
        possible: Tensor = body.unsqueeze(-1) & ends
        visible: Tensor = score.masked_fill(~possible, -torch.inf)
        return visible


def span_loss(spans: Tensor, null: Tensor, gold: Tensor) -> Tensor:
    """−log of the probability of any right span, or of the null answer where no span is right; the mean over the batch.

    Args:
        spans: (batch, tokens, span_tokens).
        null: (batch,).
        gold: booleans like ``spans``; a row without True wants null.
    Source: REALM's marginal over all matching spans; null as one more outcome of the same softmax.
    """
    flat = torch.cat([null.unsqueeze(-1), spans.flatten(1)], dim=-1)
    right = torch.cat([~gold.flatten(1).any(-1, keepdim=True), gold.flatten(1)], dim=-1)
    return (flat.logsumexp(-1) - flat.masked_fill(~right, -torch.inf).logsumexp(-1)).mean()


def load_learned(model: nn.Module, path: Path, *, trunk: str) -> None:
    """Take up what ``save_learned`` wrote, in float32.

    Args:
        model: takes the weights; its base's embeddings are in it already.
        path: of the safetensors file.
        trunk: what the names of the BERT's weights begin with.
    Raises:
        ModelMissing: the file cannot be read, or is of another model.
    """
    tensors = {name: tensor.float() for name, tensor in read_weights(path, remedy=REMEDY).items()}
    fill(model, tensors, path, remedy=REMEDY, elsewhere=lambda name: name.removeprefix(trunk).startswith(FROZEN))


def save_learned(model: nn.Module, path: Path, *, trunk: str) -> None:
    """Write the weights, float16, without the embeddings, which are the base's. ``trunk``: what its names begin with."""
    state = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in model.state_dict().items()
        if not name.removeprefix(trunk).startswith(FROZEN)
    }
    save_file(state, path)
