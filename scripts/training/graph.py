"""Train the cognitive graph on hotpotqa_train and multihop_train, less the held-out sixth (scripts/data/graph.py).

Goes on where it stopped. At the end System 1 is measured on the held-out sixth's gold pages, and OUT holds the weights that
`CogQA(weights=OUT)` takes; copied to memptm/weights/graph they are the shipped ones.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from memptm.cli.progress import drawn
from memptm.training.recipes.cognitive_graph import GraphRecipe, train_graph
from scripts.data.graph import held_out, training_rows
from scripts.data.held_out import rows
from scripts.runs import RESULTS, Runs


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/graph"), help="A folder a seed below it.")
@click.option("--epochs", default=GraphRecipe.epochs, help="Of System 1 alone.")
@click.option("--both", default=GraphRecipe.both, help="Epochs of both systems.")
@click.option("--steps", type=int, help="At most, of each stage.")
@click.option("--seed", default=0)
@click.option("--limit", type=int, help="Only the first N training rows and N held-out rows, for a trial.")
@click.option("--log", type=click.Path(path_type=Path), default=RESULTS)
def main(
    data: Path, out: Path, epochs: int, both: int, steps: int | None, seed: int, limit: int | None, log: Path
) -> None:
    """Write OUT/SEED and LOG/graph_training.jsonl."""
    folder = out / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    tested = [
        row for name in ("hotpotqa_train", "multihop_train") for row in rows(data / f"{name}.jsonl") if held_out(row)
    ]
    files = []
    for name, some in (("train", training_rows(data)), ("test", tested)):
        files.append(folder / f"{name}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in some[:limit]), encoding="utf-8")
    recipe = replace(GraphRecipe(), epochs=epochs, both=both, steps=steps, seed=seed)
    with drawn() as progress:
        result = train_graph([files[0]], folder, held_out=[files[1]], recipe=recipe, progress=progress)
    result.pop("telemetry")
    skipped = result.pop("skipped_rows")
    click.echo(f"{result}; skipped: {skipped[:5]}")
    measured = result.pop("held_out")
    settings = {"epochs": epochs, "both": both, "steps": steps, "limit": limit}
    metrics = {f"held out: {name}": value for name, value in measured.items() if value is not None}
    Runs(log / "graph_training.jsonl").append(settings, seed, {**result, **metrics})


if __name__ == "__main__":
    main()
