"""Sentence encoders: any sentence-transformers model, and a fast path for the BERT-like ones (the packaged one is)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memptm.encoders.base import Keys
from memptm.encoders.batching import batches, padded, pooled
from memptm.encoders.bert_config import REMEDY, BertConfig, is_bert
from memptm.errors import ModelMissing
from memptm.model_files import CONFIG, TOKENIZER, WEIGHTS, check_weights, read_settings, read_tokenizer, reason
from memptm.progress import Event, Progress, silent

if TYPE_CHECKING:
    from memptm.encoders.bert import Bert

SHORT = 8  # tokens; up to here a passage is never encoded in integers


def bert_pooling(folder: Path) -> str | None:
    """Return "mean" or "cls" if the folder is a BERT with that pooling, no prefixes and normalised output; else None."""
    try:
        config, pooling = (read_settings(at / CONFIG, remedy=REMEDY) for at in (folder, folder / "1_Pooling"))
        prompts = read_settings(folder / "config_sentence_transformers.json", remedy=REMEDY).get("prompts") or {}
        modules = [module["type"].rsplit(".", 1)[-1] for module in json.loads((folder / "modules.json").read_text())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not as the fast path knows it
        return None
    fits = is_bert(config) and modules in (["Transformer", "Pooling", "Normalize"], ["Transformer", "Pooling"])
    files = (folder / WEIGHTS).is_file() and (folder / TOKENIZER).is_file()
    if not fits or not files or not isinstance(prompts, dict) or any(prompts.values()):
        return None
    chosen = [key for key, on in pooling.items() if key.startswith("pooling_mode_") and on is True]
    return (
        {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}.get(chosen[0])
        if len(chosen) == 1
        else None
    )


class BertEncoder:
    """A BERT with mean or [CLS] pooling, loaded without transformers.

    Passages are encoded in 8-bit integers or bfloat16 where those are fastest (precision.py), questions never in integers.

    Args:
        name: what the user called it.
        folder: with config.json, model.safetensors and tokenizer.json.
        pooling: "mean" or "cls", see ``bert_pooling``.
    Raises:
        ModelMissing: the folder is damaged, as far as can be seen without loading the weights; the rest at first use.
    """

    def __init__(self, name: str, folder: Path, pooling: str) -> None:
        config = BertConfig.read(folder)
        self.name, self.folder, self.pooling = name, folder, pooling
        self.dimension, self.layers = config.hidden_size, config.num_hidden_layers
        self.max_tokens = _max_tokens(folder, config.max_position_embeddings)
        self.fingerprint = fingerprint(folder)
        self._loaded: tuple[Any, Any] | None = None
        self._bulk_model: Any = None

    def encode_passages(self, texts: Sequence[str], *, progress: Progress = silent) -> Keys:
        exact, _ = self._load()
        ids = self.token_ids(texts)
        keys = np.zeros((len(texts), self.dimension), np.float32)
        # A short text has few tokens for the rounding of integers to cancel out over; its own length decides.
        long = [n for n, row in enumerate(ids) if len(row) > SHORT]
        short = [n for n, row in enumerate(ids) if len(row) <= SHORT]
        done = 0
        for rows, model in ((long, self._bulk() if long else exact), (short, exact)):
            for count in self._fill(keys, model, ids, rows):
                done += count
                progress(Event(stage="encode", done=done, total=len(texts)))
        return keys

    def encode_questions(self, texts: Sequence[str]) -> Keys:
        exact, _ = self._load()
        return self._encode(exact, texts)

    def _encode(self, model: Any, texts: Sequence[str]) -> Keys:
        ids = self.token_ids(texts)
        keys = np.zeros((len(texts), self.dimension), np.float32)
        for _ in self._fill(keys, model, ids, range(len(ids))):
            pass
        return keys

    def _fill(self, keys: Keys, model: Any, ids: Sequence[list[int]], rows: Sequence[int]) -> Iterator[int]:
        """Write the keys of ``rows``, a batch at a time; how many each batch had."""
        for batch in batches([len(ids[n]) for n in rows]):
            chosen = [rows[n] for n in batch]
            keys[chosen] = self._forward(model, [ids[n] for n in chosen])
            yield len(chosen)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, special tokens included, cut to the window."""
        return [
            encoding.ids[: self.max_tokens - 1] + encoding.ids[-1:]
            if len(encoding.ids) > self.max_tokens
            else encoding.ids
            for encoding in self._load()[1].encode_batch_fast(list(texts))
        ]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self._load()[1].encode_batch_fast(list(texts))]

    def bert(self) -> Bert:
        """Its weights, anew, in float32."""
        from memptm.encoders.bert import Bert

        return Bert.load(self.folder)

    def model(self, *, bulk: bool) -> Bert:
        """What it runs: for single texts, or for many."""
        made: Bert = self._bulk() if bulk else self._load()[0]
        return made

    def write(self, model: Bert, folder: Path) -> None:
        """Write ``model`` into ``folder`` with this encoder's settings; sentence-transformers loads it too."""
        for path in self.folder.rglob("*.json"):
            copied = folder / path.relative_to(self.folder)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)
        model.save(folder)

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from memptm.encoders.precision import bfloat16_is_faster

            model = self.bert()
            tokenizer = read_tokenizer(self.folder, remedy=REMEDY, words=model.config.vocab_size)
            self._loaded = (model.to_bfloat16() if bfloat16_is_faster() else model.pack_weights(), tokenizer)
        return self._loaded

    def _bulk(self) -> Any:
        """The model for passages, of which there are many: in 8-bit integers where that is fastest."""
        if self._bulk_model is None:
            from memptm.encoders.precision import CLOSE, PROBE, bulk_precision

            self._bulk_model, _ = self._load()
            if bulk_precision() == "int8":
                model = self._bulk_model.quantised(*padded(self.token_ids(PROBE)))
                exact, rounded = (self._encode(one, PROBE) for one in (self._bulk_model, model))
                if (exact * rounded).sum(1).mean() >= CLOSE:
                    self._bulk_model = model
        return self._bulk_model

    def _forward(self, model: Any, rows: list[list[int]]) -> Keys:
        import torch

        ids, mask = padded(rows)
        with torch.inference_mode():
            keys: Keys = pooled(model(ids, mask if len(rows) > 1 else None), mask, self.pooling).numpy()
        return keys


