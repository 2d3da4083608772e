"""`memptm train rag`, and the trained encoder where questions are asked."""

import json

import pytest


@pytest.fixture(scope="module")
def trained(run_memptm, folder, tmp_path_factory):
    """An index of its own, and the folder of a short training on it."""
    place = tmp_path_factory.mktemp("trained")
    assert run_memptm("build", folder, "--index", place / "index").returncode == 0
    rows = [
        {"question": "Who built the lighthouse?", "answers": ["Ada Trent"]},
        {"question": "When does the ghost orchid flower?", "answers": ["July"]},
        {"question": "What is not in the index?", "answers": ["Nothing of it"]},
    ]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = (
        "--index",
        place / "index",
        "--out",
        place / "out",
        "--steps",
        3,
        "-k",
        2,
        "--held-out",
        place / "rows.jsonl",
    )
    return place, run_memptm("train", "rag", place / "rows.jsonl", *options, "--json")


def test_the_result_is_json_and_counts_what_was_skipped(trained):
    _, done = trained
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["steps"], result["examples"], result["skipped"]) == (3, 2, 1)
    assert result["recall"].keys() == result["frozen"].keys() == {"1", "5", "20"}
    assert [row["step"] for row in result["telemetry"]] == [1, 2, 3]


@pytest.mark.parametrize("command", ["search", "query"])
def test_search_and_query_take_the_trained_encoder(run_memptm, trained, command):
    place, _ = trained
    asked = run_memptm(
        command, "Who built the lighthouse?", "--index", place / "index", "--encoder", place / "out/encoder", "--json"
    )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    assert "1871" in (found.get("hits") or found["evidence"])[0]["text"]


def test_for_a_person_there_is_a_table(run_memptm, trained):
    place, _ = trained
    options = ("--index", place / "index", "--out", place / "out", "--steps", 3, "-k", 2)
    again = run_memptm("train", "rag", place / "rows.jsonl", *options)  # finished: only what it did is told
    assert again.returncode == 0, again.stderr
    assert again.stdout.split()[:4] == ["step", "loss", "entropy", "distinct"]


def test_what_cannot_be_used_is_one_line_and_code_2(run_memptm, trained):
    place, _ = trained
    for options, said in (
        (("--index", place / "index", "-k", 50), "lower -k"),
        (("--index", place / "nowhere"), "No index"),
        (("--index", place / "index", "--encoder", place / "index"), "encoder"),
    ):
        refused = run_memptm("train", "rag", place / "rows.jsonl", "--out", place / "other", *options)
        assert refused.returncode == 2, refused.stderr
        assert said in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_tokens_are_for_a_generator(run_memptm, trained):
    place, _ = trained
    refused = run_memptm("query", "Who?", "--index", place / "index", "--tokens", place / "tokens")
    assert refused.returncode == 2
    assert "--method generate" in refused.stderr
