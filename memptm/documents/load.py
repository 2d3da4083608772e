"""A file to documents: the reader is chosen by name, and by content where the name lies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from memptm.documents.decode import Undecodable, decode
from memptm.documents.draft import LONGEST_TITLE, Extracted, one_line
from memptm.documents.refused import Refusal, Refused
from memptm.errors import MemptmError
from memptm.types import Document

__all__ = ["MOST_BYTES", "Refusal", "Refused", "load"]

MOST_BYTES = 256 * 1024 * 1024  # of one file; JSON Lines are read a line at a time and have no limit
_HEAD = 4096

_KINDS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".htm": "html",
    ".html": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "records",
    ".ndjson": "records",
    ".json": "json",
}
_SIGNATURES = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"\xd0\xcf\x11\xe0", "an old Office file; save it as DOCX or PDF"),
    (b"{\\rtf", "an RTF file; save it as DOCX"),
)
_ARCHIVES = (  # a member's name → what the ZIP is
    ("word/", "docx"),
    ("xl/", "an Excel file; save its sheets as CSV"),
    ("ppt/", "a PowerPoint file; save it as PDF"),
    ("META-INF/container.xml", "an EPUB; save it as HTML"),
    ("content.xml", "an OpenDocument file; save it as DOCX"),
)


def load(path: Path, *, warn: Callable[[str], None]) -> Iterator[Document]:
    """Documents of one file, as they are read: one, or one a record or conversation for JSON Lines.

    Their id and source are the absolute path (records have their own id, or their line's number); the title is the
    file's own or its name without the ending. Text, Markdown and CSV keep the file's characters and line ends; HTML,
    PDF and DOCX are extracted.

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


def _documents(path: Path, warn: Callable[[str], None]) -> Iterator[Document]:
    size = path.stat().st_size
    if not size:
        raise Refused(path, "empty")
    with path.open("rb") as file:
        kind = _kind(path, file.read(_HEAD))
    if kind == "records":
        from memptm.documents.formats import records

        yield from records.read_lines(path, warn=warn)
        return
    if size > MOST_BYTES:
        raise Refused(path, f"{size / 2**20:,.0f} MB; at most {MOST_BYTES / 2**20:,.0f} MB are read. Split it")
    if kind in ("pdf", "docx"):
        yield _named(path, _extracted(path, kind, warn))
        return
    data = path.read_bytes()
    text = decode(data, declared=_declared(kind, data))
    listed = _listed(path, text, warn) if kind == "json" else _conversation(path, text) if kind == "text" else None
    if listed is not None:
        yield from listed
    else:
        yield _named(path, _read_text(text, kind))


def _kind(path: Path, head: bytes) -> str:
    """What the file is; content before name where the two differ."""
    named = _KINDS.get(path.suffix.lower(), "text")
    if b"%PDF-" in head[:1024] and (named == "pdf" or head.startswith(b"%PDF-")):
        return "pdf"
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    for signature, what in _SIGNATURES:
        if head.startswith(signature):
            raise Refused(path, f"binary: {what}")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:14].lower()
    if start.startswith(b"<svg") or (path.suffix.lower() == ".svg" and b"<svg" in head.lower()):
        raise Refused(path, "a picture: SVG")
    if start.startswith((b"<!doctype html", b"<html")):
        return "html"
    return "text" if named in ("pdf", "docx") else named


def _archive(path: Path) -> str:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise Refused(path, f"a broken archive: {error}") from None
    for member, what in _ARCHIVES:
        if any(name.startswith(member) for name in names):
            if what == "docx":
                return what
            raise Refused(path, f"binary: {what}")
    raise Refused(path, "binary: a ZIP archive; unpack it")


def _extracted(path: Path, kind: str, warn: Callable[[str], None]) -> Extracted:
    try:
        if kind == "pdf":
            from memptm.documents.formats import pdf

            return pdf.read(path, warn=warn)
        from memptm.documents.formats import docx

        return docx.read(str(path))
    except (MemptmError, OSError):
        raise
    except Exception as error:  # a broken file can make a parser raise anything
        raise Refused(path, f"broken {kind.upper()}: {one_line(str(error)) or type(error).__name__}") from error


def _declared(kind: str, data: bytes) -> str:
    if kind != "html":
        return ""
    from memptm.documents.formats import html

    return html.declared_encoding(data)


def _read_text(text: str, kind: str) -> Extracted:
    if kind == "markdown":
        from memptm.documents.formats import markdown

        return markdown.read(text)
    if kind == "html":
        from memptm.documents.formats import html

        return html.read(text)
    if kind in ("csv", "tsv"):
        from memptm.documents.formats import tables

        return tables.read(text, delimiter="\t" if kind == "tsv" else "")
    return Extracted(text=text)


def _listed(path: Path, text: str, warn: Callable[[str], None]) -> Iterator[Document] | None:
    from memptm.documents.formats import records

    return records.read_list(text, source=str(path), warn=warn)


def _conversation(path: Path, text: str) -> Iterator[Document] | None:
    """A text file that is a session of a conversation, which its folder names."""
    from memptm.documents import conversations as conversation

    turns = conversation.read(text, name=path.stem)
    if turns is None:
        return None
    return iter([conversation.document(turns, name=path.parent.name, id=str(path), source=str(path))])


def _named(path: Path, extracted: Extracted) -> Document:
    if not extracted.text.strip():
        raise Refused(path, "no text in it")
    title = (extracted.title or path.stem)[:LONGEST_TITLE]
    return Document(
        id=str(path),
        source=str(path),
        title=title,
        text=extracted.text,
        metadata=extracted.metadata,
        blocks=extracted.blocks,
    )
