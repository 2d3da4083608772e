"""The reader with the right passage in hand: EM, F1, how often it says "not there"; and the curve of saying it.

The curve: held-out SQuAD questions with their own passage (answerable) and with the nearest other passage that holds no
answer (unanswerable), as the threshold on the null answer's probability moves.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import click

from memptm.generation.reader import Reader
from memptm.types import Answer, Json
from scripts.data.held_out import passage, reading_sets, scores, wrong_pairs
from scripts.runs import RESULTS, Runs


def read(reader: Reader, questions: list[Json], texts: list[str]) -> list[Answer]:
    return reader.answer_batch([row["question"] for row in questions], [[passage(text)] for text in texts])


def nulls(reader: Reader, questions: list[Json], texts: list[str]) -> list[float]:
    """p(null | x) of each question with its one passage."""
    readings = reader.read([row["question"] for row in questions], [[passage(text)] for text in texts])
    return [1 / (1 + math.exp(min(reading.log_mass[0] + reader.config.read_bias, 700.0))) for reading in readings]


def curve(reader: Reader, questions: list[Json], runs: Runs) -> None:
    pairs = wrong_pairs(questions)
    right = nulls(reader, questions, [row["context"] for row in questions])
    wrong = nulls(reader, [row for row, _ in pairs], [text for _, text in pairs])
    for threshold in (0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        metrics = {
            "answerable %": round(100 * sum(p >= threshold for p in right) / len(right), 1),
            "unanswerable %": round(100 * sum(p >= threshold for p in wrong) / len(wrong), 1),
        }
        runs.append({"says nothing from p(null)": threshold}, 0, metrics)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--reader", "folder", type=click.Path(path_type=Path), default=None, help="Default: the shipped one.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, folder: Path | None, out: Path) -> None:
    """Write OUT/reader.jsonl and OUT/reader_curve.jsonl; what is there already is not measured again."""
    reader = Reader.load(folder)
    runs = Runs(out / "reader.jsonl")
    sets = reading_sets(data)
    for name, questions in sets.items():
        if runs.done({"method": "reader", "questions": name}):
            continue
        began = time.perf_counter()
        answers = read(reader, questions, [row["context"] for row in questions])
        spent = 1000 * (time.perf_counter() - began) / len(questions)
        metrics = scores([answer.text for answer in answers], questions)
        if any(row["answers"] for row in questions):
            must = scores([answer.answers[0].text if answer.answers else None for answer in answers], questions)
            metrics |= {"EM if it must answer": must["EM"], "F1 if it must answer": must["F1"]}
        metrics["ms a question"] = round(spent, 1)
        click.echo(f"{name}: {metrics}")
        runs.append({"method": "reader", "questions": name}, 0, metrics)
    curve(reader, sets["SQuAD, a sixth"], Runs(out / "reader_curve.jsonl"))


if __name__ == "__main__":
    main()
