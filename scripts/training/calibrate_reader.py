"""Fit the reader's temperature, biases and prior on questions set aside for it (calibration_passage), by likelihood.

The right outcome of a question is any span that says a gold answer, or, where what was read holds none, the null answer.
Questions with their own passage and, for every second one, with a wrong passage that looks right fix temperature and
read_bias; questions asked of the index fix the prior's temperature. open_bias is then the one with the most right
outcomes where four questions of five are about the index: by likelihood, half of them outside it, it came out at −2.5,
and the reader kept silent on a third of what it could answer. The likeliest one is kept as null_prior_bias.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click

from memptm.encoders.load import load_encoder
from memptm.generation.reader import Reader, Reading, answer_key, log_sum, marginalise, scored
from memptm.training.data.examples import Example, occurrences
from memptm.training.data.negatives import mine
from memptm.types import Hit, Json, Passage
from scripts.data.held_out import open_index, passage, rows

ABOUT_THE_INDEX = 0.8  # share of questions, assumed
Case = tuple[Reading, list[str], list[Passage], list[float]]  # reading, gold (none: null), passages, search scores


def cost(cases: Sequence[Case], *, temperature: float, bias: float, prior: float) -> float:
    """Mean −log p of the right outcome; a mass floor keeps what lies outside the kept spans from costing infinity."""
    losses = []
    for reading, gold, passages, found in cases:
        logits = [score / prior for score in found]
        weights = [logit - log_sum(logits) + math.log(len(passages)) + bias for logit in logits]
        masses = [weights[span.passage] + span.log_odds / temperature for span in reading.spans]
        keys = {answer_key(answer) for answer in gold}
        right = [
            mass
            for mass, span in zip(masses, reading.spans, strict=True)
            if answer_key(passages[span.passage].text[span.start : span.end]) in keys
        ]
        total = log_sum([0.0, *masses])
        losses.append(total - (log_sum([*right, total - 7.0]) if gold else 0.0))
    return statistics.fmean(losses)


def reading_cases(reader: Reader, questions: Sequence[Json]) -> list[Case]:
    examples = [
        Example(row["question"], row["context"], tuple(row["answers"]), row.get("title", "")) for row in questions
    ]
    texts, nearest = mine(examples, load_encoder(), per_question=1)
    asked = [(e.question, list(e.answers), passage(e.context, e.title)) for e in examples]
    for n, example in enumerate(examples):
        if n % 2 and nearest[n, 0] >= 0 and example.answers:
            asked.append((example.question, [], passage(texts[int(nearest[n, 0])])))
    readings = reader.read([question for question, _, _ in asked], [[one] for _, _, one in asked])
    return [(reading, gold, [one], [0.0]) for reading, (_, gold, one) in zip(readings, asked, strict=True)]


def open_cases(reader: Reader, questions: Sequence[Json], found: Sequence[Sequence[Hit]]) -> list[Case]:
    passages = [[hit.passage for hit in hits] for hits in found]
    readings = reader.read([row["question"] for row in questions], passages)
    cases = []
    for row, hits, group, reading in zip(questions, found, passages, readings, strict=True):
        gold = row["answers"] if any(occurrences(row["answers"], one.text) for one in group) else []
        cases.append((reading, gold, group, [hit.score for hit in hits]))
    return cases


def fit_open(cases: Sequence[Case], temperature: float, biases: Sequence[float]) -> tuple[float, float, float]:
    """(−log p, prior temperature, open bias) of the best."""
    return min(
        (cost(cases, temperature=temperature, bias=bias, prior=prior), prior, bias)
        for prior in (0.03, 0.05, 0.08, 0.12, 0.2, 0.4)
        for bias in biases
    )


def fit_decision(inside: Sequence[Case], outside: Sequence[Case], prior: float) -> float:
    """The open bias with the most right outcomes: answers to what is inside the index, silence on the rest."""

    def right(case: Case, bias: float) -> bool:
        reading, gold, passages, found = case
        logits = [score / prior for score in found]
        log_prior = [logit - log_sum(logits) for logit in logits]
        predicted = marginalise("", scored(passages, log_prior), reading, bias=bias, method="reader").text
        return answer_key(predicted) in {answer_key(answer) for answer in gold} if predicted else not gold

    def worth(bias: float) -> float:
        shares = [statistics.fmean(right(case, bias) for case in cases) for cases in (inside, outside)]
        return ABOUT_THE_INDEX * shares[0] + (1 - ABOUT_THE_INDEX) * shares[1]

    return max((n / 2 for n in range(-8, 7)), key=worth)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--questions", type=click.Path(path_type=Path), default=Path("runs/reader/calibration.jsonl"))
@click.option("--reader", "folder", type=click.Path(path_type=Path), default=Path("runs/reader/final"))
@click.option("--index", type=click.Path(path_type=Path), default=Path("runs/open/index"), help="Made where absent.")
@click.option("--limit", default=1200)
def main(data: Path, questions: Path, folder: Path, index: Path, limit: int) -> None:
    """Write the fitted numbers into FOLDER/config.json."""
    reader = Reader.load(folder)
    reader.config = replace(reader.config, temperature=1.0)
    asked = rows(questions)
    cases = reading_cases(reader, asked[:limit])
    biases = [n / 4 for n in range(-24, 25)]
    best = min(
        (cost(cases, temperature=t, bias=b, prior=1.0), t, b) for t in (0.8, 1.0, 1.2, 1.5, 1.8, 2.2) for b in biases
    )
    click.echo(f"reading: −log p {best[0]:.3f} with temperature {best[1]}, bias {best[2]} ({len(cases)} pairs)")
    here = {row["context"] for row in rows(data / "squad_subset.jsonl")}
    in_index = [row for row in asked if row["context"] in here]
    outside = [row for row in asked if row["context"] not in here and row["answers"]][: len(in_index)]
    memory = open_index(data, index)
    both = in_index + outside
    found = memory.search([row["question"] for row in both], k=5)
    opened = open_cases(reader, both, found)
    fitted = fit_open(opened, best[1], biases)
    by_cosine = [(*case[:3], [hit.similarity for hit in hits]) for case, hits in zip(opened, found, strict=True)]
    click.echo(f"open, prior of cosines alone: −log p {fit_open(by_cosine, best[1], biases)[0]:.3f}")
    click.echo(
        f"open: −log p {fitted[0]:.3f} with prior temperature {fitted[1]}, bias {fitted[2]} ({len(opened)} questions)"
    )
    reader.config = replace(reader.config, temperature=best[1], read_bias=best[2], prior_temperature=fitted[1])
    again = open_cases(reader, both, found)
    answerable = [n < len(in_index) and bool(row["answers"]) for n, row in enumerate(both)]
    inside, outside_it = (
        [case for case, known in zip(again, answerable, strict=True) if known is side] for side in (True, False)
    )
    decided = fit_decision(inside, outside_it, fitted[1])
    click.echo(f"most right outcomes: bias {decided}")
    config = replace(reader.config, open_bias=decided, null_prior_bias=fitted[2])
    (folder / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
