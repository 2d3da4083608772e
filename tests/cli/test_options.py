"""What commands are told: what cannot be done is refused in one line, before any work; what finds nothing says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]
LAMP = "When was the oil lamp replaced?"


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", LAMP, "--index", "{tmp}/nowhere"],
        ["query", LAMP, "--index", "{tmp}/nowhere", "--json"],
        ["search", "  ", "--index", "{index}"],
        ["query", "", "--index", "{index}"],
        ["search", "word " * 20_000, "--index", "{index}"],
        ["query", "word " * 20_000, "--index", "{index}", "--json"],
        ["search", LAMP, "--index", "{index}", "-k", "0"],
        ["search", LAMP, "--index", "{index}", "--where", "kind = "],
        ["query", LAMP, "--index", "{index}", "--method", "magic"],
        ["build", "{tmp}/missing", "--index", "{tmp}/new"],
        ["build", "{folder}", "--index", "{tmp}/new", "--words", "20", "--overlap", "20"],  # F19
        ["build", "{folder}", "--index", "{tmp}/new", "--encoder", "no/such-encoder"],
        ["build", "{folder}", "--index", "{folder}/lighthouse.txt"],
        ["remove", "--index", "{index}"],
        ["remove", "--index", "{index}", "--id", "no such id"],
        ["remove", "--index", "{index}", "--id", "n' OR 'a'='a"],  # F53
        ["remove", "--index", "{index}", "--id", "a", "--source", "b"],
        ["eval", "{tmp}/missing.jsonl", "--index", "{index}"],
        ["search", LAMP, "--index", "{index}", "-k", "9223372036854775807"],
        ["query", LAMP, "--index", "{index}", "-k", "9223372036854775807"],
        ["query", LAMP, "--index", "{index}", "--method", "graph", "--budget", "99999999999999999999"],
        ["eval", "{questions}", "--index", "{index}", "-k", "9223372036854775807"],
        ["eval", "{questions}", "--index", "{index}", "--limit", "9223372036854775808"],
        ["train", "reader", "{questions}", "--out", "{tmp}/out", "--seed", "99999999999999999999"],
        ["train", "reader", "{questions}", "--out", "{tmp}/out", "--seed", "-1"],
        ["build", "{folder}", "--index", "{folder}/lighthouse.txt/x"],
        ["rekey", "--index", "{index}", "--encoder", "nope", "--out", "{folder}/lighthouse.txt/x"],
        ["tokens", "--index", "{index}", "--out", "{folder}/lighthouse.txt/x"],
        ["train", "reader", "{questions}", "--out", "{folder}/lighthouse.txt/x"],
        ["query", LAMP, "--index", "{index}", "--session", "{folder}/lighthouse.txt/x"],
        ["query", LAMP, "--index", "{index}", "--session", "{folder}/glacier.md"],
        ["chat", "--index", "{index}", "--session", "{tmp}/" + 100 * "long"],
        ["query", LAMP, "--index", "{index}", "--judge", "nope"],
        ["query", LAMP, "--index", "{index}", "--generator", "nope"],
        ["query", LAMP, "--index", "{index}", "--reader", ""],
        ["eval", "{questions}", "--index", "{index}", "--judge", "nope"],
        ["chat", "--index", "{index}", "--generator", "nope"],
        ["read", "{folder}/lighthouse.txt", LAMP, "--generator", "nope"],
        ["read", "{folder}/lighthouse.txt", LAMP, "--no-recall", "--judge", "nope"],
        ["read", "{folder}/lighthouse.txt", LAMP, "--method", "graph"],
        ["magic"],
        ["--magic"],
        ["search"],
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_a_mistake_of_the_user_is_one_line_and_exit_code_2(
    call: Call, arguments: list[str], index: Path, folder: Path, questions: Path, tmp_path: Path
) -> None:
    places = {"index": index, "folder": folder, "questions": questions, "tmp": tmp_path}
    filled = [part.format(**places) if len(part) < 1000 else part for part in arguments]
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    code, out, errors = call(*filled)
    assert code == 2
    assert out == ""
    assert len(errors.splitlines()) == 1
    assert errors.startswith("Error: ")
    assert {path: path.read_bytes() for path in folder.iterdir()} == kept


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", LAMP, "-k", "9223372036854775807"], "1<=x<=10000"),
        (["query", LAMP, "--session", "{folder}/glacier.md"], "no session, and is left as it is. Give"),
        (["query", LAMP, "--session", "{folder}/glacier.md/x"], "glacier.md is not a folder. Give"),
        (["chat", "--session", "{folder}/" + 100 * "long"], "too long. Give a shorter one"),
        (["query", LAMP, "--judge", "bm25"], "--recall reads. Give both"),
        (["eval", "{questions}", "--generator", "x"], "Give --method generate"),
        (["query", LAMP, "--reader", " "], "--reader is empty. Leave it out"),
        (["search", LAMP, "--where", "kind ="], "something is missing in it. Write conditions such as"),
        (["search", LAMP, "--where", "kind = 'x"], "a quote is not closed. Write conditions such as"),
        (["rekey", "--encoder", "", "--out", "{folder}/new"], "--encoder is empty. Give a name."),
    ],
)
def test_a_mistake_is_said_with_what_to_do(
    call: Call, arguments: list[str], said: str, index: Path, folder: Path, questions: Path
) -> None:
    filled = [part.format(folder=folder, questions=questions) for part in arguments]
    assert said in call(*filled, "--index", index)[2]


@pytest.mark.parametrize(("command", "shown"), [("search", "No passage found."), ("query", "Not in memory.")])
def test_a_filter_by_a_field_that_no_passage_has_is_told(call: Call, index: Path, command: str, shown: str) -> None:
    told = "No passage has the field nofield or a.b. Check the name."
    asked = [command, LAMP, "--index", index, "--where"]
    code, out, _ = call(*asked, "nofield = 'x' or a.b > 1 and kind = 'fern'")
    assert (code, shown in out, f"Note: {told}" in out) == (0, True, True)
    assert json.loads(call(*asked, "nofield = 'x' or a.b > 1", "--json")[1])["warning"] == told
    assert "No passage has" not in call(*asked, "kind = 'x' and title = 'y'")[1]


def test_a_build_that_finds_no_file_says_so(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").write_text("x")
    code, out, _ = call("build", tmp_path / "empty", "--index", tmp_path / "index")
    assert (code, f"Note: No file was found in {tmp_path / 'empty'}." in out) == (0, True)


@pytest.mark.parametrize("group", [[], ["train"]])
def test_no_line_of_a_list_of_commands_is_cut_at_80_columns(
    call: Call, group: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = call(*group, "--help")[1].split("Commands:")[1]
    assert "..." not in listed
    assert all(line.endswith(".") for line in listed.strip().splitlines())


def test_a_place_where_nothing_can_be_made_is_refused_before_any_work(
    call: Call, broken: Callable[[BaseException], None], folder: Path, questions: Path, index: Path
) -> None:
    broken(AssertionError("the index was opened"))
    place = folder / "glacier.md" / "x"
    for command in (
        ["rekey", "--encoder", "x", "--out", place],
        ["tokens", "--out", place],
        ["train", "rag", questions, "--out", place],
        ["query", LAMP, "--session", place],
        ["chat", "--session", place],
    ):
        code, _, errors = call(*command, "--index", index)
        assert (code, "is not a folder" in errors) == (2, True)


def test_a_folder_that_is_no_index_is_told_for_asking_and_for_building(call: Call, folder: Path) -> None:
    for command in (["query", LAMP], ["build", folder]):
        code, _, errors = call(*command, "--index", folder)
        assert (code, "Give one that memptm build made; it makes one in an empty or a new folder." in errors) == (
            2,
            True,
        )


def test_an_unknown_method_is_refused_with_those_there_are(call: Call, index: Path) -> None:
    _, _, errors = call("query", LAMP, "--index", index, "--method", "magic")
    assert "reader" in errors
    assert "generate" in errors


def test_a_malformed_question_line_is_named(call: Call, index: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(
        '{"question": "a?", "answers": ["b"]}\n\n{"question": oops}\n', encoding="utf-8"
    )
    code, _, errors = call("eval", tmp_path / "bad.jsonl", "--index", index)
    assert code == 2
    assert "bad.jsonl, line 3" in errors
