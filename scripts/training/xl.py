"""Transformer-XL on stories: memory off, with absolute and with relative positions; feed-forward against product-key memory.

Trained on FairytaleQA's training stories and four in five of SQuALITY's; tested on the other SQuALITY stories and on
fairytale_val's, so that no story is in both. All variants read the same tokens in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from tokenizers import Tokenizer
from torch import nn

from memptm.evaluation.metrics import bootstrap
from memptm.training.data.corpus import encoded
from memptm.training.recipes.language_model import LanguageModelRecipe, token_losses, train_language_model
from memptm.training.runtime.arithmetic import device
from memptm.types import Json
from memptm.working.product_keys import ProductKeyMemory, QueryNorm
from memptm.working.transformer_xl import TransformerXL, TransformerXLConfig
from scripts.data.held_out import rows
from scripts.runs import RESULTS, Runs

MEMORY, SEGMENT = 64, 64
SIZES = TransformerXLConfig(
    vocabulary=0, width=192, layers=4, heads=4, head_width=48, inner=768, mem_len=MEMORY, dropout=0.0, pre_norm=True
)  # no dropout: no text is read twice. With LayerNorm after each part, the first 250 steps (of 1000) learnt word counts alone.
RECIPE = LanguageModelRecipe(model=SIZES, size=6000, rows=16, segment=SEGMENT, learning_rate=3e-3)
REPLACED = 2  # the layer whose feed-forward part gives way
# Multiplications a token: 192·256 for queries, 4·2·64·32 for sub-keys, 4·16·192 for values = 78k = 2·192·203.
# Parameters: 64²·192 + 192·256 + 2·4·64·32 = 852k = 2·192·2218.
EQUAL_COST, EQUAL_PARAMETERS = 203, 2218
BLOCK = 512  # tokens that a bootstrap draws together
STEPS, PART_STEPS = 800, 400  # of a run: about five minutes of one core, and two and a half
TESTED = 10  # stories of each kind
SETS = ("SQuALITY", "FairytaleQA")

POSITIONS: dict[str, Json] = {
    "no memory": {"mem_len": 0},
    "memory, absolute positions": {"positions": "absolute"},
    "memory, relative positions": {},
}


def stories(data: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Texts to train on, and by name texts to test on."""
    long = [row["text"] for row in rows(data / "stories.jsonl")]
    train, held = ["\n".join(row["sections"]) for row in rows(data / "fairytale_train.jsonl")], long[::5]
    train += [text for n, text in enumerate(long) if n % 5]
    fairy = ["\n".join(row["sections"]) for row in rows(data / "fairytale_val.jsonl")]
    return train, dict(zip(SETS, (held[:TESTED], fairy[:TESTED]), strict=True))


