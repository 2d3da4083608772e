"""REALM's ablation in miniature: two layers, passages of 40 words, two thousand of them, a run of a few minutes.

Pre-training on the index alone, no question is trained on; then how well SQuAD's questions find their passages (recall,
zero-shot), and what reading is worth for names and dates hidden in sentences that were not trained on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import torch
from safetensors.torch import load_file

from memptm.documents.split import split
from memptm.encoders.bert import Bert
from memptm.encoders.load import BASE, load_encoder
from memptm.encoders.sentence import BertEncoder
from memptm.evaluation.metrics import contains_answer
from memptm.generation.windows import load_tokenizer
from memptm.memory.memory import Memory
from memptm.training.data.masks import find_blanks
from memptm.training.losses.masked_reader import Clozer, MaskedReader
from memptm.training.losses.salient import NULL, MaskedSpanTask
from memptm.training.recipes.realm import RealmRecipe, train_realm
from memptm.training.runtime.refresh import Versions
from memptm.training.runtime.trainable_encoder import TrainableEncoder
from memptm.types import Document, Hit, Json, Passage
from scripts.data.held_out import recalls, rows
from scripts.runs import RESULTS, Runs

LAYERS, WORDS, PASSAGES = 2, 40, 2000
OTHERS, SENTENCES = 200, 300  # contexts outside the index, and how many of their sentences utility is measured on
STEPS = 150
WARM = RealmRecipe(phases=("ict",), learning_rate=1e-4, refresh_every=25, save_every=STEPS)
FULL = RealmRecipe(
    phases=("masked",),
    steps=STEPS,
    k=5,
    batch=8,
    refresh_every=25,
    passage_tokens=64,
    learning_rate=1e-4,
    reader_learning_rate=2e-4,
    save_every=STEPS,
)
COLD = "cold start"
VARIANTS = {
    "full": FULL,
    "stale index": replace(FULL, refresh_every=0),
    "random spans": replace(FULL, masks="random"),
    COLD: FULL,
    "no null document": replace(FULL, null=False, k=4),
}


def small_encoder(folder: Path) -> BertEncoder:
    """The packaged encoder's first ``LAYERS`` layers."""
    packaged = load_encoder(BASE)
    if not isinstance(packaged, BertEncoder):
        raise click.ClickException(f"{BASE} is not installed.")
    if not (folder / "model.safetensors").is_file():
        model = Bert.load(packaged.folder)
        del model.layers[LAYERS:]
        model.config = replace(model.config, num_hidden_layers=LAYERS)
        packaged.write(model, folder)
        config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": LAYERS}
        (folder / "config.json").write_text(json.dumps(config, indent=2))
    made = load_encoder(str(folder))
    if not isinstance(made, BertEncoder):
        raise AssertionError(folder)
    return made


def index_and_questions(data: Path, folder: Path) -> tuple[Memory, list[Json], list[Passage]]:
    """The passages that the first contexts of squad_subset become, the questions on these, and passages of others."""
    questions = rows(data / "squad_subset.jsonl")
    memory = Memory.open(folder / "index", create=True, encoder=str(small_encoder(folder / "encoder").folder))
    contexts = list(dict.fromkeys(row["context"] for row in questions))
    while len(memory) < PASSAGES:
        stored = sum(1 for _ in memory.documents())
        memory.add([Document(text=text) for text in contexts[: stored + 50]], words=WORDS, overlap=0)
    held = set(contexts[: sum(1 for _ in memory.documents())])
    others = [
        passage
        for text in contexts[len(held) : len(held) + OTHERS]
        for passage in split(Document(text=text), words=WORDS)
    ]
    click.echo(f"{len(memory)} passages of {len(held)} contexts")
    return memory, [row for row in questions if row["context"] in held], others


def right(hit: Hit, row: Json) -> bool:
    """Whether the passage is of the question's context and holds an answer."""
    return hit.passage.text in row["context"] and contains_answer(hit.passage.text, row["answers"])


