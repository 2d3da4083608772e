"""A pre-trained decoder on streams: perplexity with recurrence, truncation, full attention and with an external memory; time and
memory of a long stream.

Give long documents, such as the HTML of postgresql-doc or python3-doc, by --documents.
"""

from __future__ import annotations

import math
import random
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from transformers import MistralConfig, MistralForCausalLM
from transformers.cache_utils import DynamicCache

from memptm.documents.find import find
from memptm.documents.load import load
from memptm.evaluation.metrics import bootstrap
from memptm.generation.generator import DEFAULT, Generator
from memptm.types import Json
from memptm.working.nearest import Nearest
from memptm.working.recurrence import RecurrentDecoder
from scripts.runs import RESULTS, Runs

LENGTH = 8192  # tokens of a document that are read at most: the model's trained length
SKIPPED = 4  # a part of the document in so many, at its start, counts for nothing: there, all ways know nearly the same
SEGMENT = 256
MEMORIES = (0, 512, 1024, 2048)
BLOCK = 256  # tokens that a bootstrap draws together
SHARES = ((20, 0.1), (20, 0.3), (12, 0.1), (27, 0.1))  # layer that reads an external memory, and its share
BESIDE = 512  # tokens of recurrence beside it
STREAM = 100_000
STEPS = 100  # tokens generated to time
WINDOWS = (512, 1024, 2048)


def texts(folder: Path, generator: Generator, count: int, length: int) -> list[list[int]]:
    """Token ids of ``count`` documents that are long enough, drawn at random."""
    paths = sorted(path for path in find([folder], refuse=lambda _: None) if path.stat().st_size > 4 * length)
    random.Random(0).shuffle(paths)
    found: list[list[int]] = []
    for path in paths:
        ids = [one for document in load(path, warn=lambda _: None) for one in generator.writer.text_ids(document.text)]
        if len(ids) > length:
            found.append(ids[: length + 1])
        if len(found) == count:
            break
    return found


