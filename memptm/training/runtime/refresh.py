"""Keys that follow an encoder in training: a process of its own embeds all passages anew while training goes on.

As REALM's asynchronous refresh (Guu et al. 2020, section 3.3): a snapshot of the weights is written, the process embeds,
and its keys are published as one file, complete or not there. Here the step at which they are taken up is settled in
advance (the trainer waits if it must), so that a run that is cut and goes on is the same bit for bit.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from memptm.encoders.base import Keys
from memptm.errors import MemptmError
from memptm.memory.folder import replace

ATTEMPTS = 3  # of a process that dies
NICE = 10


class Refresh:
    """Versions of the keys in ``folder``, each named by the step whose weights made it; one process at a time.

    Args:
        folder: of keys and snapshots; it is made.
        texts: what the encoder reads for each passage.
        run: the folder whose arithmetic the process shares.
    """

    def __init__(self, folder: Path, texts: Sequence[str], *, run: Path) -> None:
        self.folder, self._run = folder, run
        folder.mkdir(parents=True, exist_ok=True)
        self._texts = folder / "texts.json"
        replace(self._texts, json.dumps(list(texts)).encode())
        self._running: tuple[int, subprocess.Popen[bytes]] | None = None

    def start(self, step: int, write: Callable[[Path], None]) -> None:
        """Begin with the keys of the weights after ``step``; ``write`` puts the encoder into a folder.

        Args:
            step: counted from 1.
            write: is given the folder to fill.
        """
        if self._path(step).is_file() or (self._running is not None and self._running[0] == step):
            return
        encoder = self.folder / f"encoder-{step}"
        if not encoder.is_dir():
            half = encoder.with_suffix(".part")
            shutil.rmtree(half, ignore_errors=True)
            write(half)
            half.replace(encoder)
        self._launch(step)

    def take(self, step: int) -> Keys:
        """(n, dimension): the keys of the weights after ``step``, waited for.

        Raises:
            MemptmError: the process died, several times.
        """
        for _ in range(ATTEMPTS):
            if self._path(step).is_file():
                keys: Keys = np.load(self._path(step), allow_pickle=False)
                return keys
            if self._running is None or self._running[0] != step:
                self._launch(step)
            if self._running is not None:
                self._running[1].wait()
                self._running = None
        lines = self._errors(step).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise MemptmError(
            f"Embedding the passages anew failed {ATTEMPTS} times: {lines[-1] if lines else 'no message'}. "
            "Training can go on from its checkpoint."
        )

    def forget(self, before: int) -> None:
        """Remove what was made of weights older than ``before``."""
        for encoder in self.folder.glob("encoder-*"):
            step = int(encoder.stem.removeprefix("encoder-"))
            if step < before:
                shutil.rmtree(encoder, ignore_errors=True)
                shutil.rmtree(self._parts(step), ignore_errors=True)
                for path in (self._path(step), self._errors(step)):
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """End the process, if one is running."""
        if self._running is not None:
            self._running[1].terminate()
            self._running[1].wait()
            self._running = None

    def _launch(self, step: int) -> None:
        self.close()
        paths = [self._run, self.folder / f"encoder-{step}", self._texts, self._parts(step), self._path(step)]
        command = [sys.executable, "-m", "memptm.training.runtime.refresh", str(os.getpid()), *map(str, paths)]
        with self._errors(step).open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                start_new_session=True,  # Ctrl-C is the trainer's, which ends it when its step is saved
            )  # fmt: skip
        self._running = (step, process)

    def _path(self, step: int) -> Path:
        return self.folder / f"keys-{step}.npy"

    def _parts(self, step: int) -> Path:
        return self.folder / f"parts-{step}"

    def _errors(self, step: int) -> Path:
        return self.folder / f"errors-{step}.txt"


class Versions:
    """Which version of the keys a step searches; the step alone settles it, so that a run that goes on sees the same.

    A refresh begins every ``every`` steps and is taken up when the next one begins: keys are between ``every`` and
    2 ``every`` steps old, of one version at any time.

    Args:
        first: (passages, dimension) keys at the start.
        refresh: None: they stay.
        every: steps between two refreshes.
        write: puts the encoder into a folder; not called without ``refresh``.
    """

    def __init__(
        self,
        first: Tensor,
        refresh: Refresh | None = None,
        every: int = 0,
        *,
        write: Callable[[Path], None] = lambda _: None,
    ) -> None:
        self._keys, self._version = first, 0
        self._refresh, self._every, self._write = refresh, every, write
        self.waited = 0.0  # seconds that steps stood still for keys

    def at(self, step: int) -> tuple[Tensor, int]:
        """(passages, dimension) keys for ``step``, counted from 1, and how many steps old they are."""
        if self._refresh is None:
            return self._keys, step - 1
        begun = (step - 1) // self._every * self._every
        wanted = self._taken(step)
        if wanted != self._version:
            began = time.monotonic()
            self._keys, self._version = torch.from_numpy(self._refresh.take(wanted)), wanted
            self.waited += time.monotonic() - began
        if begun:
            self._refresh.start(begun, self._write)
        return self._keys, step - 1 - self._version

    def saved(self, step: int) -> None:
        """After a checkpoint: what no run that goes on from it needs is removed."""
        if self._refresh is not None:
            self._refresh.forget(before=self._taken(step))

    def close(self) -> None:
        """End the process that embeds, if one is running."""
        if self._refresh is not None:
            self._refresh.close()

    def _taken(self, step: int) -> int:
        return max(0, (step - 1) // self._every - 1) * self._every


def refresh(parent: int, run: Path, encoder: Path, texts: Path, parts: Path, out: Path) -> None:
    """Embed ``texts`` with the encoder in a folder and publish the keys; ends early when process ``parent`` is gone.

    Args:
        parent: process id.
        run: folder whose arithmetic is taken.
        encoder: folder of the weights.
        texts: a JSON list.
        parts: folder in which what is done so far is kept.
        out: an .npy file of (n, dimension) keys.
    """
    from memptm.encoders.load import load_encoder
    from memptm.memory.rekey import KeyCache, Stopped
    from memptm.training.runtime.arithmetic import pin_precision

    pin_precision(run)

    cache = KeyCache(parts)
    passages = json.loads(texts.read_text(encoding="utf-8"))
    try:
        keys = cache.keys(passages, load_encoder(str(encoder)), going=lambda: os.getppid() == parent)
    except Stopped:
        return
    half = out.with_suffix(".part")
    with half.open("wb") as file:
        np.save(file, keys)
    half.replace(out)
    cache.forget()


if __name__ == "__main__":
    torch.set_num_threads(1)  # training wants the rest
    if hasattr(os, "nice"):
        with suppress(OSError):
            os.nice(NICE)
    refresh(int(sys.argv[1]), *map(Path, sys.argv[2:]))
