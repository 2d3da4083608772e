"""From what was found to an answer and its graph; the graph as data."""

import json

import networkx
import pytest

from memptm.errors import InputError
from memptm.generation.reader import marginalise
from memptm.graph import CognitiveGraph
from memptm.memory.in_memory import InMemoryIndex
from memptm.reasoning.answer import NO_EDGE, NO_NAME, NO_VERDICT, Verdict, conclude
from memptm.reasoning.findings import REACHED, Findings
from memptm.types import Passage
from tests.memory.toy import Toy
from tests.reasoning.test_frontier import ASKED, CHAIN
from tests.reasoning.toy import expand, index_of, page

CHOICE = "Which is older, Cape Morrow or Penhollow?"


@pytest.fixture
def findings():
    return Findings(expand(index_of(*CHAIN), ASKED))


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
    plain = marginalise(ASKED, findings.scored, findings.reading, bias=1.0, method="graph")
    assert (answer.text, answer.probability, answer.answers) == (plain.text, plain.probability, plain.answers)
    assert sum(findings.shares) == pytest.approx(1.0)


def test_answers_are_likelier_on_a_page_that_edges_lead_to_from_one_that_the_question_names():
    apart = index_of(*CHAIN, ("Heron Bay", "Heron Bay is a town. It dates from 1340."))
    findings = Findings(expand(apart, ASKED, k=5))
    raised = {
        place.passage.title: mass - place.reading.log_mass
        for place, mass in zip(findings.read_passages, findings.reading.log_mass, strict=True)
    }
    assert raised["Cape Morrow"] == raised["Heron Bay"] == 0.0  # no edge leads there
    assert REACHED > raised["Ada Trent"] > raised["Penhollow"] > 0.5
    assert findings.flat().reading.log_mass == pytest.approx([one.reading.log_mass for one in findings.read_passages])
    answer = conclude(findings, bias=0.0)
    posterior = {one.passage.title: one.posterior for one in answer.evidence}
    assert posterior["Penhollow"] > 2 * posterior["Heron Bay"]


def test_a_verdict_moves_the_odds_of_one_answer(findings):
    before, after = (conclude(findings, Verdict(shift), bias=0.0) for shift in ({}, {"1340": 3.0}))
    assert after.answers[0].probability > before.answers[0].probability
    moved = findings.shifted({"1340": 3.0})
    assert findings.shifted({}).log_mass == pytest.approx(findings.reading.log_mass)
    assert max(moved.log_mass) == pytest.approx(max(findings.reading.log_mass) + 3.0)


def test_a_choice_between_two_pages_has_both_for_support():
    findings = Findings(expand(index_of(*CHAIN), CHOICE))
    verdict = Verdict({}, (("Cape Morrow", 0.7), ("Penhollow", 0.3)), (0, 2))
    answer = conclude(findings, verdict, bias=5.0)
    null = 1 - answer.answers[0].probability - answer.answers[1].probability
    assert 0 < null < 0.1
    assert (answer.text, answer.probability) == ("Cape Morrow", pytest.approx(0.7 * (1 - null)))
    assert answer.graph.path == (0, 2, answer.graph.answer)
    assert {clue.passage for clue in answer.graph.support} == {findings.pages[n].page.passages[0].id for n in (0, 2)}
    assert {one.passage.id for one in answer.evidence} == {findings.pages[n].page.name for n in (0, 2)}
    assert sum(one.posterior for one in answer.evidence) == pytest.approx(1.0)
    assert all(one.posterior > 0 and one.answer_span is not None for one in answer.evidence)
    assert "1340" not in [one.passage.text[slice(*one.answer_span)] for one in answer.evidence]


def test_a_choice_is_silent_where_that_is_likelier_than_either_side():
    findings = Findings(expand(index_of(*CHAIN), CHOICE))
    verdict = Verdict({}, (("Cape Morrow", 0.7), ("Penhollow", 0.3)), (0, 2))
    answer = conclude(findings, verdict, bias=-5.0)
    silent = conclude(findings, bias=-5.0)
    assert (answer.text, answer.evidence, answer.graph.answer) == (None, (), None)
    assert answer.probability == pytest.approx(silent.probability)
    assert sum(one.probability for one in answer.answers) == pytest.approx(1 - answer.probability)


def test_a_yes_or_no_that_was_not_decided_is_said():
    asked = "Is Cape Morrow older than Penhollow?"
    findings = Findings(expand(index_of(*CHAIN), asked))
    assert NO_VERDICT in conclude(findings, bias=5.0).note
    decided = conclude(findings, Verdict({}, (("yes", 0.9), ("no", 0.1)), (0, 1)), bias=-9.0)
    assert (decided.text, NO_VERDICT in decided.note) == ("yes", False)
    assert decided.probability == 0.9  # a reader of spans is silent about any such question


def test_passages_with_one_id_do_not_lend_each_other_their_clues():
    """Two files with equal ids: the clue of the first is no span of the second, and the texts of both are clues."""

    def turn(source, text, title=""):
        return Passage(id="1", document="1", text=text, start=0, end=len(text), source=source, title=title)

    passages = [
        turn("a.txt", "Alder adjoins Cedar."),
        turn("b.txt", "Birch overlooks Cedar."),
        turn("c.txt", "Cedar was founded in 1900.", "Cedar"),
    ]
    result = expand(InMemoryIndex(passages, Toy()), "What do alder and birch share?", k=3)
    cedar = page(result, "Cedar")
    told = {"Alder adjoins Cedar.", "Birch overlooks Cedar."}
    assert {clue.text for clue in cedar.strongest_clues()} == told
    answer = conclude(Findings(result), bias=5.0)
    assert answer.text == "1900"
    assert {clue.text for edge in answer.graph.edges for clue in edge.clues} >= told
    for one in answer.evidence:
        said = one.passage.text[slice(*one.answer_span)] if one.answer_span else one.passage.text
        assert said == ("1900" if one.passage.source == "c.txt" else one.passage.text)


def test_what_could_not_be_followed_is_said():
    lone = conclude(Findings(expand(index_of(("", "it rains a lot here.")), "does it rain?")), bias=0.0)
    assert NO_NAME in lone.note
    assert NO_EDGE in lone.note
    assert (len(lone.graph.nodes), lone.graph.edges) == (1, ())
    nothing = conclude(Findings(expand(index_of(), "Who?")), bias=0.0)
    assert (nothing.text, nothing.graph.nodes) == (None, ())
    assert nothing.note


def test_a_page_that_repeats_its_title_changes_nothing(findings):  # F87
    said = [(name, text.replace("Ada Trent was", "Ada Trent, that is Ada Trent, was")) for name, text in CHAIN]
    other = Findings(expand(index_of(*said), ASKED))
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
        lambda made: made["nodes"][0].update(score="hi"),
        lambda made: made["nodes"][0].update(score=float("nan")),
        lambda made: made["nodes"][0].update(span=[1]),
        lambda made: made["support"][0].update(start="0"),
        lambda made: made["edges"][0]["clues"][0].update(score=None),
        lambda made: made.update(answer=99),
        lambda made: made.update(answer="x"),
        lambda made: made.update(path=["x"]),
        lambda made: made.update(nodes=["x"]),
    ],
)
def test_a_broken_graph_is_refused(findings, spoil):
    made = conclude(findings, bias=5.0).graph.to_json()
    spoil(made)
    with pytest.raises(InputError, match=r"cognitive graph"):
        CognitiveGraph.from_json(made)
