"""Opening an index folder: it is there or is begun, and its encoder is the one that made its keys."""

from __future__ import annotations

import os
from pathlib import Path

from memptm.encoders.base import Encoder, check_keys
from memptm.errors import EncoderMismatch, IndexMissing, ModelMissing
from memptm.memory import folder
from memptm.memory.folder import IndexFolder, Manifest


def open_folder(
    path: str | Path, *, create: bool, encoder: str | Encoder | None
) -> tuple[IndexFolder, Manifest, Encoder | None]:
    """The folder of an index, its manifest, and the encoder if it had to be loaded; ``Memory.open`` says the rest."""
    place = IndexFolder(folder.expanded(path))
    if create and not os.path.exists(place / folder.MANIFEST):  # noqa: PTH110 (Path's raises for too long a name)
        folder.check_place(place.path)
    manifest = place.manifest()
    if manifest is None and not create:
        raise IndexMissing(f"No index at {path}. Build one with: memptm build FOLDER --index {path}")
    found: Encoder | None = None
    if not isinstance(encoder, str | None):
        found = encoder
    elif manifest is None or (encoder is not None and encoder != manifest.encoder):
        found = _load_encoder(encoder)
        if manifest is None:
            check_keys(found)  # before an index is begun that no whole model could open
    if manifest is None and found is not None:
        manifest = place.begin(encoder=found.name, dimension=found.dimension, fingerprint=found.fingerprint)
    if manifest is None:
        raise IndexMissing(f"No index at {path}.")
    if found is not None:
        check_encoder(place.path, manifest, found)
    return place, manifest, found


def encoder_of(path: Path, manifest: Manifest) -> Encoder:
    """The encoder that the index at ``path`` names, loaded.

    Raises:
        ModelMissing: it cannot be loaded. EncoderMismatch: its weights are no longer those of the keys.
    """
    try:
        found = _load_encoder(manifest.encoder)
    except ModelMissing as error:
        raise ModelMissing(
            f"{path} needs its encoder, {manifest.encoder}, and that cannot be loaded ({error}) "
            "Put it back, or say where it is now: --encoder PATH."
        ) from error
    check_encoder(path, manifest, found)
    return found


def check_encoder(path: Path, manifest: Manifest, encoder: Encoder) -> None:
    """Raise EncoderMismatch unless ``encoder`` made the keys of the index."""
    ours = (manifest.dimension, manifest.fingerprint)
    if ours != (encoder.dimension, encoder.fingerprint):
        described = "{} ({} dimensions, {})"
        raise EncoderMismatch(
            str(path),
            described.format(manifest.encoder, manifest.dimension, manifest.fingerprint[:8]),
            described.format(encoder.name, encoder.dimension, encoder.fingerprint[:8]),
        )


def _load_encoder(name: str | None) -> Encoder:
    from memptm.encoders.load import load_encoder

    return load_encoder(name)
