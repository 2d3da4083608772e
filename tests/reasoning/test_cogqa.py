"""The method over a real index, with the packaged models: an answer with its graph, notes where it cannot be followed."""

import json
from dataclasses import replace

import pytest

from memptm import QA, Answer, Document, Memory
from memptm.errors import InputError
from memptm.reasoning.answer import NO_EDGE, NO_NAME
from memptm.reasoning.cogqa import CogQA
from memptm.session import Session
from memptm.types import Query
from scripts.benchmarks.two_hops import WORLDS, measure
from scripts.data.held_out import rows

PAGES = [
    ("Cape Morrow Lighthouse", "The Cape Morrow Lighthouse was built in 1871. It was built by the engineer Ada Trent."),
    ("Ada Trent", "Ada Trent was an engineer. Ada Trent was born in the town of Penhollow in 1840."),
    ("Penhollow", "Penhollow is a fishing town in Cornwall. Its church has a tall tower."),
    ("Otter Review", "Otter Review is a magazine about rivers. Otter Review was founded in 1921 in Leeds."),
]
ASKED = "Where was the engineer who built the Cape Morrow Lighthouse born?"


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    memory = Memory.open(tmp_path_factory.mktemp("cogqa") / "index", create=True)
    memory.add([Document(id=title, title=title, text=text) for title, text in PAGES])
    return memory


@pytest.fixture(scope="module")
def qa(memory):
    return QA(memory, method="graph")


@pytest.mark.slow
def test_a_question_of_two_hops_is_answered_with_the_path(qa):
    answer = qa(ASKED, k=1)
    graph = answer.graph
    assert answer.method == "graph"
    assert "Penhollow" in {one.text for one in answer.answers}
    lighthouse = next(node for node in graph.pages if node.name == "Cape Morrow Lighthouse")
    ada = next(node for node in graph.pages if node.name == "Ada Trent")
    assert any("engineer Ada Trent" in clue.text for clue in graph.edge(lighthouse.id, ada.id).clues)
    assert json.loads(json.dumps(answer.to_json()))["graph"]["nodes"]


@pytest.mark.slow
def test_a_document_that_is_removed_leaves_no_node_behind(tmp_path):
    memory = Memory.open(tmp_path / "index", create=True)
    memory.add([Document(id=title, title=title, text=text) for title, text in PAGES])
    qa = QA(memory, method="graph")
    assert any(node.name == "Ada Trent" for node in qa(ASKED).graph.nodes)
    memory.remove(ids=["Ada Trent"])
    for again in (qa, QA(Memory.open(memory.path), method="graph", reader=qa.reader)):
        graph = again(ASKED).graph
        assert all("Ada Trent" not in node.passages for node in graph.nodes)
        assert all(clue.passage != "Ada Trent" for edge in graph.edges for clue in edge.clues)


@pytest.mark.slow
def test_passages_without_any_name_give_one_node_and_a_note_also_after_reopening(tmp_path, qa):  # F89
    memory = Memory.open(tmp_path / "index", create=True)
    memory.add([Document(text="it rains a lot here.")])
    for reopened in (memory, Memory.open(tmp_path / "index")):
        answer = QA(reopened, method="graph", reader=qa.reader)("does it rain a lot?")
        assert len(answer.graph.pages) == 1
        assert all(answer.graph.nodes[edge.target].kind == "answer" for edge in answer.graph.edges)
        assert NO_NAME in answer.note
        assert NO_EDGE in answer.note


def test_an_empty_index_says_that_there_was_nothing(tmp_path, qa):
    memory = Memory.open(tmp_path / "index", create=True)
    answer = QA(memory, method="graph", reader=qa.reader)("Who?")
    assert (answer.text, answer.graph.nodes) == (None, ())
    assert answer.note


def test_a_filter_and_a_budget_hold(memory, qa):
    answer = CogQA(memory, qa.reader, pages=1).answer(ASKED, where="title = 'Penhollow'")
    assert {node.name for node in answer.graph.pages} == {"Penhollow"}
    with pytest.raises(InputError, match="at most 0 pages"):
        QA(memory, method="graph", pages=0)


def test_auto_says_which_method_answered_and_has_no_graph_where_one_passage_was_enough(memory, qa):
    auto = QA(memory, method="auto", reader=qa.reader)
    answer = auto("Where was Otter Review founded?", k=2)
    assert answer.method in ("reader", "graph")
    assert (answer.graph is None) == (answer.method == "reader")
    assert ("graph" in answer.to_json()) == (answer.method == "graph")
    assert answer.answers[0].text == "Leeds"


