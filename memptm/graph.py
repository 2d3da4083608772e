"""The cognitive graph as data: nodes that were visited, answers found there, and the clues that led from one to the next.

Source: CogQA (Ding et al. 2019, arXiv 1905.05460): an edge x → y carries its clue, the sentence of x that names y.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memptm.errors import InputError

if TYPE_CHECKING:
    import networkx

Json = dict[str, Any]
PassageKey = tuple[str, str, str, int]  # source, the document's id, the passage's id, start

KINDS = ("title", "heading", "entity", "passage", "answer")


@dataclass(frozen=True, kw_only=True)
class Clue:
    """A sentence of a passage.

    Attributes:
        text: as it stands there.
        passage: the passage's id.
        sentence: its number in the passage, from 0.
        start, end: characters of the passage's text.
        score: how much it says for the edge, from 0 to 1.
        origin: which passage that is, where ids alone do not tell: two documents may use one. Not in JSON.
    """

    text: str
    passage: str
    sentence: int
    start: int
    end: int
    score: float
    origin: PassageKey | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> tuple[PassageKey | str, int]:
        """Clues with the same place are the same sentence."""
        return self.origin or self.passage, self.sentence

    def to_json(self) -> Json:
        """What JSON can hold."""
        return {name: value for name, value in vars(self).items() if name != "origin"}


@dataclass(frozen=True, kw_only=True)
class Node:
    """Something the question led to.

    Attributes:
        id: its place in ``CognitiveGraph.nodes``.
        kind: "title", "heading" or "entity" (what ``name`` is), "passage" (found by search, and without a name), "answer".
        passages: ids of the passages that were read for it; of an answer, the passage it stands in.
        seed_score: how surely the question itself leads there; 0 for what only a clue led to. In JSON it is "start".
        visits: how often it was read; of an answer 0.
        score: System 2's; of a page its share of PageRank, of an answer its probability.
        span: of an answer, characters of its passage's text.
    """

    id: int
    kind: str
    name: str
    passages: tuple[str, ...]
    seed_score: float = 0.0
    visits: int = 0
    score: float = 0.0
    span: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Edge:
    """``source`` names ``target`` (ids of nodes, never the same) in the sentences ``clues``."""

    source: int
    target: int
    clues: tuple[Clue, ...]

    @property
    def weight(self) -> float:
        """The clues' scores together."""
        return sum(clue.score for clue in self.clues)


@dataclass(frozen=True, kw_only=True)
class CognitiveGraph:
    """What a question led to, and how.

    Attributes:
        answer: id of the answer's node; None where nothing, or nothing that stands in a passage, was answered.
        path: ids from where the search began to the answer, the answer last; empty without one. For a comparison the
            things compared come one after the other.
        support: the sentences that say so: the clues along the path and where the answer stands.
    """

    question: str
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    answer: int | None = None
    path: tuple[int, ...] = ()
    support: tuple[Clue, ...] = ()

    def edge(self, source: int, target: int) -> Edge | None:
        """The edge between two nodes; None if there is none."""
        return next((edge for edge in self.edges if (edge.source, edge.target) == (source, target)), None)

    @property
    def pages(self) -> tuple[Node, ...]:
        """The nodes that are no answers."""
        return tuple(node for node in self.nodes if node.kind != "answer")

    def to_json(self) -> Json:
        """What JSON can hold; ``from_json`` takes it."""
        return {
            "question": self.question,
            "nodes": [
                {
                    "id": node.id, "kind": node.kind, "name": node.name, "passages": list(node.passages),
                    "start": node.seed_score, "visits": node.visits, "score": node.score,
                    "span": list(node.span) if node.span else None,
                }
                for node in self.nodes
            ],
            "edges": [
                {"source": edge.source, "target": edge.target, "clues": [clue.to_json() for clue in edge.clues]}
                for edge in self.edges
            ],
            "answer": self.answer,
            "path": list(self.path),
            "support": [clue.to_json() for clue in self.support],
        }  # fmt: skip

    @classmethod
    def from_json(cls, made: Mapping[str, Any]) -> CognitiveGraph:
        """The graph that ``to_json`` wrote.

        Raises:
            InputError: it is no such object, an edge leaves the graph, or a node leads to itself.
        """
        try:
            nodes = tuple(_node(node) for node in made["nodes"])
            edges = tuple(
                Edge(source=e["source"], target=e["target"], clues=tuple(Clue(**clue) for clue in e["clues"]))
                for e in made["edges"]
            )
            support = tuple(Clue(**clue) for clue in made["support"])
            graph = cls(
                question=made["question"], nodes=nodes, edges=edges, answer=made["answer"], path=tuple(made["path"]),
                support=support,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"This is not a cognitive graph as memptm writes it ({error}).") from error
        graph.check()
        return graph

    def check(self) -> None:
        """Raise InputError unless nodes are numbered in order, edges stay among them, and none leads to itself."""
        count = len(self.nodes)
        _check_types(self)
        if [node.id for node in self.nodes] != list(range(count)) or any(n.kind not in KINDS for n in self.nodes):
            raise InputError("A cognitive graph's nodes are numbered from 0, each of a kind that is known.")
        named = [place for edge in self.edges for place in (edge.source, edge.target)] + list(self.path)
        named += [] if self.answer is None else [self.answer]
        if any(not 0 <= place < count for place in named) or any(e.source == e.target for e in self.edges):
            raise InputError(
                "An edge of a cognitive graph joins two different nodes of it; path and answer are nodes of it."
            )

    def to_networkx(self) -> networkx.DiGraph[int]:
        """Nodes with all their fields; edges with ``weight`` and ``clues`` (texts); the graph with ``question``."""
        import networkx

        made: networkx.DiGraph[int] = networkx.DiGraph(question=self.question, answer=self.answer, path=self.path)
        for node in self.nodes:
            made.add_node(node.id, **{name: value for name, value in vars(node).items() if name != "id"})
        for edge in self.edges:
            made.add_edge(edge.source, edge.target, weight=edge.weight, clues=tuple(clue.text for clue in edge.clues))
        return made


def _node(row: Mapping[str, Any]) -> Node:
    """A node as ``to_json`` writes it."""
    fields = {name: value for name, value in row.items() if name != "start"}
    span = row["span"] and tuple(row["span"])
    return Node(**{**fields, "seed_score": row["start"], "passages": tuple(row["passages"]), "span": span})


def _check_types(graph: CognitiveGraph) -> None:
    """Raise InputError where a field is not of its type: JSON may hold anything."""
    clues = [*(clue for edge in graph.edges for clue in edge.clues), *graph.support]
    texts: list[object] = [graph.question]
    whole: list[object] = [*graph.path, *([] if graph.answer is None else [graph.answer])]
    numbers: list[object] = []
    for node in graph.nodes:
        texts += [node.kind, node.name, *node.passages]
        whole += [node.id, node.visits, *(node.span or ())]
        numbers += [node.seed_score, node.score]
    for edge in graph.edges:
        whole += [edge.source, edge.target]
    for clue in clues:
        texts += [clue.text, clue.passage]
        whole += [clue.sentence, clue.start, clue.end]
        numbers += [clue.score]
    wrong = [one for one in texts if not isinstance(one, str)]
    wrong += [one for one in whole if type(one) is not int]
    wrong += [one for one in numbers if type(one) not in (int, float) or not math.isfinite(one)]  # type: ignore[arg-type]
    if any(node.span is not None and len(node.span) != 2 for node in graph.nodes):
        wrong.append("span")
    if wrong:
        raise InputError(f"This is not a cognitive graph as memptm writes it ({wrong[0]!r} is not what belongs there).")
