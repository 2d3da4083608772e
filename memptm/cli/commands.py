"""The commands. Heavy imports stand inside them: ``memptm --help`` loads no torch."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from memptm import __version__
from memptm.answering.asked import check_question
from memptm.answering.options import STREAMED
from memptm.cli import graph as graphs
from memptm.cli import render
from memptm.cli.asking import GENERATOR, Asking, asking_options
from memptm.cli.group import OneLineErrors, index_option, json_option
from memptm.cli.options import (
    MANY,
    mode_option,
    name_option,
    place_option,
    query_encoder_option,
    session_option,
    where_option,
    whole,
)
from memptm.cli.progress import drawn
from memptm.cli.read import read
from memptm.cli.train import train
from memptm.cli.train_encoder import encoder as train_encoder
from memptm.cli.train_recall import recall as train_recall
from memptm.errors import InputError

if TYPE_CHECKING:
    from memptm.memory.memory import Memory
    from memptm.types import Mode

Result = dict[str, Any] | None


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="memptm")
def main() -> None:
    """Build an index from documents, ask it, get answers with their evidence: a memory for language models."""


@main.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@index_option
@name_option(
    "--encoder",
    metavar="NAME",
    help="A sentence-transformers model, by name or folder; memptm-recurrent, or the index's own, if not given.",
)
@click.option("--words", default=120, show_default=True, type=whole(most=MANY), help="Words in a passage, about.")
@click.option("--overlap", default=20, show_default=True, type=whole(0, MANY), help="Words two passages share.")
@click.option("--prune", is_flag=True, help="Drop passages of files that are gone from PATH.")
@json_option
def build(
    paths: tuple[Path, ...], index: Path, encoder: str | None, words: int, overlap: int, prune: bool, as_json: bool
) -> Result:
    """Create an index from files and folders, or extend it.

    Files that have not changed are skipped, changed ones replace their passages. Files that cannot be read are listed with the reason, and the rest goes in: the exit code is 0 all the same.
    """
    if overlap >= words:
        raise InputError(f"--overlap {overlap} must be smaller than --words {words}: passages would not move on.")
    for path in paths:
        if not prune and not os.path.lexists(path):  # before an index is begun for nothing
            raise InputError(f"{path} is not there. Check the path.")
    from memptm.memory.memory import Memory

    with drawn(hidden=as_json) as progress:
        memory = Memory.open(index, create=True, encoder=encoder)
        added = memory.add(list(paths), words=words, overlap=overlap, prune=prune, progress=progress)
    result: dict[str, Any] = added.to_json()
    if as_json:
        return result
    render.added(result, warnings=[str(warning) for warning in added.warnings])
    return None


@main.command()
@click.argument("question")
@index_option
@click.option("-k", default=5, show_default=True, type=whole(most=MANY), help="Passages to show.")
@mode_option
@where_option
@query_encoder_option
@json_option
def search(
    question: str, index: Path, k: int, mode: Mode, where: str | None, query_encoder: str | None, as_json: bool
) -> Result:
    """Show the passages nearest to QUESTION."""
    question = check_question(question)
    from memptm.memory.memory import Memory
    from memptm.memory.where import to_sql

    if where is not None:
        to_sql(where)
    began = time.perf_counter()
    memory = Memory.open(index, encoder=query_encoder)
    memory.load(mode=mode)
    load_ms = _ms_since(began)
    began = time.perf_counter()
    hits = memory.search(question, k=k, mode=mode, where=where, cosines=False)
    ms = _ms_since(began)
    note = "" if hits else _unknown_fields(memory, where)
    if as_json:
        note = " ".join(one for one in (note, memory.notice) if one)
        found = {"question": question, "hits": [hit.to_json() for hit in hits], "ms": ms, "load_ms": load_ms}
        return found | ({"warning": note} if note else {})
    render.hits(hits)
    render.note(note)
    return None


@main.command()
@click.argument("question")
@index_option
@asking_options()
@session_option
@graphs.show_graph_option
@json_option
def query(
    question: str, index: Path, asking: Asking, session: Path | None, show_graph: Path | None, as_json: bool
) -> Result:
    """Answer QUESTION from the index, with the passages that say so."""
    question = check_question(question)
    method, where = asking.options.method, asking.options.where
    graphs.check(method, show_graph)
    began = time.perf_counter()
    qa, note = asking.qa(index, as_json=as_json)
    memory = cast("Memory", qa.memory)
    if not as_json:
        render.note(note)
    conversation = None
    if session is not None:
        from memptm.session import Session

        conversation = Session.open(memory, session)
    qa.load()
    load_ms = _ms_since(began)
    streamed = method in STREAMED and not as_json and sys.stdout.isatty()
    began = time.perf_counter()
    answer = qa(question, stream=render.stream if streamed else None, session=conversation)
    ms = _ms_since(began)
    if not answer.evidence and (unknown := _unknown_fields(memory, where)):
        note = f"{note} {unknown}".strip()
        if not as_json:
            render.note(unknown)
    if as_json:
        drawing = graphs.draw(answer, show_graph)
        warning = " ".join(line for line in (note, drawing if answer.graph is None else "", memory.notice) if line)
        return {**answer.to_json(), "ms": ms, "load_ms": load_ms} | ({"warning": warning} if warning else {})
    render.answer(answer, streamed=streamed)
    graphs.show_path(answer)
    render.note(graphs.draw(answer, show_graph))
    return None


@main.command()
@index_option
@click.option("--source", metavar="PATH", help="Remove the documents of this file or folder.")
@click.option(
    "--id", "id_", metavar="ID", help="Remove the document of this id, or the one that a passage of this id is part of."
)
@json_option
def remove(index: Path, source: str | None, id_: str | None, as_json: bool) -> Result:
    """Forget a file, a folder, or a single document.

    Give --source and --id together where several sources have the id.
    """
    if source is None and id_ is None:
        raise InputError("Say what to remove: --source PATH, --id ID, or both where several sources have the id.")
    from memptm.memory.memory import Memory

    ids = () if id_ is None else (id_,)
    removed = Memory.open(index).remove(ids=ids, source=source)
    if not as_json:
        render.line(f"Removed {removed} {'document' if removed == 1 else 'documents'}.")
    return {"removed": removed}


@main.command()
@index_option
@json_option
def info(index: Path, as_json: bool) -> Result:
    """Show counts, encoder, sizes and versions of the index."""
    from memptm.memory.memory import Memory

    result: dict[str, Any] = Memory.open(index).info()
    if as_json:
        return result
    render.info(result)
    return None


@main.command()
@index_option
@click.option("--repair", is_flag=True, help="Mend what can be mended: keys are made anew from the stored passages.")
@json_option
def verify(index: Path, repair: bool, as_json: bool) -> Result:
    """Run every check the index has.

    Each failure says what to do, and makes the exit code 1.
    """
    from memptm.memory.memory import Memory

    checks = Memory.open(index).verify(repair=repair)
    if not as_json:
        render.checks(checks)
    return {"ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]}


@main.command()
@index_option
@place_option("--out", required=True, metavar="DIR", help="Folder for the datastore.")
@name_option("--generator", metavar="NAME", help=GENERATOR)
@json_option
def tokens(index: Path, out: Path, generator: str | None, as_json: bool) -> Result:
    """Make a datastore of tokens from the index (kNN-LM).

    query --method generate reads it by --datastore DIR: what the model writes is then mixed with what followed the most
    similar states in the index's texts.
    """
    from memptm.generation.generator import Generator
    from memptm.generation.knn import build_tokens
    from memptm.memory.memory import Memory

    memory = Memory.open(index)
    with drawn(hidden=as_json) as progress:
        result = build_tokens(memory, Generator.load(generator, progress=progress), out, progress=progress)
    if not as_json:
        render.info({**result, "out": str(out)})
    return result


@main.command()
@index_option
@name_option("--encoder", required=True, metavar="NAME", help="A sentence-transformers model, by name or folder.")
@place_option("--out", required=True, metavar="DIR", help="Folder for the new index.")
@json_option
def rekey(index: Path, encoder: str, out: Path, as_json: bool) -> Result:
    """Make a new index of the same passages, keyed by another encoder.

    The documents are not needed. The index given is left as it is. What was encoded before an interruption is kept: the same command goes on.
    """
    from memptm.encoders.load import load_encoder
    from memptm.memory.memory import Memory
    from memptm.memory.rekey import rekey as make

    with drawn(hidden=as_json) as progress:
        made = make(Memory.open(index), out, load_encoder(encoder), progress=progress)
    result = {"index": str(out), "passages": len(made), "encoder": made.manifest.encoder}
    if not as_json:
        render.info(result)
    return result


@main.command("eval")
@click.argument("questions", metavar="QA.jsonl", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@index_option
@asking_options()
@click.option("--limit", metavar="N", type=whole(most=MANY), help="Only the first N questions.")
@json_option
def evaluate(questions: Path, index: Path, asking: Asking, limit: int | None, as_json: bool) -> Result:
    """Measure answers and retrieval on known questions.

    A line is {"question", "answers": [...], "supporting"?: [title or id]}. No answers: saying nothing is right.
    """
    from memptm.evaluation.suites import evaluate as measure
    from memptm.evaluation.suites import read_questions

    asked = read_questions(questions, limit=limit)
    qa, note = asking.qa(index, as_json=as_json)
    if not as_json:
        render.note(note)
    with drawn(hidden=as_json) as progress:
        result = measure(qa, asked, k=asking.options.k, progress=progress)
    if as_json:
        return result | ({"warning": note} if note else {})
    render.scores(result)
    return None


train.add_command(train_encoder)
main.add_command(read)
train.add_command(train_recall)
main.add_command(train)


def _unknown_fields(memory: Memory, where: str | None) -> str:
    """What to say where a filter left nothing: those of its fields that no passage has; "" if there are none."""
    if where is None:
        return ""
    from memptm.memory.where import fields

    unknown = [one for one in fields(where) if next(memory.passages(where=f"{one} IS NOT NULL"), None) is None]
    return f"No passage has the field {' or '.join(unknown)}. Check the name." if unknown else ""


def _ms_since(began: float) -> float:
    return round(1000 * (time.perf_counter() - began), 1)
