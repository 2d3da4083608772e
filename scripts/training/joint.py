"""Reader and retriever under one score: exact match on held-out SQuAD over 8,000 passages, as more and more of it learns.

After python -m scripts.training.retriever --only squad, whose encoder and indexes it goes on from.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from memptm.encoders.load import BASE, load_encoder
from memptm.memory.memory import Memory
from memptm.memory.rekey import rekey
from memptm.pipeline import QA
from memptm.training.recipes.realm import RealmRecipe, train_realm
from memptm.types import Json
from scripts.data.held_out import open_index, reading_sets, rows, scores
from scripts.runs import RESULTS, Runs

NAMES = ("squad_subset", "squad_more")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--runs", "folder", type=click.Path(path_type=Path), default=Path("runs/rag/squad"))
@click.option("--learned", default="both-1-3e-05-0", help="The retriever's run in the folder.")
@click.option("--index", type=click.Path(path_type=Path), default=Path("runs/open/index"))
@click.option("--steps", default=60)
@click.option("-k", default=5)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, folder: Path, learned: str, index: Path, steps: int, k: int, out: Path) -> None:
    """Write OUT/joint.jsonl."""
    results = Runs(out / "joint.jsonl")
    contexts = {row["context"] for row in rows(data / "squad_subset.jsonl")}
    questions = [row for row in reading_sets(data)["SQuAD, a sixth"] if row["context"] in contexts]
    frozen = open_index(data, index, encoder=BASE)
    measure(results, "frozen", "packaged", QA(frozen), questions)
    measure(results, "both sides learned", "packaged", QA(Memory.open(folder / learned / "tested")), questions)

    held = {row["context"] for row in questions}
    train = [row for name in NAMES for row in rows(data / f"{name}.jsonl") if row["context"] not in held]
    lines = folder / "joint.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in train), encoding="utf-8")
    recipe = RealmRecipe(phases=("joint",), k=k, steps=steps, learning_rate=1e-5, reader_learning_rate=3e-5)
    at = folder / f"joint-{steps}"
    result = train_realm([lines], Memory.open(folder / learned / "index"), at, recipe=recipe)
    tested = rekey(frozen, at / "tested", load_encoder(result["encoder"]))
    measure(results, "joint", "joint", QA(tested, reader=result["reader"]), questions)
    measure(results, "frozen", "joint", QA(frozen, reader=result["reader"]), questions)


def measure(results: Runs, retriever: str, reader: str, qa: QA, questions: list[Json]) -> None:
    """EM and F1 of all questions, five passages read."""
    answers = qa.batch([row["question"] for row in questions], k=5)
    metrics = scores([answer.text for answer in answers], questions)
    click.echo(f"{retriever}, {reader}: {metrics}")
    results.append({"retriever": retriever, "reader": reader}, 0, metrics)


if __name__ == "__main__":
    main()
