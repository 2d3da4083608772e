"""Jupyter notebooks: text as Markdown, code as code, what was printed after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from memptm.documents.draft import Draft, Extracted
from memptm.documents.file import File
from memptm.documents.formats import html, markdown
from memptm.documents.refused import Refused

_LONGEST_OUTPUT = 20_000  # characters; what a cell printed beyond them is left out


def read(file: File) -> Iterator[Extracted]:
    """One document; a block's metadata name the ``cell``, from 1.

    Raises:
        Refused: it is no notebook of version 4 (or 3) of the format.
    """
    try:
        book = json.loads(file.text())
        cells = book["cells"] if "cells" in book else [cell for sheet in book["worksheets"] for cell in sheet["cells"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused(file.path, "a broken notebook: no cells in it") from None
    draft = Draft()
    title = ""
    for number, cell in enumerate(cells, start=1):
        if not isinstance(cell, dict):
            continue
        source = _joined(cell.get("source", cell.get("input", "")))
        if cell.get("cell_type") in ("markdown", "heading"):
            found = markdown.read(source)
            title = title or found.title
            draft.append(found, metadata={"cell": number})
        else:
            draft.add(source, kind="code", metadata={"cell": number})
            for output in cell.get("outputs") or []:
                _add_output(draft, output, number, file)
    yield draft.finish(title=title)


def _add_output(draft: Draft, output: Any, number: int, file: File) -> None:
    if not isinstance(output, dict) or output.get("output_type") == "error":
        return
    given = output.get("data")
    data: dict[str, Any] = given if isinstance(given, dict) else {}
    if "<table" in _joined(data.get("text/html", "")):
        draft.append(html.read(_joined(data["text/html"])), metadata={"cell": number})
        return
    text = _joined(output.get("text", "") or data.get("text/plain", ""))
    if len(text) > _LONGEST_OUTPUT:
        file.warn(f"{file.path}: cell {number} printed {len(text):,} characters; the first {_LONGEST_OUTPUT:,} go in")
    draft.add(text[:_LONGEST_OUTPUT].rstrip(), kind="code", context="output", metadata={"cell": number})


def _joined(source: Any) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else str(source or "")
