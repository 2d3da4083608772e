"""The questions on long texts that MemRecall is trained and measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memptm.training.data.long_texts import LongExample, answered, hotpot
from memptm.types import Json
from scripts.data.graph import has_gold, held_out
from scripts.data.held_out import rows


def covid(data: Path) -> tuple[list[Json], list[Json]]:
    """(train, held out) papers of covid_papers: every third by id is held out, with all its questions."""
    papers = sorted(rows(data / "covid_papers.jsonl"), key=lambda row: str(row["id"]))
    return [row for n, row in enumerate(papers) if n % 3], papers[::3]


@dataclass(frozen=True)
class Asked:
    """A question that no judge is trained on.

    Attributes:
        group: questions of one group share a text.
    """

    example: LongExample
    group: str


def hotpot_train(data: Path) -> list[Json]:
    """hotpotqa_train, less the sixth that is measured on."""
    return [row for row in rows(data / "hotpotqa_train.jsonl") if not held_out(row)]


def measured(data: Path) -> dict[str, list[Asked]]:
    """Name of a set → its questions, those whose text holds all that they need: of hotpotqa_dev's, one in three."""
    dev = rows(data / "hotpotqa_dev.jsonl")
    more = [row for row in rows(data / "hotpotqa_train.jsonl") if held_out(row)]
    hotpots = [Asked(hotpot(row), str(n)) for n, row in enumerate([*dev, *more]) if has_gold(row)]
    papers = []
    for paper in covid(data)[1]:
        for one in paper["qa"]:
            example = answered(one, paper["text"])
            if example.relevant:
                papers.append(Asked(example, str(paper["id"])))
    return {"HotpotQA": hotpots, "covid_papers, a third": papers}
