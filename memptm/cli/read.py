"""``memptm read``: one document, however long, without an index."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from memptm.answering.asked import check_question
from memptm.cli import render
from memptm.cli.asking import Asking, asking_options
from memptm.cli.group import Command, json_option
from memptm.cli.progress import drawn

Result = dict[str, Any] | None


@click.command(cls=Command, short_help="Answer QUESTION from one document, without an index.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("question")
@asking_options(indexed=False)
@json_option
def read(file: Path, question: str, asking: Asking, as_json: bool) -> Result:
    """Answer QUESTION from the one document FILE, however long, without an index."""
    question = check_question(question)
    began = time.perf_counter()
    qa, note = asking.qa(None, as_json=as_json)
    if not as_json:
        render.note(note)
    with drawn(hidden=as_json) as progress:
        answer = qa.read(question, file, recall=asking.recall, progress=progress)
    if as_json:
        ms = round(1000 * (time.perf_counter() - began), 1)
        return {**answer.to_json(), "ms": ms} | ({"warning": note} if note else {})
    render.answer(answer)
    return None
