"""The command line from outside: exit codes, one line an error, JSON alone on standard output."""

from __future__ import annotations

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

Run = Callable[..., "subprocess.CompletedProcess[str]"]
LAMP = "When was the oil lamp replaced?"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "When was the oil lamp replaced?", "answers": ["1934"]}\n\n', encoding="utf-8")
    return path


@pytest.fixture
def own_index(index: Path, tmp_path: Path) -> Path:
    """A copy that a test may write to."""
    return Path(shutil.copytree(index, tmp_path / "index"))


def test_build_tells_what_it_took_and_lists_what_it_refused(run_memptm: Run, folder: Path, tmp_path: Path) -> None:
    first = run_memptm("build", folder, "--index", tmp_path / "index", "--json")
    result = json.loads(first.stdout)
    assert (first.returncode, result["added"], result["documents"]) == (0, 4, 4)
    assert {Path(one["path"]).name for one in result["refused"]} == {"binary.txt", "broken.pdf"}
    again = run_memptm("build", folder, "--index", tmp_path / "index")
    assert again.returncode == 0
    assert "4 unchanged" in again.stdout
    lines = again.stdout.splitlines()
    assert "2 files were not taken" in lines[-3]
    assert {line.split(":")[0].split("/")[-1] for line in lines[-2:]} == {"binary.txt", "broken.pdf"}


def test_query_shows_the_answer_its_probability_and_marks_it_in_the_passage(run_memptm: Run, index: Path) -> None:
    done = run_memptm("query", LAMP, "--index", index)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "1934"
    assert "probability 0." in done.stdout
    assert "lighthouse.txt, characters 0–" in done.stdout
    assert "In [[1934]] its oil lamp" in done.stdout
    assert "\x1b" not in done.stdout


def test_query_that_finds_nothing_says_so(run_memptm: Run, index: Path) -> None:
    done = run_memptm("query", "What is the boiling point of tungsten hexafluoride?", "--index", index)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "Not in memory.")


