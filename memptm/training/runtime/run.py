"""A run and its folder: what the run is of, known by digests, and what it made there.

A run goes on only with its own data, start weights and settings; how long it is (steps, epochs) may grow. It writes only
under names that its recipe lists, and replaces only what it made itself.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from memptm.encoders.base import Encoder, embedding_text
from memptm.errors import InputError, ModelMissing
from memptm.memory import folder as files
from memptm.memory.encode import digest
from memptm.memory.rekey import KeyCache, rekey
from memptm.models import resolve
from memptm.progress import Progress, silent
from memptm.training.runtime.arithmetic import FILE as ARITHMETIC
from memptm.training.runtime.checkpoint import CHECKPOINT, read_note
from memptm.types import Json, Passage

if TYPE_CHECKING:
    from memptm.memory.memory import Memory

FILE = "run.json"
ALWAYS = (CHECKPOINT, ARITHMETIC, "log.jsonl", "telemetry.png")  # what every recipe writes
LENGTH = frozenset({"steps", "memory_steps", "epochs", "both", "phases", "save_every"})  # no part of what a run is
WORDS = {"rows": "number of rows", "data": "data set"}  # what a difference is called in a message
KINDS = frozenset({".safetensors", ".json", ".txt", ".gguf"})  # files that make a model


@dataclass(frozen=True)
class Run:
    """What a run is of, and where.

    Attributes:
        recipe: the command's name, as in ``memptm train RECIPE``.
        folder: of its checkpoint and log.
        data, start: digests of what it learns from and of the weights it begins with, by name.
        settings: all that changes what a step computes, as JSON; LENGTH is left out.
        home: the folder given as --out, which is ``folder`` (None) or, for a phase, the one around it.
    """

    recipe: str
    folder: Path
    data: Mapping[str, str] = field(default_factory=dict)
    start: Mapping[str, str] = field(default_factory=dict)
    settings: Json = field(default_factory=dict)
    home: Path | None = None

    def phase(
        self, name: str, *, data: Mapping[str, str], start: Mapping[str, str], settings: Json, after: Sequence[str] = ()
    ) -> Run:
        """A part of this run in a folder of its own; ``after``: the phases it follows.

        Args:
            name: of its folder.
            data: digests of what it learns from.
            start: digests of the weights it begins with.
            settings: all that changes what a step computes.
            after: names of the phases it follows.
        """
        return Run(self.recipe, self.folder / name, data, start, plain({**settings, "after": list(after)}), self.folder)

    def begun_with(self, **start: str) -> Run:
        """The same with digests of start weights that only a phase before it could make."""
        return replace(self, start={**self.start, **start})

    @property
    def identity(self) -> Json:
        """As a checkpoint records it."""
        return {
            "recipe": self.recipe,
            "data": dict(self.data),
            "start": dict(self.start),
            "settings": plain(self.settings),
        }

    def has_checkpoint(self) -> bool:
        """Whether there is one, of this run or another."""
        return (self.folder / CHECKPOINT).is_file()

    def check(self, found: Json | None = None) -> None:
        """See that the folder's checkpoint, or the identity ``found``, is of this run.

        Args:
            found: an identity to look at in place of the checkpoint's.
        Raises:
            InputError: it is of another; the message names the first thing that differs.
        """
        if found is None:
            if not self.has_checkpoint():
                return
            found = read_note(self.folder).get("identity")
        if found is None:
            raise InputError(
                f"{self.folder} holds a checkpoint of an older memptm, which cannot be gone on from. Its weights can be "
                "used as they are. To train, give another --out."
            )
        if found["recipe"] != self.recipe:
            raise InputError(f"{self.folder} holds a run of memptm train {found['recipe']}. Give another --out.")
        if different := self._difference(found):
            raise InputError(
                f"{self.folder} holds a run with another {different}. Give another --out, or remove the folder."
            )

    def same_start(self) -> bool:
        """Whether the checkpoint began with the same weights; True where there is none."""
        return not self.has_checkpoint() or read_note(self.folder)["identity"]["start"] == dict(self.start)

    def _difference(self, found: Json) -> str:
        for name, value in self.data.items():
            if found["data"].get(name) != value:
                return WORDS.get(name, name)
        for name, value in self.start.items():
            if found["start"].get(name) != value:
                return f"{name} to start from"
        wanted = plain(self.settings)
        for name in sorted(wanted.keys() | found["settings"].keys()):
            if found["settings"].get(name) != wanted.get(name):
                return f"{WORDS.get(name, name)} ({found['settings'].get(name)}, not {wanted.get(name)})"
        return ""

    def claim(
        self,
        *writes: str,
        publishes: Sequence[str] = (),
        phases: Sequence[str] = (),
        beside: Memory | None = None,
    ) -> None:
        """Take the folder for this run, before anything is loaded.

        Args:
            writes: names of files and folders that the recipe writes there beside ALWAYS.
            publishes: names of folders that it makes by ``publish`` and ``publish_index``.
            phases: gone through; a folder whose index came of others is only given further ones behind those.
            beside: an index that is read.
        Raises:
            InputError: one of them is there and is not this run's, the folder is an index or another recipe's, or the
                index lies where the run would write.
        """
        home, names = self.folder, (*writes, *publishes)
        if (home / files.MANIFEST).exists():
            raise InputError(f"{home} is an index. Give another --out.")
        if beside is not None:
            source = Path(beside.path).resolve()
            taken = next((one for one in names if source.is_relative_to((home / one).resolve())), None)
            if taken is not None:
                raise InputError(
                    f"The index {beside.path} lies in {home / taken}, where this run writes. Give another --out."
                )
        note = self._note()
        if note is not None and note["recipe"] != self.recipe and not note["made"] and not any(home.rglob(CHECKPOINT)):
            note = None  # another recipe's that never began
        if note is None:
            there = next((one for one in (*ALWAYS, *names) if (home / one).exists() or (home / one).is_symlink()), None)
            if there == CHECKPOINT:
                self.check()
            if there is not None:
                raise InputError(f"{home / there} is there already, and no run in {home} made it. Give another --out.")
            self._write({"recipe": self.recipe, "made": {}})
        elif note["recipe"] != self.recipe:
            raise InputError(f"{home} holds a run of memptm train {note['recipe']}. Give another --out.")
        else:
            for name in publishes:
                self._own(name)
            before = note["made"].get("phases", [])
            if before != list(phases)[: len(before)]:
                raise InputError(
                    f"{home / 'index'} is of another run, with {' and '.join(before)}. Give another --out."
                )

    def publish(self, name: str, write: Callable[[Path], object]) -> Path:
        """Make the folder ``name`` by ``write``, whole or not at all, in place of the one this run made before.

        Args:
            name: of the folder.
            write: is given the folder to fill.
        Raises:
            InputError: there is something in it that this run did not make.
        """
        path, half = self.home_folder / name, self.home_folder / f"{name}.part"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        write(half)
        self._own(name)
        made = {one.relative_to(half).as_posix() for one in half.rglob("*") if one.is_file()}
        self._record(name, sorted(made | set(self._made(name) or [])))
        if path.exists():
            shutil.rmtree(path)
        half.replace(path)
        self._record(name, sorted(made))
        return path

    def publish_index(
        self,
        source: Memory,
        encoder: Encoder,
        *,
        phases: Sequence[str],
        cache: KeyCache | None = None,
        progress: Progress = silent,
    ) -> Memory:
        """``source``'s passages under ``encoder``, which ``phases`` made, as the folder's index.

        The one that this run made of fewer steps or phases gives way.

        Args:
            source: is only read.
            encoder: its keys are the new index's.
            phases: names of those that made the encoder.
            cache: keys that were embedded already.
            progress: called while passages are embedded.
        Raises:
            InputError: an index is there that this run did not make, or that holds passages which ``source`` lacks.
        """
        path = self.home_folder / "index"
        self._own("index")
        found = files.IndexFolder(path).manifest()
        if found is not None and found.fingerprint != encoder.fingerprint:
            from memptm.memory.memory import Memory

            held = {_named(passage) for passage in source.passages()}
            if any(_named(passage) not in held for passage in Memory.open(path).passages()):
                raise InputError(
                    f"{path} holds passages that {source.path} lacks. Move it away, then run this again; nothing is lost."
                )
            shutil.rmtree(path)
        if found is None or found.fingerprint != encoder.fingerprint:
            self._record("index", "")  # begun: what stands there after a kill is this run's
        made = rekey(source, path, encoder, cache=cache, progress=progress)
        self._record("index", made.manifest.index)
        self._record("phases", list(phases))
        return made

    @property
    def home_folder(self) -> Path:
        """What was given as --out."""
        return self.home or self.folder

    def _own(self, name: str) -> None:
        """See that what is there under ``name`` is this run's to replace."""
        path, made = self.home_folder / name, self._made(name)
        if path.is_symlink():
            raise InputError(f"{path} is a link that this run did not make. Move it away, or give another --out.")
        if name == "index":
            found = files.IndexFolder(path).manifest()
            if found is not None and made not in ("", found.index):
                raise InputError(f"{path} is an index that this run did not make. Move it away, or give another --out.")
        elif path.exists():
            there = {one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()} or {""}
            foreign = sorted((there if path.is_dir() else {""}) - {*(made or ())})
            if foreign and not (path.is_dir() and there == {""}):
                raise InputError(f"{path / foreign[0]} was not made by this run, which writes there. Move it away.")

    def _note(self) -> Json | None:
        try:
            note: Json = json.loads((self.home_folder / FILE).read_text(encoding="utf-8"))
            return note if isinstance(note["recipe"], str) and isinstance(note["made"], dict) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _made(self, name: str) -> list[str] | str | None:
        made: list[str] | str | None = (self._note() or {"made": {}})["made"].get(name)
        return made

    def _record(self, name: str, what: list[str] | str) -> None:
        note = self._note() or {"recipe": self.recipe, "made": {}}
        self._write({**note, "made": {**note["made"], name: what}})

    def _write(self, note: Json) -> None:
        self.home_folder.mkdir(parents=True, exist_ok=True)
        files.replace(self.home_folder / FILE, (json.dumps(note, indent=1) + "\n").encode())


