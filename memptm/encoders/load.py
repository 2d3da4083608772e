"""An encoder by its name: the one place that knows every kind."""

from __future__ import annotations

from pathlib import Path

from memptm.encoders.adapted import MEMORY, SETTINGS, AdaptedEncoder, settings_of, without_memory
from memptm.encoders.base import Encoder
from memptm.encoders.bert_config import REMEDY
from memptm.encoders.recurrent import RecurrentEncoder
from memptm.encoders.sentence import BertEncoder, SentenceTransformersEncoder, bert_pooling
from memptm.encoders.two_sided import TWO_SIDED, TwoSidedEncoder, passages_of
from memptm.errors import ModelMissing
from memptm.model_files import CONFIG, check_folder
from memptm.models import resolve

DEFAULT = "memptm-recurrent"
BASE = "sentence-transformers/all-MiniLM-L6-v2"  # what it was made from


def load_encoder(name: str | None = None) -> Encoder:
    """The encoder called ``name`` (a folder, a packaged model, a hub name), or the default.

    Raises:
        ModelMissing: it cannot be found, is not a sentence encoder, or was made from one that is not to be had.
    """
    return _load(name or DEFAULT, ())


def _load(name: str, parents: tuple[Path, ...]) -> Encoder:
    """``parents``: the folders of encoders that were made from this one."""
    folder = resolve(name)
    if folder in parents:
        raise ModelMissing(f"{folder} is an encoder made from itself. Train it again from another.")
    parents = (*parents, folder)
    if (folder / SETTINGS).is_file():
        base = _base(name, folder, parents)
        kind = RecurrentEncoder if (folder / MEMORY).is_file() else AdaptedEncoder
        return kind(name, folder, base)
    if (folder / TWO_SIDED).is_file():
        passages, fingerprint = passages_of(folder)
        return TwoSidedEncoder(name, folder, _load(passages, parents), fingerprint)
    if not (folder / CONFIG).is_file() and not (folder / "modules.json").is_file():
        raise ModelMissing(
            f"{name} is not a sentence encoder: it holds no config.json. Give a sentence-transformers model."
        )
    check_folder(folder, remedy=REMEDY)
    pooling = bert_pooling(folder)
    return BertEncoder(name, folder, pooling) if pooling else SentenceTransformersEncoder(name, folder)


def _base(name: str, folder: Path, parents: tuple[Path, ...]) -> BertEncoder:
    """The encoder that was trained, where it is the one it was."""
    settings = settings_of(folder)
    base = without_memory(_load(settings["base"], parents))
    if base is None or base.fingerprint != settings["fingerprint"]:
        raise ModelMissing(f"{name} was made from another {settings['base']}. Put that one back, or train again.")
    return base
