"""Fit method "auto": whether one passage is enough.

Single-hop: questions of SQuAD and Natural Questions whose passages the reader was not trained on (calibration_passage), over
the ten passages nearest to each among all the training parts' passages. Multi-hop: hotpotqa_train and multihop_train
(training parts), over their own paragraphs. The reader reads the five nearest, as `memptm query` does; nothing else runs. A
fifth is kept to say how often the router is right.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import torch
from torch.nn import functional

from memptm.encoders.base import embedding_text
from memptm.encoders.load import load_encoder
from memptm.generation.reader import Reader, scored
from memptm.memory.in_memory import InMemoryIndex
from memptm.reasoning.router import FEATURES, SHIPPED, features
from memptm.training.data.splits import by_passage, calibration_passage
from memptm.types import Passage
from scripts.data.graph import index_of, training_rows
from scripts.data.held_out import rows
from scripts.runs import RESULTS, Runs

READ = 5
AMONG = 10
# To send an easy question over the graph costs time, and sometimes its answer.
WEIGHT_OF_SINGLE = 2.5


def single_hop(data: Path, count: int, chance: random.Random) -> list[tuple[str, InMemoryIndex]]:
    """Questions, each with the passages nearest to it; half of either set."""
    encoder, made = load_encoder(None), []
    for names in (("squad_subset", "squad_more"), ("nq_qed_train",)):
        every = by_passage([row for name in names for row in rows(data / f"{name}.jsonl")])[0]
        titles = {row["context"]: row.get("title", "") for row in every}
        passages = [
            Passage(id=str(n), document=str(n), text=text, start=0, end=len(text), title=title)
            for n, (text, title) in enumerate(titles.items())
        ]
        keys = encoder.encode_passages([embedding_text(one) for one in passages])
        aside = [row["question"] for row in every if row["answers"] and calibration_passage(row["context"])]
        chosen = chance.sample(aside, count // 2)
        for question, near in zip(chosen, encoder.encode_questions(chosen) @ keys.T, strict=True):
            nearest = near.argsort()[::-1][:AMONG]
            made.append((question, InMemoryIndex([passages[n] for n in nearest], encoder, keys[nearest])))
    return made


def table(reader: Reader, questions: Sequence[tuple[str, InMemoryIndex]]) -> list[list[float]]:
    """(questions, features)."""
    found = []
    for question, held in questions:
        hits = held.search(question, k=READ)
        first = reader.answer(
            question, scored([hit.passage for hit in hits], reader.log_prior([hit.score for hit in hits]))
        )
        values = features(question, first, hits, held.titles())
        found.append([values[name] for name in FEATURES])
    return found


def fit(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and bias of the logistic model, with a little decay."""
    weight, bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    cost = torch.where(y > 0, 1.0, WEIGHT_OF_SINGLE)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(x @ weight + bias, y, cost) + 1e-3 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--limit", default=400, help="Questions of each kind.")
@click.option("--out", type=click.Path(path_type=Path), default=SHIPPED)
@click.option("--log", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, limit: int, out: Path, log: Path) -> None:
    """Write OUT, and LOG/router.jsonl."""
    chance = random.Random(0)
    reader, encoder = Reader.load(), load_encoder(None)
    singles = single_hop(data, limit, chance)
    multi = chance.sample([row for row in training_rows(data) if row["context"]], limit)
    x = table(reader, singles) + table(reader, [(row["question"], index_of(row, encoder)) for row in multi])
    y = [0.0] * len(singles) + [1.0] * len(multi)
    kept = np.arange(len(x)) % 5 == 0
    inputs, wanted = torch.tensor(x), torch.tensor(y)
    weight, bias = fit(inputs[~kept], wanted[~kept])
    predicted = (inputs[kept] @ weight + bias) > 0
    right = predicted == (wanted[kept] > 0)
    single = wanted[kept] == 0
    metrics = {
        "n": int(kept.sum()),
        "right %": round(100 * float(right.float().mean()), 1),
        "one passage, and seen to be %": round(100 * float(right[single].float().mean()), 1),
        "several, and seen to be %": round(100 * float(right[~single].float().mean()), 1),
    }
    click.echo(f"{metrics}")
    Runs(log / "router.jsonl").append({"questions of each kind": limit}, 0, metrics)
    made = {
        "weights": {name: round(float(w), 4) for name, w in zip(FEATURES, weight, strict=True)},
        "bias": round(float(bias), 4),
    }
    out.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
