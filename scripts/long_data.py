"""The questions on long texts that MemRecall is trained and measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from held_out import rows
from memptm.training.long_texts import LongExample, answered, hotpot
from memptm.types import Json


def covid(data: Path) -> tuple[list[Json], list[Json]]:
    """(train, held out) papers of covid_papers: every third by id is held out, with all its questions."""
    papers = sorted(rows(data / "covid_papers.jsonl"), key=lambda row: str(row["id"]))
    return [row for n, row in enumerate(papers) if n % 3], papers[::3]


@dataclass(frozen=True)
class Asked:
    """A question that no judge is trained on.

    Attributes:
        group: questions of one group share a text. complete: the text holds all that the question needs; of hotpotqa_dev's
            texts two in three lack a paragraph with a supporting fact.
    """

    example: LongExample
    group: str
    complete: bool


def measured(data: Path) -> dict[str, list[Asked]]:
    """Name of a set → its questions."""
    hotpots = []
    for n, row in enumerate(rows(data / "hotpotqa_dev.jsonl")):
        if row["context"]:  # one has no paragraphs
            example = hotpot(row)
            facts = {(title, number) for title, number in row["supporting_facts"]}
            hotpots.append(Asked(example, str(n), len(example.relevant) == len(facts)))
    papers = []
    for paper in covid(data)[1]:
        for one in paper["qa"]:
            example = answered(one, paper["text"])
            papers.append(Asked(example, str(paper["id"]), bool(example.relevant)))
    return {"hotpotqa_dev": hotpots, "covid_papers, a third": papers}
