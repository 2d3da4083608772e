"""`memptm read`: one document without an index; and --recall where questions are asked of one."""

from __future__ import annotations

import json
import os

import pytest

FILLER = "The weather was fair that day, and many boats came by. "
TEXT = FILLER * 60 + "The bell of Orme weighs nine tons. " + FILLER * 60
ASKED = "How much does the bell of Orme weigh?"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("read") / "bell.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.mark.parametrize("how", [("--judge", "bm25"), ("--judge", "embedding"), ("--no-recall",)])
def test_a_long_document_is_answered_from_with_exact_places(run_memptm, file, how):
    done = run_memptm("read", file, ASKED, *how, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "nine tons" in result["answer"]
    first = result["evidence"][0]
    assert TEXT[first["start"] : first["end"]] == first["text"]
    assert len(first["text"]) < 1000
    assert first["text"][slice(*first["answer_span"])] == result["answer"]
    assert (first["source"], first["title"], result["method"]) == (str(file), "bell", "reader")


def test_for_a_person_the_answer_is_marked_in_its_block(run_memptm, file):
    done = run_memptm("read", file, ASKED, "--judge", "bm25")
    assert "[[" in done.stdout
    assert "nine tons" in done.stdout.splitlines()[0]


def test_what_cannot_be_read_is_one_line_and_exit_code_2(run_memptm, file, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 40)
    for arguments, said in (
        ((tmp_path / "none.txt", ASKED), "not there"),
        ((tmp_path, ASKED), "is a folder"),
        ((tmp_path / "empty.txt", ASKED), "cannot be read: empty. Give a file with text"),
        ((tmp_path / "binary.txt", ASKED), "cannot be read: binary. Give a file with text"),
        ((tmp_path / "pipe", ASKED), "a pipe or a device. Write what comes from it to a file"),
        ((file, " "), "question is empty"),
        ((file, ASKED, "--judge", tmp_path), "no judge"),
    ):
        done = run_memptm("read", *arguments, "--json")
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_an_index_is_asked_through_blocks(run_memptm, index):
    done = run_memptm(
        "query", "When was the oil lamp replaced?", "--index", index, "--recall", "--judge", "bm25", "--json"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "1934" in result["answer"]
    assert sum(one["prior"] for one in result["evidence"]) == pytest.approx(1)


@pytest.mark.slow
def test_a_judge_is_trained_and_used(run_memptm, tmp_path, file):
    rows = [{"question": ASKED, "context": TEXT[:4000] + "nine tons", "answers": ["nine tons"]}] * 3
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = (tmp_path / "rows.jsonl", "--out", tmp_path / "judge", "--steps", 2, "--batch", 1)
    done = run_memptm("train", "recall", *options, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["steps"], result["examples"], result["skipped"]) == (2, 3, 0)
    again = run_memptm("train", "recall", *options, "--no-labels")
    assert (again.returncode, again.stdout) == (2, "")
    assert "another labels" in again.stderr
    asked = run_memptm("read", file, ASKED, "--judge", tmp_path / "judge", "--json")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["question"] == ASKED
