"""The command line from outside: exit codes, one line an error, JSON alone on standard output."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from memptm import Answer, Evidence, Hit, Passage
from memptm.cli import render

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Call = Callable[..., tuple[int, str, str]]
LAMP = "When was the oil lamp replaced?"


@pytest.fixture
def own_index(index: Path, tmp_path: Path) -> Path:
    """A copy that a test may write to."""
    return Path(shutil.copytree(index, tmp_path / "index"))


def test_build_tells_what_it_took_and_lists_what_it_refused(call: Call, folder: Path, tmp_path: Path) -> None:
    code, out, _ = call("build", folder, "--index", tmp_path / "index", "--json")
    result = json.loads(out)
    assert (code, result["added"], result["documents"]) == (0, 4, 4)
    assert {Path(one["path"]).name for one in result["refused"]} == {"binary.txt", "broken.pdf"}
    code, out, _ = call("build", folder, "--index", tmp_path / "index")
    assert code == 0
    assert "4 unchanged" in out
    lines = out.splitlines()
    assert "2 files were not taken" in lines[-3]
    assert {line.split(":")[0].split("/")[-1] for line in lines[-2:]} == {"binary.txt", "broken.pdf"}


def test_query_shows_the_answer_its_probability_and_marks_it_in_the_passage(call: Call, index: Path) -> None:
    code, out, _ = call("query", LAMP, "--index", index)
    assert code == 0
    assert out.splitlines()[0] == "1934"
    assert "probability 0." in out
    assert "lighthouse.txt, characters 0–" in out
    assert "In [[1934]] its oil lamp" in out
    assert "\x1b" not in out


def test_query_that_finds_nothing_says_so(call: Call, index: Path) -> None:
    code, out, _ = call("query", "What is the boiling point of tungsten hexafluoride?", "--index", index)
    assert (code, out.splitlines()[0]) == (0, "Not in memory.")


COMMANDS = {
    "search": ("question", "hits", "ms", "load_ms"),
    "query": ("question", "answer", "probability", "method", "answers", "evidence", "ms"),
    "info": ("documents", "passages", "encoder", "dimension", "bytes", "version", "keys"),
    "verify": ("ok", "checks"),
    "eval": ("n", "em", "f1", "recall", "mrr", "ms", "method"),
    "remove": ("removed",),
    "build": ("added", "updated", "unchanged", "removed", "refused", "documents", "passages", "seconds"),
}


@pytest.fixture
def given(folder: Path, questions: Path) -> dict[str, list[object]]:
    """What each command is told besides the index."""
    return {
        "search": [LAMP],
        "query": [LAMP],
        "eval": [questions],
        "remove": ["--source", folder / "glacier.md"],
        "build": [folder],
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_json_has_the_keys_that_are_promised(
    call: Call, command: str, own_index: Path, given: dict[str, list[object]]
) -> None:
    code, out, _ = call(command, *given.get(command, []), "--index", own_index, "--json")
    assert code == 0
    assert set(COMMANDS[command]) <= set(json.loads(out))


@pytest.mark.parametrize("command", ["build", "query"])
def test_json_is_all_there_is_on_standard_output(
    spawn_memptm: Run, command: str, tmp_path: Path, folder: Path, index: Path
) -> None:  # F100: a fresh process, warnings on, standard error closed
    given = [LAMP, "--index", index] if command == "query" else [folder, "--index", tmp_path / "new"]
    done = spawn_memptm(
        command, *given, "--json",
        env={"PYTHONWARNINGS": "always"}, capture_output=False, stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2),
    )  # fmt: skip
    assert done.returncode == 0
    assert set(COMMANDS[command]) <= set(json.loads(done.stdout))


OFFLINE = """
import contextlib, socket, sys
attempts = []
def refuse(*arguments):
    attempts.append(arguments)
    raise OSError("the network is cut")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from memptm.cli import main
folder, index, question = sys.argv[1:]
for arguments in (["build", folder], ["search", question], ["query", question]):
    with contextlib.suppress(SystemExit):
        main([*arguments, "--index", index, "--json"])