COMMANDS = {
    "search": ("question", "hits", "ms"),
    "query": ("question", "answer", "probability", "method", "answers", "evidence", "ms"),
    "info": ("documents", "passages", "encoder", "dimension", "bytes", "version", "keys"),
    "verify": ("ok", "checks"),
    "eval": ("n", "em", "f1", "recall", "mrr", "ms", "method"),
    "remove": ("removed",),
    "build": ("added", "updated", "unchanged", "removed", "refused", "documents", "passages", "seconds"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_all_there_is_on_standard_output(
    run_memptm: Run, command: str, own_index: Path, folder: Path, questions: Path
) -> None:  # F100
    given = {
        "search": [LAMP],
        "query": [LAMP],
        "eval": [questions],
        "remove": ["--source", folder / "glacier.md"],
        "build": [folder],
    }.get(command, [])
    done = run_memptm(
        command, *given, "--index", own_index, "--json",
        env={"PYTHONWARNINGS": "always"}, capture_output=False, stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2),
    )  # fmt: skip
    assert done.returncode == 0
    assert set(COMMANDS[command]) <= set(json.loads(done.stdout))


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
        ["build", "{folder}", "--index", "{tmp}/new", "--words", "20", "--overlap", "20"],
        ["build", "{folder}", "--index", "{tmp}/new", "--encoder", "no/such-encoder"],
        ["build", "{folder}", "--index", "{folder}/lighthouse.txt"],
        ["remove", "--index", "{index}"],
        ["remove", "--index", "{index}", "--id", "no such id"],
        ["remove", "--index", "{index}", "--id", "n' OR 'a'='a"],
        ["remove", "--index", "{index}", "--id", "a", "--source", "b"],
        ["eval", "{tmp}/missing.jsonl", "--index", "{index}"],
        ["magic"],
        ["--magic"],
        ["search"],
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_a_mistake_of_the_user_is_one_line_and_exit_code_2(
    run_memptm: Run, arguments: list[str], index: Path, folder: Path, tmp_path: Path
) -> None:
    filled = [part.format(index=index, folder=folder, tmp=tmp_path) if len(part) < 200 else part for part in arguments]
    done = run_memptm(*filled)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Error: ")


def test_an_unknown_method_is_refused_with_those_there_are(run_memptm: Run, index: Path) -> None:
    done = run_memptm("query", LAMP, "--index", index, "--method", "magic")
    assert "reader" in done.stderr
    assert "generate" in done.stderr


def test_a_malformed_question_line_is_named(run_memptm: Run, index: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(
        '{"question": "a?", "answers": ["b"]}\n\n{"question": oops}\n', encoding="utf-8"
    )
    done = run_memptm("eval", tmp_path / "bad.jsonl", "--index", index)
    assert done.returncode == 2
    assert "bad.jsonl, line 3" in done.stderr


def test_a_bare_call_prints_the_help(run_memptm: Run) -> None:
    done = run_memptm()
    assert done.returncode == 0
    assert "Commands:" in done.stdout


FAULT = """
import sys
from memptm.memory import memory
def broken(*args, **options): raise {error}
memory.Memory.open = broken
from memptm.cli import main
main(sys.argv[1:])
"""


def faulty(error: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = FAULT.format(error=error)
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)


def test_a_fault_of_ours_is_one_line_too_unless_the_traceback_is_wanted() -> None:
    line = faulty("ValueError('odd\\nlines')", "info", "--index", "x")
    assert (line.returncode, line.stdout) == (1, "")
    expected = "Error: ValueError: odd. This is a fault of memptm; run with --traceback to see where.\n"
    assert line.stderr == expected
    whole = faulty("ValueError('odd')", "info", "--index", "x", "--traceback")
    assert whole.returncode == 1
    assert "Traceback (most recent call last)" in whole.stderr
    assert whole.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(
    "error", ["OSError(28, 'No space left on device')", "RuntimeError('lance: No space left on device (os error 28)')"]
)
def test_a_full_disk_is_named(error: str) -> None:
    done = faulty(error, "info", "--index", "x")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "No space left" in done.stderr
    assert "fault of memptm" not in done.stderr


@pytest.mark.parametrize("command", ["search", "info"])
@pytest.mark.parametrize("as_json", [["--json"], []])
def test_a_closed_pipe_ends_quietly(command: str, as_json: list[str], index: Path, tmp_path: Path) -> None:  # F97
    words = [
        sys.executable,
        "-u",
        "-m",
        "memptm",
        command,
        *([LAMP] if command == "search" else []),
        "--index",
        str(index),
    ]
    with (tmp_path / "stderr").open("w+") as errors:
        process = subprocess.Popen([*words, *as_json], stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=120) in (0, 141)
        errors.seek(0)
        assert errors.read() == ""


def test_ctrl_c_is_one_line_and_130() -> None:
    code = FAULT.format(error="print('ready', flush=True) or __import__('time').sleep(60)").replace("raise ", "")
    process = subprocess.Popen(
        [sys.executable, "-c", code, "info", "--index", "x"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "Error: Stopped. Run it again to go on.\n"


def on_a_terminal(arguments: list[str], env: dict[str, str]) -> str:
    """What memptm writes to a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "memptm", *arguments],
        stdout=follower, stderr=follower, stdin=follower, env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **env},
    )  # fmt: skip
    os.close(follower)
    written, until = b"", time.monotonic() + 120
    while time.monotonic() < until:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        written += piece
    os.close(leader)
    assert process.wait(timeout=60) == 0
    return written.decode()


def test_a_terminal_gets_colour_unless_it_wants_none(index: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    coloured = on_a_terminal(["search", LAMP, "--index", str(index), "-k", "1"], {**environment, "NO_COLOR": ""})
    assert "\x1b[36m" in coloured
    plain = on_a_terminal(["search", LAMP, "--index", str(index), "-k", "1"], {"NO_COLOR": "1"})
    assert "\x1b[36m" not in plain


def test_a_document_cannot_steer_the_terminal(run_memptm: Run, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    hostile = "The vault code is \x1b]0;owned\x07 \x1b[31m7741\x1b[0m [bold]not markup[/bold] \x9b2J \u202eevil."
    (tmp_path / "files" / "vault.txt").write_text(hostile, encoding="utf-8")
    assert run_memptm("build", tmp_path / "files", "--index", tmp_path / "index").returncode == 0
    for command in (["search", "--mode", "lexical"], ["query"]):
        shown = run_memptm(*command, "What is the vault code?", "--index", tmp_path / "index").stdout
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
        assert "[bold]not markup[/bold]" in shown or command == ["query"]


def test_a_damaged_cache_is_told_in_one_line_and_search_goes_on(run_memptm: Run, own_index: Path) -> None:
    (own_index / "keys.faiss").write_bytes(b"damaged")
    done = run_memptm("search", LAMP, "--index", own_index, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["hits"]
    assert [line[:6] for line in done.stderr.splitlines()] == ["Note: "]


def test_verify_fails_with_exit_code_1_and_a_remedy(run_memptm: Run, own_index: Path) -> None:
    assert run_memptm("verify", "--index", own_index).returncode == 0
    for path in own_index.rglob("*faiss*"):
        if path.is_file():
            path.write_bytes(b"\0" * 100)
    broken = run_memptm("verify", "--index", own_index, "--json")
    result = json.loads(broken.stdout)
    assert (broken.returncode, result["ok"]) == (1, False)
    assert all(check["remedy"] for check in result["checks"] if not check["ok"])
    assert run_memptm("verify", "--index", own_index, "--repair").returncode == 0
    assert run_memptm("verify", "--index", own_index).returncode == 0
