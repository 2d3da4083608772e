"""The cognitive graph on the command line: answer with its path, drawing, and what is refused in one line."""

import json

import pytest


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    from memptm import Document, Memory

    path = tmp_path_factory.mktemp("graph") / "index"
    Memory.open(path, create=True).add(
        [
            Document(id="1", title="Cape Morrow", text="The lighthouse at Cape Morrow was built by Ada Trent."),
            Document(id="2", title="Ada Trent", text="Ada Trent was born in Penhollow. <script>alert(1)</script>"),
        ]
    )
    return path


@pytest.mark.slow
def test_query_over_the_graph_prints_the_path_and_draws_it(run_memptm, index, tmp_path):
    drawing = tmp_path / "why.svg"
    asked = ["query", "Where was Ada Trent born?", "--index", index, "--method", "graph", "--pages", "3"]
    told = run_memptm(*asked, "--show-graph", drawing)
    assert told.returncode == 0, told.stderr
    assert "Penhollow" in told.stdout
    assert "path: " in told.stdout
    assert drawing.read_text(encoding="utf-8").startswith("<svg")
    assert "<script" not in drawing.read_text(encoding="utf-8")
    made = json.loads(run_memptm(*asked, "--json").stdout)
    assert made["method"] == "graph"
    assert {node["name"] for node in made["graph"]["nodes"]} >= {"Cape Morrow", "Ada Trent", "Penhollow"}
    assert made["graph"]["path"][-1] == made["graph"]["answer"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "graph", "--budget", "0"], "--budget"),
        (["--method", "graph", "--show-graph", "why.pdf"], ".svg, .png, .html"),
        (["--method", "graph", "--show-graph", "nowhere/why.svg"], "nowhere is not there"),
        (["--budget", "3"], "--method graph"),
        (["--show-graph", "why.svg"], "--method graph"),
        (["--method", "graph", "--tokens", "x"], "--method generate"),
    ],
)
def test_what_cannot_be_done_is_one_line(run_memptm, index, options, said, tmp_path):
    told = run_memptm("query", "Who?", "--index", index, *options, cwd=tmp_path)
    assert told.returncode == 2
    assert told.stdout == ""
    assert said in told.stderr
    assert len(told.stderr.strip().splitlines()) == 1


def test_training_rows_without_their_facts_are_named(run_memptm, tmp_path):
    data = tmp_path / "rows.jsonl"
    row = {
        "id": "q7",
        "question": "Who?",
        "answer": "x",
        "supporting_facts": [["Atlantis", 0]],
        "context": [["A", ["x."]]],
    }
    data.write_text(json.dumps(row) + "\n", encoding="utf-8")
    told = run_memptm("train", "graph", data, "--out", tmp_path / "out")
    assert told.returncode == 2
    assert "q7: its supporting fact 'Atlantis', sentence 0, is not in its context" in told.stderr
