"""Train the shipped generator's adapter on what scripts/data/generator.py made; run it again to go on where it stopped."""

from __future__ import annotations

import os

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")  # before torch loads

import json
from pathlib import Path

import click

from memptm.training.recipes.generator import GeneratorRecipe, train_generator


@click.command()
@click.option("--data", default="runs/generator/data", type=click.Path(path_type=Path, exists=True))
@click.option("--out", default="runs/generator/adapter", type=click.Path(path_type=Path))
@click.option("--layers", default=GeneratorRecipe.layers)
@click.option("--epochs", default=1)
@click.option("--steps", type=int)
def main(data: Path, out: Path, layers: int, epochs: int, steps: int | None) -> None:
    recipe = GeneratorRecipe(layers=layers, epochs=epochs, steps=steps)
    result = train_generator([data / "train.jsonl"], out, recipe=recipe, held_out=[data / "held_out.jsonl"])
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
