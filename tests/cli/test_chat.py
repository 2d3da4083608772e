"""A conversation on the command line: piped, on a terminal, and kept in a file."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time

import pytest

from memptm.cli.chat import _lines

WHO = "Who built the lighthouse at Cape Morrow?"


@pytest.fixture(scope="module")
def own_index(index, tmp_path_factory):
    """A copy that can be written to."""
    path = tmp_path_factory.mktemp("chat") / "index"
    shutil.copytree(index, path)
    return path


def test_piped_lines_are_questions_and_commands_and_a_bad_one_ends_nothing(run_memptm, own_index, tmp_path):
    lines = [
        WHO,
        "How tall is it?",
        "",
        "/nope",
        "x" * 10_001 + "?",
        "/where kind = 'fern'",
        "Where does the royal fern grow?",
        "/where (",
        "/where",
        "/history",
        "My sister Ann lives in Bergen.",
        "/forget nothing",
        "/quit",
        "Who comes after the end?",
    ]
    file = tmp_path / "chat.session"
    arguments = ("chat", "--index", own_index, "--session", file, "--remember")
    done = run_memptm(*arguments, input="\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert "[[43 metres]]" in done.stdout or "[[43]]" in done.stdout
    assert "Ada Trent" in done.stdout
    assert "bogs" in done.stdout
    assert f"You: {WHO}\nmemptm: Ada Trent" in done.stdout
    assert "Remembered as chat-" in done.stdout
    assert "comes after" not in done.stdout
    errors = done.stderr.splitlines()
    assert [line.split(":")[0] for line in errors] == ["Error"] * 4, done.stderr
    assert "/nope" in errors[0]
    assert "10,002 characters" in errors[1]
    assert "Bad filter" in errors[2]
    assert "has no turn nothing" in errors[3]

    later = run_memptm("chat", "--index", own_index, input="Where does the sister Ann live?\n/sources\n")
    assert later.returncode == 0
    assert "You: My sister Ann lives in [[Bergen]]." in later.stdout
    assert "conversation chat" in later.stdout
    assert later.stderr == ""


def test_unrelated_chats_are_conversations_of_their_own(run_memptm, own_index, tmp_path):
    def talk(*lines, file=None):
        kept = () if file is None else ("--session", file)
        done = run_memptm("chat", "--index", own_index, "--remember", *kept, input="\n".join(lines))
        assert done.returncode == 0, done.stderr
        return done.stdout

    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
    first, second = tmp_path / "1" / "a.session", tmp_path / "2" / "a.session"
    talk("My brother Tom lives in Oslo.", file=first)
    talk("My brother Tim lives in Turku.", file=second)
    assert "Forgot 1 turn." in talk("My brother Ted lives in Tampa.", "/forget all")
    assert "Forgot 1 turn." in talk("/forget all", file=second)
    assert "Forgot 2 turns." in talk("My brother Tom works in Moss.", "/forget all", file=first)


def test_what_is_no_utf8_ends_nothing(index):
    done = subprocess.run(
        [sys.executable, "-m", "memptm", "chat", "--index", str(index)],
        input=f"Where is the caf\udc81?\n{WHO}\n/history\n".encode(errors="surrogateescape"),
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "You: Where is the caf\ufffd?" in done.stdout.decode()
    assert f"You: {WHO}\nmemptm: Ada Trent" in done.stdout.decode()


def test_a_query_goes_on_a_session_and_a_damaged_one_costs_the_session_alone(run_memptm, index, tmp_path):
    file = tmp_path / "kept.session"

    def ask(question):
        done = run_memptm("query", question, "--index", index, "--session", file, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    assert "Ada Trent" in ask(WHO)[0]["answer"]
    found, errors = ask("How tall is it?")
    assert found["question"] == "How tall is it?"
    assert "43" in found["answer"]
    assert errors == ""
    file.write_bytes(file.read_bytes()[:100])
    found, errors = ask(WHO)
    assert "Ada Trent" in found["answer"]
    assert errors.startswith("Note: ")
    assert "kept.session.damaged, and the session begins anew" in errors
    assert errors.count("\n") == 1


def test_a_session_of_another_index_is_an_error_that_names_both(run_memptm, index, own_index, tmp_path):
    from memptm import Answer, Memory, Session

    other = tmp_path / "other"
    memory = Memory.open(other, create=True)
    Session.open(memory, tmp_path / "a.session").add(
        WHO, Answer(question=WHO, text=None, probability=1.0, method="reader")
    )
    for arguments in (("query", WHO), ("chat",)):
        done = run_memptm(*arguments, "--index", index, "--session", tmp_path / "a.session", input="")
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert str(other) in done.stderr
        assert str(index) in done.stderr


@pytest.mark.slow
def test_on_a_terminal_ctrl_c_stops_an_answer_and_ctrl_d_leaves(index):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "memptm", "chat", "--index", str(index)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200"},
        start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )
    os.close(follower)
    seen = ""

    def wait_for(text):
        nonlocal seen
        until = time.monotonic() + 200
        while text not in seen:
            assert time.monotonic() < until, seen
            if select.select([leader], [], [], 1)[0]:
                try:
                    seen += os.read(leader, 65536).decode(errors="replace")
                except OSError:  # it has ended
                    raise AssertionError(seen) from None
        seen = seen.partition(text)[2]

    try:
        wait_for("> ")
        os.write(leader, f"{WHO}\n".encode())
        wait_for("Morrow?")
        time.sleep(0.3)
        os.write(leader, b"\x03")
        wait_for("Stopped.")
        wait_for("> ")
        os.write(leader, f"{WHO}\n".encode())
        wait_for("Morrow?")
        wait_for("Ada Trent")
        wait_for("> ")
        os.write(leader, b"\x04")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(leader)


@pytest.mark.parametrize("locale", ["utf-8", "ascii", "cp1252", "latin-1"])
@pytest.mark.parametrize("piped", ["utf-8", "utf-8-sig", "cp1252"])
def test_what_is_piped_is_utf_8_whatever_the_locale_says_and_else_in_its_encoding(monkeypatch, locale, piped):
    text = "Das Rad ist größer als fünf Fuß – für Ann.\nÄpfel\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode(piped)), encoding=locale))
    lines = "".join(_lines(None))
    assert lines == text or (locale, piped, lines) == ("latin-1", "cp1252", text.replace("–", "\x96"))
