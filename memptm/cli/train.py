"""``memptm train``: each recipe of memptm.training as a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from memptm.cli import render
from memptm.cli.group import Group, index_option, json_option
from memptm.cli.options import MANY, name_option, place_option, whole
from memptm.cli.progress import drawn

Result = dict[str, Any] | None
Command = TypeVar("Command", bound=Callable[..., Any])

data_argument = click.argument(
    "data",
    metavar="DATA.jsonl...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
out_option = place_option("--out", required=True, metavar="DIR", help="Folder for the weights.")


def held_out_of(what: str) -> Callable[[Command], Command]:
    """The option that names files of rows, or of text, to measure on."""
    return click.option(
        "--held-out",
        metavar="FILE",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"{what} to measure on at the end; may be given more than once.",
    )


def start_option(what: str, *, metavar: str = "NAME", older: str = "") -> Callable[[Command], Command]:
    """The option that names the weights a run begins with; ``older`` is what it was called before, still taken, and not in the help."""
    return name_option("--start", older=older, metavar=metavar, help=what)


held_out_option = held_out_of("Rows")
steps_option = click.option("--steps", type=whole(most=MANY), help="Stop after so many steps.")
seed_option = click.option(
    "--seed", default=0, show_default=True, type=whole(0, 2**32 - 1), help="Of every random choice."
)


def epochs_option(default: int) -> Callable[[Command], Command]:
    """How often the data is gone through; ``default`` is the recipe's."""
    return click.option(
        "--epochs", type=whole(most=MANY), default=default, show_default=True, help="Times through the data."
    )


def learning_rate_option(default: float) -> Callable[[Command], Command]:
    """How fast the encoder learns; ``default`` is the recipe's."""
    return click.option(
        "--learning-rate",
        type=click.FloatRange(min=0, min_open=True, max=1),
        default=default,
        show_default=True,
        help="The encoder's; lower it where training goes astray.",
    )


@click.group(cls=Group, short_help="Train a reader, a generator, a retriever or a language model.")
def train() -> None:
    """Train a reader, a generator or a retriever on your own questions, or a language model on your texts."""


@train.command()
@data_argument
@out_option
@start_option("A reader to start from, by folder; the pre-trained BERT if not given.", metavar="DIR")
@epochs_option(3)
@steps_option
@seed_option
@json_option
def reader(
    data: tuple[Path, ...],
    out: Path,
    start: str | None,
    epochs: int,
    steps: int | None,
    seed: int,
    as_json: bool,
) -> Result:
    """Train a span reader.

    A line of DATA.jsonl is {"question", "context", "answers": [...], "title"?}. No answers: the context does not hold
    one, and the reader learns to say so. Run again with the same --out, it goes on where it stopped.
    """
    from memptm.training.recipes.reader import ReaderRecipe, train_reader

    recipe = ReaderRecipe(epochs=epochs, seed=seed, steps=steps)
    with drawn(hidden=as_json) as progress:
        result = train_reader(data, out, start=start, recipe=recipe, progress=progress)
    return report(result, out, as_json)


@train.command()
@data_argument
@out_option
@start_option("The model to adapt, by name or folder; SmolLM2-135M-Instruct if not given.", older="--base")
@held_out_option
@epochs_option(1)
@steps_option
@seed_option
@json_option
def generator(
    data: tuple[Path, ...],
    out: Path,
    start: str | None,
    held_out: tuple[Path, ...],
    epochs: int,
    steps: int | None,
    seed: int,
    as_json: bool,
) -> Result:
    """Train a LoRA adapter of a generator.

    A line of DATA.jsonl is {"question", "context", "answers": [...], "title"?}, with short answers. No answers: the
    context does not hold one, and the model learns to say so. Run again with the same --out, it goes on where it stopped.
    """
    from memptm.training.recipes.generator import GeneratorRecipe, train_generator

    recipe = GeneratorRecipe(epochs=epochs, seed=seed, steps=steps)
    with drawn(hidden=as_json) as progress:
        result = train_generator(data, out, start=start, held_out=held_out, recipe=recipe, progress=progress)
    return report(result, out, as_json)


