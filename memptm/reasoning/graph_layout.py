"""Where everything in the drawing of a cognitive graph goes, in pixels; ``draw`` makes a file of it.

Pages stand in columns by their distance from where the search began, answers in the last one. The clues are written out
below, those of the path first, numbered as on their edges.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from memptm.graph import CognitiveGraph, Edge, Node
from memptm.types import PassageKey

WIDE, HIGH, ACROSS, DOWN = 200, 46, 84, 18  # of a box, and between two
MARGIN, LINE = 32, 18
LETTER, LARGE = 7.2, 11.0  # width of a letter, about, of a clue and of the question
HEADING = 30  # height of the columns' headings
TITLE_LINE = 26
INDENT = 28  # of a clue's text, behind its number
MOST_CLUES = 24  # that are written out, those of the path first
MOST_LINES = 6  # of the question, and of a clue
NAME_SHOWN, CLUE_SHOWN = 30, 320  # letters of a page's name before its clue, and of the clue
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A node's place: its upper left corner."""

    node: Node
    x: float
    y: float


@dataclass(frozen=True)
class Arrow:
    """An edge's line: a cubic Bézier curve.

    Attributes:
        curve: where it starts, its two control points, where it ends.
        numbers: of the edge's clues.
    """

    edge: Edge
    curve: tuple[Point, Point, Point, Point]
    on_path: bool
    numbers: tuple[int, ...]

    @property
    def middle(self) -> Point:
        """Where its numbers stand: half way, or between the first two columns where it goes further."""
        (start, _), _, _, (end, _) = self.curve
        if end - start <= ACROSS:
            return self._at(0.5)
        return min((self._at(n / 100) for n in range(101)), key=lambda one: abs(one[0] - start - ACROSS / 2))

    def _at(self, t: float) -> Point:
        """The point at ``t``, from 0 to 1."""
        weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
        x, y = (sum(w * point[axis] for w, point in zip(weights, self.curve, strict=True)) for axis in (0, 1))
        return x, y


@dataclass(frozen=True)
class ClueText:
    """A clue as it is written out at height ``y``; its lines begin with ``page``, the page that says it."""

    number: int
    page: str
    lines: tuple[str, ...]
    on_path: bool
    y: float


@dataclass(frozen=True)
class Layout:
    """A drawing before it is drawn.

    Attributes:
        question: its lines.
        headings: (x, text) of each column.
        clues_at: height below which clues are written out.
        path: ids of the nodes on the path.
    """

    width: float
    height: float
    question: tuple[str, ...]
    headings: tuple[tuple[float, str], ...]
    headings_at: float
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    clues: tuple[ClueText, ...]
    clues_at: float
    path: frozenset[int]


def layout(graph: CognitiveGraph) -> Layout:
    """Where everything goes."""
    columns = _columns(graph)
    path = frozenset(graph.path)
    firsts = [
        int(bool(path) and path.isdisjoint(one.id for one in column)) for column in columns
    ]  # the path goes above
    tallest = max((first + len(column) for first, column in zip(firsts, columns, strict=True)), default=1)
    width = max(2 * MARGIN + len(columns) * WIDE + (len(columns) - 1) * ACROSS, 640)
    question = _wrapped(plain(graph.question) or "(no question)", int((width - 2 * MARGIN) / LARGE))
    headings_at = MARGIN + TITLE_LINE * len(question) + 18
    top = headings_at + HEADING
    boxes: dict[int, Box] = {}
    for n, column in enumerate(columns):
        for m, node in enumerate(column, firsts[n]):
            boxes[node.id] = Box(node, MARGIN + n * (WIDE + ACROSS), top + m * (HIGH + DOWN))
    steps = _steps(graph)
    numbers, written = _numbered_clues(graph, steps)
    arrows = tuple(
        Arrow(edge, _curve(boxes[edge.source], boxes[edge.target]), (edge.source, edge.target) in steps, number)
        for edge, number in ((edge, numbers[edge.source, edge.target]) for edge in graph.edges)
    )
    clues_at = top + tallest * (HIGH + DOWN) + 28  # below arrows that lead back
    y, clues = clues_at + LINE, []
    for number, (page, text, on_path) in enumerate(written, 1):
        lines = _wrapped(f"{page}: {text}", int((width - 2 * MARGIN - INDENT) / LETTER))
        clues.append(ClueText(number, page, lines, on_path, y))
        y += LINE * len(lines) + 8
    headings = tuple((MARGIN + n * (WIDE + ACROSS), _heading(n, column)) for n, column in enumerate(columns))
    return Layout(
        width=width, height=y + MARGIN - LINE, question=question, headings=headings, headings_at=headings_at,
        boxes=tuple(boxes.values()), arrows=arrows, clues=tuple(clues), clues_at=clues_at, path=path,
    )  # fmt: skip


