"""Write docs/commands.md from the command line's own help; a test holds the two together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from memptm.cli import main as memptm

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
HEAD = """# Commands

Every command of `memptm` with its options, as `memptm COMMAND --help` prints it. This page is generated (`make docs`);
what the commands print, their exit codes and their JSON are described in [command-line.md](command-line.md).
"""


def page() -> str:
    """The page as it should be now."""
    sections = [f"## {name}\n\n```text\n{text}\n```\n" for name, text in _helps(memptm, "memptm")]
    return HEAD + "\n" + "\n".join(sections)


def _helps(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    context = click.Context(
        command,
        info_name=name.split()[-1],
        parent=parent,
        **{**command.context_settings, "terminal_width": 100, "max_content_width": 100},
    )
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from _helps(found, f"{name} {inner}", context)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
