"""Options that several commands have, and what all options of a kind are held to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

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


def refuse_empty(
    flag: str, *, required: bool = False
) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Raises InputError where a name is given that is empty."""

    def given(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
        if name is not None and not name.strip():
            raise InputError(f"{flag} is empty. {'Give a name' if required else 'Leave it out, or give a name'}.")
        return name

    return given


def name_option(
    flag: str, *, metavar: str, help: str, required: bool = False, older: str = ""
) -> Callable[[Function], Function]:
    """An option that names a model; an empty name is refused, for it would mean the working directory.

    Args:
        older: what the option was called before.
    """
    names = (flag, older, flag.removeprefix("--").replace("-", "_")) if older else (flag,)
    return click.option(
        *names,
        cls=Renamed,
        metavar=metavar,
        required=required,
        callback=refuse_empty(flag, required=required),
        help=help,
    )


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


where_option = click.option("--where", metavar="EXPR", help="Only passages that match, as in \"kind = 'fern'\".")
mode_option = click.option(
    "--mode",
    default="hybrid",
    show_default=True,
    type=click.Choice(["dense", "lexical", "hybrid"]),
    help="Search by meaning (dense), by words (lexical), or by both.",
)
query_encoder_option = click.option(
    "--query-encoder",
    "--encoder",
    "query_encoder",
    cls=Renamed,
    metavar="DIR",
    callback=refuse_empty("--query-encoder"),
    help="An encoder of questions, trained for this index (train rag); the index's own if not given.",
)
session_option = place_option(
    "--session", metavar="FILE", help="A conversation that the question goes on, kept in FILE."
)
