"""Train the reader that memptm ships: cloze questions first, then real ones; resumable. See scripts/data/reader.py."""

from __future__ import annotations

import os

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")  # before torch loads

import sys
from pathlib import Path

import click

from memptm.progress import Event
from memptm.training.recipes.reader import ReaderRecipe, train_reader


def show(event: Event) -> None:
    if event.done % 50 == 0:
        sys.stderr.write(f"{event.stage} {event.done}/{event.total} {event.detail}\n")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/reader"))
@click.option("--name", default="final", help="Folder in OUT for this reader.")
@click.option(
    "--start", type=click.Path(path_type=Path, exists=True), help="A reader to go on from, not cloze questions."
)
@click.option("--epochs", default=3)
@click.option("--steps", type=int, help="Stop after so many.")
@click.option("--learning-rate", default=ReaderRecipe.learning_rate)
@click.option("--seed", default=0)
def main(
    out: Path, name: str, start: Path | None, epochs: int, steps: int | None, learning_rate: float, seed: int
) -> None:
    """Train on OUT/cloze.jsonl (or go on from START), then on OUT/questions.jsonl; the reader is in OUT/NAME."""
    if start is None:
        start = out / "cloze"
        if not (start / "model.safetensors").is_file():
            train_reader([out / "cloze.jsonl"], start, recipe=ReaderRecipe(epochs=1, negatives=0.0), progress=show)
    recipe = ReaderRecipe(epochs=epochs, steps=steps, learning_rate=learning_rate, seed=seed)
    click.echo(train_reader([out / "questions.jsonl"], out / name, start=start, recipe=recipe, progress=show))


if __name__ == "__main__":
    main()
