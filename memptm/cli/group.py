"""What all commands share: options, errors in one line, quiet pipes, standard output that holds JSON only."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import json
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, TypeVar

import click

from memptm.cli.safe import one_line
from memptm.errors import MemptmError

Function = TypeVar("Function", bound=Callable[..., Any])

TRACEBACK = "memptm.traceback"
INTERRUPTED = 130
PIPE_CLOSED = 141  # what a shell reports for a process that SIGPIPE ended

index_option = click.option(
    "--index",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the index.",
)


def json_option(command: Function) -> Function:
    """Add --json: the command takes ``as_json``; where that is set, what it returns is all that is printed.

    Else the command has printed for a person. A result whose "ok" is false makes the exit code 1 either way.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")
    @functools.wraps(command)
    def wrapper(*args: Any, as_json: bool, **options: Any) -> None:
        if as_json:
            with _only_json() as out:
                result = command(*args, as_json=True, **options)
                out.write(json.dumps(result, allow_nan=False) + "\n")
                out.flush()
        else:
            result = command(*args, as_json=False, **options)
        if result is not None and not result.get("ok", True):
            raise click.exceptions.Exit(1)

    return wrapper  # type: ignore[return-value]


@contextlib.contextmanager
def _only_json() -> Iterator[TextIO]:
    """The real standard output; whatever else writes there meanwhile, in Python or in C, goes to standard error."""
    out, fd = sys.stdout, None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        fd = out.fileno()
    if fd != 1:  # not the process's own output: a test's or a caller's buffer
        with contextlib.redirect_stdout(sys.stderr):
            yield out
        return
    out.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as real:
        os.dup2(2, 1)
        try:
            yield real
        finally:
            out.flush()
            os.dup2(real.fileno(), 1)


class Command(click.Command):
    """A command that also takes --traceback, so that it can be added at the end of a line that failed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params.append(_traceback_option())


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


class OneLineErrors(Group):
    """A group whose errors are one line on standard error: exit code 2 for the user's, 1 for a fault."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line and exit the process with its code."""
        _prepare_process()
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except MemptmError as error:
            code = _fail(str(error), error.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:
            code = _shown(error.ctx.get_help() if error.ctx else error.format_message())
        except click.ClickException as error:
            code = _fail(error.format_message(), error.exit_code)
        except click.Abort:
            code = _fail("Stopped. Run it again to go on.", INTERRUPTED)
        except MemoryError:
            code = _fail("Not enough memory.", 1)
        except OSError as error:
            code = _fail(_os_error(error), 1)
        except Exception as error:  # the one place where a fault of ours becomes a line
            code = _fail(_fault(error), 1)
        sys.exit(code if isinstance(code, int) else 0)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the arguments; a closed pipe that --help or --version writes to ends it quietly."""
        try:
            return super().make_context(*args, **options)
        except BrokenPipeError:
            _discard_output()
            raise click.exceptions.Exit(PIPE_CLOSED) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a closed pipe ends it quietly, Ctrl-C with one line."""
        with _interrupts_noted() as interrupts:
            try:
                result = super().invoke(ctx)
                sys.stdout.flush()
            except BrokenPipeError:
                _discard_output()
                ctx.exit(PIPE_CLOSED)
            except KeyboardInterrupt:
                raise click.Abort from None
            except (click.exceptions.Exit, click.Abort):
                raise
            except Exception as error:
                if interrupts:  # in a library's C code Ctrl-C can come out as another error
                    raise click.Abort from None
                if ctx.meta.get(TRACEBACK) and not isinstance(error, click.ClickException):
                    traceback.print_exc()
                raise
        return result


class _Interrupt(KeyboardInterrupt):
    """Ctrl-C. A plain KeyboardInterrupt that passes through exec() of a text, as while a library is imported, makes CPython
    end by SIGINT whatever the exit code, though it was caught; it looks at the exact type.
    """


@contextlib.contextmanager
def _interrupts_noted() -> Iterator[list[int]]:
    """A list that is no longer empty once Ctrl-C was pressed, whatever became of the KeyboardInterrupt."""
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)
        raise _Interrupt

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield noted  # no handler to set, or somebody else's to keep
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _prepare_process() -> None:
    """Standard streams that can be written, and libraries that keep their bars and advice to themselves."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:  # closed by the caller: a file opened next would get its number, and stray writes
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    for name, value in (
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("LANCE_LOG", "error"),
    ):
        os.environ.setdefault(name, value)
    gc.set_threshold(
        100_000, 20, 100
    )  # importing makes objects that stay: looking for garbage among them takes a tenth
    logging.getLogger().addHandler(logging.NullHandler())  # else Python prints what libraries log
    if not sys.warnoptions:  # of ours a line each, of other libraries none
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=r"memptm\.")
        warnings.showwarning = _show_note


def _show_note(message: Warning | str, *_: Any, **__: Any) -> None:
    with contextlib.suppress(OSError):
        click.echo(f"Note: {one_line(str(message))}", err=True)


def _shown(text: str) -> int:
    """Print ``text``; the exit code."""
    try:
        click.echo(text)
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    return 0


def _discard_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush does not fail."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())


def _fail(line: str, code: int) -> int:
    with contextlib.suppress(OSError):
        click.echo(f"Error: {one_line(line)}", err=True)
    return code


def _os_error(error: OSError) -> str:
    if error.errno == errno.ENOSPC or "No space left" in str(error):
        return "No space left on the disk. What was committed is kept; make room and run it again."
    if error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return _fault(error)


def _fault(error: BaseException) -> str:
    if "No space left" in str(error):
        return "No space left on the disk. What was committed is kept; make room and run it again."
    what = str(error).strip().splitlines()
    line = f"{type(error).__name__}: {what[0][:200]}" if what else type(error).__name__
    return f"{line.rstrip('.')}. This is a fault of memptm; run with --traceback to see where."


def _traceback_option() -> click.Option:
    return click.Option(
        ["--traceback"],
        is_flag=True,
        expose_value=False,
        callback=lambda ctx, _, wanted: ctx.meta.update({TRACEBACK: wanted}),
        help="On an error, show where it happened.",
    )
