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


def read_examples(paths: Iterable[Path], *, contexts: bool = True) -> Iterator[Example]:
    """Rows {question, context, answers, title?}; blank lines are skipped. ``contexts``: a row must have one.

    Raises:
        InputError: a file is missing, or a line is not such a row; the message names file and line.
    """
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file. Give JSONL files of questions with their context and answers.")
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _example(line, f"{path} line {number}", contexts=contexts)


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
