"""Draws a cognitive graph as SVG; HTML is that SVG in a page, PNG is made from it by resvg.

Documents' text is escaped, never interpreted. The path to the answer is drawn in another colour.
"""

from __future__ import annotations

import html
from importlib.util import find_spec
from pathlib import Path

from memptm.errors import ExtraMissing, InputError
from memptm.graph import CognitiveGraph, Node
from memptm.reasoning.graph_layout import (
    HIGH,
    INDENT,
    LINE,
    MARGIN,
    TITLE_LINE,
    WIDE,
    Arrow,
    Box,
    ClueText,
    Layout,
    cut,
    layout,
    plain,
)

FORMATS = (".svg", ".png", ".html")
FONT = "Helvetica, Arial, Liberation Sans, Noto Sans, DejaVu Sans, sans-serif"
INK, GREY, PALE, PATH, ANSWER = "#1f2933", "#66727f", "#c3ccd5", "#c2410c", "#15803d"
PNG_SCALE = 2.0


def save(graph: CognitiveGraph, path: Path) -> None:
    """Draw ``graph`` into ``path``, by the ending of its name.

    Raises:
        InputError: an ending that is not drawn, or a file that cannot be written.
        ExtraMissing: a PNG, and resvg or any font for it is not installed.
    """
    check_format(path)
    drawing, ending = svg(layout(graph)), path.suffix.lower()
    made = png(drawing) if ending == ".png" else (drawing if ending == ".svg" else _page(graph, drawing)).encode()
    try:
        path.write_bytes(made)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error


