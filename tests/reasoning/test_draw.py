"""Drawings: complete, legible at 20 nodes, harmless whatever the documents hold."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
import resvg_py

from memptm.errors import ExtraMissing, InputError
from memptm.graph import Clue, CognitiveGraph, Edge, Node
from memptm.reasoning.draw import png, save, svg
from memptm.reasoning.graph_layout import HIGH, WIDE, layout

HOSTILE = '</text><script>alert(1)</script> & "quoted" $x^2$ \x1b[31m \u202eevil'


def clue(n, text):
    return Clue(text=text, passage=f"p{n}", sentence=0, start=0, end=len(text), score=0.5)


def twenty(name="Page"):
    pages = [
        Node(id=n, kind="title", name=f"{name} {n}", passages=(f"p{n}",), seed_score=float(n < 3), visits=1, score=0.05)
        for n in range(17)
    ]
    answers = [
        Node(id=17 + n, kind="answer", name=f"{name} answer {n}", passages=(f"p{12 + n}",), score=0.3, span=(0, 4))
        for n in range(3)
    ]
    edges = [
        Edge(source=n % 3 if n < 9 else n - 6, target=n, clues=(clue(n, f"{name} clue {n}."),)) for n in range(3, 17)
    ]
    edges += [Edge(source=12 + n, target=17 + n, clues=(clue(30 + n, f"{name} says {n}."),)) for n in range(3)]
    edges.append(Edge(source=16, target=1, clues=(clue(50, f"{name} back."),)))
    return CognitiveGraph(
        question=f"{name} question?", nodes=(*pages, *answers), edges=tuple(edges), answer=17, path=(0, 6, 12, 17)
    )


def test_sentences_of_two_passages_with_one_id_are_two_clues():
    said = [
        replace(clue(1, text), origin=("talks.jsonl", talk, "p1", 0)) for talk, text in (("a", "Ada."), ("b", "Bob."))
    ]
    pages = [Node(id=n, kind="title", name=f"Page {n}", passages=(f"p{n}",)) for n in range(3)]
    edges = [Edge(source=n, target=2, clues=(said[n],)) for n in range(2)]
    drawn = svg(layout(CognitiveGraph(question="Who?", nodes=tuple(pages), edges=tuple(edges))))
    assert "Ada." in drawn
    assert "Bob." in drawn


def test_no_two_of_twenty_nodes_overlap_and_all_lie_inside():
    made = layout(twenty())
    assert len(made.boxes) == 20
    for n, one in enumerate(made.boxes):
        assert one.x >= 0
        assert one.x + WIDE <= made.width
        assert one.y + HIGH <= made.clues_at
        for other in made.boxes[n + 1 :]:
            assert abs(one.x - other.x) >= WIDE or abs(one.y - other.y) >= HIGH
    assert made.clues_at < made.height


def test_question_nodes_clues_answer_and_path_are_there():
    graph = twenty()
    page = svg(layout(graph))
    for node in graph.nodes:
        assert node.name in page
    assert graph.question in page
    assert "Page clue 6." in page
    assert page.count('marker-end="url(#path)"') == 3
    columns = {box.node.id: box.x for box in layout(graph).boxes}
    assert columns[0] < columns[6] < columns[12] < columns[17]


@pytest.mark.parametrize(
    "graph", [CognitiveGraph(question="Who?"), CognitiveGraph(question="", nodes=twenty().nodes[:1])]
)
def test_a_graph_with_next_to_nothing_is_drawn(graph, tmp_path):
    ElementTree.fromstring(svg(layout(graph)))
    save(graph, tmp_path / "graph.png")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("ending", ["svg", "html"])
def test_hostile_text_stays_text(ending, tmp_path):
    path = tmp_path / f"graph.{ending}"
    save(twenty(HOSTILE), path)
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    if ending == "svg":
        names = {element.tag.rsplit("}")[-1] for element in ElementTree.fromstring(text).iter()}
        assert names <= {"svg", "defs", "marker", "path", "rect", "g", "title", "text", "circle"}


def crosses(box, arrow):
    """Whether the arrow's curve goes through the box's inside."""
    for n in range(1, 100):
        t = n / 100
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        x, y = (sum(w * point[axis] for w, point in zip(weights, arrow.curve, strict=True)) for axis in (0, 1))
        if box.x + 1 < x < box.x + WIDE - 1 and box.y + 1 < y < box.y + HIGH - 1:
            return True
    return False


def test_the_path_goes_through_no_box_also_where_it_skips_a_column():
    made = layout(twenty())
    assert not [box for box in made.boxes for arrow in made.arrows if arrow.on_path and crosses(box, arrow)]


def test_the_paths_clues_are_written_first_and_numbered_along_it():
    graph = replace(twenty(), path=(2, 8, 14, 19), answer=19)
    made = layout(graph)
    told = [" ".join(clue.lines) for clue in made.clues if clue.on_path]
    assert told == ["Page 2: Page clue 8.", "Page 8: Page clue 14.", "Page 14: Page says 2."]
    assert [clue.number for clue in made.clues] == list(range(1, len(made.clues) + 1))
    assert made.clues_at > max(y for arrow in made.arrows for _, y in arrow.curve)


def test_a_png_is_the_svg_text_included(tmp_path):
    graph = twenty()
    save(graph, tmp_path / "graph.PNG")
    drawn = (tmp_path / "graph.PNG").read_bytes()
    assert drawn == png(svg(layout(graph)))
    untold = re.sub("<text[^<]*</text>", "", svg(layout(graph)))
    assert drawn != png(untold)
    assert len(drawn) > 2 * len(png(untold))


def test_a_png_without_any_font_is_refused_rather_than_drawn_without_its_text(monkeypatch):
    real = resvg_py.svg_to_bytes
    monkeypatch.setattr(resvg_py, "svg_to_bytes", lambda **given: real(skip_system_fonts=True, **given))
    with pytest.raises(ExtraMissing, match="font"):
        png(svg(layout(twenty())))


def test_another_ending_or_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.svg, \.png, \.html"):
        save(twenty(), tmp_path / "graph.pdf")
    with pytest.raises(InputError, match="cannot be written"):
        save(twenty(), tmp_path / "nowhere" / "graph.svg")
