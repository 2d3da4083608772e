"""A question from a cold start: how long `memptm query` takes, and what it is spent on.

Each stage is a fresh process that does the stages before it too; its share is the difference of medians.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import click

from scripts.runs import RESULTS, Runs

QUESTION = "What does segment-level recurrence reuse?"
STAGES = {
    "Python itself": "pass",
    "memptm --help": "import sys; sys.argv = ['memptm', '--help']; from memptm.cli import main; main()",
    "import torch": "import torch",
    "import torch, lancedb, faiss": "import torch, lancedb, faiss",
    "open the index": "import torch, lancedb, faiss; from memptm import Memory; len(Memory.open({index!r}))",
    "search": "from memptm import Memory; Memory.open({index!r}).search({question!r})",
    "query, reader": "import sys; sys.argv = ['memptm', 'query', {question!r}, '--index', {index!r}]; from memptm.cli import main; main()",
    "query, generate": "import sys; sys.argv = ['memptm', 'query', {question!r}, '--index', {index!r}, '--method', 'generate']; "
    "from memptm.cli import main; main()",
}


def seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - began


@click.command()
@click.option("--index", default="indexes/memptm-docs", help="As `make demo` builds it.")
@click.option("--rounds", default=5)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(index: str, rounds: int, out: Path) -> None:
    """Append a run a stage to OUT/cold_start.jsonl."""
    runs = Runs(out / "cold_start.jsonl")
    for stage, code in STAGES.items():
        code = code.format(index=index, question=QUESTION)
        seconds(code)
        spent = [seconds(code) for _ in range(rounds)]
        metrics = {"median s": round(statistics.median(spent), 2), "slowest s": round(max(spent), 2)}
        click.echo(f"{stage}: {metrics}")
        runs.append({"stage": stage}, 0, metrics)


if __name__ == "__main__":
    main()
