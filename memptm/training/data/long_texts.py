"""Questions on long texts from JSONL, and which characters of a text matter to its question."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memptm.errors import InputError
from memptm.training.data.examples import occurrences

MOST_PLACES = 3  # of an answer in a text; one that stands in more says little about which place is meant
FORMS = (
    'A line is {"question", "context", "answers"}, HotpotQA\'s {"question", "answer", "supporting_facts", "context"}, '
    'or {"text", "qa": [{"question", "answers"}]}.'
)
Places = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LongExample:
    """A question on a text. ``relevant``: (start, end) characters of the text that the question needs; () if not known."""

    question: str
    text: str
    answers: tuple[str, ...]
    relevant: Places = ()


def read_long(paths: Iterable[Path]) -> Iterator[LongExample]:
    """Rows of any of the three kinds (FORMS); blank lines are skipped.

    Relevant are HotpotQA's supporting sentences; else where an answer stands, if that is in few places.

    Raises:
        InputError: a file is missing, or a line is no such row; the message names file and line.
    """
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file. Give JSONL files. {FORMS}")
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield from _of_line(line, f"{path} line {number}")


def _of_line(line: str, where: str) -> list[LongExample]:
    try:
        row = json.loads(line)
        if "supporting_facts" in row:
            found = [hotpot(row)]
        elif "qa" in row:
            found = [answered(one, row["text"]) for one in row["qa"]]
        else:
            found = [answered(row, row["context"])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: not a question with its text ({error}). {FORMS} Mend or remove it.") from error
    if any(not one.question.strip() or not one.text.strip() for one in found):
        raise InputError(f"{where}: question and text must not be empty. Mend or remove the line.")
    return found


def hotpot(row: Mapping[str, Any]) -> LongExample:
    """HotpotQA's paragraphs as one text, a paragraph a line with its title before it."""
    supporting = {(title, number) for title, number in row["supporting_facts"]}
    parts, relevant, length = list[str](), list[tuple[int, int]](), 0
    for n, (title, sentences) in enumerate(row["context"]):
        head = ("\n" if n else "") + f"{title}. "
        parts.append(head)
        length += len(head)
        for number, sentence in enumerate(sentences):
            if (title, number) in supporting:
                relevant.append((length + len(sentence) - len(sentence.lstrip()), length + len(sentence)))
            parts.append(sentence)
            length += len(sentence)
    answers = (row["answer"], *row.get("answer_aliases", ()))
    return LongExample(row["question"], "".join(parts), answers, tuple(relevant))


def answered(row: Mapping[str, Any], text: str) -> LongExample:
    """A question of {question, answers}, the answers' places in the text being what is relevant.

    Raises:
        KeyError, TypeError: it is no such row.
    """
    answers = row["answers"]
    if not isinstance(answers, list) or not isinstance(row["question"] + text, str):
        raise TypeError("answers is no list")
    places = occurrences(answers, text)
    return LongExample(row["question"], text, tuple(answers), tuple(places) if len(places) <= MOST_PLACES else ())


def is_relevant(start: int, end: int, relevant: Sequence[tuple[int, int]]) -> bool:
    """Whether characters ``start`` to ``end`` hold half of a relevant span, or lie half in one."""
    return any(2 * (min(end, stop) - max(start, begin)) >= min(stop - begin, end - start) for begin, stop in relevant)
