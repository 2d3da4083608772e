"""Draws a cognitive graph: SVG by hand, HTML around it, PNG by matplotlib. Documents' text is escaped, never interpreted.

Pages stand in columns by their distance from where the search began, answers in the last; the path is drawn in another
colour, and its clues are written out below, numbered as on their edges.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from memptm.errors import ExtraMissing, InputError
from memptm.reasoning.graph import CognitiveGraph, Edge, Identity, Node

FORMATS = (".svg", ".png", ".html")
WIDE, HIGH, ACROSS, DOWN = 210, 44, 130, 26  # of a box, and between two
MARGIN, LINE = 28, 17
LETTER, LARGE = 7.0, 10.6  # width of a letter, about, of a clue and of the question
MOST_CLUES = 24  # that are written out, those of the path first
INK, GREY, PALE, PATH, ANSWER, BEGIN = "#23303f", "#5b6875", "#aab4c0", "#c2410c", "#15803d", "#1d4ed8"
FILL = {"answer": "#ecfdf3", "path": "#fff4ec", "begin": "#eef4ff", "other": "#ffffff"}
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Box:
    """A node's place: its upper left corner, in pixels."""

    node: Node
    x: float
    y: float


@dataclass(frozen=True)
class Arrow:
    """An edge's line from ``start`` to ``end``, bent at ``bend``; ``numbers``: of its clues."""

    edge: Edge
    start: tuple[float, float]
    end: tuple[float, float]
    bend: tuple[float, float]
    on_path: bool
    numbers: tuple[int, ...]

    @property
    def middle(self) -> tuple[float, float]:
        """Where its numbers stand."""
        return tuple(0.25 * a + 0.5 * b + 0.25 * c for a, b, c in zip(self.start, self.bend, self.end, strict=True))  # type: ignore[return-value]


@dataclass(frozen=True)
class Layout:
    """A drawing before it is drawn; ``clues``: lines of text below the graph, each with whether it is of the path."""

    width: float
    height: float
    question: tuple[str, ...]
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    clues: tuple[tuple[str, bool], ...]
    clues_at: float
    path: frozenset[int]


def save(graph: CognitiveGraph, path: Path) -> None:
    """Draw ``graph`` into ``path``, by the ending of its name.

    Raises:
        InputError: an ending that is not drawn, or a file that cannot be written. ExtraMissing: PNG without matplotlib.
    """
    check_format(path)
    made = layout(graph)
    try:
        if path.suffix.lower() == ".png":
            _save_png(made, path)
        else:
            page = svg(made) if path.suffix.lower() == ".svg" else _page(graph, made)
            path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error


