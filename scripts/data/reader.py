"""Prepare the shipped reader's training data from ../shared/data: one JSONL of {question, context, answers, title}.

Held out (see memptm/training/data/splits.py): a sixth of the passages of squad_subset + squad_more and of nq_qed_train, two
articles of squad2_train, all of nq_swap_dev, hotpotqa_dev and fairytale_val; covid_papers is not used.

Kinds that are few and must be learned stand several times in the file (TIMES); no epoch shows them alike.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import click

from memptm.training.data.splits import by_article, by_passage, calibration_passage
from memptm.types import Json
from scripts.data.held_out import rows

YEAR = re.compile(r"\b(1[0-9]{3}|20[0-2][0-9])\b")
TIMES = {"swap": 3, "squad2": 2}
QAMR_ROWS, ALTERED_ROWS = 6000, 4000
NAME = re.compile(r"\b[A-Z][\w'’.-]+(?: (?:of|the|de|van|von|and) [A-Z][\w'’.-]+| [A-Z][\w'’.-]+){0,4}")


def questions(data: Path, chance: random.Random) -> Iterator[Json]:
    """Rows from every training file whose answers stand in a passage, and of squad2_train those whose do not."""
    squad = by_passage(rows(data / "squad_subset.jsonl") + rows(data / "squad_more.jsonl"))[0]
    natural = by_passage(rows(data / "nq_qed_train.jsonl"))[0]
    yield from squad
    yield from natural
    yield from altered(squad + natural, chance)
    for _ in range(TIMES["squad2"]):
        yield from by_article(rows(data / "squad2_train.jsonl"))[0]
    for _ in range(TIMES["swap"]):
        yield from rows(data / "nq_swap_train.jsonl")
    yield from chance.sample(rows(data / "qamr.jsonl"), QAMR_ROWS)
    for row in rows(data / "hotpotqa_train.jsonl") + rows(data / "multihop_train.jsonl"):
        yield from hops(row)
    for story in rows(data / "fairytale_train.jsonl"):
        for pair in story["qa"]:
            context = " ".join(story["sections"][n] for n in pair["sections"] if n < len(story["sections"]))
            if pair["explicit"] and context and any(answer in context for answer in pair["answers"]):
                yield {
                    "question": pair["question"],
                    "context": context,
                    "answers": pair["answers"],
                    "title": story["title"],
                }


def altered(questions: list[Json], chance: random.Random) -> Iterator[Json]:
    """Questions whose name or year, which their passage has, is exchanged for another: no answer is there any more (the
    entity swaps of SQuAD 2.0's rule-based negatives, Rajpurkar et al. 2018, section 6). Half of the names come from the
    passage itself, elsewhere in it; a few of those questions will have an answer by accident.
    """
    kinds: dict[bool, list[str]] = {True: [], False: []}  # years, names
    found = []
    for row in questions:
        first = row["question"].split(" ", 1)[0]
        for name in sorted({*NAME.findall(row["question"]), *YEAR.findall(row["question"])}):
            if name != first and not name.startswith(f"{first} ") and name in row["context"]:
                kinds[bool(YEAR.fullmatch(name))].append(name)
                found.append((row, name))
    known = frozenset(kinds[False])
    for row, name in chance.sample(found, min(ALTERED_ROWS, len(found))):
        year = bool(YEAR.fullmatch(name))
        there = {*(YEAR if year else NAME).findall(row["context"])} & (known | {*kinds[True]})
        near = sorted(other for other in there if other not in row["question"] and other not in row["answers"])
        elsewhere = chance.choice(kinds[year])
        other = chance.choice(near) if near and chance.random() < 0.5 else elsewhere
        if other in near or other.lower() not in row["context"].lower():
            question = row["question"].replace(name, other, 1)
            yield {"question": question, "context": row["context"], "answers": [], "title": row.get("title", "")}


def hops(row: Json) -> Iterator[Json]:
    """A multi-hop question with its gold paragraphs as one passage."""
    gold = {title for title, _ in row["supporting_facts"]}
    context = "\n".join(f"{title}. {''.join(sentences)}" for title, sentences in row["context"] if title in gold)
    if row["answer"] not in ("yes", "no") and row["answer"] in context:
        yield {
            "question": row["question"],
            "context": context,
            "answers": [row["answer"], *row.get("answer_aliases", [])],
        }


def cloze(data: Path, count: int, chance: random.Random) -> Iterator[Json]:
    """Unsupervised questions (after Lewis et al. 2019, arXiv 1906.04980): a sentence whose name or year is replaced by a
    question word, and another passage that holds it: the answer recurs, as in span-selection pre-training.
    """
    paragraphs = [(row["title"], row["text"]) for row in rows(data / "wiki2hop_corpus.jsonl")]
    for file in ("hotpotqa_train.jsonl", "multihop_train.jsonl"):
        for row in rows(data / file):
            paragraphs += [(title, "".join(sentences)) for title, sentences in row["context"]]
    paragraphs = list(dict(paragraphs).items())
    holders: dict[str, list[int]] = {}
    for n, (title, text) in enumerate(paragraphs):
        for name in {*NAME.findall(text), title}:
            if len(name) > 3 and " " in name:
                holders.setdefault(name, []).append(n)
    made = []
    for n, (_, text) in enumerate(paragraphs):
        for sentence in re.split(r"(?<=[a-z0-9)]\.) +", text):
            if not 40 < len(sentence) < 220:
                continue
            rest = text.replace(sentence, "").strip()
            for answer in dict.fromkeys([*NAME.findall(sentence), *YEAR.findall(sentence)]):
                if not YEAR.fullmatch(answer) and (" " not in answer or sentence.startswith(answer)):
                    continue  # single words and sentence beginnings are seldom names
                word = "when" if YEAR.fullmatch(answer) else chance.choice(["who", "what", "which", "where"])
                question = sentence.replace(answer, word, 1).rstrip(" .") + "?"
                others = [
                    m for m in holders.get(answer, ()) if m != n and overlap(sentence, paragraphs[m][1], answer) >= 2
                ]
                if answer in rest and len(rest) > 120:
                    made.append({"question": question, "context": rest, "answers": [answer]})
                elif others:
                    made.append(
                        {"question": question, "context": paragraphs[chance.choice(others)][1], "answers": [answer]}
                    )
    yield from chance.sample(made, min(count, len(made)))


def overlap(sentence: str, other: str, answer: str) -> int:
    """Capitalised words in common beside the answer."""
    return len(set(re.findall(r"[A-Z]\w{3,}", sentence.replace(answer, ""))) & set(re.findall(r"[A-Z]\w{3,}", other)))


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/reader"))
@click.option("--cloze-rows", default=10000)
def main(data: Path, out: Path, cloze_rows: int) -> None:
    """Write OUT/questions.jsonl, OUT/calibration.jsonl and OUT/cloze.jsonl."""
    chance = random.Random(0)
    out.mkdir(parents=True, exist_ok=True)
    real = list(questions(data, chance))
    chance.shuffle(real)
    aside = {(row["question"], row["context"]): row for row in real if calibration_passage(row["context"])}
    parts = {
        "questions": [row for row in real if not calibration_passage(row["context"])],
        "calibration": list(aside.values()),
        "cloze": list(cloze(data, cloze_rows, chance)),
    }
    for name, made in parts.items():
        kept = [{key: row.get(key, "") for key in ("question", "context", "answers", "title")} for row in made]
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        click.echo(f"{name}: {len(kept)} rows")


if __name__ == "__main__":
    main()
