"""From which p of the not-there phrase on the shipped generator should say nothing: the best of the balanced accuracies.

Held-out SQuAD and Natural Questions, each with its own passage and with the nearest other one that holds no answer; none of
their passages is among those that scripts/benchmarks/generator.py reports on. On the shipped adapter, with 120 questions of
each sort, all thresholds from 0.2 to 0.6 came within 0.717 to 0.746, which is within the noise: 0.5 was kept.
"""

from __future__ import annotations

import random
from pathlib import Path

import click

from memptm.generation.generator import Generator
from scripts.benchmarks.generator import answers, drawn
from scripts.data.held_out import reading_sets, wrong_pairs


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--generator", "name", default=None, help="Default: the shipped one.")
@click.option("--questions", default=60, help="Of each kind.")
def main(data: Path, name: str | None, questions: int) -> None:
    generator = Generator.load(name)
    generator.null_threshold = 0.0  # nothing is written: the phrase's p is all that is asked
    reported = {row["context"] for rows in drawn(data, 1).values() for row in rows}
    chance = random.Random(1)
    asked = []
    for kind in ("SQuAD, a sixth", "NQ, a sixth"):
        rows = [row for row in reading_sets(data)[kind] if row["context"] not in reported]
        asked += chance.sample(rows, min(len(rows), questions))
    pairs = wrong_pairs(asked)
    right = [one.null_probability for one in answers(generator, asked, [row["context"] for row in asked])]
    wrong = [one.null_probability for one in answers(generator, [row for row, _ in pairs], [text for _, text in pairs])]
    click.echo(f"{len(right)} with their own passage, {len(wrong)} with another")
    for threshold in (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        silent = sum(p >= threshold for p in right) / len(right)
        refused = sum(p >= threshold for p in wrong) / len(wrong)
        balanced = (1 - silent + refused) / 2
        click.echo(f"{threshold}: silent {100 * silent:.1f} %, refused {100 * refused:.1f} %, balanced {balanced:.3f}")


if __name__ == "__main__":
    main()
