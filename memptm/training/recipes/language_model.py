"""Train a Transformer-XL on text: `memptm train lm`.

Streams are read in order, a segment a step, and the state goes from step to step, so that the model learns with the memory
it is used with (Dai et al. 2019, arXiv 1901.02860). At a document's end the memory of that row is left behind.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from memptm.errors import InputError
from memptm.memory.memory import Memory
from memptm.progress import Event, Progress, silent
from memptm.training.data.corpus import Kind, Streams, encoded, make_vocabulary, read_texts
from memptm.training.runtime.arithmetic import device, pin_precision, quick_products
from memptm.training.runtime.loop import finished, fit
from memptm.training.runtime.run import Run, digest_of, plain
from memptm.types import Json, Passage
from memptm.working.adaptive import IGNORED
from memptm.working.product_keys import ProductKeyMemory
from memptm.working.transformer_xl import TransformerXL, TransformerXLConfig, mean_loss
from memptm.working.transformer_xl_state import TransformerXLState

REMEDY = "Lower --batch, --segment or --memory."
VOCABULARY = "tokenizer.json"
COUNTED = 100  # steps over which a product-key memory's reads are counted
CUTOFFS = (4_000, 20_000, 80_000)  # of a vocabulary of words


@dataclass(frozen=True, kw_only=True)
class LanguageModelRecipe:
    """How to train.

    Attributes:
        model: sizes; its vocabulary and cutoffs are set from the text.
        vocabulary: its kind, see corpus.make_vocabulary.
        size: entries of the vocabulary.
        rows: streams side by side.
        segment: tokens a step and row.
        external: tokens that a stream's external memory keeps, in training and after; 0: none.
        epochs: times through the text.
        steps: at most; None: all of ``epochs``.
        learning_rate: of AdamW, at its highest.
        warm_up: share of the run, from 0 to 1, in which the learning rate rises.
        clip: the norm that gradients are cut to.
        save_every: steps between two checkpoints.
        seed: of all that is drawn at random.
    """

    model: TransformerXLConfig = TransformerXLConfig(vocabulary=0)  # noqa: RUF009 (frozen)
    vocabulary: Kind = "bpe"
    size: int = 8000
    rows: int = 16
    segment: int = 128
    external: int = 0
    epochs: int = 1
    steps: int | None = None
    learning_rate: float = 1e-3
    warm_up: float = 0.05
    clip: float = 0.25
    save_every: int = 100
    seed: int = 0


def sizes(*, width: int, layers: int, memory: int, words: int = 0, external: bool = False) -> TransformerXLConfig:
    """Sizes in the usual proportions: heads of 64, a feed-forward part four times as wide; LayerNorm before each part, for with
    it after, as in the paper, a small model learns word counts alone for its first hundreds of steps.

    Args:
        width: c, numbers a token.
        layers: their number.
        memory: states that a layer keeps, in tokens.
        words: size of a vocabulary of words, whose rarer ones get narrower vectors; 0 for parts of words.
        external: the layer below the last reads an external memory.
    """
    heads = max(1, width // 64)
    return TransformerXLConfig(
        vocabulary=0,
        width=width,
        layers=layers,
        heads=heads,
        head_width=width // heads,
        inner=4 * width,
        mem_len=memory,
        pre_norm=True,
        cutoffs=tuple(one for one in CUTOFFS if one < words),
        div_val=2 if words > CUTOFFS[0] else 1,
        memorizing=(max(layers - 2, 0),) if external else (),
    )


def train_language_model(
    data: Sequence[Path],
    out: Path,
    *,
    index: Path | None = None,
    recipe: LanguageModelRecipe | None = None,
    held_out: Sequence[Path] = (),
    memories: Sequence[int] = (),
    parts: Mapping[int, nn.Module] | None = None,
    progress: Progress = silent,
) -> Json:
    """Train on the texts of files, of an index, or of both, and save model and vocabulary in ``out``. On the GPU if there is one.

    Args:
        data: text files, a document each.
        out: log.jsonl, telemetry.png and a checkpoint go there too; a second call goes on from it, bit for bit on a
            CPU.
        index: its documents, passages of one behind another.
        recipe: how; its defaults if None.
        held_out: text files to measure on at the end.
        memories: memory lengths to do it with; the one of training if none.
        parts: in place of the feed-forward parts of these layers. The log has how many slots of product-key memories
            were read and how evenly ("usage", "kl"), every COUNTED steps.
        progress: called after every step.
    Returns:
        {"steps", "new_steps" of this call, "tokens" read, "parameters", "seconds", "loss", "telemetry"}; "note" where
        no step was left; and, with ``held_out``, {"held_out": [{"memory", "tokens", "perplexity",
        "tokens_a_second"}]}.
    Raises:
        InputError: no text or too little, memory lengths without held-out text, or a checkpoint of another recipe.
        MemptmError: the loss is no number.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    recipe = recipe or LanguageModelRecipe()
    texts = read_texts(data) + (_texts_of(index) if index is not None else [])
    if not texts:
        raise InputError("There is nothing to learn from. Give text files, or an index by --index.")
    if memories and not held_out:
        raise InputError("There is nothing to measure with these memory lengths. Give --held-out, too.")
    run = Run("lm", out, data={"data": digest_of(texts)}, settings=_settings(recipe, parts or {}))
    run.check()
    goes_on = run.has_checkpoint()
    vocabulary = _vocabulary(out) if goes_on else make_vocabulary(texts, recipe.vocabulary, recipe.size)
    streams = Streams(encoded(vocabulary, texts), rows=recipe.rows, segment=recipe.segment)
    tested = encoded(vocabulary, read_texts(held_out))
    if tested:
        Streams(tested, rows=1, segment=recipe.segment)  # refused now, and not after hours
    run.claim("config.json", "model.safetensors", VOCABULARY)
    if not goes_on:
        vocabulary.save(str(out / VOCABULARY))
    pin_precision(out)
    torch.manual_seed(recipe.seed)
    known = vocabulary.get_vocab_size()
    cutoffs = tuple(one for one in recipe.model.cutoffs if one < known)  # the text may have fewer words than asked for
    model = TransformerXL(replace(recipe.model, vocabulary=known, cutoffs=cutoffs), parts=parts)
    model.to(device())
    steps = min(recipe.epochs * len(streams), recipe.steps or sys.maxsize)
    task = LanguageModelTask(model, streams, recipe)
    fitted = fit(
        task,
        [[n % len(streams)] for n in range(steps)],
        run,
        warm_up=recipe.warm_up,
        save_every=recipe.save_every,
        remedy=REMEDY,
        clip=recipe.clip,
        progress=progress,
    )
    model.eval().save(out)
    fitted.telemetry.plot()
    result = fitted.numbers() | {
        "tokens": steps * recipe.rows * recipe.segment,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "telemetry": fitted.telemetry.table(),
        **finished(run, fitted),
    }
    if tested:
        lengths = memories or [model.mem_len]
        result["held_out"] = [
            evaluate(model, tested, memory=one, segment=recipe.segment, external=recipe.external, progress=progress)
            for one in lengths
        ]
    model.cpu()  # and with it the parts that were given
    return result


