"""The trained block scorer of MemRecall (`memptm train recall`): how relevant each block of a text is to a question, read beside other blocks.

A BERT reads [CLS] question [SEP] block [SEP] block [SEP] …; every token of a block gets a score in (0, 1), and a block's
score is their mean (Ding et al. 2020, NeurIPS, section 3.2). Ours is the span reader's trunk with low-rank updates and a
linear head: some hundred kilobytes beside the reader's weights.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from memptm.encoders.batching import batches, padded
from memptm.encoders.low_rank import add_low_rank, merge_low_rank
from memptm.encoders.precision import PROBE, bfloat16_is_faster, bulk_precision
from memptm.errors import ModelMissing
from memptm.generation.config import ReaderConfig
from memptm.generation.reader import SHIPPED as SHIPPED_READER
from memptm.generation.spans import SpanScorer
from memptm.generation.windows import load_tokenizer, special
from memptm.model_files import CONFIG, WEIGHTS, check_weights, fill, read_config, read_weights
from memptm.models import resolve
from memptm.progress import Event, Progress, silent

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from memptm.encoders.bert import Bert

SHIPPED = Path(__file__).parent.parent / "weights" / "judge"
REMEDY = "Copy the judge again, or train it again with memptm train recall."
QUESTION_TOKENS = 64  # a longer question keeps its first and last 32
COARSE_WINDOW = 256
PAD_TO = 32
_TOKENISED = 4096  # blocks at once
PROBED = "When was the lighthouse rebuilt, and of what?"  # asked of the encoder's PROBE
CLOSE = 0.01  # mean difference of PROBE's scores up to which 8-bit integers are good enough


@dataclass(frozen=True, kw_only=True)
class ScorerConfig:
    """What is saved as config.json beside the scorer's weights.

    Attributes:
        reader: folder of the span reader whose trunk is used; "" is the one memptm ships.
        fingerprint: of that reader's weights; with others the updates would mean nothing.
        rank: of the updates.
        window: tokens, with the question, of blocks scored together.
        coarse_window: of blocks scored each by itself, which share an input to save time; shorter.
    """

    reader: str = ""
    fingerprint: str = ""
    rank: int = 8
    window: int = 512
    coarse_window: int = COARSE_WINDOW

    @classmethod
    def read(cls, path: Path) -> ScorerConfig:
        """From a scorer's config.json.

        Raises:
            ModelMissing: the file is missing, not JSON, or has unknown keys or values of another type.
        """
        return read_config(cls, path, remedy=REMEDY)


@dataclass(frozen=True)
class Packed:
    """One model input.

    Attributes:
        ids: token ids.
        question: of these, how many come before the blocks.
        blocks: (number, first token, token behind the last) of each block in it.
    """

    ids: list[int]
    question: int
    blocks: list[tuple[int, int, int]]


class BlockScoringModel(nn.Module):
    """Logits of tokens. ``trunk`` is a reader's; ``rank`` 0 leaves it as it is."""

    def __init__(self, trunk: Bert, *, rank: int) -> None:
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        if rank:
            add_low_rank(trunk, rank=rank)
        self.head = nn.Linear(trunk.config.hidden_size, 1)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
        """(b t) integers, booleans that are False at padding, and 0 or 1 → (b t) logits, float32, on the processor."""
        ids, mask, segments = (one.to(self.head.weight.device) for one in (ids, mask, segments))
        logits: Tensor = self.head(self.trunk(ids, mask, segments)).squeeze(-1)
        return logits.float().cpu()

    def learned(self) -> dict[str, Tensor]:
        """What is not the reader's."""
        return {name: tensor for name, tensor in self.named_parameters() if tensor.requires_grad}


