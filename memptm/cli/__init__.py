"""The command line: each command parses, calls one library function, prints."""

from memptm.cli.chat import chat
from memptm.cli.commands import main

main.add_command(chat)

__all__ = ["main"]