def check_format(path: Path) -> None:
    """Raise InputError unless the file's ending is one of FORMATS, and ExtraMissing where what draws it is not installed."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: a graph is drawn as {', '.join(FORMATS)}; give the file such an ending.")
    if path.suffix.lower() == ".png" and find_spec("matplotlib") is None:
        raise ExtraMissing('PNG needs matplotlib: pip install "memptm[plots]". Or draw the graph as .svg or .html.')


def layout(graph: CognitiveGraph) -> Layout:
    """Where everything goes."""
    columns = _columns(graph)
    tallest = max((len(column) for column in columns), default=1)
    width = max(2 * MARGIN + len(columns) * WIDE + (len(columns) - 1) * ACROSS, 640)
    question = _wrapped(plain(graph.question) or "(no question)", int((width - 2 * MARGIN) / LARGE))
    top = MARGIN + 24 * len(question) + 20
    boxes: dict[int, Box] = {}
    for n, column in enumerate(columns):
        free = (tallest - len(column)) * (HIGH + DOWN) / 2
        for m, node in enumerate(column):
            boxes[node.id] = Box(node, MARGIN + n * (WIDE + ACROSS), top + free + m * (HIGH + DOWN))
    numbers, told = _numbered_clues(graph)
    steps = _steps(graph)
    arrows = tuple(_arrow(edge, boxes, numbers, (edge.source, edge.target) in steps) for edge in graph.edges)
    bottom = top + tallest * (HIGH + DOWN) + 18
    lines = [
        (part if first else f"      {part}", on_path)
        for text, on_path in told
        for first, part in zip([True] + [False] * 9, _wrapped(text, int((width - 2 * MARGIN) / LETTER)), strict=False)
    ]
    height = bottom + LINE * len(lines) + MARGIN
    return Layout(
        width, height, tuple(question), tuple(boxes.values()), arrows, tuple(lines), bottom, frozenset(graph.path)
    )


def _columns(graph: CognitiveGraph) -> list[list[Node]]:
    """Pages by their distance from where the search began, then answers; within a column near to those that lead there."""
    led_to = {edge.target for edge in graph.edges}
    begins = [
        node.id for node in sorted(graph.pages, key=lambda node: (-node.seed_score, node.id)) if node.id not in led_to
    ]
    depth = dict.fromkeys(begins or [node.id for node in graph.pages][:1], 0)
    if graph.path:
        depth.setdefault(graph.path[0], 0)
    for step in zip(graph.path, graph.path[1:], strict=False):  # the path is read from left to right
        if graph.nodes[step[1]].kind != "answer":
            depth[step[1]] = depth[step[0]] + 1 if graph.edge(*step) else 0
    _spread(graph, depth)
    for node in sorted(graph.pages, key=lambda node: (-node.seed_score, node.id)):
        if node.id not in depth:  # in a circle that nothing leads into
            depth[node.id] = 0
            _spread(graph, depth)
    last = max(depth.values(), default=-1)
    columns: list[list[Node]] = [[] for _ in range(last + 1)]
    for node in graph.pages:
        columns[depth[node.id]].append(node)
    answers = [node for node in graph.nodes if node.kind == "answer"]
    rank: dict[int, float] = {}
    ordered = []
    for column in [*columns, answers] if answers else columns:
        column = sorted(column, key=lambda node: (node.id not in graph.path, _mean_rank(graph, node.id, rank), node.id))
        rank |= {node.id: float(n) for n, node in enumerate(column)}
        ordered.append(column)
    return [column for column in ordered if column]


def _spread(graph: CognitiveGraph, depth: dict[int, int]) -> None:
    """Give every page that edges lead to the distance of the one that leads there, and one more."""
    reached = list(depth)
    for place in reached:
        for edge in graph.edges:
            if edge.source == place and edge.target not in depth and graph.nodes[edge.target].kind != "answer":
                depth[edge.target] = depth[place] + 1
                reached.append(edge.target)


def _mean_rank(graph: CognitiveGraph, node: int, rank: dict[int, float]) -> float:
    into = [rank[edge.source] for edge in graph.edges if edge.target == node and edge.source in rank]
    return sum(into) / len(into) if into else 0.0


def _steps(graph: CognitiveGraph) -> set[tuple[int, int]]:
    """Edges of the path; a side of a comparison leads to the answer at its end."""
    steps = set()
    for source, target in zip(graph.path, graph.path[1:], strict=False):
        steps.add((source, target) if graph.edge(source, target) else (source, graph.path[-1]))
    return steps


def _numbered_clues(graph: CognitiveGraph) -> tuple[dict[tuple[int, int], tuple[int, ...]], list[tuple[str, bool]]]:
    """Edge → numbers of its clues; and the clues' lines, those of the path first."""
    steps = _steps(graph)
    edges = sorted(graph.edges, key=lambda edge: ((edge.source, edge.target) not in steps, edge.source, edge.target))
    numbers: dict[tuple[int, int], tuple[int, ...]] = {}
    known: dict[tuple[Identity | str, int], int] = {}
    lines: list[tuple[str, bool]] = []
    for edge in edges:
        mine = []
        for clue in edge.clues:
            place = clue.place
            if place not in known and len(known) < MOST_CLUES:
                known[place] = len(known) + 1
                name = plain(graph.nodes[edge.source].name)
                lines.append(
                    (
                        f"{known[place]}. {_cut(name, 30)}: {_cut(plain(clue.text), 320)}",
                        (edge.source, edge.target) in steps,
                    )
                )
            if place in known:
                mine.append(known[place])
        numbers[edge.source, edge.target] = tuple(mine)
    return numbers, lines