@torch.no_grad()
def utility(made: Memory, folder: Path, recipe: RealmRecipe, others: Sequence[Passage]) -> Json:
    """Of names and dates hidden in passages that are not in the index: log p(y|x), and its gain over log p(y|null,x), nats."""
    encoder = made.encoder
    if not isinstance(encoder, BertEncoder):
        raise AssertionError(encoder.name)
    passages, keys = made.keys()
    blanks = find_blanks(others, "salient", seed=0)
    chosen = random.Random(0).sample(blanks, min(SENTENCES, len(blanks)))
    task = MaskedSpanTask(
        TrainableEncoder(encoder, dropout=0.0).eval(),
        MaskedReader(Bert.load(encoder.folder)),
        Clozer(load_tokenizer(encoder.folder), passage_tokens=recipe.passage_tokens),
        [replace(blank, passage=len(passages) + blank.passage) for blank in chosen],
        [*passages, *others],
        Versions(torch.from_numpy(keys)),
        k=recipe.k,
        null=recipe.null,
        same_document=False,
        temperature=recipe.temperature,
        learning_rates=(0.0, 0.0, 0.0),
        seed=0,
    )
    weights = load_file(folder / "masked" / "checkpoint.safetensors")
    for name, parameter in task.reader.named_parameters():
        if f"weight/reader.{name}" in weights:
            parameter.copy_(weights[f"weight/reader.{name}"])
    gains, totals, answered = [], [], []
    for row in task.rows:
        query = task.trainable([task.clozer.query(row[1])])
        found = task.find([row], query, torch.from_numpy(keys))
        log_p = float((task.log_prior(query, found)[0] + task.read(row[1], found[0])).logsumexp(0))
        totals.append(log_p)
        gains.append(log_p - float(task.read(row[1], [NULL])[0]))
        hidden = task.clozer.tokenizer.decode(list(row[1].hidden))
        answered.append(any(hidden in passages[one].text.lower() for one in found[0] if one != NULL))
    return {name: sum(some) / len(some) for name, some in (("log p of the span", totals), ("utility", gains))} | {
        "span found %": 100 * sum(answered) / len(answered)
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--runs", "folder", type=click.Path(path_type=Path), default=Path("runs/realm"))
@click.option("--seeds", default=3)
@click.option("--only", multiple=True, type=click.Choice(list(VARIANTS)))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, folder: Path, seeds: int, only: tuple[str, ...], out: Path) -> None:
    """Write OUT/realm.jsonl."""
    results = Runs(out / "realm.jsonl")
    memory, questions, others = index_and_questions(data, folder)
    if not results.done({"variant": "as it comes"}):
        results.append({"variant": "as it comes"}, 0, recalls(memory, questions, "dense", right, intervals=False))
    for seed in range(seeds):
        result = train_realm([], memory, folder / f"warm-{seed}", recipe=replace(WARM, seed=seed))
        warm = Memory.open(result["index"])
        if not results.done({"variant": "warm start alone"}, seed):
            figures = recalls(warm, questions, "dense", right, intervals=False)
            figures["seconds"] = result["phases"]["ict"]["seconds"]
            click.echo(f"warm start alone {seed}: {figures}")
            results.append({"variant": "warm start alone"}, seed, figures)
        for name in only or VARIANTS:
            if results.done({"variant": name}, seed):
                continue
            recipe, at = replace(VARIANTS[name], seed=seed), folder / f"{name.replace(' ', '-')}-{seed}"
            result = train_realm([], memory if name == COLD else warm, at, recipe=recipe)
            made = Memory.open(at / "index")
            figures = recalls(made, questions, "dense", right, intervals=False) | utility(made, at, recipe, others)
            figures["seconds"] = result["phases"]["masked"]["seconds"]
            click.echo(f"{name} {seed}: {figures}")
            results.append({"variant": name}, seed, figures)


if __name__ == "__main__":
    main()