@train.command()
@data_argument
@out_option
@index_option
@click.option(
    "--loss",
    "losses",
    multiple=True,
    type=click.Choice(["contrast", "perplexity", "emdr2", "marginal"]),
    help="contrast (default): known passages against all others. perplexity, emdr2: what the generator, left as it is, "
    "answers best from. marginal: RAG, the generator learns with it. May be given more than once: the sum counts.",
)
@start_option(
    "A trained encoder of this index to start from; the index's own if not given.", metavar="DIR", older="--encoder"
)
@name_option(
    "--generator",
    metavar="NAME",
    help="A causal or encoder–decoder model, or an adapter's folder; SmolLM2-135M-Instruct with memptm's adapter if not given.",
)
@click.option("--token", is_flag=True, help="With --loss marginal: RAG-Token instead of RAG-Sequence.")
@click.option("-k", type=whole(), default=5, show_default=True, help="Passages that the generator reads.")
@click.option("--batch", type=whole(), default=64, show_default=True, help="Questions a step.")
@click.option("--judged", type=whole(), default=4, show_default=True, help="Of these, how many it reads for.")
@learning_rate_option(5e-5)
@held_out_option
@epochs_option(4)
@steps_option
@seed_option
@json_option
def rag(
    data: tuple[Path, ...],
    out: Path,
    index: Path,
    losses: tuple[Any, ...],
    start: str | None,
    generator: str | None,
    token: bool,
    k: int,
    batch: int,
    judged: int,
    learning_rate: float,
    held_out: tuple[Path, ...],
    epochs: int,
    steps: int | None,
    seed: int,
    as_json: bool,
) -> Result:
    """Train the retriever of an index, and with it the generator.

    A line of DATA.jsonl is {"question", "answers": [...], "context"?}: a context that is in the index names the right
    passage. The index is left as it is; the encoder made reads questions: search, query and eval take it by --encoder
    OUT/encoder. Run again with the same --out, it goes on where it stopped.
    """
    from memptm.memory.memory import Memory
    from memptm.training.recipes.rag import RagRecipe, train_rag

    recipe = RagRecipe(
        losses=losses or ("contrast",), token=token, k=k, batch=batch, judged=judged, learning_rate=learning_rate,
        epochs=epochs, steps=steps, seed=seed,
    )  # fmt: skip
    memory = Memory.open(index, encoder=start)
    with drawn(hidden=as_json) as progress:
        result = train_rag(data, memory, out, generator=generator, held_out=held_out, recipe=recipe, progress=progress)
    if not as_json:
        render.table(result.pop("telemetry"))
        render.note(result.pop("warning"))
    return report(result, out, as_json)


