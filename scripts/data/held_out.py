"""The held-out questions that every figure of docs/results is measured on; see memptm/training/data/splits.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from memptm.encoders.load import load_encoder
from memptm.evaluation.metrics import bootstrap, contains_answer, exact_match, f1
from memptm.memory.memory import Memory
from memptm.training.data.examples import Example
from memptm.training.data.negatives import mine
from memptm.training.data.splits import by_article, by_passage
from memptm.types import Document, Hit, Json, Mode, Passage

# Of fairytale_train, in the index that fairytale_val is tested in; nothing of them is trained on.
STORIES_BESIDE = 60


def rows(path: Path) -> list[Json]:
    """The objects of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def reading_sets(data: Path) -> dict[str, list[Json]]:
    """Name → rows {question, context, answers} with the right passage in hand; none of them was trained on."""
    squad = rows(data / "squad_subset.jsonl") + rows(data / "squad_more.jsonl")
    articles = by_article(rows(data / "squad2_train.jsonl"))[1]
    return {
        "nq_swap_dev": rows(data / "nq_swap_dev.jsonl"),
        "SQuAD, a sixth": by_passage(squad)[1],
        "NQ, a sixth": by_passage(rows(data / "nq_qed_train.jsonl"))[1],
        "SQuAD 2, answerable": [row for row in articles if row["answers"]],
        "SQuAD 2, unanswerable": [row for row in articles if not row["answers"]],
    }


def passage(text: str, title: str = "") -> Passage:
    """A text in hand as a passage."""
    return Passage(id="p", document="p", text=text, start=0, end=len(text), title=title)


def wrong_pairs(questions: list[Json]) -> list[tuple[Json, str]]:
    """Each question with the nearest passage of another that holds none of its answers, where there is one."""
    examples = [Example(row["question"], row["context"], tuple(row["answers"])) for row in questions]
    passages, nearest = mine(examples, load_encoder(), per_question=1)
    return [(row, passages[int(n[0])]) for row, n in zip(questions, nearest, strict=True) if n[0] >= 0]


def open_index(data: Path, folder: Path, *, encoder: str | None = None) -> Memory:
    """squad_subset's distinct contexts together with wiki2hop_corpus, in one index; made once."""
    memory = Memory.open(folder, create=True, encoder=encoder)
    contexts = dict.fromkeys(row["context"] for row in rows(data / "squad_subset.jsonl"))
    documents = [Document(text=text, source="squad_subset") for text in contexts]
    for row in rows(data / "wiki2hop_corpus.jsonl"):
        documents.append(Document(text=row["text"], title=row["title"], source="wiki2hop_corpus"))
    memory.add(documents)
    return memory


def scores(predictions: list[str | None], questions: list[Json]) -> Json:
    """EM and F1 in percent with their 95 % intervals (bootstrap over passages), and the share of silence."""
    groups = [row["context"] for row in questions]
    table: Json = {"n": len(questions)}
    for name, metric in (("EM", exact_match), ("F1", f1)):
        values = [metric(p, row["answers"]) for p, row in zip(predictions, questions, strict=True)]
        low, high = bootstrap(values, groups=groups)
        table[name] = f"{100 * sum(values) / len(values):.1f} ({100 * low:.1f}–{100 * high:.1f})"
    table["says nothing %"] = round(100 * sum(p is None for p in predictions) / len(predictions), 1)
    return table


def recalls(
    memory: Memory, questions: list[Json], mode: Mode, right: Callable[[Hit, Json], bool], *, intervals: bool = True
) -> Json:
    """Recall at 1, 5, 20 in percent with 95 % intervals: a bootstrap over the rows' groups, or their passages.

    Without ``intervals`` the numbers alone, for means over seeds.
    """
    found = memory.search([row["question"] for row in questions], k=20, mode=mode)
    table: Json = {"n": len(questions)}
    for k in (1, 5, 20):
        values = [float(any(right(hit, row) for hit in hits[:k])) for row, hits in zip(questions, found, strict=True)]
        if not intervals:
            table[f"recall@{k}"] = 100 * sum(values) / len(values)
            continue
        low, high = bootstrap(values, groups=[str(row.get("group", row["context"])) for row in questions])
        table[f"recall@{k}"] = f"{100 * sum(values) / len(values):.1f} ({100 * low:.1f}–{100 * high:.1f})"
    return table


def is_right(text: str, row: Json) -> bool:
    """Whether a retrieved passage is the question's own (or a piece of it) and holds an answer."""
    return text[:40] in row["context"] and contains_answer(text, row["answers"])
