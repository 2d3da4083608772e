"""Swapping the index swaps the knowledge: nq_swap_dev's questions over its altered passages, and over others.

With the first, right is the altered answer; with the second, wiki2hop_corpus, which knows nothing of it, it is silence.
"""

from __future__ import annotations

import random
from pathlib import Path

import click

from memptm.encoders.load import BASE
from memptm.memory.memory import Memory
from memptm.pipeline import QA
from memptm.types import Document
from scripts.data.held_out import rows, scores
from scripts.runs import RESULTS, Runs


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--folder", type=click.Path(path_type=Path), default=Path("runs/swap"), help="For the two indexes.")
@click.option("--methods", default="reader,rag-sequence")
@click.option("--limit", default=100, help="Questions for a generator, which is slow.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, folder: Path, methods: str, limit: int, out: Path) -> None:
    """Write OUT/hot_swap.jsonl."""
    questions = rows(data / "nq_swap_dev.jsonl")
    contexts = dict.fromkeys(row["context"] for row in questions)
    other = rows(data / "wiki2hop_corpus.jsonl")[: len(contexts)]
    indexes = {
        "its passages, altered": [Document(text=text) for text in contexts],
        "other passages": [Document(text=row["text"], title=row["title"]) for row in other],
    }
    results = Runs(out / "hot_swap.jsonl")
    for name, documents in indexes.items():
        memory = Memory.open(folder / name.replace(" ", "-").replace(",", ""), create=True, encoder=BASE)
        memory.add(documents)
        for method in methods.split(","):
            asked = questions if method == "reader" else random.Random(0).sample(questions, limit)
            answers = QA(memory, method=method).batch([row["question"] for row in asked], k=5)
            metrics = scores([answer.text for answer in answers], asked)
            click.echo(f"{name}, {method}: {metrics}")
            results.append({"method": method, "index": name}, 0, metrics)


if __name__ == "__main__":
    main()
