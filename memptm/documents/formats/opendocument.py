"""OpenDocument: text (.odt), spreadsheets (.ods) and presentations (.odp), by what their content.xml shows."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from memptm.documents.archives import checked
from memptm.documents.draft import Draft, Extracted, one_line, property_title
from memptm.documents.file import File
from memptm.documents.refused import Refused
from memptm.documents.sheets import Cell, add_sheet
from memptm.documents.tables import add_table

_NAMES = "urn:oasis:names:tc:opendocument:xmlns:"
_TEXT, _TABLE = f"{{{_NAMES}text:1.0}}", f"{{{_NAMES}table:1.0}}"
_OFFICE, _DRAW = f"{{{_NAMES}office:1.0}}", f"{{{_NAMES}drawing:1.0}}"
_PRESENTATION = f"{{{_NAMES}presentation:1.0}}"
_META, _STYLE = f"{{{_NAMES}meta:1.0}}", f"{{{_NAMES}style:1.0}}"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_HIDDEN = (_TEXT + "page-number", _OFFICE + "annotation", _TEXT + "tracked-changes", _TEXT + "note-citation")
_MOST_REPEATED = 10_000  # cells or rows that say that they are there many times; empty ones fill whole sheets


def read(file: File) -> Iterator[Extracted]:
    """One document: headings, paragraphs, lists and tables in order; a block's page is its slide."""
    with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        checked(archive, file.path)
        try:
            content = _parsed(archive.read("content.xml"))
        except KeyError:
            raise Refused(file.path, "a broken OpenDocument file: no content.xml in it") from None
        manifest = archive.read("META-INF/manifest.xml") if "META-INF/manifest.xml" in archive.namelist() else b""
        if b"encryption-data" in manifest:
            raise Refused(file.path, "needs a password; save it without one")
        meta = _parsed(archive.read("meta.xml")) if "meta.xml" in archive.namelist() else None
    body = content.find(f"{_OFFICE}body")
    kind = next(iter(body), None) if body is not None else None
    if kind is None:
        raise Refused(file.path, "a broken OpenDocument file: no body in it")
    numbered = frozenset(
        str(style.get(_STYLE + "name"))
        for style in content.iter(f"{_TEXT}list-style")
        if style.find(f"{_TEXT}list-level-style-number") is not None
    )
    draft = Draft()
    if kind.tag == _OFFICE + "spreadsheet":
        _add_sheets(draft, kind, content, file)
    elif kind.tag == _OFFICE + "presentation":
        for number, page in enumerate(kind.iterfind(f"{_DRAW}page"), start=1):
            _add_slide(draft, page, number, numbered)
    else:
        _add(draft, kind, page=None, numbered=numbered)
    said = {name: _said(meta, tag) for name, tag in _PROPERTIES.items()}
    metadata = {name: words for name, words in said.items() if words and name != "title"}
    yield draft.finish(title=property_title(said["title"]), metadata=metadata)


_PROPERTIES = {
    "title": _DUBLIN_CORE + "title",
    "author": _DUBLIN_CORE + "creator",
    "modified": _DUBLIN_CORE + "date",
    "subject": _DUBLIN_CORE + "subject",
}


def _parsed(data: bytes) -> Any:
    from lxml import etree

    return etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))


def _said(meta: Any, tag: str) -> str:
    found = next(meta.iter(tag), None) if meta is not None else None
    return one_line("".join(found.itertext())) if found is not None else ""


def _add(draft: Draft, container: Any, *, page: int | None, numbered: frozenset[str]) -> None:
    for element in container:
        if element.tag == _TEXT + "h":
            level = element.get(_TEXT + "outline-level") or "1"
            draft.add(one_line(_words(element)), kind="heading", level=int(level) if level.isdigit() else 1, page=page)
        elif element.tag == _TEXT + "p":
            draft.add(_words(element).strip(), page=page)
            for box in element.iter(f"{_DRAW}text-box"):
                _add(draft, box, page=page, numbered=numbered)
        elif element.tag == _TEXT + "list":
            lines = list(_items(element, numbered=element.get(_TEXT + "style-name") in numbered))
            draft.add("\n".join(lines), page=page)
        elif element.tag == _TABLE + "table":
            rows = [[cell.text for cell in row] for row in _rows(element)]
            add_table(draft, rows, name="", page=page)
        elif element.tag not in _HIDDEN and isinstance(element.tag, str):
            _add(draft, element, page=page, numbered=numbered)


def _items(element: Any, *, numbered: bool, depth: int = 0) -> Iterator[str]:
    """A list's items, a line each, with their numbers where it has some."""
    for number, item in enumerate(element.iterfind(f"{_TEXT}list-item"), start=1):
        words = " ".join(one_line(_words(one)) for one in item if one.tag in (_TEXT + "p", _TEXT + "h"))
        if words:
            yield f"{'  ' * depth}{number}. {words}" if numbered else f"{'  ' * depth}{words}"
        for inner in item.iterfind(f"{_TEXT}list"):
            yield from _items(inner, numbered=numbered, depth=depth + 1)


