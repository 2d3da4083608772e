"""The cognitive graph on the command line: its options, its path in words, its drawing, and ``memptm train graph``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from memptm.answering.options import GRAPHS
from memptm.cli import render
from memptm.cli.group import json_option
from memptm.cli.options import MANY, whole
from memptm.cli.progress import drawn
from memptm.cli.safe import one_line
from memptm.cli.train import (
    data_argument,
    held_out_option,
    out_option,
    report,
    seed_option,
    start_option,
    steps_option,
    train,
)
from memptm.errors import InputError
from memptm.types import Answer

Result = dict[str, Any] | None
Function = TypeVar("Function", bound=Callable[..., Any])

show_graph_option = click.option(
    "--show-graph",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw how the answer came about, as .svg, .png or .html (with --method graph or auto).",
)


def check(method: str, show: Path | None) -> None:
    """Raise InputError where a drawing is wanted of another method, or in a file that cannot be drawn."""
    if show is not None:
        if method not in GRAPHS:
            raise InputError("--show-graph is of the cognitive graph. Give --method graph with it.")
        from memptm.reasoning.draw import check_format

        check_format(show)
        if not show.parent.is_dir():
            raise InputError(f"{show.parent} is not there, so nothing can be drawn in it. Check the path.")
        if not os.access(show if show.exists() else show.parent, os.W_OK):
            raise InputError(f"{show} cannot be written. Check its rights, or give another file.")


def draw(answer: Answer, show: Path | None) -> str:
    """Draw the answer's graph into ``show``; what to say about it."""
    if show is None:
        return ""
    if answer.graph is None:
        return f"The reader's answer was enough, so there is no graph and {show} was not written."
    from memptm.reasoning.draw import save

    save(answer.graph, show)
    return f"The graph is drawn in {show}."


def show_path(answer: Answer) -> None:
    """The path to the answer, a clue a line; nothing where there is none."""
    graph = answer.graph
    if graph is None or not graph.path:
        return
    render.line("path: " + " → ".join(one_line(graph.nodes[n].name) for n in graph.path))
    for clue in graph.support:
        render.line(f"  {one_line(clue.text)}")


@train.command()
@data_argument
@out_option
@start_option("A reader for System 1 to start from; the packaged one if not given.", metavar="DIR")
@held_out_option
@click.option(
    "--epochs", type=whole(most=MANY), default=3, show_default=True, help="Times through the data, of System 1 alone."
)
@click.option(
    "--both-epochs",
    "both",
    type=whole(0, MANY),
    default=1,
    show_default=True,
    help="Times through the data, of both systems; 0: System 1 alone.",
)
@click.option("--batch", type=whole(), default=6, show_default=True, help="A step's questions.")
@steps_option
@seed_option
@json_option
def graph(
    data: tuple[Path, ...],
    out: Path,
    start: str | None,
    held_out: tuple[Path, ...],
    epochs: int,
    both: int,
    batch: int,
    steps: int | None,
    seed: int,
    as_json: bool,
) -> Result:
    """Train both systems of a cognitive graph (CogQA).

    A line of DATA.jsonl is HotpotQA's: {"id", "question", "answer", "supporting_facts": [[title, sentence number]],
    "context": [[title, [sentences]]]}. A row whose supporting facts are not in its context is skipped, and named. Run again
    with the same --out, it goes on where it stopped.
    """
    from memptm.training.recipes.cognitive_graph import GraphRecipe, train_graph

    recipe = GraphRecipe(epochs=epochs, both=both, batch=batch, steps=steps, seed=seed)
    with drawn(hidden=as_json) as progress:
        result = train_graph(data, out, start=start, held_out=held_out, recipe=recipe, progress=progress)
    if not as_json:
        render.table(result.pop("telemetry"))
        for row in result.pop("skipped_rows"):
            render.note(f"Skipped {row}.")
        result |= {f"held out: {k}": v for k, v in result.pop("held_out", {}).items()}
    return report(result, out, as_json)
