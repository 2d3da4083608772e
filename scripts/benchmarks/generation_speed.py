"""How fast the packaged generator reads and writes: float32, bfloat16, int8 weights (torchao), and llama.cpp on the file as it is.

torchao and llama.cpp are optional here; what is not installed is passed over.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import torch

from memptm.errors import ExtraMissing
from memptm.generation.decoding import Ids, LanguageModel
from memptm.generation.generator import DEFAULT, Generator
from memptm.generation.stream import Stream
from memptm.types import Json
from scripts.runs import RESULTS, Runs

WRITTEN = 32  # tokens a round
ROUNDS = 3
TEXT = "The old mill by the river was built by the miller's grandfather, and it has stood there ever since. "

Start = Callable[[Ids], Any]


def int8(model: Any) -> Any:
    """A copy with int8 weights and activations in bfloat16, compiled, for its kernel is behind the compiler."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    made = copy.deepcopy(model).to(torch.bfloat16)
    quantize_(made, Int8WeightOnlyConfig())
    made.forward = torch.compile(made.forward, dynamic=True)
    return made


def ways(generator: Generator, only: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Name, and a model with ``start`` and ``extend``."""
    model = generator.language_model.model
    made: dict[str, Callable[[], Any]] = {
        "torch float32": lambda: LanguageModel(copy.deepcopy(model).float(), pad=0),
        "torch bfloat16": lambda: LanguageModel(copy.deepcopy(model).bfloat16(), pad=0),
        "stream float32": lambda: Stream(LanguageModel(copy.deepcopy(model).float(), pad=0), window=2048, sinks=4),
        "stream bfloat16": lambda: Stream(LanguageModel(copy.deepcopy(model).bfloat16(), pad=0), window=2048, sinks=4),
        "torchao int8 weights": lambda: LanguageModel(int8(model), pad=0),
        "llama.cpp": lambda: Generator.load(DEFAULT, backend="llama.cpp").language_model,
    }
    for name in only or made:
        try:
            yield name, made[name]()
        except (ImportError, ExtraMissing) as error:
            click.echo(f"{name}: passed over ({error})")


def speed(model: Any, prompt: Ids) -> Json:
    """Tokens a second of prompt read and of text written after it, medians over rounds, each on a prompt not seen before."""
    reading, writing, spent = [], [], []
    for n in range(ROUNDS + 1):
        ids = [*prompt[n:], *prompt[:n]]  # so that llama.cpp finds nothing that it computed already
        began = time.perf_counter()
        state = model.start(ids) if isinstance(model, Stream) else model.start([ids])
        read, busy = time.perf_counter(), time.process_time()
        for _ in range(WRITTEN):
            state, _ = model.extend(state, state.log_p.argmax(dim=-1, keepdim=True))
        done = time.perf_counter()
        if n:  # the first round warms up
            reading.append(len(ids) / (read - began))
            writing.append(WRITTEN / (done - read))
            spent.append(WRITTEN / (time.process_time() - busy))
    return {
        "read tokens/s": statistics.median(reading),
        "written tokens/s": statistics.median(writing),
        "written tokens/CPU s": statistics.median(spent),  # hardly changed by other work on the machine
        "slowest–fastest": f"{min(writing):.1f}–{max(writing):.1f}",
        "threads": torch.get_num_threads(),
    }


@click.command()
@click.option("--prompt", "length", default=256, help="Tokens of the prompt.")
@click.option("--only", multiple=True, help="Of these ways alone.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(length: int, only: tuple[str, ...], out: Path) -> None:
    """Write OUT/generation_speed.jsonl."""
    generator = Generator.load(DEFAULT)
    ids = generator.writer.text_ids(TEXT * (length // 10))[:length]
    runs = Runs(out / "generation_speed.jsonl")
    for name, model in ways(generator, only):
        metrics = speed(model, ids)
        click.echo(f"{name}: {metrics}")
        runs.append({"way": name, "prompt": len(ids)}, 0, metrics)


if __name__ == "__main__":
    main()
