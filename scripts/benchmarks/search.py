"""How long a search takes, in what memory, and which kind of FAISS index pays at which size.

    python -m scripts.benchmarks.search --corpus FILE.jsonl --questions FILE.jsonl

Two logs in scripts/results: ``search.jsonl``, a Memory of 2,000 and of 100,000 passages, each mode, encoding left out
and told apart; ``search_kinds.jsonl``, FAISS alone, by kind and size, with recall@10 against exact search, one thread.

The first 2,000 passages are real and really encoded. Those beyond are made: the text of one with a number added, and as
its key the normalised sum of two real keys and noise, so that they fill the space between real ones. Memory figures are
what the resident set grew by, in a fresh process.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np

from memptm.encoders.base import Encoder, Keys
from memptm.progress import Progress, silent
from memptm.types import Mode
from scripts.runs import RESULTS, Runs

REAL, QUESTIONS = 2_000, 100
SIZES = (2_000, 100_000)
MODES = ("dense", "lexical", "hybrid")
KIND_SIZES = (10_000, 25_000, 50_000, 100_000)
KINDS: tuple[dict[str, Any], ...] = (
    {"kind": "flat"},
    *({"kind": "ivf", "probes": probes} for probes in (32, 64, 96, 128)),
    *({"kind": "hnsw", "probes": probes} for probes in (64, 128)),
)


def rows(path: Path, field: str, count: int) -> list[str]:
    with path.open(encoding="utf-8") as lines:
        return list(dict.fromkeys(json.loads(line)[field] for line in islice(lines, 2 * count)))[:count]


def spread(keys: Keys, *, size: int) -> Keys:
    """(size, dimension): the real keys, then normalised sums of two of them and noise as long as 0.4 of one."""
    chance = np.random.default_rng(0)
    more = size - len(keys)
    if more <= 0:
        return keys[:size]
    first, second = chance.integers(len(keys), size=(2, more))
    share = chance.uniform(0.5, 1.0, (more, 1)).astype(np.float32)
    noise = chance.standard_normal((more, keys.shape[1]), dtype=np.float32) * np.float32(0.4 / keys.shape[1] ** 0.5)
    made = share * keys[first] + (1 - share) * keys[second] + noise
    return np.concatenate([keys, made / np.linalg.norm(made, axis=1, keepdims=True)])


class Prepared:
    """An encoder whose passages' keys are at hand."""

    def __init__(self, real: Encoder, keys: dict[str, Any]) -> None:
        self.real, self.keys = real, keys
        self.name, self.dimension, self.max_tokens = real.name, real.dimension, real.max_tokens
        self.fingerprint = real.fingerprint

    def encode_passages(self, texts: Sequence[str], *, progress: Progress = silent) -> Keys:  # noqa: ARG002
        return np.stack([self.keys[text] for text in texts])

    def encode_questions(self, texts: Sequence[str]) -> Keys:
        return self.real.encode_questions(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [0] * len(texts)


def percentiles(calls: Sequence[Callable[[], Any]], prefix: str = "") -> dict[str, float]:
    times = []
    for call in calls:
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return {f"{prefix}p50 ms": float(np.percentile(times, 50)), f"{prefix}p95 ms": float(np.percentile(times, 95))}


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def build(path: Path, texts: list[str], keys: Keys, encoder: Encoder) -> float:
    """Seconds that storing took beside encoding."""
    from memptm import Document, Memory

    prepared = Prepared(encoder, dict(zip(texts, keys, strict=True)))
    began = time.perf_counter()
    memory = Memory.open(path, create=True, encoder=prepared)
    memory.add([Document(text=text) for text in texts], words=100_000, overlap=0)
    return time.perf_counter() - began


def search(path: Path, questions: list[str], mode: Mode, send: Any) -> None:
    """In a process of its own: search times without encoding, what memory they took, and the FAISS kind."""
    from memptm import Memory
    from memptm.encoders.load import load_encoder

    real = load_encoder(None)
    queries = dict(zip(questions, real.encode_questions(questions), strict=True))
    encoding = percentiles([partial(real.encode_questions, [one]) for one in questions], "encode ")

    class Known(Prepared):
        def encode_questions(self, texts: Sequence[str]) -> Keys:
            return np.stack([queries[text] for text in texts])

    memory = Memory.open(path, encoder=Known(real, {}))
    before = resident_mb()
    began = time.perf_counter()
    memory.search(questions[0], mode=mode)
    first = 1000 * (time.perf_counter() - began)
    memory.search(questions[1], mode=mode)
    times = percentiles([partial(memory.search, one, mode=mode) for one in questions])
    info = memory.info()
    send.send(
        {
            "keys": info["keys"],
            "disk MB": info["bytes"] / 1e6,
            "first ms": first,
            **times,
            **encoding,
            "memory MB": resident_mb() - before,
        }
    )


def measure_memory(runs: Runs, texts: list[str], keys: Keys, questions: list[str], encoder: Encoder) -> None:
    for size in SIZES:
        wanted = [{"passages": size, "mode": mode} for mode in MODES]
        if all(runs.done(settings) for settings in wanted):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index"
            made = [texts[n % len(texts)] + (f" Copy {n}." if n >= len(texts) else "") for n in range(size)]
            seconds = build(path, made, spread(keys, size=size), encoder)
            for settings in wanted:
                receive, send = multiprocessing.get_context("spawn").Pipe()
                arguments = (path, questions, settings["mode"], send)
                process = multiprocessing.get_context("spawn").Process(target=search, args=arguments)
                process.start()
                metrics = receive.recv()
                process.join()
                runs.append(settings, metrics={**metrics, "store ms a passage": 1000 * seconds / size})


def made_index(keys: Keys, *, kind: str, probes: int) -> Any:
    """A FAISS index over ``keys``; ``probes`` is the number of cells searched, or HNSW's efSearch."""
    import faiss

    size, dimension = keys.shape
    index: Any
    if kind == "flat":
        index = faiss.IndexFlatIP(dimension)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 100, probes
    else:
        cells = int(2 * np.sqrt(size))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, cells, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = probes
        index.train(keys[np.random.default_rng(0).choice(size, min(size, 40 * cells), replace=False)])
    index.add(keys)
    return index


def measure_kinds(runs: Runs, keys: Keys, queries: Keys) -> None:
    import faiss

    for size in KIND_SIZES:
        wanted = [{"passages": size, "probes": 0, **kind} for kind in KINDS]
        if all(runs.done(settings) for settings in wanted):
            continue
        stored = spread(keys, size=size)
        exact = np.argsort(-(queries @ stored.T), axis=1)[:, :10]
        for settings in wanted:
            if runs.done(settings):
                continue
            began = time.perf_counter()
            faiss.omp_set_num_threads(os.cpu_count() or 1)
            index = made_index(stored, kind=settings["kind"], probes=settings["probes"])
            seconds = time.perf_counter() - began
            faiss.omp_set_num_threads(1)
            found = np.concatenate([index.search(query[None], 10)[1] for query in queries])
            recall = np.mean([len({*ours} & {*right}) / 10 for ours, right in zip(found, exact, strict=True)])
            times = percentiles([partial(index.search, one[None], 10) for one in queries])
            runs.append(settings, metrics={"build s": seconds, **times, "recall@10": float(recall)})


@click.command()
@click.option("--corpus", required=True, type=click.Path(exists=True, path_type=Path), help='JSONL with "text".')
@click.option("--questions", required=True, type=click.Path(exists=True, path_type=Path), help='JSONL with "question".')
@click.option("--out", default=RESULTS, type=click.Path(path_type=Path), help="Where the logs go.")
def main(corpus: Path, questions: Path, out: Path) -> None:
    from memptm.encoders.load import load_encoder

    encoder = load_encoder(None)
    texts, asked = rows(corpus, "text", REAL), rows(questions, "question", QUESTIONS)
    keys, queries = encoder.encode_passages(texts), encoder.encode_questions(asked)
    kinds, searches = Runs(out / "search_kinds.jsonl"), Runs(out / "search.jsonl")
    measure_kinds(kinds, keys, queries)
    click.echo(kinds.table())
    measure_memory(searches, texts, keys, asked, encoder)
    click.echo(searches.table())


if __name__ == "__main__":
    main()
