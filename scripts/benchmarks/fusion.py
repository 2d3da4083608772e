"""Which fusion of dense and lexical ranks: recall of the question's own passage, on two question sets.

    python -m scripts.benchmarks.fusion SQUAD.jsonl NQ.jsonl

Each set is indexed alone: its first 1,500 distinct contexts that are not held out (nothing that other tables report on
chooses the fusion here); 500 of their questions are asked. SQuAD's questions were
written in sight of the passage and favour words; Natural Questions were not. "convex" adds cosine and BM25 (divided by
the question's best) instead of ranks; "rank" is reciprocal rank fusion (Cormack et al. 2009). Log: scripts/results/fusion.jsonl.
"""

from __future__ import annotations

import random
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np

from memptm import Document, Memory
from memptm.encoders.load import DEFAULT
from memptm.training.data.splits import by_passage
from memptm.types import Hit
from scripts.data import held_out
from scripts.runs import RESULTS, Runs

CONTEXTS, QUESTIONS, DEPTH = 1_500, 500, 50
FUSIONS: tuple[dict[str, Any], ...] = (
    {"fusion": "dense only"},
    {"fusion": "lexical only"},
    *({"fusion": f"rank, offset {k}, lexical × {w}"} for k, w in product((2, 5, 10, 20, 60), (0.5, 1.0, 1.5))),
    *({"fusion": f"convex, dense {share}"} for share in (0.5, 0.6, 0.7, 0.8)),
)


def ranked(fusion: str, dense: list[Hit], words: list[Hit]) -> list[str]:
    """Documents, best first."""
    lists = [list(dict.fromkeys(hit.passage.document for hit in hits)) for hits in (dense, words)]
    if fusion.endswith("only"):
        return lists[fusion.startswith("lexical")]
    numbers = [float(part) for part in fusion.replace(",", " ").split() if part[0].isdigit()]
    if fusion.startswith("rank"):
        ranks: dict[str, float] = {}
        for weight, part in zip((1.0, numbers[1]), lists, strict=True):
            for rank, one in enumerate(part, 1):
                ranks[one] = ranks.get(one, 0.0) + weight / (numbers[0] + rank)
        return sorted(ranks, key=lambda one: -ranks[one])
    best = max((hit.score for hit in words), default=1.0)
    scores: dict[str, float] = {}
    bm25 = {hit.passage.id: hit.score / best for hit in words}
    for hit in [*dense, *words]:
        score = numbers[0] * hit.similarity + (1 - numbers[0]) * bm25.get(hit.passage.id, 0.0)
        scores[hit.passage.document] = max(score, scores.get(hit.passage.document, -1.0))
    return sorted(scores, key=lambda one: -scores[one])


def measure(runs: Runs, path: Path, encoder: str) -> None:
    wanted = [{"encoder": encoder, "questions": path.stem, **fusion} for fusion in FUSIONS]
    if all(runs.done(settings) for settings in wanted):
        return
    rows = by_passage(held_out.rows(path))[0]
    contexts = list(dict.fromkeys(row["context"] for row in rows))[:CONTEXTS]
    place = {context: str(n) for n, context in enumerate(contexts)}
    asked = random.Random(0).sample([row for row in rows if row["context"] in place], QUESTIONS)
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory.open(Path(folder) / "index", create=True, encoder=encoder)
        memory.add([Document(text=context, id=one, source=path.stem) for context, one in place.items()])
        questions = [row["question"] for row in asked]
        dense = memory.search(questions, k=DEPTH, mode="dense")
        words = memory.search(questions, k=DEPTH, mode="lexical")
    for settings in wanted:
        lists = [ranked(settings["fusion"], *pair) for pair in zip(dense, words, strict=True)]
        right = [place[row["context"]] for row in asked]
        metrics = {
            f"recall@{k}": 100 * float(np.mean([one in some[:k] for one, some in zip(right, lists, strict=True)]))
            for k in (1, 5, 20)
        }
        runs.append(settings, metrics=metrics)


@click.command()
@click.argument("sets", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--encoder", default=DEFAULT, help="An encoder's name or folder.")
@click.option("--out", default=RESULTS, type=click.Path(path_type=Path), help="Where the log goes.")
def main(sets: tuple[Path, ...], encoder: str, out: Path) -> None:
    runs = Runs(out / "fusion.jsonl")
    for path in sets:
        measure(runs, path, encoder)
    click.echo(runs.table())


if __name__ == "__main__":
    main()
