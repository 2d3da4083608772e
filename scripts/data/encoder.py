"""What the packaged encoder is trained on: an index of documents in short passages, and questions that name theirs.

Stories by section, paragraphs of Wikipedia by one or two sentences, conversations by turn: texts whose passages lean on the
ones before them. Nothing of LoCoMo, of the held-out sixths (passages, dialogs), of fairytale_val, or of the 60 stories
that stand beside it in its index.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from memptm.documents.sentences import sentences_across_lines
from memptm.encoders.load import BASE
from memptm.memory.memory import Memory
from memptm.training.data.examples import occurrences
from memptm.training.data.splits import held_out_passage
from memptm.types import Block, Document, Json
from scripts.data.held_out import STORIES_BESIDE, rows

PARAGRAPHS = 1500  # of each set
TITLED = 0.5  # how often a paragraph keeps its title: passages do without one, too


def document(name: str, parts: Sequence[str], *, title: str = "", kind: str) -> Document:
    """A document whose passages are ``parts``, in order."""
    blocks, start = [], 0
    for n, part in enumerate(parts):
        blocks.append(Block(start=start, end=start + len(part), kind="turn", id=f"{name}/{n}"))
        start += len(part) + 1
    return Document(id=name, text="\n".join(parts), title=title, source=kind, blocks=tuple(blocks))


def stories(data: Path) -> Iterator[tuple[Document, list[Json]]]:
    for story in rows(data / "fairytale_train.jsonl")[STORIES_BESIDE:]:
        parts = [" ".join(text.split()) for text in story["sections"]]
        asked = [
            {"question": qa["question"], "answers": qa["answers"], "context": parts[qa["sections"][0]]}
            for qa in story["qa"]
            if qa["sections"]
        ]
        yield document(f"story-{story['title']}", parts, kind="stories"), asked


def paragraphs(data: Path, chance: random.Random) -> Iterator[tuple[Document, list[Json]]]:
    """Paragraphs of SQuAD and Natural Questions cut to one or two sentences; the one with the answer is a question's."""
    for name in ("squad_subset", "squad_more", "nq_qed_train"):
        asked: dict[str, list[Json]] = {}
        for row in rows(data / f"{name}.jsonl"):
            if not held_out_passage(row["context"]):
                asked.setdefault(row["context"], []).append(row)
        contexts = sorted(asked)
        for n, context in enumerate(chance.sample(contexts, min(PARAGRAPHS, len(contexts)))):
            parts = _cut(context, chance)
            questions = []
            for row in asked[context]:
                held = [part for part in parts if occurrences(row["answers"], part)]
                if len(held) == 1:
                    questions.append({"question": row["question"], "answers": row["answers"], "context": held[0]})
            title = asked[context][0].get("title", "") if chance.random() < TITLED else ""
            yield document(f"{name}-{n}", parts, title=title, kind=name), questions


def hops(data: Path, chance: random.Random) -> Iterator[tuple[Document, list[Json]]]:
    """Paragraphs of HotpotQA by sentence; a question's is a sentence of its gold paragraphs."""
    seen: set[str] = set()
    for row in rows(data / "hotpotqa_train.jsonl"):
        facts: dict[str, list[int]] = {}
        for title, number in row["supporting_facts"]:
            facts.setdefault(title, []).append(number)
        for title, lines in row["context"]:
            parts = [one for one in (" ".join(line.split()) for line in lines) if one]
            if title not in facts or title in seen or not parts:
                continue
            seen.add(title)
            wanted = [" ".join(lines[n].split()) for n in facts[title] if n < len(lines)]
            asked = [{"question": row["question"], "answers": [row["answer"]], "context": one} for one in wanted if one]
            yield (
                document(f"hop-{title}", parts, title=title if chance.random() < TITLED else "", kind="hotpotqa"),
                asked,
            )


def conversations(data: Path) -> Iterator[tuple[Document, list[Json]]]:
    """CANARD's dialogs by turn; a question, able to stand alone, should find the turn that answers it."""
    dialogs: dict[str, list[Json]] = {}
    for row in rows(data / "canard.jsonl"):
        if not held_out_passage(row["dialog"]):
            dialogs.setdefault(row["dialog"], []).append(row)
    for name, turns in sorted(dialogs.items()):
        longest = max(turns, key=lambda row: len(row["history"]))
        history = [" ".join(text.split()) for text in longest["history"]]
        parts = [part if n < 2 else f"{'Q' if n % 2 == 0 else 'A'}: {part}" for n, part in enumerate(history)]
        asked = []
        for row in turns:
            after = len(row["history"]) + 1  # the question itself, then its answer
            if after < len(parts) and "CANNOTANSWER" not in parts[after]:
                asked.append({"question": row["rewrite"], "answers": [history[after]], "context": parts[after]})
        if all(parts):
            yield document(f"dialog-{name}", parts, kind="canard"), asked


def personal(data: Path) -> Iterator[tuple[Document, list[Json]]]:
    """iKAT's conversations by turn, without questions: what users of an assistant say."""
    for n, row in enumerate(rows(data / "ikat.jsonl")):
        if not held_out_passage(row["title"]):
            parts = [part for turn in row["turns"] for part in (turn["utterance"], turn["response"]) if part.strip()]
            yield document(f"ikat-{n}", [" ".join(part.split()) for part in parts], kind="ikat"), []


def follow_ups(data: Path) -> list[Json]:
    """Questions of CANARD's and iKAT's conversations with what was said before, and rewritten to stand alone."""
    found = [
        {name: row[name] for name in ("history", "question", "rewrite")}
        for row in rows(data / "canard.jsonl")
        if not held_out_passage(row["dialog"])
    ]
    for row in rows(data / "ikat.jsonl"):
        history: list[str] = []
        for turn in row["turns"] if not held_out_passage(row["title"]) else []:
            found.append({"history": list(history), "question": turn["utterance"], "rewrite": turn["resolved"]})
            history += [turn["utterance"], turn["response"]]
    return found


def _cut(text: str, chance: random.Random) -> list[str]:
    parts: list[str] = []
    group: list[str] = []
    for start, end in sentences_across_lines(text):
        group.append(" ".join(text[start:end].split()))
        if chance.random() < 0.6:
            parts.append(" ".join(group))
            group = []
    return [*parts, " ".join(group)] if group else parts


def make(data: Path, folder: Path) -> tuple[Memory, Path, Path]:
    """The index, the questions and the follow-ups, in ``folder``."""
    chance = random.Random(0)
    documents, asked = [], []
    for one, questions in (
        *stories(data),
        *paragraphs(data, chance),
        *hops(data, chance),
        *conversations(data),
        *personal(data),
    ):
        documents.append(one)
        asked += questions
    memory = Memory.open(folder / "index", create=True, encoder=BASE)
    memory.add(documents)
    lines, turns = folder / "questions.jsonl", folder / "follow_ups.jsonl"
    for path, found in ((lines, asked), (turns, follow_ups(data))):
        path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return memory, lines, turns