class TrainedScorer:
    """The block scorer in a folder; its model loads on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = ScorerConfig.read(folder / CONFIG)
        check_weights(folder / WEIGHTS, remedy=REMEDY)

    @cached_property
    def model(self) -> BlockScoringModel:
        """The updates merged into the trunk, bfloat16 products where they are faster."""
        model = load_scoring_model(self.folder, self.config)
        merge_low_rank(model.trunk)
        if bfloat16_is_faster():
            model.trunk.to_bfloat16()
        return model.eval()

    @cached_property
    def quick(self) -> BlockScoringModel:
        """The model in 8-bit integers, where those are fastest and change little."""
        if bulk_precision() != "int8":
            return self.model
        packer = self.packer
        packed = packer.pack(packer.question(PROBED), packer.blocks(PROBE), range(len(PROBE)), window=COARSE_WINDOW)
        ids, mask, segments = collate(packed)
        quick = copy.copy(self.model)
        quick._modules = {**self.model._modules, "trunk": self.model.trunk.quantised(ids, mask)}
        with torch.inference_mode():
            exact, rounded = (one(ids, mask, segments).sigmoid()[mask] for one in (self.model, quick))
        return quick if float((exact - rounded).abs().mean()) <= CLOSE else self.model

    @cached_property
    def packer(self) -> Packer:
        """Makes model inputs."""
        return Packer(reader_tokenizer(self.config.reader))

    def score(self, question: str, texts: Sequence[str]) -> TrainedScores:
        """The scores of a text's blocks, computed as they are asked for."""
        return TrainedScores(self, question, texts)


class TrainedScores:
    """Of one text's blocks."""

    def __init__(self, scorer: TrainedScorer, question: str, texts: Sequence[str]) -> None:
        self.scorer, self.packer, self.config = scorer, scorer.packer, scorer.config
        self._question = self.packer.question(question)
        self._ids = self.packer.blocks(texts)

    def coarse(self, blocks: Sequence[int], kept: Sequence[int] = (), *, progress: Progress = silent) -> list[float]:
        """Blocks that follow each other are read together, as many as fit, the kept ones with them in the text's order."""
        window = self.config.window if kept else self.config.coarse_window
        packed = self.packer.pack(self._question, self._ids, blocks, kept, window=window)
        scores = _scores(self.scorer.quick, packed, progress)
        return [scores[n] for n in blocks]

    def fine(self, blocks: Sequence[int]) -> list[float]:
        """In one window; in several, the next going on where the last was full, where they do not fit one."""
        packed = self.packer.pack(self._question, self._ids, blocks, window=self.config.window)
        scores = _scores(self.scorer.quick, packed, silent)
        return [scores[n] for n in blocks]


class Packer:
    """Packs a question and blocks into model inputs."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.cls, self.sep = special(tokenizer, "[CLS]"), special(tokenizer, "[SEP]")

    def question(self, question: str) -> list[int]:
        """[CLS] question [SEP]."""
        ids = list(self.tokenizer.encode(question, add_special_tokens=False).ids)
        half = QUESTION_TOKENS // 2
        return [self.cls, *(ids if len(ids) <= QUESTION_TOKENS else ids[:half] + ids[-half:]), self.sep]

    def blocks(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each, a [SEP] behind; one of no tokens has that alone."""
        found = []
        for start in range(0, len(texts), _TOKENISED):
            some = self.tokenizer.encode_batch_fast(list(texts[start : start + _TOKENISED]), add_special_tokens=False)
            found += [[*one.ids, self.sep] for one in some]
        return found

    def pack(
        self,
        question: Sequence[int],
        ids: Sequence[Sequence[int]],
        blocks: Sequence[int],
        kept: Sequence[int] = (),
        *,
        window: int,
    ) -> list[Packed]:
        """Inputs of at most ``window`` tokens: each of ``blocks`` once, all of ``kept`` in each, by their numbers' order.

        The kept ones take half of the room at most (the last of them are left out), so that a block always fits; a block
        larger than the room is cut.
        """
        room = window - len(question)
        beside, used = [], 0
        for n in kept:
            if used + len(ids[n]) <= room // 2:
                beside.append(n)
                used += len(ids[n])
        groups: list[list[int]] = []
        left = 0
        for n in blocks:
            if not groups or len(ids[n]) > left:
                groups.append([])
                left = room - used
            groups[-1].append(n)
            left -= len(ids[n])
        return [self._input(question, ids, sorted([*group, *beside]), room - used) for group in groups]

    def _input(self, question: Sequence[int], ids: Sequence[Sequence[int]], group: Sequence[int], most: int) -> Packed:
        made, places = list(question), []
        for n in group:
            block = ids[n] if len(ids[n]) <= most else [*ids[n][: most - 1], self.sep]
            # A block's own tokens count, not the mark behind it; but one without tokens has nothing else.
            places.append((n, len(made), len(made) + max(len(block) - 1, 1)))
            made += block
        return Packed(made, len(question), places)