def test_a_follow_up_is_asked_as_it_stands_and_read_after_the_last_answer(memory, qa):
    findings = CogQA(memory, qa.reader).expand(Query("Was she born in Leeds?", lead="Ada Trent. "))
    assert findings.result.form == "yes-no"
    assert findings.result.question == "Ada Trent. Was she born in Leeds?"
    assert "Ada Trent" in [node.page.name for node in findings.pages if node.named]
    session = Session(memory)
    session.add("Who built the lighthouse?", Answer(question="", text="Ada Trent", probability=1.0, method="reader"))
    answer = QA(memory, method="graph", reader=qa.reader)("Was she born in Leeds?", session=session)
    assert answer.question == "Was she born in Leeds?"
    assert answer.graph.question == "Ada Trent. Was she born in Leeds?"


def test_the_answers_of_other_methods_have_no_graph(memory, qa):
    answer = QA(memory, reader=qa.reader)("Where was Otter Review founded?")
    assert answer.graph is None
    assert "graph" not in answer.to_json()
    assert replace(answer, graph=None) == answer


@pytest.mark.parametrize("method", ["graph", "auto"])
def test_recall_is_refused_where_it_would_be_ignored(memory, qa, method):
    with pytest.raises(InputError, match="recall"):
        QA(memory, method=method, reader=qa.reader, recall=True)


def test_a_budget_and_a_mode_that_are_changed_later_hold(memory, qa):
    changed = QA(memory, method="graph", reader=qa.reader, pages=1)
    assert len(changed(ASKED).graph.pages) == 1
    changed.pages, changed.mode = 2, "lexical"
    answer = changed(ASKED)
    assert len(answer.graph.pages) == 2
    again = QA(memory, method="graph", reader=qa.reader, pages=2, mode="lexical")(ASKED)
    assert [node.seed_score for node in answer.graph.pages] == [node.seed_score for node in again.graph.pages]


def test_a_memory_that_is_changed_later_is_read(memory, qa, tmp_path):
    changed = QA(memory, method="graph", reader=qa.reader, pages=1)
    changed(ASKED)
    changed.memory = Memory.open(tmp_path / "index", create=True)
    assert changed(ASKED).graph.nodes == ()


SECTIONS = (
    ("The Heron pump", "The Heron pump lifts water from the lower basin. It was put in by Dario Quint in 1998."),
    ("The Magpie pump", "The Magpie pump empties the cellar. It was put in by Sofia Brand in 2004."),
    ("Dario Quint", "Dario Quint is a fitter from Lugo. He can be reached at extension 417."),
    ("Sofia Brand", "Sofia Brand is an electrician from Porto. She can be reached at extension 230."),
    ("Otto Lenz", "Otto Lenz is a plumber from Graz. He can be reached at extension 555 and knows every pump."),
)


@pytest.mark.slow
@pytest.mark.parametrize("files", ["one file", "a file each"])
def test_the_name_that_one_page_says_leads_to_the_page_of_that_title_or_heading(files, tmp_path, qa):
    """The question names only what the first page is about; its answer stands on the page that this one names."""
    folder = tmp_path / "notes"
    folder.mkdir()
    if files == "one file":
        sections = "\n\n".join(f"## {title}\n\n{text}" for title, text in SECTIONS)
        (folder / "pumps.md").write_text(f"# Pumps\n\n{sections}\n", encoding="utf-8")
    else:
        for title, text in SECTIONS:
            (folder / f"{title}.txt").write_text(text, encoding="utf-8")
    memory = Memory.open(tmp_path / "index", create=True)
    memory.add([folder])
    ask = QA(memory, method="graph", reader=qa.reader)
    for asked, wanted, path in (
        ("At which extension can the man who put in the Heron pump be reached?", "417", "Dario Quint"),
        ("Where is the woman from who put in the pump that empties the cellar?", "Porto", "Sofia Brand"),
    ):
        answer = ask(asked)
        assert answer.answers[0].text == wanted
        pages = [node.name for node in answer.graph.pages]
        assert path in pages
        assert any(answer.graph.nodes[edge.target].name == path for edge in answer.graph.edges)


@pytest.mark.slow
def test_the_graph_answers_most_questions_of_two_hops_by_titles_and_headings():
    worlds = [row for row in rows(WORLDS) if row["world"] in ("bands", "expeditions", "books", "software")]
    found = measure(worlds)
    right = {
        method: sum(found[half, method]["right"] for half, of in found if of == method)
        for method in ("reader", "graph")
    }
    assert right["graph"] >= 10  # of 12
    assert right["graph"] > right["reader"]