@torch.no_grad()
def evaluate(
    model: TransformerXL,
    documents: Sequence[Sequence[int]],
    *,
    memory: int,
    segment: int,
    external: int = 0,
    exact: bool = True,
    progress: Progress = silent,
) -> Json:
    """Perplexity of documents read with ``memory`` states a layer, one stream, every token once.

    Args:
        documents: token ids.
        memory: states that a layer keeps, in tokens.
        segment: tokens read at once.
        external: tokens that the external memory keeps; 0: none.
        exact: see ExternalMemory.
    Returns:
        {"memory", "tokens", "perplexity", "tokens_a_second"}.
    """
    losses, seconds = token_losses(
        model, documents, memory=memory, segment=segment, external=external, exact=exact, progress=progress
    )
    return {
        "memory": memory,
        "tokens": len(losses),
        "perplexity": round(math.exp(float(losses.mean())), 3),
        "tokens_a_second": round(len(losses) / seconds),
    }


@torch.no_grad()
def token_losses(
    model: TransformerXL,
    documents: Sequence[Sequence[int]],
    *,
    memory: int,
    segment: int,
    external: int = 0,
    exact: bool = True,
    progress: Progress = silent,
) -> tuple[Tensor, float]:
    """−log p of every token but each document's first, (tokens,), natural; and the seconds it took.

    Args:
        documents: token ids.
        memory: states that a layer keeps, in tokens.
        segment: tokens read at once.
        external: tokens that the external memory keeps; 0: none.
        exact: see ExternalMemory.
    Raises:
        InputError: too little text, or of another vocabulary.
    """
    streams, found, state = Streams(documents, rows=1, segment=segment), [], None
    model.check_words(torch.tensor([one for document in documents for one in document]))
    past = model.external(1, limit=external, exact=exact) if external else []
    began = time.perf_counter()
    kept, model.mem_len = model.mem_len, memory
    try:
        for n, part in enumerate(streams):
            one = part.to(model.u.device)
            losses, state = model.losses(one.ids, one.targets, state, one.documents, past)
            found.append(losses[one.targets != IGNORED].cpu())
            progress(Event(stage="evaluate", done=n + 1, total=len(streams), unit="segments"))
    finally:
        model.mem_len = kept
    return torch.cat(found), time.perf_counter() - began


