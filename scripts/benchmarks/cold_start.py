"""Commands from a cold start: how long each takes, and what imports alone take. For an idle machine.

Each stage is a fresh process. Where others want the processor too, the seconds of processor time still say something.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click

from scripts.runs import RESULTS, Runs

QUESTION = "What does segment-level recurrence reuse?"
IMPORTS = {
    "Python itself": "pass",
    "import torch": "import torch",
    "import faiss": "import faiss",
    "import lancedb": "import lancedb",
    "LanceDB as memptm imports it": "from memptm.memory.lance import lancedb_module; lancedb_module()",
}
COMMANDS = {
    "--help": ["--help"],
    "info": ["info", "--index", "{index}"],
    "search by words": ["search", QUESTION, "--index", "{index}", "--mode", "lexical"],
    "no such reader": ["query", QUESTION, "--index", "{index}", "--reader", "no/reader"],
    "no such index": ["query", QUESTION, "--index", "{index}/none"],
    "search": ["search", QUESTION, "--index", "{index}"],
    "query, reader": ["query", QUESTION, "--index", "{index}"],
    "query, generate": ["query", QUESTION, "--index", "{index}", "--method", "generate"],
}


def spent(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock and of processor time that a process takes, whatever its exit code."""
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *command], capture_output=True, check=False)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used


@click.command()
@click.option("--index", default="indexes/memptm-docs", help="As `make demo` builds it.")
@click.option("--rounds", default=5)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(index: str, rounds: int, out: Path) -> None:
    """Append a run a stage to OUT/cold_start.jsonl."""
    runs = Runs(out / "cold_start.jsonl")
    stages = {stage: ["-c", code] for stage, code in IMPORTS.items()}
    for stage, command in COMMANDS.items():
        stages[f"memptm {stage}"] = ["-m", "memptm", *(part.format(index=index) for part in command)]
    for stage, line in stages.items():
        spent(line)
        times, used = zip(*(spent(line) for _ in range(rounds)), strict=True)
        metrics = {
            "median s": round(statistics.median(times), 2),
            "slowest s": round(max(times), 2),
            "processor s": round(min(used), 2),
        }
        click.echo(f"{stage}: {metrics}")
        runs.append({"stage": stage}, 0, metrics)


if __name__ == "__main__":
    main()
