"""PPTX: slide by slide, titles as headings, tables as records, speaker notes after what is shown."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from memptm.documents.draft import Draft, Extracted, one_line, property_title
from memptm.documents.file import File
from memptm.documents.tables import add_table


def read(file: File) -> Iterator[Extracted]:
    """One document; a block's page is its slide. Charts give their series as tables, pictures their alternative text."""
    import pptx

    deck = pptx.Presentation(io.BytesIO(file.data))
    draft = Draft()
    hidden = []
    for number, slide in enumerate(deck.slides, start=1):
        if slide._element.get("show") == "0":
            hidden.append(number)
        title = slide.shapes.title
        if title is not None and title.has_text_frame:
            draft.add(one_line(title.text_frame.text), kind="heading", level=1, page=number)
        for shape in _shapes(slide.shapes):
            if title is None or shape.shape_id != title.shape_id:
                _add(draft, shape, number)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            notes = _lines(slide.notes_slide.notes_text_frame)
            draft.add(f"Notes: {notes}" if notes else "", page=number, metadata={"notes": True})
    if hidden:
        file.warn(f"{file.path}: hidden slides go in: {', '.join(map(str, hidden))}")
    made = deck.core_properties
    metadata = {"slides": len(deck.slides), **({"author": made.author} if made.author else {})}
    if made.modified:
        metadata["modified"] = made.modified.isoformat()
    yield draft.finish(title=property_title(made.title), metadata=metadata)


def _shapes(shapes: Any) -> Iterator[Any]:
    """All shapes from top to bottom and left to right, those of groups among them."""
    placed = sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0))
    for shape in placed:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _add(draft: Draft, shape: Any, slide: int) -> None:
    if getattr(shape, "has_table", False):
        add_table(draft, [[one_line(cell.text) for cell in row.cells] for row in shape.table.rows], page=slide)
    elif getattr(shape, "has_chart", False):
        _add_chart(draft, shape.chart, slide)
    elif shape.has_text_frame:
        draft.add(_lines(shape.text_frame), page=slide)
    else:
        described = shape._element.xpath(".//p:cNvPr/@descr")
        draft.add(f"Picture: {one_line(described[0])}" if described and described[0] else "", page=slide)


def _add_chart(draft: Draft, chart: Any, slide: int) -> None:
    title = one_line(chart.chart_title.text_frame.text) if chart.has_title and chart.chart_title.has_text_frame else ""
    for plot in chart.plots:
        categories = [str(one) for one in plot.categories]
        series = [(str(one.name), list(one.values)) for one in plot.series]
        rows = [["", *(name for name, _ in series)]]
        rows += [
            [category, *("" if values[n] is None else f"{values[n]:.15g}" for _, values in series if n < len(values))]
            for n, category in enumerate(categories)
        ]
        draft.add(title, page=slide)
        add_table(draft, rows, name=title, header_rows=1, page=slide)


def _lines(frame: Any) -> str:
    """Paragraphs a line each; what is indented below another stays so."""
    lines = [("  " * paragraph.level) + one_line(paragraph.text) for paragraph in frame.paragraphs]
    return "\n".join(line for line in lines if line.strip())
