"""Transformer-XL's speed: training beside the original's computation, and evaluation beside a model without memory.

The original is written here as its formulas and code have it (time first, scores as (i j b h), the shift by a copy, a softmax
over the second axis), over the same weights, so that outputs are equal. Where there is a GPU, it is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor
from torch.nn import functional

from memptm.types import Json
from memptm.working.relative import distances
from memptm.working.transformer_xl import Layer, TransformerXL, TransformerXLConfig, mean_loss
from scripts.runs import RESULTS, Runs

# Width, heads and feed-forward of the paper's base model for WikiText-103, with fewer layers.
SIZES = TransformerXLConfig(
    vocabulary=8000, width=410, layers=4, heads=10, head_width=41, inner=2100, dropout=0.0, attention_dropout=0.0
)
TRAINED = ((128, 128, 8), (64, 640, 8))  # segment, memory, rows
ON_A_GPU = ((128, 128, 8), (64, 640, 8), (128, 128, 64), (64, 640, 64))
LENGTHS = (800, 1800, 2800, 3800)
SEGMENT = 128  # of evaluation
ROUNDS = 7


def original(model: TransformerXL, ids: Tensor, memory: Tensor) -> Tensor:
    """(b i c) states of the last layer, by the original's computation. ``memory``: (layers b m c)."""
    hidden = model.words(ids).transpose(0, 1)  # i b c
    queries, keys = len(hidden), len(hidden) + memory.shape[2]
    r = distances(keys, model.config.width)[:-1]
    mask = torch.ones(queries, keys).triu(keys - queries + 1).bool()[:, :, None, None]
    for n, layer in enumerate(model.layers):
        if isinstance(layer, Layer):
            hidden = original_layer(layer, hidden, memory[n].transpose(0, 1), r, model.u[0], model.v[0], mask)
    last: Tensor = hidden.transpose(0, 1)
    return last


def original_layer(
    layer: Layer, hidden: Tensor, memory: Tensor, r: Tensor, u: Tensor, v: Tensor, mask: Tensor
) -> Tensor:
    part = layer.attention
    context = torch.cat([memory, hidden])
    shape = (part.heads, part.head_width)
    q = part.query(hidden).view(*hidden.shape[:2], *shape)
    k, value = (one.reshape(*context.shape[:2], *shape) for one in part.key_value(context).chunk(2, dim=-1))
    relative = part.relative(r).view(len(r), *shape)
    ac = torch.einsum("ibnd,jbnd->ijbn", q + u, k)
    bd = torch.einsum("ibnd,jnd->ijbn", q + v, relative)
    padded = torch.cat([bd.new_zeros(bd.shape[0], 1, *bd.shape[2:]), bd], dim=1)
    bd = padded.view(bd.shape[1] + 1, bd.shape[0], *bd.shape[2:])[1:].view_as(bd)
    scores = (ac + bd).mul_(part.head_width**-0.5).float().masked_fill(mask, -torch.inf).type_as(ac)
    attended = torch.einsum("ijbn,jbnd->ibnd", scores.softmax(dim=1), value).flatten(2)
    hidden = layer.attention_norm(hidden + part.out(attended))
    fed: Tensor = layer.output_norm(hidden + layer.feed_forward(hidden))
    return fed


def trained(segment: int, memory: int, rows: int) -> Json:
    """Tokens a second of a forward and backward pass, both ways in turn, and how far the outputs are apart."""
    torch.manual_seed(0)
    model = TransformerXL(SIZES).train()
    model.mem_len = memory
    ids = torch.randint(0, SIZES.vocabulary, (rows, segment + 1))
    _, state = model(torch.randint(0, SIZES.vocabulary, (rows, memory)))

    def ours() -> Tensor:
        losses, _ = model.losses(ids[:, :-1], ids[:, 1:], state)
        return mean_loss(losses, ids[:, 1:])

    def theirs() -> Tensor:
        hidden = original(model, ids[:, :-1], state.layers)
        return functional.cross_entropy(
            (hidden @ model.words.tables[0].t() + model.softmax.biases[0]).flatten(0, 1), ids[:, 1:].flatten()
        )

    with torch.no_grad():
        apart = float((model(ids[:, :-1], state)[0] - original(model, ids[:, :-1], state.layers)).abs().max())
    times = beside(*(lambda way=way: backward(model, way) for way in (theirs, ours)))
    speeds = [rows * segment / one for one in times]
    return {
        "original tokens/s": speeds[0],
        "memptm tokens/s": speeds[1],
        "ratio": round(speeds[1] / speeds[0], 2),
        "outputs apart": f"{apart:.0e}",
    }


def backward(model: TransformerXL, loss: Callable[[], Tensor]) -> None:
    model.zero_grad(set_to_none=True)
    loss().backward()  # type: ignore[no-untyped-call]


def beside(*ways: Callable[[], None]) -> list[float]:
    """The median seconds of each, in turns."""
    spent: list[list[float]] = [[] for _ in ways]
    for n in range(ROUNDS + 1):
        for way, times in zip(ways, spent, strict=True):
            began = time.perf_counter()
            way()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.extend([time.perf_counter() - began] if n else [])
    return [statistics.median(times) for times in spent]


@torch.no_grad()
def evaluated(length: int) -> Json:
    """Tokens a second with so long an attention: read in segments with memory, and with a window made anew for each token."""
    torch.manual_seed(0)
    model = TransformerXL(SIZES).eval()
    model.mem_len = length - SEGMENT
    _, state = model(torch.randint(0, SIZES.vocabulary, (1, length)))
    _, state = model(torch.randint(0, SIZES.vocabulary, (1, SEGMENT)), state)
    segment, window = (torch.randint(0, SIZES.vocabulary, (1, size)) for size in (SEGMENT, length))
    empty = model.start(1)

    def with_memory() -> None:
        model.losses(segment, segment, state)

    def without() -> None:
        hidden, _ = model(window, empty)
        model.softmax.losses(hidden[:, -1:], window[:, -1:], model.words)

    vanilla, ours = beside(without, with_memory)
    return {
        "without memory tokens/s": round(1 / vanilla, 2),
        "memptm tokens/s": SEGMENT / ours,
        "ratio": round(SEGMENT * vanilla / ours),
    }


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(out: Path) -> None:
    """Write OUT/xl_training.jsonl and OUT/xl_evaluation.jsonl, or with a GPU both under the GPU's name."""
    gpu, where = torch.cuda.is_available(), ""
    if gpu:
        torch.set_default_device("cuda")
        where = "_gpu"
    runs = Runs(out / f"xl_training{where}.jsonl")
    for segment, memory, rows in ON_A_GPU if gpu else TRAINED:
        metrics = trained(segment, memory, rows)
        click.echo(f"segment {segment}, memory {memory}: {metrics}")
        runs.append({"segment": segment, "memory": memory, "rows": rows}, 0, metrics)
    runs = Runs(out / f"xl_evaluation{where}.jsonl")
    for length in LENGTHS:
        metrics = evaluated(length)
        click.echo(f"attention length {length}: {metrics}")
        runs.append({"attention length": length, "segment": SEGMENT}, 0, metrics)


if __name__ == "__main__":
    main()
