"""Write the README's first session: the commands are run, and what they print is what stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PLACE = re.compile(r"(<!-- session -->\n).*?(<!-- /session -->)", re.DOTALL)
COMMANDS = (
    "memptm build docs --index my-index",
    'memptm query "Where are the passages of an index kept?" --index my-index',
    'memptm query "How many megabytes does the moon weigh?" --index my-index',
    'memptm search "a lock that is left by a dead process" --index my-index -k 1',
)


def session() -> str:
    """The commands and their output, run in a folder that holds nothing but docs."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "docs").symlink_to(ROOT / "docs")
        return "\n".join(f"$ {command}\n{_output(command, folder)}" for command in COMMANDS)


def _output(command: str, folder: str) -> str:
    words = [sys.executable, "-m", "memptm", *shlex.split(command)[1:]]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def main() -> None:
    """Run the session and write it."""
    block = f"```text\n{session().rstrip()}\n```\n"
    text = README.read_text(encoding="utf-8")
    README.write_text(PLACE.sub(lambda found: found[1] + block + found[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
