"""Run the pages of docs/tutorials in an empty folder and write what came out; a test holds the pages to it.

A page holds, in the order in which a reader goes through them:

- a block with a title, which is a file: it is written;
- a `console` block: lines after `$ ` are commands of memptm, what follows each is what it prints;
- a `python` block: run in one namespace for the page; a `text` block right after it is what it prints.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from memptm.cli import main as memptm

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
BLOCK = re.compile(
    r'^```(?P<kind>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<body>.*?)^```\n(?P<printed>\n```text\n.*?^```\n)?',
    re.DOTALL | re.MULTILINE,
)


def pages() -> list[Path]:
    """The tutorials."""
    return sorted(page for page in FOLDER.glob("*.md"))


def run(text: str, folder: Path) -> str:
    """``text`` with everything in it run in ``folder``, and its output as it was now."""
    names: dict[str, Any] = {"__name__": "tutorial"}
    with _inside(folder):
        return BLOCK.sub(lambda found: _block(found, folder, names), text)


def alike(text: str) -> str:
    """``text`` without what differs from machine to machine: probabilities, losses and times, the blanks that line them
    up, and answers that were hardly thought of.
    """
    kept = re.sub(r"^or: .*$", "or:", text, flags=re.MULTILINE)
    return re.sub(r"[ \t]+", " ", re.sub(r"-?\d+\.\d+(?:e-?\d+)?|\b\d+(?= ms\b)", "#", kept))


def _block(found: re.Match[str], folder: Path, names: dict[str, Any]) -> str:
    kind, file, body, printed = found["kind"], found["file"], found["body"], found["printed"] or ""
    if file:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(body, encoding="utf-8")
    elif kind == "console":
        commands = [line for line in body.splitlines() if line.startswith("$ ")]
        return "```console\n" + "\n".join(f"{command}\n{_command(command)}" for command in commands) + "```\n" + printed
    elif kind == "python":
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(body, "tutorial", "exec"), names)
        if printed:
            return found[0].removesuffix(printed) + f"\n```text\n{output.getvalue()}```\n"
    return found[0]


def _command(line: str) -> str:
    words = shlex.split(line.removeprefix("$ memptm "))
    done = CliRunner().invoke(memptm, words)
    if done.exit_code:
        raise RuntimeError(f"{line}\n{done.output}") from done.exception
    return done.stdout


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main() -> None:
    """Write the pages anew."""
    for page in pages():
        with tempfile.TemporaryDirectory() as folder:
            page.write_text(run(page.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
