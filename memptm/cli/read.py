"""``memptm read``: one document, however long, without an index."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import click

from memptm.answering.asked import check_question
from memptm.answering.options import METHODS
from memptm.cli import render
from memptm.cli.graph import METHODS as GRAPH
from memptm.cli.group import Command, json_option
from memptm.cli.options import check_models, generator_option, name_option, reader_option
from memptm.cli.progress import drawn
from memptm.errors import InputError
from memptm.pipeline import QA
from memptm.types import Document

Result = dict[str, Any] | None


@click.command(cls=Command, short_help="Answer QUESTION from one document, without an index.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("question")
@click.option(
    "--method",
    default="reader",
    show_default=True,
    type=click.Choice([method for method in METHODS if method not in GRAPH]),
    help="reader: the span that answers; the others write an answer, from the blocks that --recall picks, and without it from the nearest passages.",
)
@click.option(
    "--recall/--no-recall",
    default=None,
    help="Read the blocks that a judge picks (MemRecall), or everything in overlapping windows; without either, a judge's where --judge names one.",
)
@name_option(
    "--judge",
    metavar="NAME",
    help="What picks the blocks: a folder (train recall), embedding or bm25; the packaged judge if not given.",
)
@reader_option
@generator_option
@json_option
def read(
    file: Path,
    question: str,
    method: str,
    recall: bool | None,
    judge: str | None,
    reader: str | None,
    generator: str | None,
    as_json: bool,
) -> Result:
    """Answer QUESTION from the one document FILE, however long, without an index."""
    check_question(question)
    check_models(method, reader=reader, generator=generator, judge=judge, recall=recall is not False)
    qa = QA(method=method, reader=reader, generator=generator, judge=judge)
    began = time.perf_counter()
    with drawn(hidden=as_json) as progress:
        answer = qa.read(question, _documents(file), recall=recall, progress=progress)
    if as_json:
        return {**answer.to_json(), "ms": round(1000 * (time.perf_counter() - began), 1)}
    render.answer(answer)
    return None


def _documents(file: Path) -> list[Document]:
    """What is in the file.

    Raises:
        InputError: it is not there, is no regular file, or cannot be read.
    """
    from memptm.documents.load import Refused, load

    if not file.exists():
        raise InputError(f"{file} is not there. Check the path.")
    if file.is_dir():
        raise InputError(f"{file} is a folder. Give one file, or make an index of it with memptm build.")
    if not file.is_file():
        raise InputError(f"{file} is a pipe or a device. Write what comes from it to a file, and give that.")
    try:
        return list(load(file, warn=lambda line: warnings.warn(line, stacklevel=2)))
    except Refused as error:
        raise InputError(f"{file} cannot be read: {error.reason}. Give a file with text, or a PDF or DOCX.") from error