print(attempts)
"""


def test_build_search_and_query_ask_nothing_of_the_network(folder: Path, tmp_path: Path) -> None:  # F102
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(folder), str(tmp_path / "index"), LAMP],
        capture_output=True, text=True, timeout=300,
        env={name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"},
    )  # fmt: skip
    built, found, answered, attempts = done.stdout.splitlines()
    assert json.loads(built)["added"] == 4
    assert json.loads(found)["hits"]
    assert "1934" in json.loads(answered)["answer"]
    assert attempts == "[]"


def test_a_bare_call_prints_the_help(call: Call) -> None:
    code, out, _ = call()
    assert code == 0
    assert "Commands:" in out


def test_a_fault_of_ours_is_one_line_too_unless_the_traceback_is_wanted(
    call: Call, broken: Callable[[BaseException], None]
) -> None:
    broken(ValueError("odd\nlines"))
    expected = "Error: ValueError: odd. This is a fault of memptm; run with --traceback to see where.\n"
    assert call("info", "--index", "x") == (1, "", expected)
    code, _, errors = call("info", "--index", "x", "--traceback")
    assert code == 1
    assert errors.startswith("Traceback (most recent call last)")
    assert errors.endswith(expected)


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), RuntimeError("lance: No space left on device (os error 28)")],
)
def test_a_full_disk_is_named(call: Call, broken: Callable[[BaseException], None], error: BaseException) -> None:
    broken(error)
    code, _, errors = call("info", "--index", "x")
    assert (code, len(errors.splitlines())) == (1, 1)
    assert "No space left" in errors
    assert "fault of memptm" not in errors


def test_ctrl_c_is_one_line_and_130(call: Call, broken: Callable[[BaseException], None]) -> None:
    broken(KeyboardInterrupt())
    assert call("info", "--index", "x") == (130, "", "Error: Stopped. Run it again to go on.\n")


def test_ctrl_c_is_one_line_also_where_a_library_turns_it_into_another_error(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memptm.memory.memory import Memory

    def masked(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape of object type") from None

    monkeypatch.setattr(Memory, "open", masked)
    assert call("info", "--index", "x") == (130, "", "Error: Stopped. Run it again to go on.\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_building_keeps_what_was_committed(folder: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "memptm", "build", str(folder), "--index", str(tmp_path / "index")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (tmp_path / "index" / "memptm.json").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "Error: Stopped. Run it again to go on.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", LAMP, "--index", "{index}", "--json"],
        ["info", "--index", "{index}", "--json"],
        ["info", "--index", "{index}"],
        [],
        ["--help"],
        ["--version"],
        ["train"],
        ["train", "--help"],
        ["search", "--help"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_closed_pipe_ends_quietly(arguments: list[str], index: Path, tmp_path: Path) -> None:  # F97
    words = [sys.executable, "-u", "-m", "memptm", *(part.format(index=index) for part in arguments)]
    with (tmp_path / "stderr").open("w+") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=120) in (0, 141)
        errors.seek(0)
        assert errors.read() == ""


@pytest.fixture
def shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], str]:
    """What a function writes to standard output where that is a terminal."""

    def shown(write: Callable[[], None]) -> str:
        leader, follower = pty.openpty()
        with os.fdopen(follower, "w", encoding="utf-8") as terminal:
            monkeypatch.setattr(sys, "stdout", terminal)
            write()
        written = b""
        with contextlib.suppress(OSError):  # the terminal's other side is closed: no more will come
            while piece := os.read(leader, 65536):
                written += piece
        os.close(leader)
        monkeypatch.undo()
        return written.decode()

    return shown


def test_a_terminal_gets_colour_unless_it_wants_none(
    shown_on_a_terminal: Callable[[Callable[[], None]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    passage = Passage(id="p", document="p", text="In 1934 its lamp was replaced.", start=0, end=30, source="a.txt")
    evidence = Evidence(passage=passage, prior=1.0, posterior=1.0, answer_span=(3, 7))
    answer = Answer(question="When?", text="1934", probability=0.9, method="reader", evidence=(evidence,))
    for wanted, environment in (
        (True, {"TERM": "xterm-256color"}),
        (False, {"TERM": "xterm-256color", "NO_COLOR": "1"}),
    ):
        monkeypatch.delenv("NO_COLOR", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        written = shown_on_a_terminal(lambda: render.answer(answer))
        assert ("36m" in written) == wanted
        assert "\x1b[1;7m1934" in written  # marked all the same


def test_a_document_cannot_steer_the_terminal(call: Call, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    hostile = "The vault code is \x1b]0;owned\x07 \x1b[31m7741\x1b[0m [bold]not markup[/bold] \x9b2J \u202eevil."
    (tmp_path / "files" / "vault.txt").write_text(hostile, encoding="utf-8")
    assert call("build", tmp_path / "files", "--index", tmp_path / "index")[0] == 0
    for command in (["search", "--mode", "lexical"], ["query"]):
        _, shown, _ = call(*command, "What is the vault code?", "--index", tmp_path / "index")
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
        assert "[bold]not markup[/bold]" in shown or command == ["query"]


def test_a_damaged_cache_is_told_in_one_line_and_search_goes_on(call: Call, own_index: Path) -> None:
    (own_index / "keys.faiss").write_bytes(b"damaged")
    code, out, errors = call("search", LAMP, "--index", own_index, "--json")
    assert code == 0
    assert json.loads(out)["hits"]
    assert [line[:6] for line in errors.splitlines()] == ["Note: "]


def test_verify_fails_with_exit_code_1_and_a_remedy(call: Call, own_index: Path) -> None:
    assert call("verify", "--index", own_index)[0] == 0
    for path in own_index.rglob("*faiss*"):
        if path.is_file():
            path.write_bytes(b"\0" * 100)
    code, out, _ = call("verify", "--index", own_index, "--json")
    result = json.loads(out)
    assert (code, result["ok"]) == (1, False)
    assert all(check["remedy"] for check in result["checks"] if not check["ok"])
    assert call("verify", "--index", own_index, "--repair")[0] == 0
    assert call("verify", "--index", own_index)[0] == 0


def test_a_note_of_the_build_and_a_citation_name_the_file_alike(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chats").mkdir()
    (tmp_path / "chats" / "jetty.txt").write_text(
        "[03/06/2025, 08:12:44] Nils: The winch is oiled.\n[03/06/2025, 08:13:02] Nils: \u200eimage omitted\n"
        "[03/06/2025, 08:15:10] Ada: Thank you.\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    _, built, _ = call("build", "chats", "--index", "index")
    _, found, _ = call("search", "the winch", "--index", "index", "--mode", "lexical")
    notes = [line for line in built.splitlines() if line.startswith("Note: ")]
    assert notes == ["Note: chats/jetty.txt: attachments that are not in the export (pictures, voice messages): 1"]
    assert " — chats/jetty.txt, " in found


def test_a_citation_says_sheet_and_row(capsys: pytest.CaptureFixture[str]) -> None:
    place = {"sheet": "Winter", "row": 7}
    for headings, said in ((("Winter",), "sheet Winter, row 7"), (("Stock", "Winter"), "sheet Winter, Stock, row 7")):
        passage = Passage(
            id="p", document="p", text="a", start=3, end=4, source="k.xlsx", headings=headings, metadata=place
        )
        render.hits([Hit(passage=passage, score=1.0, similarity=1.0)])
        assert capsys.readouterr().out.startswith(f"1. k.xlsx, {said}, characters 3–4")


def test_a_citation_says_whose_mail_it_is_and_what_it_quotes(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mail.eml").write_text(
        "From: Nils Aker <nils@quay.example>\nTo: ada@quay.example\nSubject: Re: Winch\n"
        "Date: Tue, 3 Jun 2025 08:12:00 +0000\n\nThe winch is oiled.\n\n> Is the winch ready, or must the anchor wait?\n",
        encoding="utf-8",
    )
    assert call("build", tmp_path / "mail.eml", "--index", tmp_path / "index")[0] == 0
    for question, said in (("oiled", ", mail from"), ("anchor wait", ", quoted in mail from")):
        _, found, _ = call("search", question, "--index", tmp_path / "index", "--mode", "lexical", "-k", 1)
        assert f"mail.eml{said} Nils Aker of 2025-06-03 08:12, characters " in found
