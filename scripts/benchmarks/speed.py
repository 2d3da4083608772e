"""Ingest and a dense query beside the floor anyone can write: sentence-transformers' encode and a flat FAISS index.

Both use the packaged encoder, on the same passages, alternating in one process: the ratios stand, the absolute figures
depend on the machine. Also: the cosine of memptm's keys (bfloat16 products where they are faster) to float32's.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from memptm.encoders.load import BASE
from memptm.encoders.precision import bulk_precision
from memptm.memory.memory import Memory
from memptm.models import resolve
from memptm.types import Document, Json
from scripts.data.held_out import rows
from scripts.runs import RESULTS, Runs


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--passages", default=1500)
@click.option("--rounds", default=3)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, passages: int, rounds: int, out: Path) -> None:
    """Append a run a round to OUT/speed.jsonl."""
    import faiss
    from sentence_transformers import SentenceTransformer

    texts = [row["text"] for row in rows(data / "wiki2hop_corpus.jsonl")[:passages]]
    questions = [row["question"] for row in rows(data / "squad_subset.jsonl")[:200]]
    plain = SentenceTransformer(str(resolve(BASE)))
    plain.encode(texts[:32])
    Memory.open(Path(tempfile.mkdtemp()) / "warm", create=True, encoder=BASE).add(
        [Document(text=text) for text in texts[:32]]
    )
    runs = Runs(out / "speed.jsonl")
    for number in range(rounds):
        began = time.perf_counter()
        keys = plain.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        index = faiss.IndexFlatIP(keys.shape[1])
        index.add(keys)
        floor = time.perf_counter() - began
        memory = Memory.open(Path(tempfile.mkdtemp()) / "index", create=True, encoder=BASE)
        began = time.perf_counter()
        memory.add([Document(text=text) for text in texts])
        ours = time.perf_counter() - began
        times: dict[str, list[float]] = {"floor": [], "memptm": [], "hybrid": []}
        same = []
        for question in questions:
            began = time.perf_counter()
            _, ids = index.search(plain.encode([question], normalize_embeddings=True, show_progress_bar=False), 5)
            middle = time.perf_counter()
            hits = memory.search(question, k=5, mode="dense")
            end = time.perf_counter()
            memory.search(question, k=5)
            times["floor"].append(middle - began)
            times["memptm"].append(end - middle)
            times["hybrid"].append(time.perf_counter() - end)
            same.append(len({texts[i] for i in ids[0]} & {hit.passage.text for hit in hits}) / 5)
        median = {name: 1000 * statistics.median(spent) for name, spent in times.items()}
        cosine = (memory.encoder.encode_passages(texts[:500]) * keys[:500]).sum(1)
        metrics: Json = {
            "floor passages/s": round(len(texts) / floor, 1),
            "memptm passages/s": round(len(texts) / ours, 1),
            "ingest ratio": round(floor / ours, 2),
            "floor query ms": round(median["floor"], 2),
            "memptm query ms": round(median["memptm"], 2),
            "p95 ms": round(1000 * float(np.percentile(times["memptm"], 95)), 2),
            "hybrid query ms": round(median["hybrid"], 2),
            "query ratio": round(median["memptm"] / median["floor"], 2),
            "same top five %": round(100 * statistics.fmean(same), 1),
            "mean cosine": f"{cosine.mean():.5f}",
        }
        click.echo(metrics)
        runs.append({"passages": len(texts), "arithmetic": bulk_precision()}, number, metrics)


if __name__ == "__main__":
    main()
