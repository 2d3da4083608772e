"""DOCX: paragraphs, headings, tables, text boxes and footnotes in the order of the body; no running heads."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from memptm.documents.archives import checked
from memptm.documents.draft import Draft, Extracted, one_line, property_title
from memptm.documents.file import File
from memptm.documents.formats.docx_numbering import Numbering
from memptm.documents.tables import add_table

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # says a text box a second time
_BOX, _PARAGRAPH, _TABLE = _WORD + "txbxContent", _WORD + "p", _WORD + "tbl"
_MARKS = {_WORD + "tab": "\t", _WORD + "br": "\n", _WORD + "cr": "\n", _WORD + "noBreakHyphen": "-"}
_REMOVED = frozenset((_WORD + "del", _WORD + "moveFrom", _FALLBACK))
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)


def read(file: File) -> Extracted:
    """Title from the properties, else the first title or heading.

    Raises:
        Refused: more than 1 GB unpacked.
    """
    import docx
    from docx.oxml import parse_xml

    with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        checked(archive, file.path)
    opened = docx.Document(io.BytesIO(file.data))
    definitions = next(
        (one.target_part.blob for one in opened.part.rels.values() if one.reltype.endswith("/numbering")), None
    )
    numbering = Numbering(parse_xml(definitions) if definitions else None, opened.styles.element)
    reader = _Reader({style.style_id: style.name or "" for style in opened.styles}, numbering)
    reader.take(opened.element.body)
    for relation in opened.part.rels.values():
        if relation.reltype.endswith(("/footnotes", "/endnotes")):
            reader.take_notes(relation.target_part.blob)
    made = opened.core_properties
    metadata = {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in (("author", made.author), ("modified", made.modified), ("keywords", made.keywords))
        if value and value != "python-docx"
    }
    return reader.draft.finish(title=property_title(made.title) or reader.title, metadata=metadata)


class _Reader:
    def __init__(self, styles: dict[str, str], numbering: Numbering) -> None:
        self._numbering = numbering
        self.draft = Draft()
        self.title = ""
        self._styles = styles

    def take(self, container: Any) -> None:
        """Paragraphs and tables of a body, a content control or a text box."""
        for element in container.iterchildren():
            if element.tag == _PARAGRAPH:
                self._paragraph(element)
            elif element.tag == _TABLE:
                add_table(self.draft, _grid(element))
                self._boxes(element)
            elif element.tag not in _REMOVED and isinstance(element.tag, str):
                self.take(element)

    def take_notes(self, blob: bytes) -> None:
        from docx.oxml import parse_xml

        for note in parse_xml(blob).iterchildren():
            if note.get(_WORD + "type") in (None, "normal"):
                self.draft.add("\n".join(_text(paragraph) for paragraph in note.iter(_PARAGRAPH)))

    def _paragraph(self, element: Any) -> None:
        text = _text(element).strip()
        label = self._numbering.label(element) if text else ""
        text = f"{label} {text}" if label else text
        style = element.find(f"{_WORD}pPr/{_WORD}pStyle")
        name = self._styles.get(style.get(_WORD + "val"), "") if style is not None else ""
        found = _HEADING.fullmatch(name)
        level = int(found.group(1)) if found else 1 if name == "Title" else 0
        if level and text:
            self.title = self.title or one_line(text)
            self.draft.add(one_line(text), kind="heading", level=level)
        else:
            self.draft.add(text)
        self._boxes(element)

    def _boxes(self, element: Any) -> None:
        for box in _within(element, into=lambda tag: tag != _BOX and tag not in _REMOVED):
            if box.tag == _BOX:
                self.take(box)


def _within(element: Any, *, into: Any) -> Iterator[Any]:
    """Descendants in order; those below an element whose tag ``into`` refuses are left out."""
    waiting = list(reversed(element))
    while waiting:
        child = waiting.pop()
        yield child
        if into(child.tag):
            waiting.extend(reversed(child))


def _text(paragraph: Any) -> str:
    """Words of a paragraph, without those of its text boxes and without deletions."""
    parts = []
    for element in _within(paragraph, into=lambda tag: tag != _BOX and tag not in _REMOVED):
        if element.tag == _WORD + "t":
            parts.append(element.text or "")
        elif element.tag in _MARKS and element.getparent().tag != _WORD + "tabs":
            parts.append(_MARKS[element.tag])
    return "".join(parts)


def _rows(table: Any) -> Iterator[Any]:
    return (
        child
        for child in _within(table, into=lambda tag: tag not in (_WORD + "tr", *_REMOVED))
        if child.tag == _WORD + "tr"
    )


def _grid(table: Any) -> list[list[str]]:
    """Cells as text, those that span columns or rows repeated."""
    grid: list[list[str]] = []
    for row in _rows(table):
        line: list[str] = []
        for cell in _within(row, into=lambda tag: tag not in (_WORD + "tc", *_REMOVED)):
            if cell.tag != _WORD + "tc":
                continue
            text = " ".join(_text(paragraph) for paragraph in cell.iter(_PARAGRAPH))
            merged = cell.find(f"{_WORD}tcPr/{_WORD}vMerge")
            if merged is not None and merged.get(_WORD + "val") != "restart" and grid and len(line) < len(grid[-1]):
                text = grid[-1][len(line)]
            span = cell.find(f"{_WORD}tcPr/{_WORD}gridSpan")
            width = str(span.get(_WORD + "val")) if span is not None else "1"
            line += [text] * (min(int(width), 1000) if width.isdigit() else 1)
        grid.append(line)
    return grid