def plain(text: str) -> str:
    """One line without characters that cannot be seen or are not allowed in XML."""
    return " ".join(_UNSEEN.sub(" ", text).split())


def cut(text: str, most: int) -> str:
    """At most so many letters of it."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _heading(n: int, column: Sequence[Node]) -> str:
    if column[0].kind == "answer":
        return "possible answers"
    return "the search begins" if n == 0 else f"{n} hop{'s' if n > 1 else ''} on"


def _columns(graph: CognitiveGraph) -> list[list[Node]]:
    """Pages by their distance from where the search began, then answers; within a column near to those that lead there."""
    led_to = {edge.target for edge in graph.edges}
    by_seed = sorted(graph.pages, key=lambda node: (-node.seed_score, node.id))
    begins = [node.id for node in by_seed if node.id not in led_to]
    depth = dict.fromkeys(begins or [node.id for node in graph.pages][:1], 0)
    if graph.path:
        depth.setdefault(graph.path[0], 0)
    for step in itertools.pairwise(graph.path):  # the path is read from left to right
        if graph.nodes[step[1]].kind != "answer":
            depth[step[1]] = depth[step[0]] + 1 if graph.edge(*step) else 0
    _spread(graph, depth)
    for node in by_seed:
        if node.id not in depth:  # in a circle that nothing leads into
            depth[node.id] = 0
            _spread(graph, depth)
    columns: list[list[Node]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in graph.pages:
        columns[depth[node.id]].append(node)
    answers = [node for node in graph.nodes if node.kind == "answer"]
    rank: dict[int, float] = {}
    ordered = []
    for column in [*columns, answers]:
        column.sort(key=lambda node: (node.id not in graph.path, _mean_rank(graph, node.id, rank), node.id))
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
    return {
        (source, target) if graph.edge(source, target) else (source, graph.path[-1])
        for source, target in itertools.pairwise(graph.path)
    }


def _numbered_clues(
    graph: CognitiveGraph, steps: set[tuple[int, int]]
) -> tuple[dict[tuple[int, int], tuple[int, ...]], list[tuple[str, str, bool]]]:
    """Edge → numbers of its clues, from 1; and (page, text, of the path) of each clue in that order."""
    place = {node: n for n, node in enumerate(graph.path)}
    edges = sorted(
        graph.edges,
        key=lambda edge: (
            (edge.source, edge.target) not in steps, place.get(edge.source, len(place)), edge.source, edge.target,
        ),
    )  # fmt: skip
    numbers: dict[tuple[int, int], tuple[int, ...]] = {}
    known: dict[tuple[PassageKey | str, int], int] = {}
    written: list[tuple[str, str, bool]] = []
    for edge in edges:
        pair = edge.source, edge.target
        for clue in edge.clues:
            if clue.place not in known and len(known) < MOST_CLUES:
                known[clue.place] = len(known) + 1
                page = cut(plain(graph.nodes[edge.source].name), NAME_SHOWN)
                written.append((page, cut(plain(clue.text).lstrip("# "), CLUE_SHOWN), pair in steps))
        numbers[pair] = tuple(known[clue.place] for clue in edge.clues if clue.place in known)
    return numbers, written


def _curve(one: Box, other: Box) -> tuple[Point, Point, Point, Point]:
    """From side to side; between boxes of one column around the right, backwards below both."""
    if other.x > one.x:
        start, end = (one.x + WIDE, one.y + HIGH / 2), (other.x, other.y + HIGH / 2)
        reach = min((end[0] - start[0]) / 2, ACROSS)
        return start, (start[0] + reach, start[1]), (end[0] - reach, end[1]), end
    if other.x == one.x:
        start, end = (one.x + WIDE, one.y + HIGH * 0.7), (other.x + WIDE, other.y + HIGH * 0.3)
        right = one.x + WIDE + 64
        return start, (right, start[1]), (right, end[1]), end
    start, end = (one.x, one.y + HIGH * 0.75), (other.x + WIDE, other.y + HIGH * 0.75)
    below = max(start[1], end[1]) + 40
    return start, (start[0] - 50, below), (end[0] + 50, below), end


def _wrapped(text: str, letters: int) -> tuple[str, ...]:
    return tuple(textwrap.wrap(text, max(letters, 20), break_long_words=True)[:MOST_LINES])
