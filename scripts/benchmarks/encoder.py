"""The recurrent encoder beside what it has to beat, on the same passages: conversations, stories, passages that stand alone.

LoCoMo (locomo_dev, never trained on): the turns that hold the evidence among a conversation's, by "speaker: text". Stories:
fairytale_val's sections in one index with those of 60 stories that were not trained on. SQuAD and Natural Questions: the
questions of the held-out sixth, over all passages of the set.
Search is by meaning alone. After scripts/training/encoder.py, whose encoders it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

from memptm.encoders.adapted import without_memory
from memptm.encoders.base import Encoder, Keys, ReadsDocuments
from memptm.encoders.batching import padded
from memptm.encoders.load import BASE, load_encoder
from memptm.encoders.sentence import BertEncoder
from memptm.evaluation.metrics import bootstrap
from memptm.memory.encode import unit
from memptm.types import Json
from scripts.data.held_out import STORIES_BESIDE, reading_sets, rows
from scripts.runs import RESULTS, Runs

BEFORE = 2  # passages that are written before one
CATEGORIES = {1: "several hops", 2: "time", 3: "open", 4: "one hop"}
Documents = Sequence[Sequence[str]]
LATE = 256  # tokens of a window that is encoded once and pooled passage by passage


@dataclass(frozen=True)
class Task:
    """Documents of passages, and for each place that is searched alone its questions.

    Attributes:
        places: the documents that are searched together. questions: (place, question, numbers of the right passages among the
            place's, group). whole: recall is the share of the right passages, not whether there is one.
    """

    documents: Documents
    places: Sequence[Sequence[int]]
    questions: Sequence[tuple[int, str, Sequence[int], str]]
    titles: Sequence[str]
    at: Sequence[int]
    whole: bool = False


def locomo(data: Path) -> Task:
    documents, questions = [], []
    for n, conversation in enumerate(rows(data / "locomo_dev.jsonl")):
        turns = [turn for session in conversation["sessions"] for turn in session["turns"]]
        documents.append([f"{turn['speaker']}: {turn['text']}" for turn in turns])
        number = {turn["id"]: place for place, turn in enumerate(turns)}
        for qa in conversation["qa"]:
            right = [number[one] for one in qa["evidence"] if one in number]
            if right and qa["category"] in CATEGORIES:
                questions.append((n, qa["question"], right, CATEGORIES[qa["category"]]))
    places = [[n] for n in range(len(documents))]
    return Task(documents, places, questions, [""] * len(documents), (1, 5, 10), whole=True)


def stories(data: Path) -> Task:
    test = rows(data / "fairytale_val.jsonl")
    all_of = test + rows(data / "fairytale_train.jsonl")[:STORIES_BESIDE]
    documents = [[" ".join(text.split()) for text in story["sections"]] for story in all_of]
    starts = np.cumsum([0, *map(len, documents)])
    questions = [
        (0, qa["question"], [int(starts[n]) + one for one in qa["sections"]], story["title"])
        for n, story in enumerate(test)
        for qa in story["qa"]
        if qa["sections"]
    ]
    return Task(documents, [range(len(documents))], questions, [one["title"] for one in all_of], (1, 5, 20))


def squad(data: Path) -> Task:
    return apart(reading_sets(data)["SQuAD, a sixth"], rows(data / "squad_subset.jsonl"))


def natural(data: Path) -> Task:
    return apart(reading_sets(data)["NQ, a sixth"], rows(data / "nq_qed_train.jsonl"))


def apart(asked: list[Json], more: list[Json]) -> Task:
    """Passages that stand alone: those asked about, and more."""
    contexts = list(dict.fromkeys(row["context"] for row in more + asked))
    number = {context: n for n, context in enumerate(contexts)}
    questions = [(0, row["question"], [number[row["context"]]], row["context"]) for row in asked]
    return Task([[one] for one in contexts], [range(len(contexts))], questions, [""] * len(contexts), (1, 5, 20))


CONTROLS = ("adapted", "the same training, itself read", "adapted, mean of two keys")
ALONE = ("SQuAD", "NQ")
TASKS: dict[str, Callable[[Path], Task]] = {"LoCoMo": locomo, "stories": stories, "SQuAD": squad, "NQ": natural}


def alone(encoder: Encoder, task: Task) -> Keys:
    return unit(encoder.encode_passages([text for document in task.documents for text in document]))


def with_memory(encoder: Encoder, task: Task) -> Keys:
    if not isinstance(encoder, ReadsDocuments):
        raise click.ClickException(f"{encoder.name} has no memory.")
    return unit(encoder.encode_documents(task.documents))


def written_before(encoder: Encoder, task: Task) -> Keys:
    """Keys of passages with the two before them in the text; the passage itself is never cut for them."""
    texts = []
    for document in task.documents:
        counts = encoder.count_tokens(list(document))
        for n, text in enumerate(document):
            room, start = encoder.max_tokens - counts[n], n
            while start > max(0, n - BEFORE) and counts[start - 1] <= room:
                start -= 1
                room -= counts[start]
            texts.append("\n".join([*document[start:n], text]))
    return unit(encoder.encode_passages(texts))


def titled(encoder: Encoder, task: Task) -> Keys:
    pairs = zip(task.titles, task.documents, strict=True)
    return unit(encoder.encode_passages([f"{title}\n{text}".strip() for title, texts in pairs for text in texts]))


def mean(encoder: Encoder, task: Task) -> Keys:
    return unit(alone(encoder, task) + written_before(encoder, task))


@torch.inference_mode()
def late(encoder: Encoder, task: Task) -> Keys:
    """Late chunking: windows of a document encoded once, and pooled over the tokens of each passage."""
    if not isinstance(encoder, BertEncoder):
        raise click.ClickException(f"{encoder.name} is no BERT.")
    model, found = encoder.model(bulk=False), []
    for document in task.documents:
        rows_of = [ids[1:-1] for ids in encoder.token_ids(list(document))]
        first, last = encoder.token_ids(["."])[0][0], encoder.token_ids(["."])[0][-1]
        start = 0
        while start < len(rows_of):
            end, used = start, 2
            while end < len(rows_of) and (end == start or used + len(rows_of[end]) <= LATE):
                used += len(rows_of[end])
                end += 1
            inner = [one for row in rows_of[start:end] for one in row][: LATE - 2]
            ids, mask = padded([[first, *inner, last]])
            states, at = model(ids, mask)[0], 1
            for row in rows_of[start:end]:
                found.append(states[at : at + len(row)].mean(0).numpy())
                at += len(row)
            start = end
    return unit(np.stack(found))


def recalls(encoder: Encoder, task: Task, keys: Keys) -> dict[int, list[float]]:
    """For each k, a value a question."""
    starts = np.cumsum([0, *map(len, task.documents)])
    queries = unit(encoder.encode_questions([question for _, question, _, _ in task.questions]))
    found: dict[int, list[float]] = {k: [] for k in task.at}
    for (place, _, right, _), query in zip(task.questions, queries, strict=True):
        numbers = np.concatenate([np.arange(starts[n], starts[n + 1]) for n in task.places[place]])
        scores = keys[numbers] @ query
        ranks = [int((scores > scores[one]).sum()) for one in right]
        for k in task.at:
            inside = [float(rank < k) for rank in ranks]
            found[k].append(sum(inside) / len(inside) if task.whole else max(inside))
    return found


def with_interval(values: Sequence[float], groups: Sequence[str], *, signed: bool = False) -> str:
    """The mean in percent and its 95 % interval, a bootstrap over groups."""
    low, high = bootstrap(values, groups=groups)
    sign = "+" if signed else ""
    return f"{100 * sum(values) / len(values):{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--runs", "folder", type=click.Path(path_type=Path), default=Path("runs/encoder"))
@click.option("--only", multiple=True, type=click.Choice(list(TASKS)))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, folder: Path, only: tuple[str, ...], out: Path) -> None:
    """Write OUT/encoder.jsonl, OUT/encoder_gain.jsonl, and OUT/encoder_categories.jsonl for LoCoMo."""
    results, by_category, gained = (
        Runs(out / f"{name}.jsonl") for name in ("encoder", "encoder_categories", "encoder_gain")
    )
    memory, itself = (load_encoder(str((folder / name / "kept").resolve())) for name in ("memory", "itself"))
    plain, adapted = load_encoder(BASE), without_memory(memory)
    if adapted is None:
        raise click.ClickException(f"{memory.name} has no adapter.")
    ways: dict[str, tuple[Encoder, Callable[[Encoder, Task], Keys]]] = {
        "MiniLM": (plain, alone),
        "adapted": (adapted, alone),
        "adapted, title before": (adapted, titled),
        "adapted, two passages before": (adapted, written_before),
        "adapted, late chunking": (adapted, late),
        "adapted, mean of two keys": (adapted, mean),
        "the same training, itself read": (itself, with_memory),
        "memory": (memory, with_memory),
    }
    for name in only or TASKS:
        task = TASKS[name](data)
        groups = [f"{place}/{question}" if task.whole else group for place, question, _, group in task.questions]
        values: dict[str, dict[int, list[float]]] = {}
        for way, (encoder, made) in ways.items():
            if (made is titled and not any(task.titles)) or (made is not alone and name in ALONE):
                continue  # passages that stand alone have no past: memory's keys are the adapted ones, exactly
            values[way] = recalls(encoder, task, made(encoder, task))
            metrics: Json = {"n": len(task.questions)}
            for k in task.at:
                metrics[f"recall@{k}"] = with_interval(values[way][k], groups)
            click.echo(f"{name}, {way}: {metrics}")
            results.append({"task": name, "keys": way}, 0, metrics)
            for control in CONTROLS if way == "memory" else ():
                gains = {}
                for k in task.at:
                    pairs = zip(values[way][k], values[control][k], strict=True)
                    gains[f"recall@{k}"] = with_interval([a - b for a, b in pairs], groups, signed=True)
                click.echo(f"{name}, memory over {control}: {gains}")
                gained.append({"task": name, "over": control}, 0, gains)
            if name == "LoCoMo":
                for category in CATEGORIES.values():
                    chosen = [n for n, one in enumerate(task.questions) if one[3] == category]
                    row: Json = {"n": len(chosen)}
                    for k in task.at:
                        row[f"recall@{k}"] = with_interval(
                            [values[way][k][n] for n in chosen], [groups[n] for n in chosen]
                        )
                    by_category.append({"keys": way, "category": category}, 0, row)


if __name__ == "__main__":
    main()
