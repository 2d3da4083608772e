"""From a walk to an answer and its graph; the graph as data."""

import json

import networkx
import pytest

from memptm.errors import InputError
from memptm.generation.reader import marginalise
from memptm.reasoning.conclude import NO_EDGE, NO_NAME, Verdict, conclude
from memptm.reasoning.findings import Findings
from memptm.reasoning.graph import CognitiveGraph
from tests.reasoning.test_frontier import ASKED, CHAIN
from tests.reasoning.toy import shelf, walk


@pytest.fixture
def findings():
    return Findings(walk(shelf(*CHAIN), ASKED))


def test_the_answer_comes_with_its_path_and_the_sentences_that_say_so(findings):
    answer = conclude(findings, bias=5.0)
    graph = answer.graph
    assert answer.text == "1340"
    assert [graph.nodes[n].name for n in graph.path] == ["Cape Morrow", "Ada Trent", "Penhollow", "1340"]
    said = ["Its engineer was Ada Trent.", "Ada Trent was born in Penhollow.", "It dates from 1340."]
    assert [clue.text for clue in graph.support] == said
    assert graph.nodes[graph.answer].span is not None
    spans = {one.passage.id: one.passage.text[slice(*one.answer_span)] for one in answer.evidence if one.answer_span}
    assert spans == {"Cape Morrow": said[0], "Ada Trent": said[1], "Penhollow": "1340"}
    assert answer.evidence[0].passage.id == "Penhollow"
    assert answer.note == ""


def test_without_system_2_the_probabilities_are_the_readers_marginal_under_pagerank(findings):
    answer = conclude(findings, bias=1.0)
    passages = [place.passage for place in findings.places]
    plain = marginalise(ASKED, passages, findings.log_prior, findings.reading, bias=1.0, method="graph")
    assert (answer.text, answer.probability, answer.answers) == (plain.text, plain.probability, plain.answers)
    assert sum(findings.shares) == pytest.approx(1.0)


def test_a_verdict_moves_the_odds_of_one_answer(findings):
    before, after = (conclude(findings, Verdict(shift), bias=0.0) for shift in ({}, {"1340": 3.0}))
    assert after.answers[0].probability > before.answers[0].probability
    moved = findings.shifted({"1340": 3.0})
    assert findings.shifted({}).log_mass == pytest.approx(findings.reading.log_mass)
    assert max(moved.log_mass) == pytest.approx(max(findings.reading.log_mass) + 3.0)


def test_a_choice_between_two_pages_has_both_for_support(findings):
    verdict = Verdict({}, (("Cape Morrow", 0.7), ("Penhollow", 0.3)), (0, 2))
    answer = conclude(findings, verdict, bias=0.0)
    assert (answer.text, answer.probability) == ("Cape Morrow", 0.7)
    assert answer.graph.path == (0, 2, answer.graph.answer)
    assert {clue.passage for clue in answer.graph.support} == {findings.pages[n].page.passages[0].id for n in (0, 2)}
    assert len(answer.evidence) >= 2


def test_what_could_not_be_followed_is_said():
    lone = conclude(Findings(walk(shelf(("", "it rains a lot here.")), "does it rain?")), bias=0.0)
    assert NO_NAME in lone.note
    assert NO_EDGE in lone.note
    assert (len(lone.graph.nodes), lone.graph.edges) == (1, ())
    nothing = conclude(Findings(walk(shelf(), "Who?")), bias=0.0)
    assert (nothing.text, nothing.graph.nodes) == (None, ())
    assert nothing.note


def test_a_page_that_repeats_its_title_changes_nothing(findings):  # F87
    said = [(name, text.replace("Ada Trent was", "Ada Trent, that is Ada Trent, was")) for name, text in CHAIN]
    other = Findings(walk(shelf(*said), ASKED))
    assert other.edges.keys() == findings.edges.keys()
    assert list(other.shares) == pytest.approx(list(findings.shares), abs=0.02)


def test_the_graph_goes_to_json_and_back_and_to_networkx(findings):
    graph = conclude(findings, bias=5.0).graph
    assert CognitiveGraph.from_json(json.loads(json.dumps(graph.to_json()))) == graph
    made = graph.to_networkx()
    assert isinstance(made, networkx.DiGraph)
    assert (made.number_of_nodes(), made.number_of_edges()) == (len(graph.nodes), len(graph.edges))
    assert made.nodes[graph.answer]["name"] == "1340"
    assert networkx.has_path(made, graph.path[0], graph.path[-1])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made.pop("nodes"),
        lambda made: made["edges"].append({"source": 0, "target": 0, "clues": []}),
        lambda made: made["edges"].append({"source": 0, "target": 99, "clues": []}),
        lambda made: made["nodes"][0].update(kind="planet"),
        lambda made: made["nodes"][0].update(id=7),
    ],
)
def test_a_broken_graph_is_refused(findings, spoil):
    made = conclude(findings, bias=5.0).graph.to_json()
    spoil(made)
    with pytest.raises(InputError, match=r"cognitive graph"):
        CognitiveGraph.from_json(made)