def plain(settings: Mapping[str, object]) -> Json:
    """Settings as JSON gives them back, tuples as lists; without LENGTH."""
    kept = {name: value for name, value in settings.items() if name not in LENGTH}
    made: Json = json.loads(json.dumps(kept))
    return made


def digest_of(rows: Iterable[object]) -> str:
    """Of rows, in their order."""
    return digest(*map(repr, rows))


def index_digest(passages: Sequence[Passage]) -> str:
    """Of an index's passages: what the encoder reads of each, and which stand in one document."""
    return digest(*(part for one in passages for part in (one.document, embedding_text(one))))


def reader_digest(folder: Path) -> str:
    """Of a reader's folder.

    Raises:
        ModelMissing: there is no reader in it.
    """
    if not all((folder / name).is_file() for name in ("config.json", "model.safetensors")):
        raise ModelMissing(f"There is no reader in {folder}. Give a folder made by memptm train reader.")
    return weights_digest(str(folder))


def weights_digest(name: str) -> str:
    """Of a model's folder or file: weights, settings and vocabulary, and those of the model that an adapter is put on.

    Raises:
        ModelMissing: nothing is there under that name.
    """
    path = resolve(name)
    made = hashlib.blake2b(digest_size=16)
    kept = [path] if path.is_file() else sorted(one for one in path.iterdir() if one.suffix in KINDS and one.is_file())
    for one in kept:
        if one.name not in (*ALWAYS, FILE):
            made.update(one.name.encode())
            with one.open("rb") as file:
                made.update(hashlib.file_digest(file, "blake2b").digest())
    adapter = path / "adapter_config.json"
    if adapter.is_file():
        base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
        made.update(weights_digest(base).encode())
    return made.hexdigest()


def _named(passage: Passage) -> tuple[str, str, str, str]:
    return passage.source, passage.document, passage.id, passage.text
