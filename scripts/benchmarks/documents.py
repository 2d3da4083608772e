"""Ordinary documents: which facts survive loading, how often the passage that answers is found, what is answered.

    python -m scripts.benchmarks.documents [--world DIR] [--answers NAME=FILE]...

A world is a folder with files/ and questions.jsonl (id, kind, question, answers or items, source). ``--answers`` takes
JSON lines with "kind" and "verdict" (right, silent or wrong), one a question. markitdown is measured where it is
installed; it is in no extra. Logs: documents, documents_recall, documents_answers in scripts/results.
"""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import click

from memptm.evaluation.metrics import bootstrap
from memptm.memory.memory import Memory
from memptm.types import MODES, Json
from scripts.data.held_out import rows
from scripts.runs import RESULTS, Runs

UNSAID = {"yesno", "count", "why", "absent", "named"}  # kinds whose answer need not stand in the file in its own words
Texts = Callable[[str], str]  # the text that a program made of a file, by its path below files/


def words(text: str) -> str:
    """Letters and digits alone, blanks around each word."""
    plain = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold())
    return f" {plain.strip()} "


def accepted(row: Json) -> list[list[str]]:
    """What must stand in a text that answers: of each list, one spelling."""
    if row.get("items"):
        return [[words(spelling) for spelling in item.split("|")] for item in row["items"]]
    return [[words(answer) for answer in row["answers"]]]


def says(text: str, row: Json) -> bool:
    """Whether ``text``, as ``words`` makes it, holds an accepted answer (of a list, every item)."""
    return all(any(spelling in text for spelling in spellings) for spellings in accepted(row))


def belongs(source: str, names: list[str]) -> bool:
    """Whether a passage is of one of these files, or of what lies in one: an attachment, a file of an archive."""
    return any(f"/{name}/" in f"{source}/" for name in names)


def by_markitdown(files: Path) -> Texts | None:
    """None where markitdown is not installed; a file it cannot read is an empty text."""
    try:
        converter = import_module("markitdown").MarkItDown()
    except ImportError:
        return None

    def text(name: str) -> str:
        try:
            return str(converter.convert(str(files / name)).text_content)
        except Exception as error:
            click.echo(f"markitdown: {name}: {type(error).__name__}")
            return ""

    return text


def measure_facts(runs: Runs, texts: dict[str, Texts], asked: list[Json]) -> None:
    """A line for each ending of file, and one for all: how many facts stand in what a program made of their file."""
    names = sorted({name for row in asked for name in row["source"]})
    there: dict[str, Counter[str]] = defaultdict(Counter)
    for program, text in texts.items():
        made = {name: words(text(name)) for name in names}
        for row in asked:
            found = any(says(made[name], row) for name in row["source"])
            for kind in ("all", Path(row["source"][0]).suffix):
                there[kind]["facts"] += program == next(iter(texts))
                there[kind][program] += found
            if not found:
                click.echo(f"{program} lost {row['id']}: {row.get('answers') or row['items']}")
    for kind in sorted(there, key=lambda kind: (kind == "all", kind)):
        runs.append({"files": kind}, metrics={name: there[kind][name] for name in ("facts", *texts)})


def measure_recall(runs: Runs, memory: Memory, asked: list[Json]) -> None:
    """Of the questions that one passage answers, how many have such a passage among the first hits."""
    held: dict[str, list[str]] = defaultdict(list)
    for passage in memory.passages():
        held[passage.source].append(words(passage.text))
    one = [
        row
        for row in asked
        if any(says(text, row) for source, texts in held.items() if belongs(source, row["source"]) for text in texts)
    ]
    for mode in MODES:
        found = memory.search([row["question"] for row in one], k=20, mode=mode)
        metrics: Json = {"n": len(one)}
        for k in (1, 5, 20):
            values = [
                float(
                    any(belongs(h.passage.source, row["source"]) and says(words(h.passage.text), row) for h in hits[:k])
                )
                for row, hits in zip(one, found, strict=True)
            ]
            low, high = bootstrap(values, groups=[row["source"][0] for row in one])
            metrics[f"recall@{k}"] = f"{100 * sum(values) / len(values):.1f} ({100 * low:.1f}–{100 * high:.1f})"
            if k == 5 and mode == "hybrid":
                missed = [row["id"] for row, value in zip(one, values, strict=True) if not value]
                click.echo(f"not among five: {', '.join(missed)}")
        runs.append({"mode": mode, "passages": len(memory)}, metrics=metrics)


def tally(runs: Runs, given: dict[str, list[Json]]) -> None:
    """A line for each kind of question, and one for all: right, silent and wrong of each file of answers."""
    counts = {
        name: Counter((kind, row["verdict"]) for row in answers for kind in (row["kind"], "all"))
        for name, answers in given.items()
    }
    for kind in sorted(
        {kind for count in counts.values() for kind, _ in count}, key=lambda kind: (kind == "all", kind)
    ):
        metrics = {"questions": sum(n for (one, _), n in next(iter(counts.values())).items() if one == kind)}
        for name, count in counts.items():
            metrics |= {f"{name}: {verdict}": count[kind, verdict] for verdict in ("right", "silent", "wrong")}
        runs.append({"kind": kind}, metrics=metrics)


@click.command()
@click.option("--world", type=click.Path(exists=True, path_type=Path), default=Path("../shared/everyday"))
@click.option("--answers", multiple=True, help="NAME=FILE, e.g. before=a.jsonl; repeat it to compare.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(world: Path, answers: tuple[str, ...], out: Path) -> None:
    """Write OUT/documents.jsonl and OUT/documents_recall.jsonl; with --answers, OUT/documents_answers.jsonl."""
    files = (world / "files").resolve()
    asked = [row for row in rows(world / "questions.jsonl") if row["kind"] not in UNSAID]
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory.open(Path(folder) / "index", create=True)
        for warning in memory.add(files).warnings:
            click.echo(str(warning))
        held = [(passage.source, passage.text) for passage in memory.passages()]
        texts: dict[str, Texts] = {
            "memptm": lambda name: "\n".join(text for source, text in held if belongs(source, [name]))
        }
        other = by_markitdown(files)
        if other:
            texts[f"markitdown {version('markitdown')}"] = other
        measure_facts(Runs(out / "documents.jsonl"), texts, asked)
        measure_recall(Runs(out / "documents_recall.jsonl"), memory, asked)
    if answers:
        given = {name: rows(Path(file)) for name, _, file in (one.partition("=") for one in answers)}
        tally(Runs(out / "documents_answers.jsonl"), given)


if __name__ == "__main__":
    main()