def losses(decoder: RecurrentDecoder, documents: list[list[int]]) -> tuple[list[float], list[str], float]:
    """−log p of each judged token, the block that a bootstrap draws it in, and tokens a second."""
    began, found, groups = time.perf_counter(), [], []
    for n, ids in enumerate(documents):
        own, _ = decoder.losses(torch.tensor([ids]), None, decoder.external(1))
        judged = own[0, len(ids) // SKIPPED :].tolist()
        found += judged
        groups += [f"{n}-{m // BLOCK}" for m in range(len(judged))]
    return found, groups, sum(map(len, documents)) / (time.perf_counter() - began)


def perplexity(found: list[float], groups: list[str], speed: float) -> Json:
    """With its 95 % interval."""
    low, high = bootstrap(found, groups=groups)
    return {
        "tokens": len(found),
        "perplexity": math.exp(statistics.fmean(found)),
        "95 %": f"{math.exp(low):.2f}–{math.exp(high):.2f}",
        "tokens/s": speed,
    }


def with_external(model: Any, documents: list[list[int]], results: Runs) -> None:
    """What an external memory brings to a model that was not trained for it, by layer and share, against none."""
    heads = model.config.num_attention_heads
    without, groups, _ = losses(RecurrentDecoder(model, memory=BESIDE, segment=SEGMENT), documents)
    for layer, share in SHARES:
        nearest = {layer: Nearest(heads, share=share)}
        own, _, speed = losses(RecurrentDecoder(model, memory=BESIDE, segment=SEGMENT, nearest=nearest), documents)
        apart = [a - b for a, b in zip(without, own, strict=True)]
        low, high = bootstrap(apart, groups=groups)
        metrics = perplexity(own, groups, speed) | {
            "lower by %": round(100 * (1 - math.exp(-statistics.fmean(apart))), 2),
            "lower by, 95 %": f"{100 * (1 - math.exp(-low)):.2f}–{100 * (1 - math.exp(-high)):.2f}",
        }
        click.echo(f"external memory in layer {layer}, share {share}: {metrics}")
        results.append({"memory": BESIDE, "layer": layer, "share": share, "length": len(documents[0]) - 1}, 0, metrics)


def stream(model: Any, ids: list[int], length: int) -> Iterator[Json]:
    """Milliseconds a token and bytes of state at several points of a stream of ``length`` tokens."""
    decoder, state = RecurrentDecoder(model, memory=1024, sinks=4, segment=SEGMENT), None
    endless = (ids * (length // len(ids) + 1))[:length]
    tenth = length // 10
    for start in range(0, length, tenth):
        began = time.perf_counter()
        for _, after in decoder.segments(torch.tensor([endless[start : start + tenth]]), state):
            state = after
        spent = 1000 * (time.perf_counter() - began) / tenth
        assert state is not None
        size = sum(one.numel() * one.element_size() for one in (state.keys, state.values))
        resident = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[1]) // 1_000_000
        yield {
            "tokens read": state.read,
            "ms a token": round(spent, 2),
            "state MB": round(size / 1e6, 1),
            "process MB": resident,
        }


def generated(model: Any, ids: list[int], window: int) -> Json:
    """Tokens a second, one at a time, once the window is full: ours, and transformers' own cache of a sliding window."""
    decoder = RecurrentDecoder(model, memory=window, sinks=4, segment=SEGMENT)
    _, state = decoder.read(torch.tensor([ids[: 2 * window]]))
    began = time.perf_counter()
    for _, _state in decoder.generate(torch.tensor([ids[:1]]), state=state, tokens=STEPS):
        pass
    ours = STEPS / (time.perf_counter() - began)
    return {"window": window, "memptm tokens/s": ours, "transformers tokens/s": sliding(model, ids, window)}


@torch.inference_mode()
def sliding(model: Any, ids: list[int], window: int) -> float:
    """The same weights as a Mistral, which differs from a Llama in its sliding window alone."""
    config = MistralConfig(**{**model.config.to_dict(), "sliding_window": window, "model_type": "mistral"})
    other = MistralForCausalLM(config).to(next(model.parameters()).dtype).eval()
    other.load_state_dict(model.state_dict(), strict=False)
    cache = DynamicCache(config=config)
    other(torch.tensor([ids[: 2 * window]]), past_key_values=cache, logits_to_keep=1)
    token: Tensor = torch.tensor([ids[:1]])
    began = time.perf_counter()
    for _ in range(STEPS):
        token = other(token, past_key_values=cache).logits[:, -1:].argmax(-1)
    return STEPS / (time.perf_counter() - began)


@click.command()
@click.option("--documents", "folder", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--count", default=8, help="Documents to measure perplexity on.")
@click.option("--length", default=LENGTH, help="Tokens of each.")
@click.option("--stream", "endless", default=STREAM, help="Tokens of the long stream.")
@click.option("--only", multiple=True, type=click.Choice(["perplexity", "external", "stream", "speed"]))
@click.option("--generator", "name", default=DEFAULT)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(folder: Path, count: int, length: int, endless: int, only: tuple[str, ...], name: str, out: Path) -> None:
    """Write OUT/stream.jsonl, stream_external.jsonl, stream_length.jsonl and stream_speed.jsonl."""
    generator = Generator.load(name)
    model = generator.language_model.model
    documents = texts(folder, generator, count, length)
    click.echo(f"{len(documents)} documents of {length} tokens")
    if not only or "perplexity" in only:
        results = Runs(out / "stream.jsonl")
        for memory in [*(one for one in MEMORIES if one < length - SEGMENT), length - SEGMENT]:
            way = {0: "truncation", length - SEGMENT: "full attention"}.get(memory, "recurrence")
            decoder = RecurrentDecoder(model, memory=memory, sinks=min(4, memory), segment=SEGMENT)
            metrics = perplexity(*losses(decoder, documents))
            click.echo(f"{way} {memory}: {metrics}")
            results.append({"way": way, "memory": memory, "segment": SEGMENT, "length": length}, 0, metrics)
    if not only or "external" in only:
        with_external(model, documents, Runs(out / "stream_external.jsonl"))
    all_ids = [one for ids in documents for one in ids]
    if not only or "stream" in only:
        lengths = Runs(out / "stream_length.jsonl")
        for row in stream(model, all_ids, endless):
            click.echo(str(row))
            lengths.append({"tokens read": row.pop("tokens read")}, 0, row)
    if not only or "speed" in only:
        speeds = Runs(out / "stream_speed.jsonl")
        for window in WINDOWS:
            if 2 * window < len(all_ids):
                metrics = generated(model, all_ids, window)
                click.echo(str(metrics))
                speeds.append({"window": metrics.pop("window")}, 0, metrics)


if __name__ == "__main__":
    main()