def _add_slide(draft: Draft, page: Any, number: int, numbered: frozenset[str]) -> None:
    notes = page.find(f"{_PRESENTATION}notes")
    for frame in page.iter(f"{_DRAW}frame", f"{_DRAW}custom-shape"):
        if notes is not None and any(above is notes for above in frame.iterancestors()):
            continue
        if frame.get(_PRESENTATION + "class") == "title":
            draft.add(one_line(" ".join(frame.itertext())), kind="heading", level=1, page=number)
        else:
            _add(draft, frame, page=number, numbered=numbered)
    if notes is not None:
        said = one_line(" ".join(_words(one) for one in notes.iter(f"{_TEXT}p")))
        draft.add(f"Notes: {said}" if said else "", page=number, metadata={"notes": True})


def _add_sheets(draft: Draft, body: Any, content: Any, file: File) -> None:
    hidden_styles = {
        style.get(_STYLE + "name")
        for style in content.iter(f"{_STYLE}style")
        if any(one.get(_TABLE + "display") == "false" for one in style)
    }
    sheets = list(body.iterfind(f"{_TABLE}table"))
    for sheet in sheets:
        name = sheet.get(_TABLE + "name") or "Sheet"
        hidden = sheet.get(_TABLE + "style-name") in hidden_styles
        if hidden:
            file.warn(f"{file.path}: sheet {name!r} is hidden; it goes in")
        add_sheet(draft, name, list(_rows(sheet)), alone=len(sheets) == 1, hidden=hidden)


def _rows(table: Any) -> Iterator[list[Cell]]:
    """Cells row by row, spans filled; empty rows and cells that repeat to the end of the sheet are left out."""
    below: dict[int, tuple[int, Cell]] = {}  # column → rows that a cell above still spans
    for row in _within(table, _TABLE + "table-row"):
        cells: list[Cell] = []
        for element in row:
            if element.tag not in (_TABLE + "table-cell", _TABLE + "covered-table-cell"):
                continue
            count = min(_count(element, "number-columns-repeated"), _MOST_REPEATED)
            cell = Cell(
                text=_cell(element),
                value=_number(element),
                note=_note(element),
                spans=_count(element, "number-columns-spanned"),
            )
            for _ in range(count if cell.text or count < 100 else 1):
                n = len(cells)
                if element.tag.endswith("covered-table-cell"):
                    left, above = below.pop(n, (0, None))
                    if left > 1 and above is not None:
                        below[n] = (left - 1, above)
                    cells.append(above or (cells[-1] if cells else cell))
                    continue
                cells.append(cell)
                spanned = _count(element, "number-rows-spanned")
                for column in range(n, n + cell.spans if spanned > 1 else n):
                    below[column] = (spanned - 1, cell)
        repeated = _count(row, "number-rows-repeated")
        filled = any(cell.text for cell in cells)
        for _ in range(min(repeated, _MOST_REPEATED) if filled else 1):
            yield cells


def _within(table: Any, tag: str) -> Iterator[Any]:
    """Rows of a table, those of header and group elements among them, not those of tables in its cells."""
    for element in table:
        if element.tag == tag:
            yield element
        elif isinstance(element.tag, str) and element.tag.startswith(_TABLE + "table-"):
            yield from _within(element, tag)


def _cell(element: Any) -> str:
    """As it is shown; dates as ISO 8601."""
    kind = element.get(_OFFICE + "value-type")
    if kind == "date":
        return str(element.get(_OFFICE + "date-value") or "").replace("T00:00:00", "").replace("T", " ")
    return " ".join(one_line(_words(one)) for one in element if one.tag in (_TEXT + "p", _TEXT + "h"))


def _number(element: Any) -> float | None:
    """The number a cell holds, of which it may show less."""
    if element.get(_OFFICE + "value-type") not in ("float", "percentage", "currency"):
        return None
    try:
        return float(element.get(_OFFICE + "value"))
    except (TypeError, ValueError):
        return None


def _note(element: Any) -> str:
    found = element.find(f"{_OFFICE}annotation")
    return one_line(" ".join(_words(one) for one in found.iter(f"{_TEXT}p"))) if found is not None else ""


def _count(element: Any, name: str) -> int:
    written = element.get(_TABLE + name) or "1"
    return max(int(written), 1) if written.isdigit() else 1


def _words(element: Any) -> str:
    """Text of a paragraph with its tabs, breaks and runs of blanks; without comments and text boxes."""
    parts = [element.text or ""]
    for child in element:
        if child.tag == _TEXT + "s":
            parts.append(" " * int(child.get(_TEXT + "c") or 1))
        elif child.tag == _TEXT + "tab":
            parts.append("\t")
        elif child.tag == _TEXT + "line-break":
            parts.append("\n")
        elif isinstance(child.tag, str) and child.tag not in _HIDDEN and not child.tag.startswith(_DRAW):
            parts.append(_words(child))
        parts.append(child.tail or "")
    return "".join(parts)
