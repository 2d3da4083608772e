"""``memptm train encoder``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from memptm.cli import render
from memptm.cli.group import Command, index_option, json_option
from memptm.cli.options import MANY, whole
from memptm.cli.progress import drawn
from memptm.cli.train import Result, held_out_option, out_option, report, seed_option


@click.command(cls=Command, short_help="Train an encoder for an index, with a memory.")
@click.argument(
    "data", metavar="[DATA.jsonl...]", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@out_option
@index_option
@click.option(
    "--phase",
    "phases",
    multiple=True,
    type=click.Choice(["adapt", "memory"]),
    help="Only this phase. adapt: questions find the passages that answer them; needs DATA. memory: a passage's key learns to "
    "know the passages before it.",
)
@click.option("--rank", type=whole(), default=16, show_default=True, help="Rank of the updates (LoRA).")
@click.option("--pairs", type=whole(2), default=16, show_default=True, help="Questions of a step (adapt).")
@click.option("--hard", type=whole(0), default=3, show_default=True, help="Hard negatives of a question.")
@click.option(
    "--layers", type=whole(), default=2, show_default=True, help="Layers that have a memory, counted from the top."
)
@click.option(
    "--passages",
    type=whole(0),
    default=2,
    show_default=True,
    help="Passages that a layer reads back; 0: a passage reads itself instead, the control of what memory is worth.",
)
@click.option(
    "--tokens", type=whole(16, MANY), default=2400, show_default=True, help="Tokens of a step, about (memory)."
)
@click.option(
    "--follow-ups",
    metavar="FILE",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Questions in conversations, a line {"history": [...], "question", "rewrite"}; may be given more than once.',
)
@held_out_option
@click.option(
    "--steps",
    type=whole(most=MANY),
    help="Stop each phase after so many; adapt goes once through DATA and memory ends after 300 if not given.",
)
@seed_option
@json_option
def encoder(
    data: tuple[Path, ...],
    out: Path,
    index: Path,
    phases: tuple[Any, ...],
    rank: int,
    pairs: int,
    hard: int,
    layers: int,
    passages: int,
    tokens: int,
    follow_ups: tuple[Path, ...],
    held_out: tuple[Path, ...],
    steps: int | None,
    seed: int,
    as_json: bool,
) -> Result:
    """Train an encoder for an index: adapted to its questions, with a memory of the passages before.

    A line of DATA.jsonl is {"question", "answers": [...], "context"?}: a context that is in the index names the right
    passage. Without DATA the memory alone learns, from the documents of the index. OUT/encoder is a few megabytes beside the
    encoder that the index has; OUT/index is the same passages under it. Run again with the same --out, it goes on where it
    stopped.
    """
    from memptm.encoders.adapted import MemorySizes
    from memptm.memory.memory import Memory
    from memptm.training.recipes.encoder import EncoderRecipe, train_encoder

    recipe = EncoderRecipe(
        rank=rank, pairs=pairs, hard=hard, memory=MemorySizes(layers=layers, passages=passages), tokens=tokens,
        steps=steps, seed=seed,
    )  # fmt: skip
    recipe = replace(recipe, phases=phases or recipe.phases, memory_steps=steps or recipe.memory_steps)
    with drawn(hidden=as_json) as progress:
        result = train_encoder(
            data, Memory.open(index), out, recipe=recipe, follow_ups=follow_ups, held_out=held_out, progress=progress
        )
    if not as_json:
        render.phases(result.pop("phases"))
    return report(result, out, as_json)
