"""Train the reader that memptm ships: cloze questions first, then real ones; resumable. See scripts/reader_data.py."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from memptm.progress import Event
from memptm.training.reader import Recipe, train_reader


def show(event: Event) -> None:
    if event.done % 50 == 0:
        sys.stderr.write(f"{event.stage} {event.done}/{event.total} {event.detail}\n")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/reader"))
@click.option("--epochs", default=3)
@click.option("--warm-start/--no-warm-start", default=True, help="Train on the cloze questions first.")
def main(out: Path, epochs: int, warm_start: bool) -> None:
    """Train on OUT/cloze.jsonl, then OUT/questions.jsonl; the reader is in OUT/final."""
    start = None
    if warm_start:
        start = out / "cloze"
        if not (start / "model.safetensors").is_file():
            train_reader([out / "cloze.jsonl"], start, recipe=Recipe(epochs=1, negatives=0.0), progress=show)
    click.echo(
        train_reader([out / "questions.jsonl"], out / "final", start=start, recipe=Recipe(epochs=epochs), progress=show)
    )


if __name__ == "__main__":
    main()
