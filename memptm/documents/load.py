"""A file to documents: the reader is chosen by name, and by content where the name lies."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path, PurePath

from memptm.documents.decode import Undecodable, says_something
from memptm.documents.draft import LONGEST_TITLE, Extracted, one_line
from memptm.documents.file import File, Warn
from memptm.documents.kinds import kind_of
from memptm.documents.refused import Refusal, Refused
from memptm.errors import MemptmError
from memptm.types import Document

__all__ = ["MOST_BYTES", "Refusal", "Refused", "load"]

MOST_BYTES = 256 * 1024 * 1024  # of one file; JSON Lines are read a line at a time and have no limit
_HEAD = 4096
_FORMATS = "memptm.documents.formats"

# Kinds whose readers take a File and give one or several documents: kind → module, function.
_READERS = {
    "xlsx": ("spreadsheet", "read"),
    "pptx": ("pptx", "read"),
    "epub": ("epub", "read"),
    "opendocument": ("opendocument", "read"),
    "calendar": ("calendar", "read"),
    "notebook": ("notebook", "read"),
    "srt": ("subtitles", "read_srt"),
    "vtt": ("subtitles", "read_vtt"),
    "rtf": ("rtf", "read"),
    "json": ("json_file", "read"),
    "mht": ("mail", "read_page"),
}
# Kinds that are read from characters.
_TEXTS = {
    "markdown": ("markdown", "read"),
    "latex": ("markup", "read_latex"),
    "rst": ("markup", "read_rst"),
    "org": ("markup", "read_org"),
}
# Kinds that hold other files.
_HOLDERS = {
    "zip": ("archive", "read", "member"),
    "eml": ("mail", "read", "attached"),
    "mbox": ("mail", "read_mbox", "attached"),
    "msg": ("mail", "read_msg", "attached"),
}


def load(path: Path, *, warn: Callable[[str], None]) -> Iterator[Document]:
    """Documents of one file, as they are read: one, or one a record, conversation, message or attachment.

    The source is the absolute path (an attachment's or member's goes on behind it); the id is the same, followed by
    ``#part`` where a file has several documents (records have their own id, or their line's number). The title is the
    file's own or its name without the ending. Text keeps the file's characters and line ends; tables become records,
    and all other formats are extracted.

    Args:
        warn: gets a line for what is missing though the rest went in: broken records, pages without text.
    Raises:
        Refused: nothing of the file can go in; ``path`` and ``reason`` say which and why.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps "..")
    try:
        found = False
        for document in _documents(path, warn):
            found = True
            yield document
        if not found:
            raise Refused(path, "no document in it")
    except Undecodable as error:
        raise Refused(path, str(error)) from None
    except OSError as error:
        raise Refused(path, (error.strerror or str(error)).lower()) from None


def _documents(path: Path, warn: Warn) -> Iterator[Document]:
    size = path.stat().st_size
    if not size:
        raise Refused(path, "empty")
    with path.open("rb") as opened:
        head = opened.read(_HEAD)
    if kind_of(str(path), head, members=lambda: _members(path)) == "records":
        from memptm.documents.formats import records

        yield from records.read_lines(path, warn=warn)
        return
    if size > MOST_BYTES:
        raise Refused(path, f"{size / 2**20:,.0f} MB; at most {MOST_BYTES / 2**20:,.0f} MB are read. Split it")

    def beside(name: str) -> bytes | None:
        other = path.parent / name
        return other.read_bytes() if other.is_file() and other.stat().st_size <= MOST_BYTES else None

    file = File(path=str(path), data=path.read_bytes(), warn=warn, beside=beside)
    listed = _listed(file)
    if listed is not None:
        yield from listed
        return
    for extracted in _extracted(file):
        yield _named(file, extracted)


def _listed(file: File) -> Iterator[Document] | None:
    """The records of a JSON file that is a list of them, and no export of a chat."""
    if PurePath(file.path).suffix.lower() != ".json":
        return None
    from memptm.documents.formats import chats, records

    try:
        parsed = file.json
    except (ValueError, RecursionError):
        return None
    if chats.read(parsed, file) is not None:
        return None
    return records.read_list(parsed, source=file.path, warn=file.warn)


def _extracted(file: File) -> Iterator[Extracted]:
    """What is in a file, wherever it lies."""
    kind = kind_of(file.path, file.data[:_HEAD], members=lambda: _members(io.BytesIO(file.data)))
    try:
        for extracted in _read(file, kind):
            yield extracted if extracted.path else replace(extracted, path=file.path)
    except (MemptmError, Undecodable, OSError):
        raise
    except Exception as error:  # a broken file can make a parser raise anything
        reason = one_line(str(error))[:200] or type(error).__name__
        raise Refused(file.path, f"broken {kind.upper()}: {reason}") from error


def _read(file: File, kind: str) -> Iterator[Extracted]:
    if kind in _READERS:
        module, name = _READERS[kind]
        yield from getattr(import_module(f"{_FORMATS}.{module}"), name)(file)
    elif kind in _HOLDERS:
        module, name, argument = _HOLDERS[kind]
        yield from getattr(import_module(f"{_FORMATS}.{module}"), name)(file, **{argument: _held})
    elif kind in _TEXTS:
        module, name = _TEXTS[kind]
        yield getattr(import_module(f"{_FORMATS}.{module}"), name)(file.text())
    elif kind == "pdf":
        from memptm.documents.formats import pdf

        yield pdf.read(file)
    elif kind == "docx":
        from memptm.documents.formats import docx

        yield docx.read(file)
    elif kind == "html":
        from memptm.documents.formats import html

        yield html.read(file.text(declared=html.declared_encoding(file.data)))
    elif kind in ("csv", "tsv"):
        from memptm.documents.formats import delimited

        yield delimited.read(file.text(), delimiter="\t" if kind == "tsv" else "")
    elif kind == "code":
        from memptm.documents.formats import source_code

        yield source_code.read(file.text(), ending=PurePath(file.path).suffix.lower())
    else:
        yield _plain(file)


def _held(file: File) -> Iterator[Extracted]:
    """What is in an attachment or an archive's member; what cannot be read is said, and the rest goes on."""
    try:
        if not file.data:
            raise Refused(file.path, "empty")
        yield from _extracted(file)
    except (Refused, Undecodable) as error:
        reason = error.reason if isinstance(error, Refused) else str(error)
        file.warn(f"{file.path}: left out: {reason}")


def _plain(file: File) -> Extracted:
    """Text: a chat, a session of a conversation, which its folder names, or as it stands."""
    from memptm.documents import conversations
    from memptm.documents.formats import whatsapp

    text = file.text()
    chat = whatsapp.read(text, path=file.path, warn=file.warn)
    if chat is not None:
        return chat
    turns = conversations.read(text, name=file.stem)
    return Extracted(text=text) if turns is None else conversations.extracted(turns, name=file.folder)


def _members(source: Path | io.BytesIO) -> list[str]:
    with zipfile.ZipFile(source) as archive:
        return archive.namelist()


def _named(file: File, extracted: Extracted) -> Document:
    path = extracted.path or file.path
    if not says_something(extracted.text):
        raise Refused(path, "no text in it")
    return Document(
        id=f"{path}#{extracted.part}" if extracted.part else path,
        source=path,
        title=(extracted.title or PurePath(path).stem)[:LONGEST_TITLE],
        text=extracted.text,
        metadata=extracted.metadata,
        blocks=extracted.blocks,
    )
