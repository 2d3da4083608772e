"""Train MemRecall's judges on five sixths of hotpotqa_train and two thirds of covid_papers, with marked relevance and without.

Goes on where it stopped.
"""

from __future__ import annotations

import os

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")  # before torch loads

import json
import sys
from dataclasses import replace
from pathlib import Path

import click

from memptm.progress import Event
from memptm.training.recipes.recall import RecallRecipe, train_recall
from scripts.data.long_texts import covid, hotpot_train


def show(event: Event) -> None:
    if event.done % 10 == 0:
        sys.stderr.write(f"{event.stage} {event.done}/{event.total} {event.detail}\n")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/recall"))
@click.option("--only", type=click.Choice(["supervised", "unsupervised"]), help="One of the two judges.")
@click.option("--epochs", default=RecallRecipe.epochs)
@click.option("--steps", type=int, help="Stop after so many.")
@click.option("--learning-rate", default=RecallRecipe.learning_rate)
@click.option("--seed", default=0)
def main(
    data: Path, out: Path, only: str | None, epochs: int, steps: int | None, learning_rate: float, seed: int
) -> None:
    """The judges are in OUT/supervised and OUT/unsupervised."""
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "hotpot.jsonl", out / "covid.jsonl"]
    for path, some in zip(files, (hotpot_train(data), covid(data)[0]), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    recipe = RecallRecipe(epochs=epochs, steps=steps, learning_rate=learning_rate, seed=seed)
    for name in ("supervised", "unsupervised"):
        if only in (None, name):
            chosen = replace(recipe, labels=name == "supervised")
            click.echo(json.dumps({name: train_recall(files, out / name, recipe=chosen, progress=show)}))


if __name__ == "__main__":
    main()