class SentenceTransformersEncoder:
    """Any other sentence-transformers model, as that library runs it; its own prompts are the prefixes."""

    def __init__(self, name: str, folder: Path) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the files are here: nothing is to be asked of the hub
        from sentence_transformers import SentenceTransformer

        try:
            self._model = SentenceTransformer(
                str(folder), device=None, trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
        except Exception as error:  # of many kinds, by what is wrong and by the model's architecture
            raise ModelMissing(f"{name} cannot be loaded as a sentence encoder ({reason(error)}). {REMEDY}") from error
        _check_names(self._model, folder)
        self.name = name
        self.dimension = int(self._model.get_embedding_dimension() or 0)
        self.max_tokens = int(self._model.max_seq_length or 512)
        self.fingerprint = fingerprint(folder)

    def encode_passages(self, texts: Sequence[str], *, progress: Progress = silent) -> Keys:
        keys = [np.zeros((0, self.dimension), np.float32)] if not texts else list[Keys]()
        for start in range(0, len(texts), 256):
            some = list(texts[start : start + 256])
            made = self._model.encode_document(some, normalize_embeddings=True, show_progress_bar=False)
            keys.append(np.asarray(made, np.float32))
            progress(Event(stage="encode", done=start + len(some), total=len(texts)))
        return np.concatenate(keys)

    def encode_questions(self, texts: Sequence[str]) -> Keys:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        keys = self._model.encode_query(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(keys, np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._model.tokenizer(list(texts), truncation=False)["input_ids"]]


def fingerprint(folder: Path) -> str:
    """A hash of the weights and of every setting that changes keys (prefixes among them)."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".safetensors", ".json", ".txt") and not path.name.startswith("README"):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _max_tokens(folder: Path, positions: int) -> int:
    """The encoder's window: what its folder says, at most the positions that it has."""
    path = folder / "sentence_bert_config.json"
    limit = read_settings(path, remedy=REMEDY).get("max_seq_length") if path.is_file() else None
    if limit is None:
        return positions
    if not isinstance(limit, int) or limit < 3:
        raise ModelMissing(f'{path} has {json.dumps(limit)} as its "max_seq_length". {REMEDY}')
    return min(limit, positions)


def _check_names(model: Any, folder: Path) -> None:
    """That every weight of a transformers model comes from a file: transformers draws at random what it does not find.

    Raises:
        ModelMissing: one does not.
    """
    held = {name for path in folder.rglob("*.safetensors") for name in check_weights(path, remedy=REMEDY)}
    for part in model:
        inner = getattr(part, "auto_model", None)
        if inner is None:
            continue
        tied = {*(getattr(inner, "all_tied_weights_keys", None) or ())}
        for name in sorted({one for one, _ in inner.named_parameters()} - tied):
            if "pooler" not in name and name not in held and f"{inner.base_model_prefix}.{name}" not in held:
                raise ModelMissing(f"{folder} holds no {name}, which its {CONFIG} asks for. {REMEDY}")
