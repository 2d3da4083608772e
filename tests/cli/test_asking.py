"""Questions are asked with the same options by every command that asks them, and the time of loading is told apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from memptm.cli.commands import main

Call = Callable[..., tuple[int, str, str]]
WHO = "Who built the lighthouse at Cape Morrow?"
OF_AN_INDEX = {"--mode", "--where", "--query-encoder", "--pages"}
SHARED = {"-k", "--method", "--reader", "--generator", "--datastore", "--recall", "--judge"}


def options_of(command: str) -> set[str]:
    """The first name of each option."""
    return {option.opts[0] for option in main.commands[command].params if option.param_type_name == "option"}


@pytest.mark.parametrize("command", ["query", "eval", "chat"])
def test_commands_that_ask_an_index_share_their_options(command: str) -> None:
    assert options_of(command) >= SHARED | OF_AN_INDEX


def test_a_text_in_hand_has_the_options_that_need_no_index() -> None:
    assert options_of("read") >= SHARED
    assert not options_of("read") & OF_AN_INDEX


@pytest.mark.parametrize("command", ["search", "query", "eval", "chat", "read"])
def test_the_help_shows_one_name_for_one_thing(call: Call, command: str) -> None:
    _, out, _ = call(command, "--help")
    assert not {"--tokens", "--encoder", "--budget", "--nodes"} & set(out.replace(",", " ").split())


@pytest.mark.parametrize("older", ["--tokens", "--encoder", "--budget", "--nodes"])
def test_older_names_are_taken_still(call: Call, older: str) -> None:
    code, _, errors = call("query", WHO, "--index", "nowhere", older, "")
    assert code == 2
    assert "No such option" not in errors


@pytest.mark.parametrize("command", [("query", WHO), ("eval", "{questions}"), ("chat",)])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--pages", "3"), "--method graph"),
        (("--datastore", "x"), "--method generate"),
        (("--judge", "bm25"), "Give both, or neither"),
        (("--where", "kind ="), "kind ="),
        (("--reader", "no/such-reader"), "no/such-reader"),
        (("--recall", "--judge", "no/such-judge"), "no/such-judge"),
        (("--recall", "--method", "graph"), "whole passages"),
    ],
)
def test_a_wrong_option_is_told_before_the_index_is_looked_at(
    call: Call, questions: Path, command: tuple[str, ...], given: tuple[str, ...], said: str
) -> None:
    code, out, errors = call(*(one.format(questions=questions) for one in command), "--index", "nowhere", *given)
    assert (code, out) == (2, "")
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_query_tells_the_questions_time_apart_from_the_models(call: Call, index: Path) -> None:
    code, out, _ = call("query", WHO, "--index", index, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["ms"] > 0
    assert found["load_ms"] > 0


def test_eval_filters_and_searches_as_it_is_told(call: Call, index: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"question": WHO, "answers": ["Ada Trent"]}))
    _, out, _ = call("eval", asked, "--index", index, "--mode", "lexical", "--where", "kind = 'fern'", "--json")
    found = json.loads(out)
    assert (found["f1"], found["recall"]["5"]) == (0.0, 0.0)
    _, out, _ = call("eval", asked, "--index", index, "--mode", "lexical", "--json")
    assert json.loads(out)["recall"]["5"] == 1.0
