"""The generator with the right passage in hand: EM, F1, how often it says "not in memory", with and without its adapter.

The curve: the same answerable questions with their own passage and with the nearest other one that holds no answer, as the
threshold on the not-there probability moves. Rows are drawn with a fixed seed.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import click

from memptm.generation.generator import DEFAULT, Generation, Generator
from memptm.types import Json
from scripts.data.held_out import passage, reading_sets, scores, wrong_pairs
from scripts.runs import RESULTS, Runs

ROWS = {"nq_swap_dev": 300, "SQuAD, a sixth": 300, "NQ, a sixth": 200}  # of the others: 150
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def drawn(data: Path, share: float) -> dict[str, list[Json]]:
    chance = random.Random(0)
    found = {}
    for name, rows in reading_sets(data).items():
        found[name] = chance.sample(rows, min(len(rows), int(ROWS.get(name, 150) * share)))
    return found


def answers(generator: Generator, questions: list[Json], texts: list[str]) -> list[Generation]:
    read = [[passage(text)] for text in texts]
    return generator.generate_batch([row["question"] for row in questions], read)


def curve(generator: Generator, questions: list[Json], right: list[Generation], runs: Runs) -> None:
    pairs = wrong_pairs(questions)
    wrong = answers(generator, [row for row, _ in pairs], [text for _, text in pairs])
    for threshold in THRESHOLDS:
        share = [
            round(100 * sum(one.null_probability >= threshold for one in predicted) / len(predicted), 1)
            for predicted in (right, wrong)
        ]
        runs.append({"says nothing from p(null)": threshold}, 0, {"answerable %": share[0], "unanswerable %": share[1]})


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--generator", "name", default=None, help="Default: the shipped one.")
@click.option("--bare/--adapted", default=False, help="Measure the base without an adapter, on a third of the rows.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, name: str | None, bare: bool, out: Path) -> None:
    """Write OUT/generator.jsonl and OUT/generator_curve.jsonl."""
    generator = Generator.load(DEFAULT if bare else name)
    runs = Runs(out / "generator.jsonl")
    said_of: dict[str, list[Generation]] = {}
    sets = drawn(data, 1 / 3 if bare else 1)
    for part, questions in sets.items():
        began = time.perf_counter()
        predicted = said_of[part] = answers(generator, questions, [row["context"] for row in questions])
        spent = 1000 * (time.perf_counter() - began) / len(questions)
        metrics = {**scores([one.text for one in predicted], questions), "ms a question": round(spent, 1)}
        click.echo(f"{part}: {metrics}")
        runs.append({"method": "generate, no adapter" if bare else "generate", "questions": part}, 0, metrics)
    if not bare:
        part = "SQuAD, a sixth"
        curve(generator, sets[part], said_of[part], Runs(out / "generator_curve.jsonl"))


if __name__ == "__main__":
    main()
