"""DOCX: paragraphs, headings, tables, text boxes and footnotes in the order of the body; no running heads."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import Any

from memptm.documents.draft import Draft, Extracted, one_line

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # says a text box a second time
_BOX, _PARAGRAPH, _TABLE = _WORD + "txbxContent", _WORD + "p", _WORD + "tbl"
_MARKS = {_WORD + "tab": "\t", _WORD + "br": "\n", _WORD + "cr": "\n", _WORD + "noBreakHyphen": "-"}
_REMOVED = frozenset((_WORD + "del", _WORD + "moveFrom", _FALLBACK))
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_MOST_BYTES = 1 << 30  # unpacked: a small archive can hold a huge file


class TooLarge(ValueError):
    """The archive unpacks to more than the limit."""


def read(path: str) -> Extracted:
    """Title from the properties, else the first title or heading.

    Raises:
        TooLarge: more than 1 GB unpacked.
    """
    import docx

    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MOST_BYTES:
            raise TooLarge("unpacks to more than 1 GB; split it")
    file = docx.Document(path)
    reader = _Reader({style.style_id: style.name or "" for style in file.styles})
    reader.take(file.element.body)
    for relation in file.part.rels.values():
        if relation.reltype.endswith(("/footnotes", "/endnotes")):
            reader.take_notes(relation.target_part.blob)
    return reader.draft.finish(title=file.core_properties.title or reader.title)


class _Reader:
    def __init__(self, styles: dict[str, str]) -> None:
        self.draft = Draft()
        self.title = ""
        self._styles = styles

    def take(self, container: Any) -> None:
        """Paragraphs and tables of a body, a content control or a text box."""
        for element in container.iterchildren():
            if element.tag == _PARAGRAPH:
                self._paragraph(element)
            elif element.tag == _TABLE:
                self.draft.add_table([_cells(row) for row in _rows(element)], header=True)
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


def _cells(row: Any) -> list[str]:
    cells = _within(row, into=lambda tag: tag not in (_WORD + "tc", *_REMOVED))
    return [" ".join(_text(p) for p in cell.iter(_PARAGRAPH)) for cell in cells if cell.tag == _WORD + "tc"]
