"""The questions on long texts that MemRecall is trained and measured on."""

from __future__ import annotations

from pathlib import Path

from held_out import rows
from memptm.training.long_texts import LongExample, answered, hotpot
from memptm.types import Json


def covid(data: Path) -> tuple[list[Json], list[Json]]:
    """(train, held out) papers of covid_papers: every third by id is held out, with all its questions."""
    papers = sorted(rows(data / "covid_papers.jsonl"), key=lambda row: str(row["id"]))
    return [row for n, row in enumerate(papers) if n % 3], papers[::3]


def measured(data: Path) -> dict[str, list[tuple[str, LongExample]]]:
    """Name → (group, question) pairs that no judge is trained on; questions of a group share a text."""
    hotpots = [hotpot(row) for row in rows(data / "hotpotqa_dev.jsonl") if row["context"]]  # one has no paragraphs
    papers = [(str(paper["id"]), answered(one, paper["text"])) for paper in covid(data)[1] for one in paper["qa"]]
    return {"hotpotqa_dev": [(str(n), one) for n, one in enumerate(hotpots)], "covid_papers, a third": papers}
