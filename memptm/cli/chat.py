"""``memptm chat``: a conversation with an index, on a terminal or through a pipe."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, cast

import click

from memptm.answering.asked import check_question
from memptm.answering.options import STREAMED
from memptm.cli import render
from memptm.cli.asking import Asking, asking_options
from memptm.cli.group import Command, index_option
from memptm.cli.options import place_option
from memptm.cli.safe import one_line
from memptm.documents.decode import Undecodable, decode
from memptm.errors import InputError, MemptmError
from memptm.pipeline import QA

if TYPE_CHECKING:
    from memptm.memory.conversation import Conversation
    from memptm.memory.memory import Memory
    from memptm.session import Session
    from memptm.types import Answer

PROMPT = "> "
YOU, US = "You", "memptm"
_ASKS = re.compile(
    r"\?\s*$|^\s*(?:who|whom|whose|what|when|where|why|which|how|is|are|was|were|am|do|does|did|can|could|will|would"
    r"|shall|should|may|has|have|had|tell|name|list|give|show|explain|describe)\b",
    re.IGNORECASE,
)


@click.command(cls=Command, short_help="Talk with an index: questions, and follow-ups to them.")
@index_option
@place_option(
    "--session", "file", metavar="FILE", help="Where the conversation is kept: the same file goes on with it."
)
@click.option("--remember", is_flag=True, help="Write what is said to the index, to be recalled in later sessions.")
@asking_options()
def chat(index: Path, asking: Asking, file: Path | None, remember: bool) -> None:
    """Talk with an index: a question a line, and follow-ups know what was said.

    /help lists what else can be typed. Ctrl-C stops an answer, Ctrl-D leaves. Through a pipe each line of standard input
    is a question.
    """
    qa, note = asking.qa(index, as_json=False)
    render.note(note)
    session = _session(qa, file)
    talk = Chat(qa=qa, session=session, remembers=remember)
    if _on_a_terminal():  # torch, if Ctrl-C cuts its import short, cannot be imported again
        import safetensors.torch  # noqa: F401

        qa.load()
    with _interrupts() as interrupted:
        talk.run(_lines(session), interrupted)


def _session(qa: QA, file: Path | None) -> Session:
    from memptm.session import Session

    memory = cast("Memory", qa.memory)
    return Session(memory) if file is None else Session.open(memory, file)


def _on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


@dataclass
class Chat:
    """The conversation at hand. ``answer``: the last one. ``talk``: what is written to the index."""

    qa: QA
    session: Session
    remembers: bool
    answer: Answer | None = None
    said: list[str] = field(default_factory=list)  # ids of what was remembered, oldest first

    @property
    def talk(self) -> Conversation:
        """The conversation in the index."""
        from memptm.memory.conversation import Conversation

        return Conversation(self.session.memory, self.session.conversation)

    def run(self, lines: Iterator[str], interrupted: list[int]) -> None:
        """Take a line after the other to the end; what goes wrong with one ends that one alone."""
        while True:
            interrupted.clear()
            try:
                line = next(lines)
                if line.strip() and not self.take(line.strip()):
                    return
            except (StopIteration, EOFError):
                return
            except KeyboardInterrupt:
                render.line("\nStopped. Ctrl-D or /quit leaves.")
            except MemptmError as error:
                click.echo(f"Error: {one_line(str(error))}", err=True)
            except Exception:
                if not interrupted:  # in a library's C code Ctrl-C can come out as another error
                    raise
                render.line("\nStopped. Ctrl-D or /quit leaves.")

    def take(self, line: str) -> bool:
        """Do what a line says; False if it ends the conversation."""
        if line.startswith("/"):
            name, _, rest = line[1:].partition(" ")
            command = COMMANDS.get(name.lower())
            if command is None:
                raise InputError(f"There is no /{name}. Type /help for what there is.")
            return command.run(self, rest.strip()) is not False
        if self.remembers and not _ASKS.search(line):
            self.keep(line)
        else:
            self.ask(line)
        return True

    def ask(self, question: str) -> None:
        """Answer a question, with its evidence."""
        streamed = self.qa.method in STREAMED and sys.stdout.isatty()
        stream = render.stream if streamed else None
        question = check_question(question)
        self.answer = self.qa(question, stream=stream, session=self.session)
        render.answer(self.answer, streamed=streamed, most=1)
        if self.remembers:
            from memptm.memory.conversation import NewTurn

            turns = [NewTurn(text=question, speaker=YOU, kind="question")]
            if self.answer.text is not None:
                turns.append(NewTurn(text=self.answer.text, speaker=US, kind="answer"))
            self.said += self.talk.remember_all(turns)
            self.session.holds_talk = True

    def keep(self, text: str) -> None:
        """Write a statement to the index."""
        self.session.save()  # it alone knows the conversation's name
        self.said.append(self.talk.remember(text, speaker=YOU))
        render.line(f"Remembered as {self.said[-1]}.")

    def sources(self, _: str) -> None:
        """Show all that was read for the last answer."""
        if self.answer is None:
            render.line("Nothing was asked yet.")
        else:
            render.evidence(self.answer)

    def history(self, _: str) -> None:
        """Show what was said."""
        for exchange in self.session.exchanges:
            render.line(f"{YOU}: {one_line(exchange.question)}")
            render.line(f"{US}: {one_line(exchange.answer or 'Not in memory.')}")
        if not self.session.exchanges:
            render.line("Nothing was said yet.")

    def remember(self, text: str) -> None:
        """Write TEXT to the index."""
        if not text:
            raise InputError("Say what to remember: /remember TEXT.")
        self.keep(text)

    def forget(self, what: str) -> None:
        """Forget a turn by its id, the "last" one that was remembered, or "all" of this conversation."""
        if what == "all":
            gone = self.talk.forget()
        elif what == "last" and self.said:
            gone = self.talk.forget(self.said.pop())
        elif what and what != "last":
            gone = self.talk.forget(what)
        else:
            raise InputError("Say what to forget: /forget ID, /forget last (of this chat) or /forget all.")
        render.line(f"Forgot {gone} {'turn' if gone == 1 else 'turns'}.")

    def filter(self, where: str) -> None:
        """Ask only passages that match EXPR from now on; without EXPR, all again."""
        self.qa.where = where or None
        render.line(f"Asking passages with {one_line(where)}." if where else "Asking all passages.")

    def clear(self, _: str) -> None:
        """Begin the session anew; what was remembered stays in the index."""
        self.session.clear()
        self.answer = None
        render.line("The session begins anew.")

    def help(self, _: str) -> None:
        """Show this list."""
        for name, command in COMMANDS.items():
            if not command.other_name:
                render.line(f"/{name:<14} {command.help}")

    def quit(self, _: str) -> bool:
        """Leave."""
        return False


@dataclass(frozen=True)
class _ChatCommand:
    run: Callable[[Chat, str], bool | None]
    other_name: bool = False

    @property
    def help(self) -> str:
        return (self.run.__doc__ or "").strip()


COMMANDS = {
    "help": _ChatCommand(Chat.help),
    "sources": _ChatCommand(Chat.sources),
    "history": _ChatCommand(Chat.history),
    "remember": _ChatCommand(Chat.remember),
    "forget": _ChatCommand(Chat.forget),
    "where": _ChatCommand(Chat.filter),
    "clear": _ChatCommand(Chat.clear),
    "quit": _ChatCommand(Chat.quit),
    "exit": _ChatCommand(Chat.quit, other_name=True),
}


def _lines(session: Session) -> Iterator[str]:
    """Lines to take: typed at a prompt, with the session's questions in reach of the arrow keys, or piped."""
    encoding = sys.stdin.encoding or ""
    with contextlib.suppress(AttributeError):  # a caller's buffer holds text
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    if not _on_a_terminal():
        return (_decoded(line, encoding) for line in sys.stdin)
    with contextlib.suppress(ImportError):  # not on every platform
        import readline

        for exchange in session.exchanges:
            readline.add_history(one_line(exchange.question))
    render.line("Ask something. /help lists what else can be typed; Ctrl-D leaves.")
    return _Typed(encoding)


def _decoded(line: str, encoding: str) -> str:
    """A line whose bytes were read as UTF-8, escaped where they are not: those are in the locale's ``encoding``.

    The locale is asked second: its encoding takes UTF-8 for other letters without an error, and they would be stored.
    """
    data = line.encode("utf-8", "surrogateescape")
    try:
        return decode(data, declared=encoding)
    except Undecodable:
        return data.decode("utf-8", "replace")


class _Typed(Iterator[str]):
    """Lines typed at the prompt. No generator: one would be over after the first Ctrl-C."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def __next__(self) -> str:
        try:
            return _decoded(input(PROMPT), self._encoding)
        except EOFError:
            render.line("")
            raise StopIteration from None


class _Stopped(KeyboardInterrupt):
    """Ctrl-C; a class of its own for the reason that memptm.cli.group has one."""


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that fills when Ctrl-C is pressed, which raises KeyboardInterrupt too; as it was again afterwards."""
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)
        raise _Stopped

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)
