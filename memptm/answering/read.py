"""A text in hand: a question is answered from it alone, however long it is, without an index."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from memptm.answering import generate, rag
from memptm.answering.answerer import nothing_to_read, recalled
from memptm.answering.asked import Asked
from memptm.answering.models import Models
from memptm.answering.options import SPANS, AskOptions
from memptm.documents.load import Refused, load
from memptm.documents.split import split
from memptm.encoders.base import Encoder, embedding_text
from memptm.errors import InputError
from memptm.generation.reader import scored
from memptm.progress import Progress, silent
from memptm.selection import read_document as whole
from memptm.selection import reading as blocks
from memptm.types import Answer, Document, Passage, ScoredPassage

Text = str | Path | Document | Sequence[Document]


def read(
    question: str,
    text: Text,
    *,
    models: Models,
    options: AskOptions,
    encoder: Callable[[], Encoder],
    recall: bool | None = None,
    progress: Progress = silent,
) -> Answer:
    """Answer ``question`` from ``text``; see ``QA.read``.

    Args:
        encoder: finds the passages that a generator reads, ``options.k`` of them.
    Raises:
        InputError: the file cannot be read.
    """
    documents = whole.with_own_keys(documents_of(text))
    passages = [whole.passage_of(document) for document in documents if document.text.strip()]
    if not passages:
        return nothing_to_read(question, options)
    by_recall = options.judge is not None if recall is None else recall
    if options.method not in SPANS:
        if by_recall:
            read = recalled(question, passages, models, options, progress=progress)
        else:
            read = nearest(question, documents, encoder(), models, k=options.k)
        answer = _write(question, read, models, options.method)
    elif by_recall and not blocks.fits(models.reader, question, passages):
        bias, chosen_by = models.reader.config.read_bias, models.mem_recall(options.judge)
        answer = blocks.answer_by_recall(models.reader, question, passages, chosen_by, bias=bias, progress=progress)
    else:
        answer = whole.answer_from_all(models.reader, question, passages, progress=progress)
    return whole.with_pages(answer, documents)


def documents_of(text: Text) -> list[Document]:
    """A text, a file's documents, or what are documents already.

    Raises:
        InputError: the file is not there, is no regular file, or cannot be read.
    """
    if isinstance(text, str):
        return [Document(text=text)]
    if isinstance(text, Path):
        return _loaded(text)
    return [text] if isinstance(text, Document) else list(text)


def nearest(
    question: str, documents: Sequence[Document], encoder: Encoder, models: Models, *, k: int
) -> list[ScoredPassage]:
    """The ``k`` passages of ``documents`` nearest to the question, best first."""

    def fits(passage: Passage) -> bool:
        return encoder.count_tokens([embedding_text(passage)])[0] <= encoder.max_tokens

    passages = [passage for document in documents for passage in split(document, fits=fits)]
    keys = encoder.encode_passages([embedding_text(passage) for passage in passages])
    similarity = keys @ encoder.encode_questions([question])[0]
    best = similarity.argsort(kind="stable")[::-1][:k]
    return scored([passages[n] for n in best], models.reader.log_prior([float(similarity[n]) for n in best]))


def _write(question: str, passages: Sequence[ScoredPassage], models: Models, method: str) -> Answer:
    asked = [Asked.alone(question)]
    if kind := rag.KINDS.get(method):
        return rag.write(models, kind, asked, [passages])[0]
    return generate.write(models, asked, [passages])[0]


def _loaded(file: Path) -> list[Document]:
    if not file.exists():
        raise InputError(f"{file} is not there. Check the path.")
    if file.is_dir():
        raise InputError(f"{file} is a folder. Give one file, or make an index of it with memptm build.")
    if not file.is_file():
        raise InputError(f"{file} is a pipe or a device. Write what comes from it to a file, and give that.")
    try:
        return list(load(file, warn=lambda line: warnings.warn(line, stacklevel=2)))
    except Refused as error:
        raise InputError(f"{file} cannot be read: {error.reason}. Give a file with text, or a PDF or DOCX.") from error
