"""kNN-LM: perplexity on WikiText-2's test part with a datastore of its validation part, and without; tokens a second.

λ, temperature and gate are fitted to the end of the validation part, which the datastore leaves out.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import click
import torch

from memptm.evaluation.metrics import bootstrap
from memptm.generation.generator import DEFAULT, Generator
from memptm.generation.knn import Gate, Neighbours, Surprise, fit_gate, read_states, surprise
from memptm.memory.tokens import TokenStore
from memptm.types import Json
from memptm.working.state_files import fingerprint
from scripts.runs import RESULTS, Runs

FITTED = 8_000  # tokens at the end of the validation part
BLOCK = 256  # tokens that a bootstrap draws together


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--folder", type=click.Path(path_type=Path), default=Path("runs/knn"), help="For the datastore.")
@click.option("--generator", "name", default=DEFAULT)
@click.option("--stored", default=100_000, help="Tokens of the validation part in the datastore.")
@click.option("--tested", default=20_000, help="Tokens of the test part.")
@click.option("--dimension", default=128, help="Of the keys.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, folder: Path, name: str, stored: int, tested: int, dimension: int, out: Path) -> None:
    """Write OUT/knn.jsonl."""
    generator = Generator.load(name)
    valid = generator.writer.text_ids((data / "wikitext2_valid.txt").read_text(encoding="utf-8"))
    test = generator.writer.text_ids((data / "wikitext2_test.txt").read_text(encoding="utf-8"))[: tested + 1]
    model = generator.language_model
    kept, fitted = valid[:-FITTED][:stored], valid[-FITTED:]
    made = folder / f"{len(kept)}-{dimension}"
    if not (made / "about.json").is_file():
        pairs = ((states, followed) for states, followed, _ in read_states(model, [kept]))
        store = TokenStore.build(pairs, model=name, fingerprint=fingerprint(model.model), dimension=dimension)
        store.save(made)
    neighbours = Neighbours(TokenStore.load(made), generator)
    to_fit = surprise(neighbours, model, [fitted])
    began = time.perf_counter()
    for _ in read_states(model, [test]):
        pass
    alone = time.perf_counter() - began
    began = time.perf_counter()
    read = surprise(neighbours, model, [test])
    beside = time.perf_counter() - began
    results = Runs(out / "knn.jsonl")
    for label, gate in (
        ("model alone", None),
        ("constant λ", fit_gate(to_fit, constant=True)),
        ("gate", fit_gate(to_fit)),
    ):
        log_p = read.model if gate is None else read.log_p(gate)
        rate = len(test) / (alone if gate is None else beside)
        metrics: Json = {
            "tokens": len(log_p),
            "perplexity": interval(log_p),
            "ratio to the model": ratio(read, gate),
            "tokens/s read": round(rate),
            "bytes a token": round(sum(path.stat().st_size for path in made.iterdir()) / len(kept)),
        }
        click.echo(f"{label}: {metrics} {gate}")
        results.append({"method": label, "stored tokens": len(kept), "dimension": dimension}, 0, metrics)


def interval(log_p: torch.Tensor) -> str:
    """Perplexity with its 95 % interval, a bootstrap over blocks."""
    low, high = bootstrap(log_p.tolist(), groups=blocks(len(log_p)))
    return f"{math.exp(-float(log_p.mean())):.2f} ({math.exp(-high):.2f}–{math.exp(-low):.2f})"


def ratio(read: Surprise, gate: Gate | None) -> str:
    """Perplexity over the model's own, token by token on the same text."""
    if gate is None:
        return "1"
    gain = read.log_p(gate) - read.model
    low, high = bootstrap(gain.tolist(), groups=blocks(len(gain)))
    return f"{math.exp(-float(gain.mean())):.3f} ({math.exp(-high):.3f}–{math.exp(-low):.3f})"


def blocks(count: int) -> list[str]:
    """The block of each token."""
    return [str(n // BLOCK) for n in range(count)]


if __name__ == "__main__":
    main()
