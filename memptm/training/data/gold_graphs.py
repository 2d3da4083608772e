"""Gold cognitive graphs from HotpotQA-format rows: which page names which, in which sentence, and where the answer stands.

Source: CogQA (Ding et al. 2019), section 4.2. A supporting sentence of page x that names page y makes the hop x → y, and
is its clue. A page never leads to itself, though it names itself (the original's graphs have such cycles), and a page that
holds the answer of a chain leads nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memptm.documents.sentences import sentences
from memptm.errors import InputError
from memptm.memory.titles import name_key
from memptm.training.data.examples import occurrences
from memptm.types import Json, Passage

YES_NO = ("yes", "no")
_QUALIFIER = re.compile(r"\s*\([^()]*\)$")
Span = tuple[int, int]


@dataclass(frozen=True)
class GoldPage:
    """A paragraph of a question.

    Attributes:
        hops, answers: characters of its text; ``targets``: the page, by number, each hop names.
        support: of each of its sentences, whether it is a supporting fact. clues: sentences of other pages that name it.
    """

    passage: Passage
    hops: tuple[Span, ...] = ()
    targets: tuple[int, ...] = ()
    answers: tuple[Span, ...] = ()
    support: tuple[bool, ...] = ()
    clues: tuple[str, ...] = ()

    @property
    def is_gold(self) -> bool:
        """Whether it holds a supporting fact."""
        return any(self.support)


@dataclass(frozen=True)
class GoldGraph:
    """A question with its pages. ``edges``: (page, page), by number; ``path``: whether a chain of them ends in the answer."""

    id: str
    question: str
    answers: tuple[str, ...]
    pages: tuple[GoldPage, ...]
    edges: frozenset[tuple[int, int]]

    @property
    def path(self) -> bool:
        """Whether an edge leads to a page that holds the answer."""
        return any(self.pages[target].answers for _, target in self.edges)


@dataclass(frozen=True)
class Gold:
    """What a file gave: the graphs, and of each row that cannot be used its id and why."""

    graphs: tuple[GoldGraph, ...]
    skipped: tuple[str, ...]


def read_gold(paths: Iterable[Path]) -> Gold:
    """Rows {id, question, answer, supporting_facts [[title, sentence number]], context [[title, [sentences]]]}.

    A row whose supporting facts are not in its context is skipped, and named.

    Raises:
        InputError: a file is missing or a line is no such row; the message names both.
    """
    graphs, skipped = [], []
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file. Give JSONL files in HotpotQA's format.")
        with path.open("rb") as lines:  # UTF-8 is checked line by line
            for number, line in enumerate(lines, 1):
                if line.strip():
                    row = _row(line, f"{path} line {number}")
                    reason = unusable(row)
                    if reason:
                        skipped.append(f"{row['id']}: {reason}")
                    else:
                        graphs.append(gold_graph(row))
    return Gold(tuple(graphs), tuple(skipped))


def _row(line: bytes, where: str) -> Json:
    try:
        row: Json = json.loads(line)
        facts = [(str(title), int(number)) for title, number in row["supporting_facts"]]
        context = [(str(title), [str(one) for one in parts]) for title, parts in row["context"]]
        texts = row["question"], row["answer"]
        aliases = [one for one in row.get("answer_aliases") or () if isinstance(one, str)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'{where}: not a row {{"question", "answer", "supporting_facts", "context"}} in HotpotQA\'s format ({error}). '
            "Mend or remove the line."
        ) from error
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(f"{where}: question and answer must be text. Mend or remove the line.")
    return {
        "id": str(row.get("id", where)), "question": texts[0], "answers": [texts[1], *aliases], "facts": facts,
        "context": context,
    }  # fmt: skip


def unusable(row: Json) -> str:
    """Why a parsed row teaches nothing; "" if it does."""
    if not row["facts"]:
        return "it has no supporting facts"
    for title, number in row["facts"]:
        if not any(name == title and 0 <= number < len(parts) for name, parts in row["context"]):
            return f"its supporting fact {title!r}, sentence {number}, is not in its context"
    return ""


def gold_graph(row: Json) -> GoldGraph:
    """The graph of a parsed row whose supporting facts are in its context."""
    made = [paragraph(n, title, parts) for n, (title, parts) in enumerate(row["context"])]
    facts: list[list[Span]] = [[] for _ in made]
    for title, number in row["facts"]:
        n = _holder(row, title, number)
        facts[n].append(made[n][1][number])
    gold = [n for n, spans in enumerate(facts) if spans]
    answers = [[] if not facts[n] else _answers(row, made[n][0].text, facts[n]) for n in range(len(made))]
    hops = {n: [hop for m in gold if m != n and (hop := _hop(made[n][0], facts[n], made[m][0], m))] for n in gold}
    led_to = {target for found in hops.values() for _, target in found}
    for n in gold:
        if answers[n] and n in led_to:  # the chain ends here
            hops[n] = []
    pages = []
    for n, (passage, _) in enumerate(made):
        places = sentences(passage.text)
        clues = [_sentence(made[m][0].text, span) for m in gold for span, target in hops[m] if target == n]
        pages.append(
            GoldPage(
                passage=passage,
                hops=tuple(span for span, _ in hops.get(n, [])),
                targets=tuple(target for _, target in hops.get(n, [])),
                answers=tuple(answers[n]),
                support=tuple(any(begin <= start < stop for begin, stop in facts[n]) for start, _ in places),
                clues=tuple(dict.fromkeys(clues)),
            )
        )
    edges = frozenset((n, target) for n in gold for _, target in hops[n])
    return GoldGraph(row["id"], row["question"], tuple(row["answers"]), tuple(pages), edges)


def paragraph(n: int, title: str, parts: Sequence[str]) -> tuple[Passage, list[Span]]:
    """A paragraph as a passage, and the characters of each of its sentences, the blanks between them included."""
    text, spans = "", []
    for sentence in parts:
        begin = len(text)
        text += sentence if not text or sentence.startswith(" ") else f" {sentence}"
        spans.append((begin, len(text)))
    return Passage(id=f"{n}#{title}", document=f"{n}#{title}", text=text, start=0, end=len(text), title=title), spans


def _holder(row: Json, title: str, number: int) -> int:
    """Which of the paragraphs of one title a fact means: one that says the answer, else the first that is long enough."""
    able = [n for n, (name, parts) in enumerate(row["context"]) if name == title and number < len(parts)]
    saying = [n for n in able if occurrences(row["answers"], row["context"][n][1][number])]
    return (saying or able)[0]


def _answers(row: Json, text: str, facts: Sequence[Span]) -> list[Span]:
    """Where the answer stands in the page's supporting sentences."""
    if row["answers"][0].lower() in YES_NO:
        return []
    return [
        (begin + start, begin + end)
        for begin, stop in facts
        for start, end in occurrences(row["answers"], text[begin:stop])
    ]


def _hop(page: Passage, facts: Sequence[Span], target: Passage, number: int) -> tuple[Span, int] | None:
    """Where ``page`` names ``target``: in a supporting sentence if it can be."""
    bare = _QUALIFIER.sub("", target.title)
    if len(name_key(bare)) < 2 or name_key(bare) == name_key(_QUALIFIER.sub("", page.title)):
        return None
    for begin, stop in [*facts, (0, len(page.text))]:
        for name in (target.title, bare):
            for start, end in occurrences([name], page.text[begin:stop]):
                return (begin + start, begin + end), number
    return None


def _sentence(text: str, span: Span) -> str:
    return next((text[start:end] for start, end in sentences(text) if start <= span[0] < end), "")
