"""``memptm train``: each recipe of memptm.training as a command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from memptm.cli import render
from memptm.cli.group import Group, json_option
from memptm.cli.progress import drawn

Result = dict[str, Any] | None

data_argument = click.argument(
    "data",
    metavar="DATA.jsonl...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
out_option = click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the weights.",
)
epochs_option = click.option("--epochs", type=click.IntRange(min=1), help="Times through the data.")
steps_option = click.option("--steps", type=click.IntRange(min=1), help="Stop after so many steps.")
seed_option = click.option("--seed", default=0, show_default=True, type=int, help="Of every random choice.")


@click.group(cls=Group)
def train() -> None:
    """Train a reader or a generator on your own questions."""


@train.command()
@data_argument
@out_option
@click.option("--start", metavar="DIR", type=click.Path(exists=True, path_type=Path), help="A reader to start from.")
@epochs_option
@steps_option
@seed_option
@json_option
def reader(
    data: tuple[Path, ...],
    out: Path,
    start: Path | None,
    epochs: int | None,
    steps: int | None,
    seed: int,
    as_json: bool,
) -> Result:
    """Train a span reader.

    A line of DATA.jsonl is {"question", "context", "answers": [...], "title"?}. No answers: the context does not hold
    one, and the reader learns to say so. Run again with the same --out, it goes on where it stopped.
    """
    from memptm.training.reader import Recipe, train_reader

    recipe = Recipe(seed=seed, steps=steps)
    with drawn(hidden=as_json) as progress:
        result = train_reader(
            data, out, start=start, recipe=replace(recipe, epochs=epochs or recipe.epochs), progress=progress
        )
    return _shown(result, out, as_json)


@train.command()
@data_argument
@out_option
@click.option("--base", metavar="NAME", help="The model to adapt, by name or folder.")
@click.option(
    "--held-out",
    metavar="FILE",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rows to measure on at the end; may be given more than once.",
)
@epochs_option
@steps_option
@seed_option
@json_option
def generator(
    data: tuple[Path, ...],
    out: Path,
    base: str | None,
    held_out: tuple[Path, ...],
    epochs: int | None,
    steps: int | None,
    seed: int,
    as_json: bool,
) -> Result:
    """Train a LoRA adapter of a generator.

    A line of DATA.jsonl is {"question", "context", "answers": [...], "title"?}, with short answers. No answers: the
    context does not hold one, and the model learns to say so. Run again with the same --out, it goes on where it stopped.
    """
    from memptm.training.generator import Recipe, train_generator

    recipe = Recipe(seed=seed, steps=steps)
    with drawn(hidden=as_json) as progress:
        result = train_generator(
            data,
            out,
            base=base,
            held_out=held_out,
            recipe=replace(recipe, epochs=epochs or recipe.epochs),
            progress=progress,
        )
    return _shown(result, out, as_json)


def _shown(result: dict[str, Any], out: Path, as_json: bool) -> Result:
    if not as_json:
        render.info({**result, "out": str(out)})
    return result
