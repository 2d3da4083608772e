"""XLSX and XLSM: every sheet, formulas by the values that were last shown, cells as they look."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from memptm.documents.draft import Draft, Extracted, property_title
from memptm.documents.file import File
from memptm.documents.sheets import Cell, add_sheet

_STREAMED = 100 << 20  # bytes of a sheet's XML from which on it is read row by row, without its merged cells
_MONEY = re.compile(r'"([^"]{1,4})"|\[\$([^\]-]{1,4})[^\]]*\]|([€$£¥])')
_LITERAL = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')


def read(file: File) -> Iterator[Extracted]:
    """One document; a heading a sheet, a record a row. Comments stand behind their cell, hidden sheets are named."""
    import openpyxl

    with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        largest = max((entry.file_size for entry in archive.infolist()), default=0)
    streamed = largest > _STREAMED
    book = openpyxl.load_workbook(io.BytesIO(file.data), data_only=True, read_only=streamed)
    if streamed:
        file.warn(f"{file.path}: a very large sheet; cells that span others are not filled")
    formulas = None if streamed else openpyxl.load_workbook(io.BytesIO(file.data))
    draft = Draft()
    uncounted = 0
    for sheet in book.worksheets:
        hidden = sheet.sheet_state != "visible"
        if hidden:
            file.warn(f"{file.path}: sheet {sheet.title!r} is hidden; it goes in")
        grid = [[_cell(cell) for cell in row] for row in sheet.iter_rows()]
        if formulas is not None:
            uncounted += _count_uncomputed(formulas[sheet.title], grid)
            _fill_merged(grid, [merged.bounds for merged in sheet.merged_cells.ranges])
        add_sheet(draft, sheet.title, grid, alone=len(book.worksheets) == 1, hidden=hidden)
    if uncounted:
        file.warn(
            f"{file.path}: {uncounted} formulas have no value stored; open the file in a spreadsheet program and save it"
        )
    made = book.properties
    metadata = {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in (("author", made.creator), ("modified", made.modified))
        if value and value != "openpyxl"
    }
    yield draft.finish(title=property_title(made.title), metadata=metadata)


def shown(value: Any, form: str = "General") -> str:
    """A value as its number format shows it; dates and times as ISO 8601 writes them."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ", timespec="minutes")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat(timespec="seconds" if value.second else "minutes")
    if isinstance(value, timedelta):
        minutes = round(value.total_seconds() / 60)
        return f"{minutes // 60}:{minutes % 60:02}"
    if isinstance(value, int | float):
        return _number(value, form)
    return str(value)


def _number(value: float, form: str) -> str:
    form = form.split(";")[0]
    plain = _LITERAL.sub("", form)
    if "E+" in plain or not re.search(r"[0#]", plain):
        return f"{value:.15g}"
    decimals = len(match[1]) if (match := re.search(r"\.([0#]+)", plain)) else 0
    if "%" in plain:
        return f"{_rounded(100 * value, decimals)} %"
    written = f"{_rounded(value, decimals):,}" if "," in plain else str(_rounded(value, decimals))
    money = _MONEY.search(form)
    unit = next((part.strip() for part in money.groups() if part), "") if money else ""
    return f"{written} {unit}" if unit else written


def _rounded(value: float, decimals: int) -> Decimal:
    """Half away from zero, as spreadsheet programs round what they show."""
    return Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


def _cell(cell: Any) -> Cell:
    comment = getattr(cell, "comment", None)
    note = " ".join(str(comment.text).split()) if comment is not None else ""
    number = isinstance(cell.value, int | float) and not isinstance(cell.value, bool)
    text = shown(cell.value, getattr(cell, "number_format", "General"))
    return Cell(text=text, value=cell.value if number else None, note=note)


def _fill_merged(grid: list[list[Cell]], ranges: list[tuple[int, int, int, int]]) -> None:
    for left, top, right, bottom in ranges:
        if top > len(grid) or left > len(grid[top - 1]):
            continue
        cell = grid[top - 1][left - 1]
        for row in grid[top - 1 : bottom]:
            for n in range(left - 1, min(right, len(row))):
                row[n] = Cell(text=cell.text, spans=right - left + 1)


def _count_uncomputed(sheet: Any, grid: list[list[Cell]]) -> int:
    """Formulas without a cached value: a program wrote the file and never computed it."""
    return sum(
        cell.data_type == "f" and not found.text
        for row, known in zip(sheet.iter_rows(), grid, strict=False)
        for cell, found in zip(row, known, strict=False)
    )
