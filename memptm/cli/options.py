"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

from memptm.pipeline import METHODS

k_option = click.option("-k", default=5, show_default=True, type=click.IntRange(min=1), help="Passages to use.")
where_option = click.option("--where", metavar="EXPR", help="Only passages that match, as in \"kind = 'fern'\".")
method_option = click.option(
    "--method",
    default="reader",
    show_default=True,
    type=click.Choice(METHODS),
    help="reader: the span in the passages that answers; generate: an answer written from all of them; rag-sequence, rag-token: written from each apart, and summed over them; graph: from passage to passage over several hops; auto: graph where the reader alone seems not to be enough.",
)
mode_option = click.option(
    "--mode",
    default="hybrid",
    show_default=True,
    type=click.Choice(["dense", "lexical", "hybrid"]),
    help="Search by meaning (dense), by words (lexical), or by both.",
)
reader_option = click.option("--reader", metavar="NAME", help="A reader's folder.")
tokens_option = click.option(
    "--tokens",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="A datastore made by memptm tokens.",
)
encoder_option = click.option("--encoder", metavar="DIR", help="An encoder trained for this index (train rag).")
session_option = click.option(
    "--session",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A conversation that the question goes on, kept in FILE.",
)
generator_option = click.option("--generator", metavar="NAME", help="A Hugging Face model, by name or folder.")
recall_option = click.option(
    "--recall",
    is_flag=True,
    help="Search more passages, and read the blocks of them that a judge picks (MemRecall).",
)
judge_option = click.option(
    "--judge", metavar="NAME", help="Of --recall: a folder (train recall), or: embedding, bm25."
)
