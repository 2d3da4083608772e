"""Errors a user can meet. Every message says what is wrong and what to do next, in one line."""

from __future__ import annotations


class MemptmError(Exception):
    """Base of all errors that memptm raises on purpose. ``exit_code``: 2 the user's to mend, 1 a fault."""

    exit_code = 1


class InputError(MemptmError, ValueError):
    """Something the user gave cannot be used."""

    exit_code = 2


class BadIndex(MemptmError):
    """Something is wrong with an index on disk."""

    exit_code = 2


class IndexMissing(BadIndex):
    """There is no index at the path."""


class IndexLocked(BadIndex):
    """Another process is writing to the index."""

    exit_code = 1


class EncoderMismatch(BadIndex):
    """The index holds keys of another encoder."""

    def __init__(self, index: str, built_with: str, given: str) -> None:
        self.index, self.built_with, self.given = index, built_with, given
        super().__init__(
            f"{index} holds keys made by {built_with}, and {given} was asked for. "
            f"Leave out --encoder, or build a new index with {given}."
        )


class ModelMissing(InputError):
    """No model of that name or path can be loaded."""


class ExtraMissing(InputError):
    """An optional dependency is not installed; the message names the extra that brings it."""
