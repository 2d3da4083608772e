"""Prepare the shipped generator's training and held-out rows from ../shared/data: JSONL of {question, context, answers, title}.

Held out by the rule of memptm/training/data/splits.py. Passages are cut to whole sentences around the answer, most to about 40
words and some to 120, so that a step on two cores is cheap; nothing held out is among the passages.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from memptm.training.data.examples import occurrences
from memptm.training.data.splits import by_article, by_passage
from memptm.types import Json
from scripts.data.held_out import rows

SENTENCE = re.compile(r".+?(?:[.!?](?=\s)|\n|$)", re.S)
SHORT, LONG, LONG_SHARE = 40, 120, 0.2  # words
COUNTS = {"squad": 2300, "nq": 1700, "swap": 1300, "qamr": 1200, "squad2": 600, "squad2_none": 700, "hotpot": 200}


def sources(data: Path, *, part: int) -> dict[str, list[Json]]:
    """The rows of each source: ``part`` 0 to train on, 1 held out."""
    squad2 = by_article(rows(data / "squad2_train.jsonl"))[part]
    found = {
        "squad": by_passage(rows(data / "squad_subset.jsonl") + rows(data / "squad_more.jsonl"))[part],
        "nq": by_passage(rows(data / "nq_qed_train.jsonl"))[part],
        "swap": rows(data / ("nq_swap_dev.jsonl" if part else "nq_swap_train.jsonl")),
        "squad2": [row for row in squad2 if row["answers"]],
        "squad2_none": [row for row in squad2 if not row["answers"]],
    }
    if not part:
        found |= {"qamr": rows(data / "qamr.jsonl"), "hotpot": list(hops(rows(data / "hotpotqa_train.jsonl")))}
    return found


def hops(questions: Iterable[Json]) -> Iterator[Json]:
    """Multi-hop questions with their gold paragraphs as one passage."""
    for row in questions:
        gold = {title for title, _ in row["supporting_facts"]}
        context = "\n".join(f"{title}: {''.join(sentences)}" for title, sentences in row["context"] if title in gold)
        yield {"question": row["question"], "context": context, "answers": [row["answer"]]}


def cut(row: Json, words: int, chance: random.Random) -> Json:
    """The row with whole sentences of its passage, around the answer where there is one, of about ``words`` words."""
    text = row["context"]
    pieces = [match.span() for match in SENTENCE.finditer(text)]
    spans = occurrences(row["answers"], text)
    target = chance.choice(spans) if spans else (position := chance.randrange(len(text)), position + 1)
    held = [n for n, (s, e) in enumerate(pieces) if s < target[1] and target[0] < e]
    if not held:
        return row
    first, last = held[0], held[-1]
    while (first > 0 or last < len(pieces) - 1) and len(text[pieces[first][0] : pieces[last][1]].split()) < words:
        if first > 0 and (last == len(pieces) - 1 or chance.random() < 0.5):
            first -= 1
        else:
            last += 1
    return {**row, "context": text[pieces[first][0] : pieces[last][1]].strip()}


def choose(found: dict[str, list[Json]], chance: random.Random) -> Iterator[Json]:
    for name, count in COUNTS.items():
        usable = [row for row in found[name] if name == "hotpot" or _short(row)]
        for row in chance.sample(usable, min(count, len(usable))):
            shorter = (
                row if name in ("qamr", "hotpot") else cut(row, LONG if chance.random() < LONG_SHARE else SHORT, chance)
            )
            title = row.get("title", "") if chance.random() < 0.5 else ""
            answers = shorter["answers"]
            if name == "hotpot" or not answers or occurrences(answers, shorter["context"]):
                yield {"question": row["question"], "context": shorter["context"], "answers": answers, "title": title}


def _short(row: Json) -> bool:
    return not row["answers"] or len(row["answers"][0].split()) <= 6


def write(path: Path, lines: Iterable[Json]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


@click.command()
@click.option("--data", default="../shared/data", type=click.Path(path_type=Path, exists=True))
@click.option("--out", default="runs/generator/data", type=click.Path(path_type=Path))
@click.option("--seed", default=0)
def main(data: Path, out: Path, seed: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    chosen = list(choose(sources(data, part=0), chance))
    chance.shuffle(chosen)
    write(out / "train.jsonl", chosen)
    held: Callable[[str], list[Json]] = lambda name: chance.sample(sources(data, part=1)[name], 30)  # noqa: E731
    write(
        out / "held_out.jsonl", [row for name in ("squad", "nq", "swap", "squad2", "squad2_none") for row in held(name)]
    )
    click.echo(f"{len(chosen)} rows, {sum(not row['answers'] for row in chosen)} of them without an answer")


if __name__ == "__main__":
    main()
