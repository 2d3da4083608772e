"""How a question is asked on the command line: one set of options for query, eval, chat and read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from memptm.answering.options import GRAPHS, METHODS, SPANS, AskOptions
from memptm.cli.options import MANY, Renamed, mode_option, name_option, query_encoder_option, where_option, whole
from memptm.cli.progress import drawn
from memptm.errors import InputError
from memptm.pipeline import QA

GENERATOR = "A Hugging Face model, by name or folder; SmolLM2-135M-Instruct with memptm's adapter if not given."
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What the options say.

    Attributes:
        options: how questions are asked.
        recall: as given; of ``read`` None where neither --recall nor --no-recall was.
        query_encoder, reader, generator: names or folders of models; None is the index's own, or the packaged one.
        datastore: of tokens, which a generator writes with.
    """

    options: AskOptions
    recall: bool | None = None
    query_encoder: str | None = None
    reader: str | None = None
    generator: str | None = None
    datastore: Path | None = None

    def check(self) -> None:
        """Look at what is named before anything is loaded.

        Raises:
            InputError: something is given that nothing would ask. ModelMissing: a model is not there.
        """
        method, judge = self.options.method, self.options.judge
        if self.generator is not None and method in SPANS:
            raise InputError(
                f"--generator writes answers, and --method {method} finds them. Give --method generate with it."
            )
        if self.datastore is not None and method in SPANS:
            raise InputError("--datastore changes what a generator writes. Give --method generate with it.")
        if self.options.pages is not None and method not in GRAPHS:
            raise InputError("--pages is of the cognitive graph. Give --method graph with it.")
        if judge is not None and not self.recall:
            raise InputError("--judge picks what --recall reads. Give both, or neither.")
        if self.reader is not None:
            from memptm.generation.reader import Reader

            Reader.load(self.reader)
        if self.generator is not None:
            from memptm.models import resolve

            resolve(self.generator)
        if isinstance(judge, str):
            from memptm.selection.load import load_block_scorer

            load_block_scorer(judge)

    def qa(self, index: Path | None, *, as_json: bool) -> tuple[QA, str]:
        """What answers, and what to say about its datastore; a generator's loading can take a while and is shown."""
        from memptm.memory.memory import Memory

        memory = None if index is None else Memory.open(index, encoder=self.query_encoder)
        if self.options.method in SPANS:
            qa = QA(memory, reader=self.reader)
        else:
            from memptm.generation.generator import Generator

            with drawn(hidden=as_json) as progress:
                made = Generator.load(self.generator, progress=progress)
            qa = QA(memory, reader=self.reader, generator=made)
        qa.options = self.options
        if self.datastore is None:
            return qa, ""
        from memptm.generation.knn import attach

        return qa, attach(qa.generator, self.datastore, memory)


def asking_options(*, indexed: bool = True) -> Callable[[Function], Function]:
    """The options of a question; the command takes them as ``asking``, checked.

    Args:
        indexed: False for a text in hand, which is not searched: what is of an index is left out.
    """

    def decorate(command: Function) -> Function:
        @functools.wraps(command)
        def wrapper(
            *args: Any,
            query_encoder: str | None = None,
            reader: str | None,
            generator: str | None,
            datastore: Path | None,
            recall: bool | None,
            **given: Any,
        ) -> Any:
            names = AskOptions.__dataclass_fields__
            chosen = {name: given.pop(name) for name in list(given) if name in names}
            options = AskOptions(**chosen, recall=bool(recall) and indexed)
            asking = Asking(
                options=options,
                recall=True if recall is None and not indexed and options.judge is not None else recall,
                query_encoder=query_encoder,
                reader=reader,
                generator=generator,
                datastore=datastore,
            )
            asking.check()
            return command(*args, asking=asking, **given)

        wrapped: Any = wrapper
        for option in reversed(_INDEXED if indexed else _IN_HAND):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[no-any-return]

    return decorate


def _method_option(methods: tuple[str, ...], help: str) -> Callable[[Function], Function]:
    return click.option("--method", default="reader", show_default=True, type=click.Choice(methods), help=help)


def _k_option(help: str) -> Callable[[Function], Function]:
    return click.option("-k", default=5, show_default=True, type=whole(most=MANY), help=help)


_MODELS = [
    name_option("--reader", metavar="DIR", help="A reader's folder; the packaged reader if not given."),
    name_option("--generator", metavar="NAME", help=GENERATOR),
    click.option(
        "--datastore",
        "--tokens",
        "datastore",
        cls=Renamed,
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        help="A datastore made by memptm tokens, which the generator writes with.",
    ),
]
_INDEXED: list[Callable[[Any], Any]] = [
    _k_option("Passages to read; with --method graph, those that the search begins at."),
    _method_option(
        METHODS,
        "reader: the span in the passages that answers; generate: an answer written from all of them; rag-sequence, rag-token: written from each apart, and summed over them; graph: from passage to passage over several hops; auto: graph where the reader alone seems not to be enough.",
    ),
    mode_option,
    where_option,
    query_encoder_option,
    *_MODELS,
    click.option(
        "--recall",
        is_flag=True,
        help="Search more passages, and read the blocks of them that a judge picks (MemRecall).",
    ),
    name_option(
        "--judge",
        metavar="NAME",
        help="Of --recall: a folder (train recall), embedding or bm25; the packaged judge if not given.",
    ),
    click.option(
        "--pages",
        "--nodes",
        "--budget",
        "pages",
        cls=Renamed,
        metavar="N",
        type=whole(),
        help="Pages that --method graph may read; 12 if not given.",
    ),
]
_IN_HAND: list[Callable[[Any], Any]] = [
    _k_option("Passages that a generator reads, without --recall."),
    _method_option(
        tuple(method for method in METHODS if method not in GRAPHS),
        "reader: the span that answers; the others write an answer, from the blocks that --recall picks, and without it from the nearest passages.",
    ),
    *_MODELS,
    click.option(
        "--recall/--no-recall",
        default=None,
        help="Read the blocks that a judge picks (MemRecall), or everything in overlapping windows; without either, a judge's where --judge names one.",
    ),
    name_option(
        "--judge",
        metavar="NAME",
        help="What picks the blocks: a folder (train recall), embedding or bm25; the packaged judge if not given.",
    ),
]