def check_format(path: Path) -> None:
    """Check that the file's ending is one of FORMATS.

    Raises:
        InputError: it is another.
        ExtraMissing: what draws it is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: a graph is drawn as {', '.join(FORMATS)}; give the file such an ending.")
    if path.suffix.lower() == ".png" and find_spec("resvg_py") is None:
        raise ExtraMissing('PNG needs resvg: pip install "memptm[png]". Or draw the graph as .svg or .html.')


def png(drawing: str) -> bytes:
    """An SVG as PNG, at twice its size.

    Raises:
        ExtraMissing: no font is installed, with which the picture would be without its text.
    """
    import resvg_py

    size = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
    letter = f'{size}<text x="0" y="9" font-size="9" font-family="{FONT}">M</text></svg>'
    if resvg_py.svg_to_bytes(svg_string=letter) == resvg_py.svg_to_bytes(svg_string=f"{size}</svg>"):
        raise ExtraMissing(
            "PNG needs a font, and none is installed (fonts-dejavu will do). Or draw it as .svg or .html."
        )
    made: bytes = resvg_py.svg_to_bytes(svg_string=drawing, zoom=PNG_SCALE)
    return made


def svg(made: Layout) -> str:
    """The drawing as a document of its own: no script, no link, nothing loaded."""
    size = f'width="{made.width:.0f}" height="{made.height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {made.width:.0f} {made.height:.0f}" '
        f'font-family="{FONT}">',
        "<defs>" + "".join(_head(name, colour) for name, colour in (("pale", PALE), ("path", PATH))) + "</defs>",
        f'<rect {size} rx="12" fill="#ffffff"/>',
    ]
    for n, line in enumerate(made.question):
        parts.append(_text(line, MARGIN, MARGIN + 12 + TITLE_LINE * n, 18, INK, bold=True))
    parts += [_text(heading, x, made.headings_at + 8, 11, GREY) for x, heading in made.headings]
    arrows = sorted(made.arrows, key=lambda one: one.on_path)
    parts += [_line(arrow) for arrow in arrows]
    parts += [_box(box, on_path=box.node.id in made.path) for box in made.boxes]
    parts += [_numbers(arrow) for arrow in arrows if arrow.numbers]
    if made.clues:
        y, right = made.clues_at - 8, made.width - MARGIN
        parts.append(f'<path d="M{MARGIN} {y:.1f}H{right:.1f}" stroke="{PALE}"/>')
    parts += [_clue(clue) for clue in made.clues]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="9" markerHeight="9" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
    )


def _line(arrow: Arrow) -> str:
    (a, b), (c, d), (e, f), (g, h) = arrow.curve
    colour, width, name = (PATH, 2.2, "path") if arrow.on_path else (PALE, 1.2, "pale")
    return (
        f'<path d="M{a:.1f} {b:.1f}C{c:.1f} {d:.1f} {e:.1f} {f:.1f} {g:.1f} {h:.1f}" fill="none" stroke="{colour}" '
        f'stroke-width="{width}" marker-end="url(#{name})"/>'
    )


def _numbers(arrow: Arrow) -> str:
    (x, y), text = arrow.middle, ", ".join(map(str, arrow.numbers))
    return _badge(text, x, y, on_path=arrow.on_path)


def _badge(text: str, x: float, y: float, *, on_path: bool) -> str:
    half = 9 + 3.2 * (len(text) - 1)
    fill, colour, border = (PATH, "#ffffff", PATH) if on_path else ("#ffffff", GREY, PALE)
    return (
        f'<rect x="{x - half:.1f}" y="{y - 9:.1f}" width="{2 * half:.1f}" height="18" rx="9" fill="{fill}" '
        f'stroke="{border}"/>' + _text(text, x, y + 4, 11, colour, middle=True, bold=on_path)
    )


def _box(box: Box, *, on_path: bool) -> str:
    node, middle = box.node, box.x + WIDE / 2
    fill, border, ink = _colours(node, on_path=on_path)
    name = cut(plain(node.name), 24 if on_path else 28)
    return (
        f'<g><title>{_escaped(node.name)}</title><rect x="{box.x:.1f}" y="{box.y:.1f}" width="{WIDE}" height="{HIGH}" '
        f'rx="{HIGH // 2 if node.kind == "answer" else 8}" fill="{fill}" stroke="{border}" '
        f'stroke-width="{2.2 if on_path else 1}"/>'
        + _text(name, middle, box.y + 20, 13, ink, middle=True, bold=on_path)
        + _text(_caption(node), middle, box.y + 36, 10.5, GREY, middle=True)
        + "</g>"
    )


def _colours(node: Node, *, on_path: bool) -> tuple[str, str, str]:
    """(fill, border, text)."""
    if node.kind == "answer":
        return ("#ecfdf3", ANSWER, INK) if on_path else ("#ffffff", "#86c79c", GREY)
    if on_path:
        return "#fff7f0", PATH, INK
    return ("#f5f8ff", "#a9c1f5", INK) if node.seed_score > 0 else ("#ffffff", PALE, INK)


def _caption(node: Node) -> str:
    if node.kind == "answer":
        return f"probability {node.score:.2f}"
    return f"{node.kind} · share {node.score:.2f}"


def _clue(clue: ClueText) -> str:
    ink = INK if clue.on_path else GREY
    parts = [_badge(str(clue.number), MARGIN + 9, clue.y - 4, on_path=clue.on_path)]
    parts += [_text(line, MARGIN + INDENT, clue.y + LINE * n, 12.5, ink) for n, line in enumerate(clue.lines)]
    return "\n".join(parts)


def _text(text: str, x: float, y: float, size: float, colour: str, *, middle: bool = False, bold: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}"{anchor}{weight}>{_escaped(text)}</text>'


def _page(graph: CognitiveGraph, drawing: str) -> str:
    answer = "" if graph.answer is None else f"<p>Answer: <b>{_escaped(graph.nodes[graph.answer].name)}</b></p>"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_escaped(graph.question)}</title></head>\n"
        f'<body style="margin:1em;font-family:sans-serif">{answer}\n{drawing}</body></html>\n'
    )


def _escaped(text: str) -> str:
    return html.escape(plain(text), quote=True)
