"""What writes answers, from the command line: RAG's two ways, and the datastore of tokens, with a tiny random model."""

import json

import pytest

from tests.generation.tiny import TEMPLATE, causal


@pytest.fixture(scope="module")
def place(run_memptm, folder, tmp_path_factory):
    """A folder with an index and a generator."""
    made = tmp_path_factory.mktemp("generate")
    assert run_memptm("build", folder, "--index", made / "index").returncode == 0
    causal(made / "model", template=TEMPLATE, window=2048)
    return made


@pytest.mark.parametrize("method", ["rag-token", "rag-sequence"])
def test_rag_answers_with_shares_of_what_it_read(run_memptm, place, method):
    options = ("--index", place / "index", "--generator", place / "model", "-k", 2, "--method", method, "--json")
    asked = run_memptm("query", "Who built the lighthouse?", *options)
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert answer["method"] == method
    assert 0 <= answer["probability"] <= 1
    assert len(answer["evidence"]) == (2 if answer["answer"] else 0)  # "not in memory" cites nothing
    assert sum(one["posterior"] for one in answer["evidence"]) <= 1 + 1e-6


def test_a_datastore_of_tokens_is_made_and_read_and_said_to_be_behind(run_memptm, place, tmp_path):
    index, generator = ("--index", place / "index"), ("--generator", place / "model")
    made = run_memptm("tokens", *index, *generator, "--out", place / "tokens", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["tokens"] > 0
    ask = ("query", "Who built it?", *index, *generator, "--method", "generate", "--tokens", place / "tokens", "--json")
    assert "warning" not in json.loads(run_memptm(*ask).stdout)
    (tmp_path / "late.txt").write_text("A heron came later.", encoding="utf-8")
    assert run_memptm("build", tmp_path, *index).returncode == 0
    assert "has changed since" in json.loads(run_memptm(*ask).stdout)["warning"]
