"""Write what the README shows of memptm at work: the first session, and docs/assets/answer.svg. The commands are run."""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "assets" / "answer.svg"
PLACE = re.compile(r"(<!-- session -->\n).*?(<!-- /session -->)", re.DOTALL)
ASKED = 'memptm query "Where are the passages of an index kept?" --index my-index'
COMMANDS = (
    "memptm build docs --index my-index",
    'memptm query "Which exit code does Ctrl-C give?" --index my-index',
    'memptm query "How many megabytes does the moon weigh?" --index my-index',
    'memptm search "a lock that is left by a dead process" --index my-index -k 1',
)
WIDTH = 126  # of the picture, in characters


def main() -> None:
    """Run the session in a folder that holds nothing but docs, and write it; then the picture."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "docs").symlink_to(ROOT / "docs")
        session = "\n".join(f"$ {command}\n{_output(command, folder)}" for command in COMMANDS)
        picture = _picture(ASKED, folder)
    block = f"```text\n{session.rstrip()}\n```\n"
    text = README.read_text(encoding="utf-8")
    README.write_text(PLACE.sub(lambda found: found[1] + block + found[2], text), encoding="utf-8")
    PICTURE.write_text(picture, encoding="utf-8")


def _output(command: str, folder: str) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    done = subprocess.run(_words(command), cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def _picture(command: str, folder: str) -> str:
    """An SVG of ``command`` and what it prints on a terminal; it asks no other host for fonts."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    subprocess.run(_words(command), cwd=folder, env=environment, stdout=theirs, stderr=subprocess.DEVNULL, check=True)
    os.close(theirs)
    printed = _all(ours).replace("\r\n", "\n").rstrip()
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.assemble(("$ ", "dim"), command), soft_wrap=True)
    console.print(Text.from_ansi(printed), soft_wrap=True)
    without_fonts = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    drawn = console.export_svg(title="memptm", code_format=without_fonts, unique_id="memptm")
    return re.sub(r"[ \t]+\n", "\n", drawn)


def _all(terminal: int) -> str:
    read = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # EIO: nothing is left, and the other end is closed
            return read.decode()
        if not piece:
            return read.decode()
        read += piece


def _words(command: str) -> list[str]:
    return [sys.executable, "-m", "memptm", *shlex.split(command)[1:]]


if __name__ == "__main__":
    main()
