"""Learned against frozen retriever: trained on SQuAD's and the stories' own questions, the question side alone
(`memptm train rag`) or both sides (`memptm train realm --phase questions`).

No passage of a test question is in the index that is trained on. Tested in the full indexes: SQuAD's held-out sixth among
squad_subset's contexts and wiki2hop_corpus; fairytale_val's stories together with 60 of fairytale_train.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from memptm.encoders.load import BASE, load_encoder
from memptm.memory.memory import Memory
from memptm.memory.rekey import rekey
from memptm.training.data.splits import held_out_passage
from memptm.training.recipes.rag import RagRecipe, train_rag
from memptm.training.recipes.realm import RealmRecipe, train_realm
from memptm.types import Document, Hit, Json, Mode
from scripts.data.held_out import STORIES_BESIDE, is_right, open_index, reading_sets, recalls, rows
from scripts.runs import RESULTS, Runs

# On the stories, eight learn the questions by heart, and two of both sides are worse than one.
EPOCHS = {"questions": {"stories": 4, "squad": 2}, "both": {"stories": 1, "squad": 1}}
LEARNING_RATE = {"questions": 5e-5, "both": 3e-5}
MODES: tuple[Mode, ...] = ("dense", "hybrid")


def main_stories(data: Path, folder: Path) -> tuple[Memory, Memory, list[Json], list[Json]]:
    """(index trained on, index tested in, training rows, test rows) of FairytaleQA; ``ids``: the sections that answer."""
    train, test = rows(data / "fairytale_train.jsonl"), rows(data / "fairytale_val.jsonl")
    beside, train = train[:STORIES_BESIDE], train[STORIES_BESIDE:]
    return (
        index_of(sections(train), folder / "train"),
        index_of(sections(test + beside), folder / "test"),
        asked(train),
        asked(test),
    )


def sections(stories: Sequence[Json]) -> list[Document]:
    """A document a section, without its title, as the questions know none."""
    return [
        Document(id=f"{story['title']}#{n}", text=text) for story in stories for n, text in enumerate(story["sections"])
    ]


def asked(stories: Sequence[Json]) -> list[Json]:
    """The questions of stories, each with its first section as context."""
    return [
        {
            "question": qa["question"],
            "answers": qa["answers"],
            "context": story["sections"][qa["sections"][0]],
            "group": story["title"],
            "ids": [f"{story['title']}#{n}" for n in qa["sections"]],
        }
        for story in stories
        for qa in story["qa"]
        if qa["sections"]
    ]


def main_squad(data: Path, folder: Path, index: Path) -> tuple[Memory, Memory, list[Json], list[Json]]:
    """The same of SQuAD: squad_subset, squad_more, Natural Questions and the sentence pairs, less what is tested."""
    sets = [rows(data / f"{name}.jsonl") for name in ("squad_subset", "squad_more", "nq_qed_train")]
    test_contexts = {row["context"] for some in sets for row in some if held_out_passage(row["context"])}
    train = [row for some in sets for row in some if row["context"] not in test_contexts]
    tested_text = "\n".join(test_contexts)
    for row in rows(data / "squad_sentence_pairs.jsonl"):
        if row["sentence"].strip() not in tested_text:
            train.append({"question": row["question"], "answers": [row["sentence"]], "context": row["sentence"]})
    memory = index_of(
        [Document(text=text) for text in dict.fromkeys(row["context"] for row in train)], folder / "train"
    )
    tested = open_index(data, index, encoder=BASE)
    held = {row["context"] for row in sets[0]}
    test = [row for row in reading_sets(data)["SQuAD, a sixth"] if row["context"] in held]
    return memory, tested, train, test


def index_of(documents: Sequence[Document], folder: Path) -> Memory:
    """An index of exactly these documents, made once."""
    memory = Memory.open(folder, create=True, encoder=BASE)
    memory.add(documents)
    return memory


def right(hit: Hit, row: Json) -> bool:
    """Whether a hit is of a section that answers, or, where no ids are known, is of the question's passage."""
    return hit.passage.document in row["ids"] if "ids" in row else is_right(hit.passage.text, row)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--runs", "folder", type=click.Path(path_type=Path), default=Path("runs/rag"))
@click.option(
    "--index", type=click.Path(path_type=Path), default=Path("runs/open/index"), help="SQuAD's, made where absent."
)
@click.option("--only", type=click.Choice(["stories", "squad"]))
@click.option("--sides", type=click.Choice(["questions", "both"]), default="both", help="What learns.")
@click.option("--seeds", default=3, help="A run takes 4 to 12 minutes on two cores.")
@click.option("--epochs", type=int, help="Instead of EPOCHS.")
@click.option("--steps", type=int, help="At most, of a run.")
@click.option("--learning-rate", type=float, help="Instead of LEARNING_RATE.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(
    data: Path,
    folder: Path,
    index: Path,
    only: str | None,
    sides: str,
    seeds: int,
    epochs: int | None,
    steps: int | None,
    learning_rate: float | None,
    out: Path,
) -> None:
    """Write OUT/retriever.jsonl."""
    results = Runs(out / "retriever.jsonl")
    for task in ("stories", "squad") if only is None else (only,):
        place = folder / task
        made = main_stories(data, place) if task == "stories" else main_squad(data, place, index)
        trained, tested, train, test = made
        place.mkdir(parents=True, exist_ok=True)
        lines = place / "questions.jsonl"
        lines.write_text("".join(json.dumps(row) + "\n" for row in train), encoding="utf-8")
        for mode in MODES:
            frozen = {"task": task, "retriever": "frozen", "mode": mode, "epochs": "–", "learning_rate": "–"}
            if not results.done(frozen):
                results.append(frozen, 0, recalls(tested, test, mode, right))
        rate = learning_rate or LEARNING_RATE[sides]
        times = epochs or EPOCHS[sides][task]
        for seed in range(seeds):
            at = place / f"{sides}-{times}-{rate:g}-{seed}"
            learned, result = train_one(sides, [lines], trained, tested, at, times, steps, rate, seed)
            for mode in MODES:
                settings = {
                    "task": task,
                    "retriever": {"questions": "learned", "both": "both sides learned"}[sides],
                    "mode": mode,
                    "epochs": result.get("epochs", times),
                    "learning_rate": rate,
                }
                figures = recalls(learned, test, mode, right, intervals=seeds == 1)
                click.echo(f"{task} {seed} {mode}: {figures}; {result}")
                results.append(settings, seed, figures | {"seconds": result["seconds"]})


def train_one(
    sides: str,
    lines: list[Path],
    trained: Memory,
    tested: Memory,
    at: Path,
    epochs: int,
    steps: int | None,
    rate: float,
    seed: int,
) -> tuple[Memory, Json]:
    """The tested index as the trained encoder opens it, keyed anew where passages are read by it too; and what was told."""
    if sides == "questions":
        recipe = RagRecipe(epochs=epochs, steps=steps, learning_rate=rate, seed=seed)
        result = train_rag(lines, trained, at, recipe=recipe)
        return Memory.open(tested.path, encoder=str(at / "encoder")), result
    both = RealmRecipe(phases=("questions",), epochs=epochs, steps=steps, learning_rate=rate, seed=seed)
    result = train_realm(lines, trained, at, recipe=both)
    phase = result["phases"]["questions"]
    read = round(phase["steps"] * both.pairs / phase["rows"], 2)  # of the questions; steps may end it sooner
    return rekey(tested, at / "tested", load_encoder(result["encoder"])), phase | {"epochs": read}


if __name__ == "__main__":
    main()
