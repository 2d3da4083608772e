"""Held-out questions asked of 8,000 passages: recall for each way of searching, and answers end to end.

The index holds squad_subset's distinct contexts and wiki2hop_corpus. Questions: those of squad_subset and squad_more whose
passage is in the index and in the held-out sixth.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Literal

import click

from held_out import is_right, open_index, reading_sets, rows, scores
from memptm.evaluation.metrics import bootstrap
from memptm.pipeline import QA
from memptm.types import Json
from runs import RESULTS, Runs

MODES: tuple[Literal["dense", "lexical", "hybrid"], ...] = ("dense", "lexical", "hybrid")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--methods", default="reader,generate")
@click.option("--index", type=click.Path(path_type=Path), default=Path("runs/open/index"), help="Made where absent.")
@click.option("--limit", default=150, help="Questions for the generator, which is slow; 0 asks all.")
def main(data: Path, out: Path, methods: str, index: Path, limit: int) -> None:
    """Write OUT/search_modes.jsonl and OUT/open.jsonl."""
    memory = open_index(data, index)
    indexed = {row["context"] for row in rows(data / "squad_subset.jsonl")}
    questions = [row for row in reading_sets(data)["SQuAD, a sixth"] if row["context"] in indexed]
    runs = Runs(out / "search_modes.jsonl")
    for mode in MODES:
        if runs.done({"mode": mode, "passages": len(memory)}):
            continue
        found = memory.search([row["question"] for row in questions], k=20, mode=mode)
        metrics: Json = {"n": len(questions)}
        for k in (1, 5, 20):
            values = [
                float(any(is_right(hit.passage.text, row) for hit in hits[:k]))
                for row, hits in zip(questions, found, strict=True)
            ]
            low, high = bootstrap(values, groups=[row["context"] for row in questions])
            metrics[f"recall@{k}"] = f"{100 * sum(values) / len(values):.1f} ({100 * low:.1f}–{100 * high:.1f})"
        click.echo(f"{mode}: {metrics}")
        runs.append({"mode": mode, "passages": len(memory)}, 0, metrics)
    answered = Runs(out / "open.jsonl")
    for method in methods.split(","):
        qa = QA(memory, method=method)
        asked = random.Random(0).sample(questions, limit) if limit and method != "reader" else questions
        began = time.perf_counter()
        answers = qa.batch([row["question"] for row in asked], k=5)
        spent = 1000 * (time.perf_counter() - began) / len(asked)
        metrics = {**scores([answer.text for answer in answers], asked), "ms a question": round(spent, 1)}
        click.echo(f"{method}: {metrics}")
        answered.append({"method": method, "k": 5, "search": "default"}, 0, metrics)


if __name__ == "__main__":
    main()