def collate(packed: Sequence[Packed]) -> tuple[Tensor, Tensor, Tensor]:
    """(ids, mask, segments), each (inputs, tokens), padded to a multiple of 32 tokens."""
    ids, mask = padded([one.ids for one in packed], to=PAD_TO)
    segments = torch.zeros_like(ids)
    for n, one in enumerate(packed):
        segments[n, one.question : len(one.ids)] = 1
    return ids, mask, segments


def _scores(model: BlockScoringModel, packed: Sequence[Packed], progress: Progress) -> dict[int, float]:
    """Mean token score of each block; of one that is in several inputs (it was kept), the mean of these."""
    total, count, done = dict[int, float](), dict[int, int](), 0
    for group in batches([len(one.ids) for one in packed]):
        some = [packed[n] for n in group]
        with torch.inference_mode():
            scores = model(*collate(some)).sigmoid()
        for one, row in zip(some, scores, strict=True):
            for n, first, last in one.blocks:
                total[n] = total.get(n, 0.0) + float(row[first:last].mean())
                count[n] = count.get(n, 0) + 1
        done += len(some)
        progress(Event(stage="judge", done=done, total=len(packed), unit="windows"))
    return {n: total[n] / count[n] for n in total}


def new_scoring_model(config: ScorerConfig) -> BlockScoringModel:
    """An untrained head, and updates of 0, on the trunk of the reader that ``config`` names."""
    return BlockScoringModel(SpanScorer.load(reader_folder(config.reader)).trunk, rank=config.rank)


def load_scoring_model(folder: Path, config: ScorerConfig) -> BlockScoringModel:
    """From a folder written by ``save_scoring_model``; float32, the updates not merged.

    Raises:
        ModelMissing: no weights there, they do not fit the config, or the reader is another than the one trained on.
    """
    reader = reader_folder(config.reader)
    if reader_fingerprint(reader) != config.fingerprint:
        raise ModelMissing(
            f"The judge in {folder} was trained on another reader than {reader}. Train it again with memptm train recall."
        )
    model = new_scoring_model(config)
    path, own = folder / WEIGHTS, model.learned().keys()
    tensors = {name: tensor.float() for name, tensor in read_weights(path, remedy=REMEDY).items()}
    fill(model, tensors, path, remedy=REMEDY, elsewhere=lambda name: name not in own)
    return model.eval()


def save_scoring_model(model: BlockScoringModel, config: ScorerConfig, folder: Path) -> None:
    """config.json and model.safetensors: what is not the reader's, float16."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().half().contiguous() for name, tensor in model.learned().items()}
    save_file(state, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")


def reader_folder(name: str) -> Path:
    """Of the reader called ``name``; "" is the shipped one."""
    return Path(name).expanduser() if name else SHIPPED_READER


def reader_fingerprint(folder: Path) -> str:
    """A hash of a reader's weights.

    Raises:
        ModelMissing: it has none.
    """
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ModelMissing(f"There is no reader in {folder}. Give a folder made by memptm train reader.")
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:16]


def reader_tokenizer(name: str) -> Tokenizer:
    """Of the reader called ``name``."""
    return load_tokenizer(resolve(ReaderConfig.read(reader_folder(name) / CONFIG).base))
