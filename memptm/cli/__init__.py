"""The command line: each command parses, calls one library function, prints."""

from memptm.cli.commands import main

__all__ = ["main"]
