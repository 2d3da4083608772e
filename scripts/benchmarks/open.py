"""Held-out questions asked of 8,000 passages: recall for each way of searching, and answers end to end.

The index holds squad_subset's distinct contexts and wiki2hop_corpus. Questions: those of squad_subset and squad_more whose
passage is in the index and in the held-out sixth.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import click

from memptm.encoders.load import DEFAULT
from memptm.memory.memory import Memory
from memptm.pipeline import QA
from memptm.types import Mode
from scripts.data.held_out import is_right, open_index, reading_sets, recalls, rows, scores
from scripts.runs import RESULTS, Runs

MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--methods", default="reader,generate")
@click.option("--index", type=click.Path(path_type=Path), default=Path("runs/open-default"), help="Made where absent.")
@click.option("--encoder", default=DEFAULT, help="The index's, by name or folder.")
@click.option(
    "--learned",
    type=click.Path(exists=True, path_type=Path),
    help="The index under a learned encoder: runs/rag/squad/both-…/tested.",
)
@click.option("--search", "searches", default="default", help="Of: default, by words, learned.")
@click.option("--limit", default=150, help="Questions for the generator, which is slow; 0 asks all.")
def main(
    data: Path,
    out: Path,
    methods: str,
    index: Path,
    encoder: str,
    learned: Path | None,
    searches: str,
    limit: int,
) -> None:
    """Write OUT/search_modes.jsonl and OUT/open.jsonl."""
    memory = open_index(data, index, encoder=encoder)
    indexed = {row["context"] for row in rows(data / "squad_subset.jsonl")}
    questions = [row for row in reading_sets(data)["SQuAD, a sixth"] if row["context"] in indexed]
    runs = Runs(out / "search_modes.jsonl")
    for mode in MODES:
        settings = {"encoder": Path(encoder).name, "mode": mode, "passages": len(memory)}
        if runs.done(settings):
            continue
        metrics = recalls(memory, questions, mode, lambda hit, row: is_right(hit.passage.text, row))
        click.echo(f"{mode}: {metrics}")
        runs.append(settings, 0, metrics)
    answered = Runs(out / "open.jsonl")
    for search in searches.split(","):
        asked_of = Memory.open(learned) if search == "learned" and learned else memory
        for method in methods.split(","):
            qa = QA(asked_of, method=method, mode="lexical" if search == "by words" else "hybrid")
            asked = random.Random(0).sample(questions, limit) if limit and method != "reader" else questions
            began = time.perf_counter()
            answers = qa.batch([row["question"] for row in asked], k=5)
            spent = 1000 * (time.perf_counter() - began) / len(asked)
            metrics = {**scores([answer.text for answer in answers], asked), "ms a question": round(spent, 1)}
            click.echo(f"{search}, {method}: {metrics}")
            name = f"learned from {Path(encoder).name}" if search == "learned" else Path(encoder).name
            way = "by words" if search == "by words" else "default"
            answered.append({"encoder": name, "method": method, "k": 5, "search": way}, 0, metrics)


if __name__ == "__main__":
    main()