@train.command()
@click.argument(
    "data", metavar="[DATA.jsonl...]", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@out_option
@index_option
@click.option(
    "--phase",
    "phases",
    multiple=True,
    type=click.Choice(["ict", "masked", "questions", "joint"]),
    help="Only this phase, or these. ict: sentences find their passages. masked: names and dates hidden in sentences are "
    "filled in from passages found. questions: questions find the passages that answer them. joint: the reader and the "
    "retriever under one score. The last two need DATA.",
)
@start_option("A reader for phase joint to start from; the packaged one if not given.", metavar="DIR", older="--reader")
@click.option(
    "--masks",
    type=click.Choice(["salient", "random"]),
    default="salient",
    show_default=True,
    help="What is hidden: names and dates, or any words.",
)
@click.option("--no-null", is_flag=True, help="Without the null document: a passage must be read.")
@click.option("--same-document", is_flag=True, help="Passages of a sentence's own document may be read for it.")
@click.option("-k", type=whole(2), default=8, show_default=True, help="Documents read for each.")
@click.option("--pairs", type=whole(2), default=16, show_default=True, help="A step's pairs (ict, questions).")
@click.option("--hard", type=whole(0), default=3, show_default=True, help="Hard negatives of a pair.")
@click.option("--batch", type=whole(), default=8, show_default=True, help="A step's sentences or questions.")
@click.option(
    "--refresh-every",
    type=whole(0, MANY),
    default=100,
    show_default=True,
    help="Steps between two refreshes of the keys; 0: never.",
)
@learning_rate_option(3e-5)
@held_out_option
@click.option(
    "--epochs",
    type=whole(most=MANY),
    default=1,
    show_default=True,
    help="Times through the questions in phase questions; the other phases go once through their rows.",
)
@click.option(
    "--steps",
    type=whole(most=MANY),
    help="Stop each phase after so many steps; ict and masked end after 500 if not given.",
)
@seed_option
@json_option
def realm(
    data: tuple[Path, ...],
    out: Path,
    index: Path,
    phases: tuple[Any, ...],
    start: str | None,
    masks: Any,
    no_null: bool,
    same_document: bool,
    k: int,
    pairs: int,
    hard: int,
    batch: int,
    refresh_every: int,
    learning_rate: float,
    held_out: tuple[Path, ...],
    epochs: int,
    steps: int | None,
    seed: int,
    as_json: bool,
) -> Result:
    """Train an encoder over an index, and a reader with it.

    Without DATA it learns from the index alone. A line of DATA.jsonl is {"question", "answers": [...], "context"?}: a
    context that is in the index names the right passage. OUT/index is the same passages under the new encoder, to be
    queried like any other. Run again with the same --out, it goes on where it stopped.
    """
    from memptm.memory.memory import Memory
    from memptm.training.recipes.realm import RealmRecipe, train_realm

    recipe = RealmRecipe(
        masks=masks, null=not no_null, same_document=same_document, k=k, pairs=pairs, hard=hard, batch=batch,
        refresh_every=refresh_every, learning_rate=learning_rate, epochs=epochs, steps=steps, seed=seed,
    )  # fmt: skip
    recipe = replace(recipe, phases=phases or recipe.phases)
    with drawn(hidden=as_json) as progress:
        result = train_realm(
            data, Memory.open(index), out, start=start, held_out=held_out, recipe=recipe, progress=progress
        )
    if not as_json:
        render.phases(result.pop("phases"))
    return report(result, out, as_json)


@train.command()
@click.argument("data", metavar="[TEXT...]", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@out_option
@click.option("--index", metavar="DIR", type=click.Path(path_type=Path), help="An index whose documents are read, too.")
@click.option(
    "--vocabulary",
    type=click.Choice(["word", "bpe"]),
    default="bpe",
    show_default=True,
    help="Whole words, with an adaptive softmax, or parts of words.",
)
@click.option("--size", type=whole(300, MANY), default=8000, show_default=True, help="Tokens it knows, at most.")
@click.option("--width", type=whole(8), default=256, show_default=True, help="Numbers in a state of the model.")
@click.option("--layers", type=whole(most=1000), default=6, show_default=True, help="Layers of the model.")
@click.option("--memory", type=whole(0, MANY), default=128, show_default=True, help="States a layer keeps.")
@click.option(
    "--external",
    type=whole(0, MANY),
    default=0,
    show_default=True,
    help="Tokens of external memory, of which a layer reads the nearest; 0: none.",
)
@click.option("--segment", type=whole(), default=128, show_default=True, help="Tokens of a step and stream.")
@click.option("--batch", type=whole(), default=16, show_default=True, help="Streams read side by side.")
@held_out_of("Text")
@click.option(
    "--at-memory",
    "memories",
    type=whole(0, MANY),
    multiple=True,
    help="Measure the held-out text with so much memory; repeatable.",
)
@epochs_option(1)
@steps_option
@seed_option
@json_option
def lm(
    data: tuple[Path, ...],
    out: Path,
    index: Path | None,
    vocabulary: Any,
    size: int,
    width: int,
    layers: int,
    memory: int,
    external: int,
    segment: int,
    batch: int,
    held_out: tuple[Path, ...],
    memories: tuple[int, ...],
    epochs: int,
    steps: int | None,
    seed: int,
    as_json: bool,
) -> Result:
    """Train a Transformer-XL on text.

    TEXT is UTF-8, a document a file. Each stream is read in order, and the memory goes from segment to segment. Run again
    with the same --out, it goes on where it stopped.
    """
    from memptm.training.recipes.language_model import LanguageModelRecipe, sizes, train_language_model

    recipe = LanguageModelRecipe(
        model=sizes(
            width=width, layers=layers, memory=memory, words=size if vocabulary == "word" else 0, external=external > 0
        ),
        vocabulary=vocabulary, size=size, rows=batch, segment=segment, external=external, epochs=epochs,
        steps=steps, seed=seed,
    )  # fmt: skip
    with drawn(hidden=as_json) as progress:
        result = train_language_model(
            data, out, index=index, recipe=recipe, held_out=held_out, memories=memories, progress=progress
        )
    if not as_json:
        render.table(result.pop("telemetry"))
        render.table(result.pop("held_out", []))
    return report(result, out, as_json)


def report(result: dict[str, Any], out: Path, as_json: bool) -> Result:
    """What a recipe gave, for the user or as JSON."""
    if not as_json:
        render.note(result.pop("note", ""))
        render.info({**result, "out": str(out)})
    return result