class LanguageModelTask:
    """A segment a step; the state of the last one comes before it."""

    def __init__(self, model: TransformerXL, streams: Streams, recipe: LanguageModelRecipe) -> None:
        self.model = model.train()
        self.streams, self.recipe = streams, recipe
        self._state: TransformerXLState | None = None
        self._external = model.external(recipe.rows, limit=recipe.external) if recipe.external else []
        self._slots = [module for module in model.modules() if isinstance(module, ProductKeyMemory)]

    def groups(self) -> list[dict[str, Any]]:
        rate = self.recipe.learning_rate
        own = [group for part in self._slots for group in part.groups(learning_rate=rate)]
        apart = {id(parameter) for group in own for parameter in group["params"]}
        return [{"params": [one for one in self.model.parameters() if id(one) not in apart], "lr": rate}, *own]

    def training_step(self, step: int, rows: Sequence[int]) -> Json:
        (n,) = rows
        one, state = self.streams[n], self._state if n else None
        for memory in self._external if not n else []:
            memory.reset(range(self.recipe.rows))
        one = one.to(self.model.u.device)
        with quick_products():
            losses, self._state = self.model.losses(one.ids, one.targets, state, one.documents, self._external)
        loss = mean_loss(losses, one.targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": float(loss.detach()), **(self._usage() if step % COUNTED == 0 else {})}

    def _usage(self) -> Json:
        """How the slots were read since it was last asked: a mean over the memories."""
        counts = [part.telemetry() for part in self._slots]
        for part in self._slots:
            part.forget()
        return {name: sum(one[name] for one in counts) / len(counts) for name in ("usage", "kl")} if counts else {}

    def state(self) -> dict[str, Tensor]:
        if self._state is None:
            return {}
        past = {
            f"{n}/{name}": tensor
            for n, memory in enumerate(self._external)
            for name, tensor in memory.tensors().items()
        }
        used = {f"used/{n}": part.used for n, part in enumerate(self._slots)}
        return {"layers": self._state.layers, "documents": self._state.documents, **past, **used}

    def restore(self, state: dict[str, Tensor]) -> None:
        if not state:
            return
        self._state = TransformerXLState(state["layers"], state["documents"])
        for n, memory in enumerate(self._external):
            own = {name.removeprefix(f"{n}/"): one for name, one in state.items() if name.startswith(f"{n}/")}
            memory.take(own)
        for n, part in enumerate(self._slots):
            part.used.copy_(state[f"used/{n}"])


def _vocabulary(out: Path) -> Tokenizer:
    """Of the run that ``out`` has a checkpoint of."""
    try:
        return Tokenizer.from_file(str(out / VOCABULARY))
    except Exception as error:  # tokenizers raises nothing narrower
        raise InputError(
            f"{out} has a checkpoint, and its {VOCABULARY} cannot be read. Give another --out, or remove the folder."
        ) from error


def _texts_of(index: Path) -> list[str]:
    """Documents of an index, their passages joined: each repeats the end of the one before."""
    found: dict[tuple[str, str], list[Passage]] = {}
    for passage in Memory.open(index).passages():
        found.setdefault(passage.document_key, []).append(passage)
    return [_joined(sorted(passages, key=lambda one: one.start)) for passages in found.values()]


def _joined(passages: Sequence[Passage]) -> str:
    text, end = "", 0
    for passage in passages:
        blank = "\n" if text and passage.start > end else ""  # only blanks lie between passages
        text += blank + passage.text[max(0, end - passage.start) :]
        end = max(end, passage.end)
    return text


def _settings(recipe: LanguageModelRecipe, parts: Mapping[int, nn.Module]) -> Json:
    replaced = {"parts": {str(n): " ".join(repr(part).split()) for n, part in parts.items()}} if parts else {}
    return plain({**asdict(recipe), **replaced})
