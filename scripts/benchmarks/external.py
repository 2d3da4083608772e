"""Transformer-XL with an external memory: perplexity on held-out long texts by the size of the memory, and what a step costs.

Trained as scripts/training/xl.py trains (same stories, sizes and order) with an external memory in the layer below the last. Tested on the
SQuALITY stories that were not trained on, each alone; on the same stories joined to one document, for a past of 32k tokens;
and, with --novels, on the beginnings of novels. In the long documents, the first 32k tokens fill the memory and are not judged.
"""

from __future__ import annotations

import math
import statistics
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from tokenizers import Tokenizer

from memptm.evaluation.metrics import bootstrap
from memptm.progress import Event
from memptm.training.data.corpus import encoded
from memptm.training.recipes.language_model import token_losses, train_language_model
from memptm.types import Json
from memptm.working.transformer_xl import TransformerXL
from scripts.runs import RESULTS, Runs
from scripts.training.xl import BLOCK, MEMORY, RECIPE, SEGMENT, SIZES, stories, written

TRAINED_WITH = 8192  # tokens that the external memory keeps in training
READ_BY = 2  # the layer that reads it
KEPT = (512, 2048, 8192, 32_768)
FILLED = 32_768  # tokens of a long document that are read before it is judged
JUDGED = 16_384  # tokens of it that are
TIMED = 100  # the last segments, whose median is the cost of a step

Measured = tuple[list[float], list[str], float]


def novels(folder: Path) -> list[str]:
    """The six novels of r-cran-janeaustenr, from its folder ``data``: compressed R objects, one behind another, and their index."""
    import rdata

    stored = (folder / "Rdata.rdb").read_bytes()
    found = []
    for start, size in rdata.read_rds(folder / "Rdata.rdx")["variables"].values():
        packed = stored[start + 4 : start + size]  # behind its length
        lines = rdata.conversion.convert(rdata.parser.parse_data(zlib.decompress(packed)))
        found.append("\n".join(str(line) for line in lines))
    return found


def sets(vocabulary: Tokenizer, held_out: list[str], austen: list[str]) -> dict[str, tuple[list[list[int]], int]]:
    """Name → documents, and how many tokens of each are not judged."""
    length = FILLED + JUDGED
    alone = encoded(vocabulary, held_out)
    joined = [one for document in alone for one in document[:-1]]  # without the marks of their ends
    found = {"stories": (alone, 0), "stories joined": ([joined[:length]], FILLED)}
    long = [ids[:length] for ids in encoded(vocabulary, austen) if len(ids) > length]
    return found | ({"novels": (long[:2], FILLED)} if long else {})


def losses(model: TransformerXL, documents: list[list[int]], skipped: int, *, external: int, exact: bool) -> Measured:
    """−log p of each judged token, the block that a bootstrap draws it in, and milliseconds a step once the memory is full."""
    found: list[float] = []
    blocks: list[str] = []
    steps: list[float] = []
    for n, document in enumerate(documents):
        times = [time.perf_counter()]

        def tick(_: Event, times: list[float] = times) -> None:
            times.append(time.perf_counter())

        own, _ = token_losses(
            model, [document], memory=MEMORY, segment=SEGMENT, external=external, exact=exact, progress=tick
        )
        judged = own[skipped:].tolist()
        found += judged
        blocks += [f"{n}-{m // BLOCK}" for m in range(len(judged))]
        steps += np.diff(times)[-TIMED:].tolist()
    return found, blocks, 1000 * statistics.median(steps)


def compared(measured: Measured, without: Sequence[float]) -> Json:
    """Perplexity and its 95 % interval, how much lower than without the memory, and a step's cost."""
    own, blocks, step = measured
    low, high = bootstrap(own, groups=blocks)
    apart = [a - b for a, b in zip(without, own, strict=True)]
    least, most = bootstrap(apart, groups=blocks)
    gain, worst, best = (100 * (1 - math.exp(-one)) for one in (statistics.fmean(apart), least, most))
    return {
        "tokens": len(own),
        "perplexity": math.exp(statistics.fmean(own)),
        "95 %": f"{math.exp(low):.2f}–{math.exp(high):.2f}",
        "lower by %": round(gain, 2),
        "lower by, 95 %": f"{worst:.2f}–{best:.2f}",
        "ms a step": round(step, 1),
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option(
    "--novels",
    "austen",
    type=click.Path(exists=True, path_type=Path),
    help="Folder data of r-cran-janeaustenr (needs rdata).",
)
@click.option("--runs", "folder", type=click.Path(path_type=Path), default=Path("runs/xl_external"))
@click.option("--seed", "seeds", type=int, multiple=True, default=(0, 1, 2))
@click.option("--steps", type=int, help="At most, of a run.")
@click.option("--texts", "wanted", multiple=True, type=click.Choice(["stories", "stories joined", "novels"]))
@click.option("--train-only", is_flag=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(
    data: Path,
    austen: Path | None,
    folder: Path,
    seeds: tuple[int, ...],
    steps: int | None,
    wanted: tuple[str, ...],
    train_only: bool,
    out: Path,
) -> None:
    """Write OUT/xl_external.jsonl."""
    train, test = stories(data)
    files = written(train, folder / "texts")
    recipe = replace(RECIPE, model=replace(SIZES, memorizing=(READ_BY,)), external=TRAINED_WITH, steps=steps)
    for seed in seeds:
        at = folder / f"seed-{seed}"
        made = train_language_model(files, at, recipe=replace(recipe, seed=seed, save_every=400))
        click.echo(f"seed {seed}: {made['steps']} steps, {made['seconds']} s, loss {made['loss']:.3f}")
        if not train_only:
            vocabulary = Tokenizer.from_file(str(at / "tokenizer.json"))
            named = sets(vocabulary, test["SQuALITY"], novels(austen) if austen else [])
            chosen = {name: one for name, one in named.items() if name in (wanted or named)}
            measure(Runs(out / "xl_external.jsonl"), TransformerXL.load(at), seed, chosen, int(made["steps"]))


def measure(
    results: Runs, model: TransformerXL, seed: int, named: dict[str, tuple[list[list[int]], int]], steps: int
) -> None:
    """Each set with each memory, exact and through a graph; a memory longer than every document says nothing new."""
    gates = model.state_dict()[f"memorizing.{READ_BY}.gate"].sigmoid()
    click.echo(f"shares of the external memory, a head: {gates.tolist()}")
    for name, (documents, skipped) in named.items():
        kept = [one for one in KEPT if one < max(map(len, documents))]
        settings: list[Json] = [
            {"texts": name, "external": size, "search": search, "steps": steps}
            for size, search in [(0, "–"), *((size, way) for size in kept for way in ("exact", "graph"))]
        ]
        if all(results.done(one, seed) for one in settings):
            continue
        without: Sequence[float] = ()
        for one in settings:
            measured = losses(model, documents, skipped, external=int(one["external"]), exact=one["search"] == "exact")
            without = without or measured[0]
            metrics = compared(measured, without)
            click.echo(f"seed {seed} {one}: {metrics}")
            results.append(one, seed, metrics)


if __name__ == "__main__":
    main()
