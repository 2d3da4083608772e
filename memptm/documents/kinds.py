"""What a file is: by its content where that tells, else by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath

from memptm.documents.draft import one_line
from memptm.documents.formats.source_code import ENDINGS
from memptm.documents.refused import Refused

_KINDS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".htm": "html",
    ".html": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".docm": "docx",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "records",
    ".ndjson": "records",
    ".json": "json",
    ".eml": "eml",
    ".mbox": "mbox",
    ".mht": "mht",
    ".mhtml": "mht",
    ".mbx": "mbox",
    ".ics": "calendar",
    ".ical": "calendar",
    ".ipynb": "notebook",
    ".srt": "srt",
    ".vtt": "vtt",
    ".rtf": "rtf",
    ".tex": "latex",
    ".ltx": "latex",
    ".rst": "rst",
    ".org": "org",
    **dict.fromkeys(ENDINGS, "code"),
}
_BINARY = frozenset(("pdf", "docx"))  # text with such a name is text
_SIGNATURES = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"BZh", "a bzip2 archive; unpack it"),
    (b"\xfd7zXZ", "an xz archive; unpack it"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "an SQLite database; export its tables as CSV"),
    (b"PAR1", "a Parquet file; export it as CSV"),
    (b"!BDN", "an Outlook mailbox; export its messages as .eml or .mbox"),
)
_MEMBERS = (  # a member's name → what the archive is
    ("word/", "docx"),
    ("xl/workbook.bin", "an Excel file in binary form (.xlsb); save it as XLSX"),
    ("xl/", "xlsx"),
    ("ppt/", "pptx"),
    ("META-INF/container.xml", "epub"),
    ("content.xml", "opendocument"),
    ("Index/Document.iwa", "a file of Pages, Numbers or Keynote; export it as DOCX, XLSX, PPTX or PDF"),
)
_OLD_OFFICE = {
    ".xls": "an old Excel file; save it as XLSX or CSV",
    ".ppt": "an old PowerPoint file; save it as PPTX or PDF",
    ".doc": "an old Word file; save it as DOCX or PDF",
}
_MBOX = re.compile(rb"From \S+.*\d{4}\r?\n[\w-]+:")


def kind_of(path: str, head: bytes, *, members: Callable[[], Sequence[str]]) -> str:
    """What the file at ``path`` is, which begins with ``head``; content before name where the two differ.

    Args:
        members: names of the files in an archive; asked only where ``head`` is one's.
    Raises:
        Refused: nothing here reads it; the reason says how to get it in.
    """
    ending = PurePath(path).suffix.lower()
    named = _KINDS.get(ending, "text")
    if b"%PDF-" in head[:1024] and (named == "pdf" or head.startswith(b"%PDF-")):
        return "pdf"
    if head.startswith(b"PK\x03\x04"):
        return _archive(path, members)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        if ending == ".msg":
            return "msg"
        raise Refused(path, f"binary: {_OLD_OFFICE.get(ending, 'an old Office file; save it as DOCX, XLSX or PDF')}")
    for signature, what in _SIGNATURES:
        if head.startswith(signature):
            raise Refused(path, f"binary: {what}")
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if head.startswith(b"BEGIN:VCALENDAR"):
        return "calendar"
    if head.startswith((b"WEBVTT", b"\xef\xbb\xbfWEBVTT")):
        return "vtt"
    if _MBOX.match(head):
        return "mbox"
    start = head.lstrip(b"\xef\xbb\xbf").lstrip()[:14].lower()
    if start.startswith(b"<svg") or (ending == ".svg" and b"<svg" in head.lower()):
        raise Refused(path, "a picture: SVG")
    if start.startswith((b"<!doctype html", b"<html")):
        return "html"
    return "text" if named in _BINARY else named


def _archive(path: str, members: Callable[[], Sequence[str]]) -> str:
    try:
        names = members()
    except Exception as error:  # a broken directory of an archive can make its reader raise anything
        raise Refused(path, f"a broken archive: {one_line(str(error))}") from None
    for member, what in _MEMBERS:
        if any(name.startswith(member) for name in names):
            if " " in what:
                raise Refused(path, f"binary: {what}")
            return what
    return "zip"
