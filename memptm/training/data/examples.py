"""Question–passage pairs from JSONL, and the spans of a passage that answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from memptm.errors import InputError


@dataclass(frozen=True)
class Example:
    """A question, the passage to read, its title, and the answers; no answers: the passage does not hold it.

    ``context`` is "" where only the index is to be read.
    """

    question: str
    context: str
    answers: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Turns:
    """What was said before a question, nearest last; the question; and the question able to stand alone."""

    history: tuple[str, ...]
    question: str
    rewrite: str


def read_follow_ups(paths: Iterable[Path]) -> list[Turns]:
    """Rows {history: [text], question, rewrite}; those without a history stand alone and are left out.

    Raises:
        InputError: a file is missing, or a line is not such a row; the message names file and line.
    """
    found = []
    for where, line in _lines(paths, "follow-up questions"):
        try:
            row = json.loads(line)
            history, question, rewrite = row["history"], row["question"], row["rewrite"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f'{where}: not a row {{"history", "question", "rewrite"}} ({error}). Mend or remove the line.'
            ) from error
        if not isinstance(history, list) or not all(isinstance(one, str) for one in [*history, question, rewrite]):
            raise InputError(f"{where}: history must be a list of texts, question and rewrite text. Mend or remove it.")
        turns = tuple(one for one in history if one.strip())
        if turns and question.strip() and rewrite.strip():
            found.append(Turns(turns, question, rewrite))
    return found


def _lines(paths: Iterable[Path], kind: str) -> Iterator[tuple[str, str]]:
    """(file and line, its text) of every line that is not blank."""
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file. Give JSONL files of {kind}.")
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{path} line {number}", line


def read_examples(paths: Iterable[Path], *, contexts: bool = True) -> Iterator[Example]:
    """Rows {question, context, answers, title?}; blank lines are skipped. ``contexts``: a row must have one.

    Raises:
        InputError: a file is missing, or a line is not such a row; the message names file and line.
    """
    for where, line in _lines(paths, "questions with their context and answers"):
        yield _example(line, where, contexts=contexts)


def _example(line: str, where: str, *, contexts: bool) -> Example:
    try:
        row = json.loads(line)
        context = row["context"] if contexts else row.get("context", "")
        question, answers = row["question"], row["answers"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'{where}: not a row {{"question", "context", "answers"}} ({error}). Mend or remove the line.'
        ) from error
    texts = isinstance(question, str) and isinstance(context, str) and isinstance(answers, list)
    if (
        not texts
        or not question.strip()
        or (contexts and not context.strip())
        or not all(isinstance(answer, str) for answer in answers)
    ):
        raise InputError(
            f"{where}: question and context must be text, answers a list of texts. Mend or remove the line."
        )
    return Example(question, context, tuple(answer for answer in answers if answer.strip()), str(row.get("title", "")))


def answered_examples(paths: Iterable[Path]) -> list[Example]:
    """The rows that have answers, with a context or without.

    Raises:
        InputError: as ``read_examples``, or no row has an answer.
    """
    found = [row for row in read_examples(paths, contexts=False) if row.answers]
    if not found:
        raise InputError('No row has an answer. A line is {"question": "...", "answers": ["..."], "context"?: "..."}.')
    return found


def occurrences(answers: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Every place where one of the answers stands in the text as whole words; case decides only if it can."""
    for flags in (0, re.IGNORECASE):
        found = {
            match.span()
            for answer in answers
            if answer.strip()
            for match in re.finditer(rf"(?<!\w){re.escape(answer.strip())}(?!\w)", text, flags)
        }
        if found:
            return sorted(found)
    return []
