"""Options that several commands have, and what all options of a kind are held to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from memptm.answering.options import METHODS, SPANS
from memptm.errors import InputError
from memptm.memory.folder import check_place, expanded

Function = TypeVar("Function", bound=Callable[..., Any])

MOST = 10_000  # pages, rows of a batch
MANY = 1_000_000  # passages, steps, words, tokens


def whole(least: int = 1, most: int = MOST) -> click.IntRange:
    """The type of a whole number; none is so large that arithmetic elsewhere overflows."""
    return click.IntRange(min=least, max=most)


class Renamed(click.Option):
    """An option with older names, which are taken and not shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        names, self.opts = self.opts, self.opts[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


def name_option(
    flag: str, *, metavar: str, help: str, required: bool = False, older: str = ""
) -> Callable[[Function], Function]:
    """An option that names a model; an empty name is refused, for it would mean the working directory.

    Args:
        older: what the option was called before.
    """

    def given(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
        if name is not None and not name.strip():
            raise InputError(f"{flag} is empty. {'Give a name' if required else 'Leave it out, or give a name'}.")
        return name

    names = (flag, older, flag.removeprefix("--").replace("-", "_")) if older else (flag,)
    return click.option(*names, cls=Renamed, metavar=metavar, required=required, callback=given, help=help)


def place_option(*flags: str, metavar: str, help: str, required: bool = False) -> Callable[[Function], Function]:
    """An option that names what will be written; where that is impossible, it is said before any work."""

    def given(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
        if path is None:
            return None
        path = expanded(path)
        check_place(path)
        return path

    kind = click.Path(path_type=Path, file_okay=metavar != "DIR", dir_okay=metavar == "DIR")
    return click.option(*flags, metavar=metavar, required=required, type=kind, callback=given, help=help)


def k_option(help: str) -> Callable[[Function], Function]:
    """How many passages."""
    return click.option("-k", default=5, show_default=True, type=whole(most=MANY), help=help)


def check_models(
    method: str, *, reader: str | None, generator: str | None, judge: str | None = None, recall: bool = False
) -> None:
    """Look at the names of models before anything is loaded.

    Raises:
        InputError: one is given that nothing would ask. ModelMissing: one is not there.
    """
    if generator is not None and method in SPANS:
        raise InputError(
            f"--generator writes answers, and --method {method} finds them. Give --method generate with it."
        )
    if judge is not None and not recall:
        raise InputError("--judge picks what --recall reads. Give both, or neither.")
    if reader is not None:
        from memptm.generation.reader import Reader

        Reader.load(reader)
    if generator is not None:
        from memptm.models import resolve

        resolve(generator)


where_option = click.option("--where", metavar="EXPR", help="Only passages that match, as in \"kind = 'fern'\".")
method_option = click.option(
    "--method",
    default="reader",
    show_default=True,
    type=click.Choice(METHODS),
    help="reader: the span in the passages that answers; generate: an answer written from all of them; rag-sequence, rag-token: written from each apart, and summed over them; graph: from passage to passage over several hops; auto: graph where the reader alone seems not to be enough.",
)
mode_option = click.option(
    "--mode",
    default="hybrid",
    show_default=True,
    type=click.Choice(["dense", "lexical", "hybrid"]),
    help="Search by meaning (dense), by words (lexical), or by both.",
)
reader_option = name_option("--reader", metavar="DIR", help="A reader's folder; the packaged reader if not given.")
tokens_option = click.option(
    "--tokens",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="A datastore made by memptm tokens.",
)
encoder_option = name_option(
    "--encoder", metavar="DIR", help="An encoder trained for this index (train rag); the index's own if not given."
)
session_option = place_option(
    "--session", metavar="FILE", help="A conversation that the question goes on, kept in FILE."
)
generator_option = name_option(
    "--generator",
    metavar="NAME",
    help="A Hugging Face model, by name or folder; SmolLM2-135M-Instruct with memptm's adapter if not given.",
)
recall_option = click.option(
    "--recall",
    is_flag=True,
    help="Search more passages, and read the blocks of them that a judge picks (MemRecall).",
)
judge_option = name_option(
    "--judge",
    metavar="NAME",
    help="Of --recall: a folder (train recall), embedding or bm25; the packaged judge if not given.",
)
