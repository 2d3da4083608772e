"""One arithmetic for all the processes of a run: which is fastest is raced, and a run that goes on must compute as it began."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from memptm.encoders.precision import Choice, choice, take
from memptm.memory.home import replace

FILE = "arithmetic.json"


def settle(folder: Path) -> None:
    """Compute as the run in ``folder`` began to; one that begins writes down how."""
    path = folder / FILE
    if path.is_file():
        take(Choice(**json.loads(path.read_text(encoding="utf-8"))))
        return
    folder.mkdir(parents=True, exist_ok=True)
    replace(path, json.dumps(asdict(choice())).encode())