def written(texts: Sequence[str], folder: Path) -> list[Path]:
    """The texts as files in ``folder``, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{n:03}.txt" for n in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8")
    return files


def other_texts(data: Path) -> list[str]:
    """Papers, encyclopaedia and WikiText-2: no stories."""
    named = [row["text"] for name in ("covid_papers", "wiki2hop_corpus") for row in rows(data / f"{name}.jsonl")]
    return named + [(data / f"wikitext2_{part}.txt").read_text(encoding="utf-8") for part in ("valid", "test")]


def part(name: str) -> nn.Module | None:
    """What stands in layer ``REPLACED`` instead of its feed-forward part."""
    norms: dict[str, QueryNorm] = {"product keys, normalised": "batch", "product keys, plain": "none"}
    if name in norms:
        return ProductKeyMemory(SIZES.width, sub_keys=64, heads=4, key_width=64, top=16, query_norm=norms[name])
    inner = {"FFN, equal cost": EQUAL_COST, "FFN, equal parameters": EQUAL_PARAMETERS}.get(name)
    return None if inner is None else nn.Sequential(nn.Linear(192, inner), nn.ReLU(), nn.Linear(inner, 192))


# At real size: 44M parameters, and most text at hand, several times. Needs a GPU to be bearable.
LARGE = replace(RECIPE, model=replace(SIZES, width=512, layers=12, heads=8, head_width=64, inner=2048, dropout=0.1, mem_len=128),
    size=8000, rows=32, segment=128, learning_rate=5e-4, epochs=5)  # fmt: skip

PARTS = ("FFN", "FFN, equal cost", "FFN, equal parameters", "product keys, normalised", "product keys, plain")


def perplexity(model: TransformerXL, documents: list[list[int]], *, memory: int) -> Json:
    """With its 95 % interval, a bootstrap over blocks of tokens, and tokens a second."""
    losses, seconds = token_losses(model, documents, memory=memory, segment=SEGMENT)
    low, high = bootstrap(losses.tolist(), groups=[str(n // BLOCK) for n in range(len(losses))])
    return {
        "perplexity": math.exp(float(losses.mean())),
        "95 %": f"{math.exp(low):.2f}–{math.exp(high):.2f}",
        "tokens/s": round(len(losses) / seconds),
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--runs", "folder", type=click.Path(path_type=Path), default=Path("runs/xl"))
@click.option("--seeds", default=3)
@click.option("--steps", type=int, help="Of a run, in place of the usual.")
@click.option("--only", type=click.Choice(["positions", "parts"]))
@click.option(
    "--large", is_flag=True, help="A model of 44M parameters on more text, positions alone: OUT/xl_large.jsonl."
)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, folder: Path, seeds: int, steps: int | None, only: str | None, large: bool, out: Path) -> None:
    """Write OUT/xl.jsonl and OUT/xl_parts.jsonl."""
    train, test = stories(data)
    if large:
        train += other_texts(data)
    files = written(train, folder / "texts")
    for seed in range(seeds):
        recipe = replace(LARGE if large else RECIPE, seed=seed)
        if only != "parts":
            for name, changed in POSITIONS.items():
                sizes = replace(recipe.model, **changed)
                results, settings = Runs(out / f"xl{'_large' * large}.jsonl"), {"variant": name}
                if all(results.done(run, seed) for run in measurements(settings, recipe.model.mem_len)):
                    continue
                at = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
                limit = steps or (None if large else STEPS)
                train_language_model(files, at, recipe=replace(recipe, model=sizes, steps=limit))
                measure(results, settings, seed, at, None, test, recipe.model.mem_len)
        if only != "positions" and not large:
            for name in PARTS:
                made = part(name)
                parts = {REPLACED: made} if made is not None else None
                results, settings = Runs(out / "xl_parts.jsonl"), {"part": name}
                if all(results.done(run, seed) for run in measurements(settings, None)):
                    continue
                at = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
                train_language_model(files, at, recipe=replace(recipe, steps=steps or PART_STEPS), parts=parts)
                measure(results, settings, seed, at, parts, test, None)


def measurements(settings: Json, memory: int | None) -> list[Json]:
    """What is measured of a run: each set of stories, with memories of none, once, twice and four times the usual, or of one."""
    lengths = (MEMORY,) if memory is None else (0, memory, 2 * memory, 4 * memory)
    return [{**settings, "stories": name, "memory": length} for name in SETS for length in lengths]


def measure(
    results: Runs,
    settings: Json,
    seed: int,
    at: Path,
    parts: dict[int, nn.Module] | None,
    test: dict[str, list[str]],
    memory: int | None,
) -> None:
    """Log what ``measurements`` names and is not there yet."""
    model = TransformerXL.load(at, parts=parts).to(device())
    vocabulary = Tokenizer.from_file(str(at / "tokenizer.json"))
    documents = {name: encoded(vocabulary, texts) for name, texts in test.items()}
    for run in measurements(settings, memory):
        if results.done(run, seed):
            continue
        replaced = (parts or {}).get(REPLACED)
        if isinstance(replaced, ProductKeyMemory):
            replaced.counting = True  # of these stories alone
            replaced.forget()
        metrics = perplexity(model, documents[run["stories"]], memory=run["memory"])
        if isinstance(replaced, ProductKeyMemory):
            metrics |= {"slots used %": 100 * replaced.telemetry()["usage"]}
        click.echo(f"{seed} {run}: {metrics}")
        results.append(run, seed, metrics)


if __name__ == "__main__":
    main()
