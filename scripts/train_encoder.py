"""Train the packaged encoder: adapted to questions, then with a memory of the passages before; and the control of that.

After it: scripts/measure_encoder.py, and RUNS/memory/encoder is what memptm/weights/encoder holds.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from encoder_data import make
from memptm.training.encoder import Recipe, train_encoder
from memptm.working.passages import MemorySizes

ADAPT_STEPS, MEMORY_STEPS = 120, 120
READS = {"memory": 2, "itself": 0}  # passages back; 0: itself again, the control


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--runs", "folder", type=click.Path(path_type=Path), default=Path("runs/encoder"))
@click.option("--adapt-steps", default=ADAPT_STEPS)
@click.option("--memory-steps", default=MEMORY_STEPS)
@click.option("--only", type=click.Choice(list(READS)), help="Of the two; the control takes up the other's adaptation.")
@click.option("--seed", default=0)
def main(data: Path, folder: Path, adapt_steps: int, memory_steps: int, only: str | None, seed: int) -> None:
    """Write RUNS/memory and RUNS/itself, each with encoder and index."""
    memory, lines, follow_ups = make(data, folder)
    for name in (only,) if only else READS:
        if name == "itself":  # both begin with the same adapted encoder
            shutil.copytree(folder / "memory" / "adapt", folder / name / "adapt", dirs_exist_ok=True)
        recipe = Recipe(
            steps=adapt_steps, memory_steps=memory_steps, memory=MemorySizes(passages=READS[name]), seed=seed
        )
        click.echo(train_encoder([lines], memory, folder / name, recipe=recipe, follow_ups=[follow_ups]))


if __name__ == "__main__":
    main()
