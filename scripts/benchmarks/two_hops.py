"""Questions of two hops over sixteen small worlds of our own (scripts/data/two_hops.jsonl): right, wrong or silent.

A world is a few short sections about people, places, firms or machines, three questions, and others that look alike. It is
indexed as a file a section, as records, or as sections of one file. What the graph adds to answers on pages that edges
lead to (REACHED in memptm/reasoning/findings.py) was chosen with one half of the worlds, the other was held back.
Right is an answer of which at least 0.6 of the words, as F1, are the wanted ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from memptm import QA, Memory
from memptm.evaluation.metrics import f1
from memptm.types import Json
from scripts.data.held_out import rows
from scripts.runs import RESULTS, Runs

WORLDS = Path(__file__).parents[1] / "data" / "two_hops.jsonl"
METHODS = ("reader", "graph", "auto")
SAME = 0.6  # F1 from which an answer is right


def write(world: Json, folder: Path) -> None:
    """The world's sections in ``folder``: as one .md or .txt, as records of a .jsonl, or as a file each."""
    name, sections = world["world"], world["sections"]
    kind, ending = world["form"].split("/")
    if kind == "files":
        for title, text in sections:
            heading = f"# {title}\n\n" if ending == "md" else ""
            (folder / f"{title}.{ending}").write_text(f"{heading}{text}\n", encoding="utf-8")
        return
    if kind == "records":
        whole = "".join(json.dumps({"title": title, "text": text}) + "\n" for title, text in sections)
    elif ending == "md":
        whole = f"# {name.title()}\n\n" + "\n\n".join(f"## {title}\n\n{text}" for title, text in sections) + "\n"
    else:
        whole = "\n\n".join(f"{title}\n{text}" for title, text in sections) + "\n"
    (folder / f"{name}.{ending}").write_text(whole, encoding="utf-8")


def outcome(text: str | None, wanted: list[str]) -> str:
    """What an answer counts as: "right", "wrong" or "silent"."""
    if text is None:
        return "silent"
    return "right" if f1(text, wanted) >= SAME else "wrong"


def measure(worlds: list[Json]) -> dict[tuple[str, str], dict[str, int]]:
    """(half, method) → how many questions are right, wrong and silent."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    asked = {method: QA(method=method) for method in METHODS}
    for world in worlds:
        with TemporaryDirectory() as folder:
            (Path(folder) / "files").mkdir()
            write(world, Path(folder) / "files")
            memory = Memory.open(Path(folder) / "index", create=True)
            memory.add(Path(folder) / "files")
            for method, qa in asked.items():
                qa.memory = memory
                found = counts.setdefault((world["half"], method), {"right": 0, "wrong": 0, "silent": 0})
                for one in world["questions"]:
                    found[outcome(qa(one["question"]).text, one["answers"])] += 1
    return counts


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(out: Path) -> None:
    """Write OUT/two_hops.jsonl."""
    results = Runs(out / "two_hops.jsonl")
    for (half, method), found in measure(rows(WORLDS)).items():
        results.append({"worlds": half, "method": method}, 0, {"n": sum(found.values()), **found})
    click.echo(results.table())


if __name__ == "__main__":
    main()
