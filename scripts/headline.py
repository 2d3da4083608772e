"""The README's one table: figures of the logs beside what people use instead. scripts/check.py puts it into the page.

Rows that speak against memptm stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.runs import RESULTS, Runs

Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A row.

    Attributes:
        what: what is measured, with its unit.
        page: of docs/results, without its ending.
        log: in scripts/results, without its ending.
        ours, theirs: settings that single out one run each.
        instead: what ``theirs`` is.
        metric: its name in the log.
        their_log, their_metric: as ``log`` and ``metric`` where they are empty.
    """

    what: str
    page: str
    log: str
    ours: Settings
    instead: str
    theirs: Settings
    metric: str
    their_log: str = ""
    their_metric: str = ""


_LOCOMO = {"mode": "hybrid", "figure": "recall@10", "encoder": "memptm-recurrent", "key": "with date"}
_HOTPOT = {"set": "hotpotqa_dev, both gold there", "questions": "all"}
_SPEED = {"arithmetic": "int8"}
ROWS = (
    Comparison(
        what="The right passage comes first, of 12,230 (SQuAD), %",
        page="search",
        log="search_modes",
        ours={"encoder": "memptm-recurrent", "mode": "hybrid"},
        instead="all-MiniLM-L6-v2, by meaning",
        theirs={"encoder": "all-MiniLM-L6-v2", "mode": "dense"},
        metric="recall@1",
    ),
    Comparison(
        what="The same by meaning alone, 16 minutes of training later, %",
        page="learned-retriever",
        log="retriever",
        ours={"task": "squad", "retriever": "both sides learned", "mode": "dense"},
        instead="the encoder it began with",
        theirs={"task": "squad", "retriever": "frozen", "mode": "dense"},
        metric="recall@1",
    ),
    Comparison(
        what="Evidence among ten turns of a talk over months (LoCoMo), %",
        page="conversations",
        log="locomo_recall",
        ours=_LOCOMO,
        instead="all-MiniLM-L6-v2, by meaning",
        theirs={**_LOCOMO, "mode": "dense", "encoder": "all-MiniLM-L6-v2", "key": "speaker and text"},
        metric="all",
    ),
    Comparison(
        what="The passage of a follow-up question comes first, %",
        page="follow-ups",
        log="followups",
        ours={"case": "follow-up", "asked": "session", "figure": "passage, hybrid"},
        instead="the question alone",
        theirs={"case": "follow-up", "asked": "alone", "figure": "passage, hybrid"},
        metric="recall@1",
    ),
    Comparison(
        what="Answers from the right passage (SQuAD), F1",
        page="reader",
        log="reader",
        ours={"questions": "SQuAD, a sixth"},
        instead="a trained generator (135 M parameters)",
        theirs={"method": "generate", "questions": "SQuAD, a sixth"},
        their_log="generator",
        metric="F1",
    ),
    Comparison(
        what="Answers over several hops (HotpotQA), joint F1",
        page="cognitive-graph",
        log="graph_given",
        ours={**_HOTPOT, "method": "System 1 + System 2"},
        instead="the reader, all pages at once",
        theirs={**_HOTPOT, "method": "single-hop reader"},
        metric="joint_f1",
    ),
    Comparison(
        what="Answers from ten paragraphs in a window of 256 tokens, F1",
        page="memrecall",
        log="recall",
        ours={"questions": "HotpotQA", "window": 256, "method": "MemRecall, supervised"},
        instead="the blocks nearest by embedding",
        theirs={"questions": "HotpotQA", "window": 256, "method": "top-k by embedding"},
        metric="F1",
    ),
    Comparison(
        what="Answers about a talk over months (LoCoMo), F1",
        page="conversations",
        log="locomo",
        ours={"encoder": "memptm-recurrent", "system": "memory"},
        instead="reading the end of the talk",
        theirs={"encoder": "memptm-recurrent", "system": "truncation"},
        metric="all",
    ),
    Comparison(
        what="… of these, questions with no answer, left alone, %",
        page="conversations",
        log="locomo",
        ours={"encoder": "memptm-recurrent", "system": "memory"},
        instead="reading the end of the talk",
        theirs={"encoder": "memptm-recurrent", "system": "truncation"},
        metric="adversarial",
    ),
    Comparison(
        what="SmolLM2-135M on manuals of 4,096 tokens, perplexity",
        page="transformer-xl",
        log="stream",
        ours={"way": "recurrence", "memory": 512},
        instead="segments read apart",
        theirs={"way": "truncation"},
        metric="perplexity",
    ),
    Comparison(
        what="Building an index, passages a second",
        page="speed",
        log="speed",
        ours=_SPEED,
        instead="sentence-transformers and FAISS",
        theirs=_SPEED,
        metric="memptm passages/s",
        their_metric="floor passages/s",
    ),
    Comparison(
        what="A search by meaning, ms",
        page="speed",
        log="speed",
        ours=_SPEED,
        instead="sentence-transformers and FAISS",
        theirs=_SPEED,
        metric="memptm query ms",
        their_metric="floor query ms",
    ),
)


def table(results: Path = RESULTS) -> str:
    """The rows in Markdown; links are as from the root."""
    lines = ["| what was measured | memptm | instead | |", "| --- | ---: | ---: | --- |"]
    for row in ROWS:
        ours = Runs(results / f"{row.log}.jsonl").cell(row.metric, row.ours)
        theirs = Runs(results / f"{row.their_log or row.log}.jsonl").cell(row.their_metric or row.metric, row.theirs)
        lines.append(f"| [{row.what}](docs/results/{row.page}.md) | {ours} | {theirs} | {row.instead} |")
    return "\n".join(lines)
