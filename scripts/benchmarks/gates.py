"""How far the gates of the recurrent encoder's memory stand open, by layer and head, on conversations and on stories."""

from __future__ import annotations

from pathlib import Path

import click
import matplotlib as mpl
import torch
from torch import Tensor

from memptm.encoders.load import load_encoder
from memptm.encoders.recurrent import RecurrentEncoder
from memptm.encoders.recurrent_bert import Piece
from scripts.benchmarks.encoder import TASKS, Task
from scripts.runs import RESULTS, Runs

ASSETS = Path(__file__).resolve().parents[2] / "docs" / "assets"
PASSAGES = 200  # of each kind of text


@torch.inference_mode()
def openness(encoder: RecurrentEncoder, task: Task) -> Tensor:
    """(layers, heads): the mean of |tanh| over the tokens of passages that have others before them."""
    model = encoder.model(bulk=False)
    found: list[list[Tensor]] = [[] for _ in model.memories()]
    hooks = [
        path.gate.register_forward_hook(lambda _, __, out, kept=kept: kept.append(out.float().tanh().abs()))
        for path, kept in zip(model.memories(), found, strict=True)
    ]
    for document in task.documents:
        rows = encoder.alone.token_ids(list(document))[:PASSAGES]
        model([Piece(rows, kept=False)])
        if sum(len(one) for one in found[0]) >= PASSAGES:
            break
    for hook in hooks:
        hook.remove()
    return torch.stack([torch.cat([one.flatten(0, 1) for one in kept]).mean(0) for kept in found])


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--encoder", "name", default="memptm-recurrent")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(data: Path, name: str, out: Path) -> None:
    """Write OUT/gates.jsonl and OUT/gates.png."""
    mpl.use("Agg")
    from matplotlib import pyplot

    encoder = load_encoder(name)
    if not isinstance(encoder, RecurrentEncoder):
        raise click.ClickException(f"{name} has no memory.")
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 2.6), sharey=True)
    results = Runs(out / "gates.jsonl")
    for axis, kind in zip(axes, ("LoCoMo", "stories"), strict=True):
        gates = openness(encoder, TASKS[kind](data))
        below = encoder.alone.layers - len(gates)
        image = axis.imshow(gates, vmin=0, vmax=max(0.5, float(gates.max())), cmap="Blues", aspect="auto")
        axis.set_title(kind)
        axis.set_xlabel("head")
        axis.set_yticks(range(len(gates)), [str(below + n + 1) for n in range(len(gates))])
        for n, layer in enumerate(gates):
            for head, value in enumerate(layer.tolist()):
                axis.text(head, n, f"{value:.2f}", ha="center", va="center", fontsize=6)
            spread = {
                "mean": float(layer.mean()),
                "least open head": float(layer.min()),
                "widest open head": float(layer.max()),
            }
            results.append({"texts": kind, "layer": below + n + 1}, 0, spread)
    axes[0].set_ylabel("layer")
    figure.colorbar(image, ax=axes, label="mean |gate|")
    figure.savefig(ASSETS / "gates.png", dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main()
