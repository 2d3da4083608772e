"""LoCoMo end to end: five conversations over months as long-term memory, questions about them answered from it.

Two logs in scripts/results: ``locomo_recall.jsonl``, the share of evidence turns found, by category; and
``locomo.jsonl``, answers by category, scored as the benchmark does (see scripts/data/locomo.py). ``memory`` is memptm as it comes: hybrid
search, the turn's date before its text, relative dates resolved. ``dense`` is plain dense retrieval of "speaker: text",
answers as they stand. ``truncation`` reads the end of the conversation, as much as the reader's window holds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from memptm.documents import times
from memptm.encoders.load import DEFAULT
from memptm.memory.memory import Memory
from memptm.pipeline import QA
from memptm.types import Answer, Json, Mode, Passage
from scripts.data import locomo
from scripts.runs import RESULTS, Runs

MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
SPARE = 64  # tokens of the window for the question


def words(answer: Answer) -> str | None:
    """What was answered; a relative date as the date it meant."""
    if answer.text is None or not answer.when:
        return answer.text
    found = times.meant(answer.text, answer.evidence[0].passage.metadata)
    return found.words if found else answer.text


def ask(memory: Memory, asked: Sequence[Json], *, mode: Mode, method: str, k: int) -> list[Answer]:
    qa = QA(memory, mode=mode, method=method)
    return [qa(one["question"], k=k, where=locomo.within(one)) for one in asked]


def plain_index(data: Path, folder: Path, encoder: str | None) -> Memory:
    """Turns as "speaker: text", with neither title nor date."""
    memory = Memory.open(folder, create=True, encoder=encoder)
    bare = []
    for one in locomo.documents(data):
        blocks = tuple(replace(block, context="") for block in one.blocks)
        bare.append(replace(one, title="", blocks=blocks))
    memory.add(bare)
    return memory


def truncated(data: Path, asked: Sequence[Json]) -> list[Answer]:
    """Answers from the end of each conversation, as much as one window of the reader holds."""
    reader = QA().reader
    tokenizer, room = reader.windower.tokenizer, reader.config.window - SPARE
    ends = {}
    for one in locomo.conversations(data):
        kept: list[str] = []
        for turn in reversed(locomo.turns(one)):
            line = f"{turn.time}. {turn.line}"
            if len(tokenizer.encode("\n".join([line, *kept])).ids) > room:
                break
            kept.insert(0, line)
        text = "\n".join(kept)
        ends[one["id"]] = Passage(id=one["id"], document=one["id"], text=text, start=0, end=len(text))
    return [reader.answer(one["question"], [ends[one["conversation"]]]) for one in asked]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--index", type=click.Path(path_type=Path), default=Path("runs/locomo"), help="Made where absent.")
@click.option("--encoder", default=DEFAULT, help="An encoder's name or folder.")
@click.option("--method", default="reader")
@click.option("-k", default=10, help="Turns to read.")
@click.option("--limit", default=400, help="Questions to answer; 0 is all 998. Recall is of all that have evidence.")
def main(data: Path, out: Path, index: Path, encoder: str, method: str, k: int, limit: int) -> None:
    """Write OUT/locomo_recall.jsonl and OUT/locomo.jsonl; what is there already is not measured again."""
    name = Path(encoder).name
    folder = index / name
    memory, plain = (
        locomo.open_index(data, folder / "turns", encoder=encoder),
        plain_index(data, folder / "plain", encoder),
    )
    everything = locomo.questions(data)
    found = Runs(out / "locomo_recall.jsonl")
    evident = [one for one in everything if one["evidence"] and one["category"] != 5]
    ordered = sorted(evident, key=lambda one: str(one["conversation"]))
    for keyed, source in (("with date", memory), ("speaker and text", plain)):
        for mode in MODES:
            for depth, values in locomo.recalls(source, ordered, mode=mode).items():
                settings: Json = {"encoder": name, "key": keyed, "mode": mode, "figure": depth}
                if not found.done(settings):
                    found.append(settings, 0, {"n": len(ordered), **locomo.per_category(values, ordered)})
    click.echo(found.table())
    asked = random.Random(0).sample(everything, limit) if limit else everything
    answered = Runs(out / "locomo.jsonl")
    for system in ("memory", "dense", "truncation"):
        settings = {"encoder": name, "system": system, "method": method, "k": k, "questions": len(asked)}
        if answered.done(settings):
            continue
        began = time.perf_counter()
        if system == "memory":
            predictions = [words(one) for one in ask(memory, asked, mode="hybrid", method=method, k=k)]
        elif system == "dense":
            predictions = [one.text for one in ask(plain, asked, mode="dense", method=method, k=k)]
        else:
            predictions = [one.text for one in truncated(data, asked)]
        seconds = time.perf_counter() - began
        values = [locomo.score(one, question) for one, question in zip(predictions, asked, strict=True)]
        silent = sum(one is None for one in predictions) / len(predictions)
        metrics = {**locomo.per_category(values, asked), "says nothing %": round(100 * silent, 1)}
        answered.append(settings, 0, {**metrics, "s a question": round(seconds / len(asked), 2)})
    click.echo(answered.table())


if __name__ == "__main__":
    main()
