"""Train the packaged encoder: adapted to questions, then with a memory of the passages before; and the control of that.

Of the adaptation a share is kept, between the weights before and after (Wortsman et al. 2022, arXiv 2109.01903): all of
it finds fewer passages for Natural Questions than MiniLM does. After it: scripts/benchmarks/encoder.py, and RUNS/memory/kept is
what memptm/weights/encoder holds.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
from safetensors.torch import load_file, save_file

from memptm.encoders.adapted import ADAPTER, SETTINGS, MemorySizes
from memptm.training.recipes.encoder import EncoderRecipe, train_encoder
from scripts.data.encoder import make

ADAPT_STEPS, MEMORY_STEPS = 120, 120
READS = {"memory": 2, "itself": 0}  # passages back; 0: itself again, the control
SHARE = 0.6  # of the adaptation; 0, 0.5, 0.6, 0.75 and 1 were tried


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
        recipe = EncoderRecipe(
            steps=adapt_steps, memory_steps=memory_steps, memory=MemorySizes(passages=READS[name]), seed=seed
        )
        click.echo(train_encoder([lines], memory, folder / name, recipe=recipe, follow_ups=[follow_ups]))
        keep(folder / name / "encoder", folder / name / "kept", SHARE)


def keep(trained: Path, out: Path, share: float) -> None:
    """The encoder in ``trained`` with so much of its adaptation, and its memory as it is."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(trained, out)
    updates = load_file(out / ADAPTER)
    save_file({name: one * share if name.endswith(".up") else one for name, one in updates.items()}, out / ADAPTER)
    settings = json.loads((out / SETTINGS).read_text(encoding="utf-8")) | {"only_conversations": True}
    (out / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
