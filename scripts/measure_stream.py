"""A pre-trained decoder on streams: perplexity with recurrence, truncation and full attention; time and memory of a long one.

Give long documents, such as the HTML of postgresql-doc or python3-doc, by --documents.
"""

from __future__ import annotations

import math
import random
import time
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
from memptm.working.recurrence import RecurrentDecoder
from runs import RESULTS, Runs

LENGTH = 8192  # tokens of a document that are read: the model's trained length
JUDGED = 2048  # tokens at the start that count for nothing: there, all ways know the same
SEGMENT = 256
MEMORIES = (0, 512, 1024, 2048, LENGTH - SEGMENT)
BLOCK = 256  # tokens that a bootstrap draws together
STREAM = 100_000
STEPS = 200  # tokens generated to time


def texts(folder: Path, generator: Generator, count: int) -> list[list[int]]:
    """Token ids of ``count`` documents that are long enough, drawn at random."""
    paths = sorted(path for path in find([folder], refuse=lambda _: None) if path.stat().st_size > 4 * LENGTH)
    random.Random(0).shuffle(paths)
    found: list[list[int]] = []
    for path in paths:
        ids = [one for document in load(path, warn=lambda _: None) for one in generator.writer.text_ids(document.text)]
        if len(ids) > LENGTH:
            found.append(ids[: LENGTH + 1])
        if len(found) == count:
            break
    return found


def perplexity(model: Any, documents: list[list[int]], memory: int) -> Json:
    """Of the tokens after the first ``JUDGED``, with so much memory beside a segment; 0: each segment alone (truncation)."""
    decoder = RecurrentDecoder(model, memory=memory, sinks=min(4, memory), segment=SEGMENT)
    began, losses, groups = time.perf_counter(), [], []
    for n, ids in enumerate(documents):
        found, _ = decoder.losses(torch.tensor([ids]))
        losses += found[0, JUDGED:].tolist()
        groups += [f"{n}-{m // BLOCK}" for m in range(LENGTH - JUDGED)]
    low, high = bootstrap(losses, groups=groups)
    return {
        "tokens": len(losses),
        "perplexity": math.exp(sum(losses) / len(losses)),
        "95 %": f"{math.exp(low):.2f}–{math.exp(high):.2f}",
        "tokens/s": LENGTH * len(documents) / (time.perf_counter() - began),
    }


def stream(model: Any, ids: list[int]) -> list[Json]:
    """Milliseconds a token and bytes of state at several points of a stream of ``STREAM`` tokens."""
    decoder, state, told = RecurrentDecoder(model, memory=1024, sinks=4, segment=SEGMENT), None, []
    endless = (ids * (STREAM // len(ids) + 1))[:STREAM]
    tenth = STREAM // 10
    for start in range(0, STREAM, tenth):
        began = time.perf_counter()
        _, state = decoder.read(torch.tensor([endless[start : start + tenth]]), state)
        spent = 1000 * (time.perf_counter() - began) / tenth
        size = sum(one.numel() * one.element_size() for one in (state.keys, state.values))
        told.append({"tokens read": state.read, "ms a token": round(spent, 2), "state MB": round(size / 1e6, 1)})
    return told


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
@click.option("--generator", "name", default=DEFAULT)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(folder: Path, count: int, name: str, out: Path) -> None:
    """Write OUT/stream.jsonl, OUT/stream_length.jsonl and OUT/stream_speed.jsonl."""
    generator = Generator.load(name)
    model = generator.language_model.model
    documents = texts(folder, generator, count)
    click.echo(f"{len(documents)} documents of {LENGTH} tokens")
    results = Runs(out / "stream.jsonl")
    for memory in MEMORIES:
        way = {0: "truncation", LENGTH - SEGMENT: "full attention"}.get(memory, "recurrence")
        metrics = perplexity(model, documents, memory)
        click.echo(f"{way} {memory}: {metrics}")
        results.append({"way": way, "memory": memory, "segment": SEGMENT}, 0, metrics)
    together = [one for ids in documents for one in ids]
    lengths = Runs(out / "stream_length.jsonl")
    for told in stream(model, together):
        click.echo(str(told))
        lengths.append({"tokens read": told.pop("tokens read")}, 0, told)
    speeds = Runs(out / "stream_speed.jsonl")
    for window in (512, 1024, 2048):
        metrics = generated(model, together, window)
        click.echo(str(metrics))
        speeds.append({"window": metrics.pop("window")}, 0, metrics)


if __name__ == "__main__":
    main()