def _arrow(edge: Edge, boxes: dict[int, Box], numbers: dict[tuple[int, int], tuple[int, ...]], on_path: bool) -> Arrow:
    """From side to side; between boxes of one column, or backwards, around the right."""
    one, other = boxes[edge.source], boxes[edge.target]
    mine = numbers[edge.source, edge.target]
    if other.x > one.x:
        start, end = (one.x + WIDE, one.y + HIGH / 2), (other.x, other.y + HIGH / 2)
        bend = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    elif other.x == one.x:
        start, end = (one.x + WIDE, one.y + HIGH * 0.7), (other.x + WIDE, other.y + HIGH * 0.3)
        bend = (one.x + WIDE + 56, (start[1] + end[1]) / 2)
    else:
        start, end = (one.x, one.y + HIGH * 0.75), (other.x + WIDE, other.y + HIGH * 0.75)
        bend = ((start[0] + end[0]) / 2, max(start[1], end[1]) + 26)
    return Arrow(edge, start, end, bend, on_path, mine)


def svg(made: Layout) -> str:
    """The drawing as a document of its own: no script, no link, nothing loaded."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{made.width:.0f}" height="{made.height:.0f}" '
        f'viewBox="0 0 {made.width:.0f} {made.height:.0f}" font-family="Helvetica, Arial, sans-serif">',
        "<defs>" + "".join(_head(name, colour) for name, colour in (("pale", PALE), ("path", PATH))) + "</defs>",
        f'<rect width="{made.width:.0f}" height="{made.height:.0f}" fill="#ffffff"/>',
    ]
    for n, line in enumerate(made.question):
        parts.append(_line(line, MARGIN, MARGIN + 14 + 24 * n, 17, INK, bold=True))
    for arrow in sorted(made.arrows, key=lambda one: one.on_path):
        parts.append(_curve(arrow))
    for box in made.boxes:
        parts.append(_box(box, made))
    for arrow in made.arrows:
        if arrow.numbers:
            x, y = arrow.middle
            text = ",".join(map(str, arrow.numbers))
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{7 + 2.4 * (len(text) - 1):.1f}" fill="#ffffff"/>')
            parts.append(_line(text, x, y + 4, 11, PATH if arrow.on_path else INK, middle=True, bold=arrow.on_path))
    for n, (line, on_path) in enumerate(made.clues):
        parts.append(_line(line, MARGIN, made.clues_at + LINE * (n + 1), 12, PATH if on_path else INK))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
    )


def _curve(arrow: Arrow) -> str:
    (a, b), (c, d), (e, f) = arrow.start, arrow.bend, arrow.end
    colour, width, name = (PATH, 2.6, "path") if arrow.on_path else (PALE, 1.2, "pale")
    return (
        f'<path d="M{a:.1f} {b:.1f}Q{c:.1f} {d:.1f} {e:.1f} {f:.1f}" fill="none" stroke="{colour}" '
        f'stroke-width="{width}" marker-end="url(#{name})"/>'
    )


def _box(box: Box, made: Layout) -> str:
    node, on_path = box.node, box.node.id in made.path
    fill, colour = _colours(node, on_path)
    parts = [
        f'<g><title>{_escaped(node.name)}</title><rect x="{box.x:.1f}" y="{box.y:.1f}" width="{WIDE}" height="{HIGH}" '
        f'rx="{20 if node.kind == "answer" else 6}" fill="{fill}" stroke="{colour}" stroke-width="{2.4 if on_path else 1}"/>'
    ]
    parts.append(
        _line(
            _cut(plain(node.name), 25 if on_path else 28),
            box.x + WIDE / 2,
            box.y + 19,
            13,
            INK,
            middle=True,
            bold=on_path,
        )
    )
    parts.append(_line(_caption(node), box.x + WIDE / 2, box.y + 35, 10, GREY, middle=True))
    return "".join(parts) + "</g>"


def _colours(node: Node, on_path: bool) -> tuple[str, str]:
    """(fill, border)."""
    if node.kind == "answer":
        return (FILL["answer"], ANSWER) if on_path else (FILL["other"], ANSWER)
    if on_path:
        return FILL["path"], PATH
    return (FILL["begin"], BEGIN) if node.seed_score > 0 else (FILL["other"], PALE)


def _caption(node: Node) -> str:
    if node.kind == "answer":
        return f"answer, p {node.score:.2f}"
    begins = "begins here, " if node.seed_score > 0 else ""
    return f"{node.kind}, {begins}share {node.score:.2f}"


def _line(text: str, x: float, y: float, size: int, colour: str, *, middle: bool = False, bold: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}"{anchor}{weight} xml:space="preserve">'
        f"{_escaped(text)}</text>"
    )


def _page(graph: CognitiveGraph, made: Layout) -> str:
    said = "" if graph.answer is None else f"<p>Answer: <b>{_escaped(graph.nodes[graph.answer].name)}</b></p>"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_escaped(graph.question)}</title></head>\n"
        f'<body style="margin:1em;font-family:sans-serif">{said}\n{svg(made)}</body></html>\n'
    )


def _save_png(made: Layout, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
    from matplotlib.path import Path as Curve

    figure = Figure(figsize=(made.width / 100, made.height / 100), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, made.width)
    axes.set_ylim(made.height, 0)
    axes.axis("off")

    def write(
        text: str, x: float, y: float, size: float, colour: str, *, middle: bool = False, bold: bool = False
    ) -> None:
        axes.text(
            x, y, text, fontsize=size * 0.7, color=colour, ha="center" if middle else "left", va="baseline",
            fontweight="bold" if bold else "normal", parse_math=False, zorder=4,
        )  # fmt: skip

    for n, line in enumerate(made.question):
        write(line, MARGIN, MARGIN + 14 + 24 * n, 17, INK, bold=True)
    for arrow in made.arrows:
        curve = Curve([arrow.start, arrow.bend, arrow.end], [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3])
        colour = PATH if arrow.on_path else PALE
        axes.add_patch(
            FancyArrowPatch(
                path=curve,
                arrowstyle="-|>",
                mutation_scale=10,
                color=colour,
                linewidth=2.2 if arrow.on_path else 1,
                zorder=2 if arrow.on_path else 1,
            )
        )
        if arrow.numbers:
            x, y = arrow.middle
            axes.plot([x], [y], marker="o", markersize=11, color="white", zorder=3)
            write(",".join(map(str, arrow.numbers)), x, y + 4, 11, colour if arrow.on_path else INK, middle=True)
    for box in made.boxes:
        on_path = box.node.id in made.path
        fill, colour = _colours(box.node, on_path)
        axes.add_patch(
            FancyBboxPatch(
                (box.x + 6, box.y + 6),
                WIDE - 12,
                HIGH - 12,
                boxstyle=f"round,pad=6,rounding_size={18 if box.node.kind == 'answer' else 6}",
                facecolor=fill,
                edgecolor=colour,
                linewidth=2.2 if on_path else 1,
                zorder=3,
            )
        )
        write(
            _cut(plain(box.node.name), 25 if on_path else 28),
            box.x + WIDE / 2,
            box.y + 19,
            13,
            INK,
            middle=True,
            bold=on_path,
        )
        write(_caption(box.node), box.x + WIDE / 2, box.y + 35, 10, GREY, middle=True)
    for n, (line, on_path) in enumerate(made.clues):
        write(line, MARGIN, made.clues_at + LINE * (n + 1), 12, PATH if on_path else INK)
    figure.savefig(path)


def plain(text: str) -> str:
    """One line without characters that cannot be seen or are not allowed in XML."""
    return " ".join(_UNSEEN.sub(" ", text).split())


def _escaped(text: str) -> str:
    return html.escape(_UNSEEN.sub(" ", text), quote=True)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _wrapped(text: str, letters: int) -> Sequence[str]:
    import textwrap

    return textwrap.wrap(text, max(letters, 20), break_long_words=True)[:6]
