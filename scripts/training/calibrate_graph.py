"""Fit what the graph adds to every log odds (TRAINED_BIAS in memptm/reasoning/answer.py): when it answers, and when not.

Each question of hotpotqa_dev that comes with its gold paragraphs is searched twice: over its own paragraphs, and over those
without the gold ones. Right is an answer that shares most words with the right one, and silence where the gold
paragraphs are missing. As for the reader (calibrate_reader.py), four questions of five are taken to have their answer there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from memptm.encoders.load import load_encoder
from memptm.evaluation.metrics import f1
from memptm.generation.reader import Reader
from memptm.memory.in_memory import InMemoryIndex
from memptm.reasoning.answer import Verdict, conclude
from memptm.reasoning.cogqa import CogQA
from memptm.reasoning.findings import Findings
from memptm.types import Json
from scripts.data.graph import answers, limited, paragraphs, test_sets
from scripts.runs import RESULTS, Runs

SET = "hotpotqa_dev, both gold there"
BIASES = [n / 2 for n in range(-8, 9)]
ANSWERED_THERE = 0.8  # share of questions, assumed
SAME = 0.5  # F1 from which an answer is right


@dataclass(frozen=True)
class Expansion:
    """What was found for a question. ``whole``: with its gold paragraphs."""

    row: Json
    whole: bool
    findings: Findings
    verdict: Verdict | None

    def right(self, bias: float) -> bool:
        answer = conclude(self.findings, self.verdict, bias=bias, trained=True).text
        return f1(answer, answers(self.row)) >= SAME if self.whole else answer is None


def expansions(questions: list[Json], weights: Path | None) -> list[Expansion]:
    """Two of each question."""
    encoder, made = load_encoder(), []
    cogqa = CogQA(InMemoryIndex([], encoder), Reader.load(), weights=weights)
    for number, row in enumerate(questions, 1):
        gold = {title for title, _ in row["supporting_facts"]}
        for whole in (True, False):
            passages = [one for one in paragraphs(row) if whole or one.title not in gold]
            cogqa.memory = InMemoryIndex(passages, encoder)
            findings = cogqa.expand(row["question"])
            made.append(Expansion(row, whole, findings, cogqa.verdict(findings)))
        if number % 20 == 0:
            click.echo(f"{number} of {len(questions)}")
    return made


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option(
    "--weights", type=click.Path(path_type=Path), help="A folder of scripts/training/graph.py; else the shipped."
)
@click.option("--limit", type=int, help="Questions, for a trial.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, weights: Path | None, limit: int | None, out: Path) -> None:
    """Write OUT/graph_bias.jsonl, and say which bias is best."""
    questions = limited(test_sets(data)[SET], limit)
    made, results, worth = expansions(questions, weights), Runs(out / "graph_bias.jsonl"), dict[float, float]()
    for bias in BIASES:
        there, missing = (
            100 * float(np.mean([one.right(bias) for one in made if one.whole is whole])) for whole in (True, False)
        )
        worth[bias] = ANSWERED_THERE * there + (1 - ANSWERED_THERE) * missing
        metrics = {"n": len(questions), "right, gold there %": there, "silent, gold missing %": missing}
        results.append({"bias": bias, "limit": limit}, 0, {**metrics, "worth": worth[bias]})
    click.echo(results.table())
    click.echo(f"best: {max(worth, key=lambda bias: (worth[bias], bias))}")


if __name__ == "__main__":
    main()
