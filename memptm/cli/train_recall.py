"""``memptm train recall``: the judge of MemRecall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from memptm.cli import render
from memptm.cli.group import Command, json_option
from memptm.cli.options import whole
from memptm.cli.progress import drawn
from memptm.cli.train import data_argument, epochs_option, out_option, report, seed_option, start_option, steps_option

Result = dict[str, Any] | None


@click.command(cls=Command, short_help="Train a judge of which blocks of a text matter.")
@data_argument
@out_option
@click.option(
    "--no-labels",
    is_flag=True,
    help="Nothing says which blocks matter: begin with words and meaning, and take blocks away to see if the reader's loss rises.",
)
@start_option(
    "A reader whose weights the judge starts from and shares; the packaged one if not given.",
    metavar="DIR",
    older="--reader",
)
@click.option("--batch", type=whole(), default=8, show_default=True, help="Questions a step.")
@epochs_option(2)
@steps_option
@seed_option
@json_option
def recall(
    data: tuple[Path, ...],
    out: Path,
    no_labels: bool,
    start: str | None,
    batch: int,
    epochs: int,
    steps: int | None,
    seed: int,
    as_json: bool,
) -> Result:
    """Train a judge: which blocks of a long text matter to a question.

    A line of DATA.jsonl is {"question", "context", "answers": [...]}, HotpotQA's {"question", "answer",
    "supporting_facts", "context"}, or {"text", "qa": [{"question", "answers"}]}. OUT is for --judge of read, query and
    eval. Run again with the same --out, it goes on where it stopped.
    """
    from memptm.training.recipes.recall import RecallRecipe, train_recall

    recipe = RecallRecipe(labels=not no_labels, batch=batch, epochs=epochs, steps=steps, seed=seed)
    with drawn(hidden=as_json) as progress:
        result = train_recall(data, out, start=start, recipe=recipe, progress=progress)
    if not as_json:
        render.table(result.pop("telemetry"))
        render.note(result.pop("warning"))
    return report(result, out, as_json)
