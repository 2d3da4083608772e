"""Results for a person: rich on a terminal, plain text elsewhere. Documents' text is shown, never interpreted."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from email.utils import parseaddr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from memptm.cli.safe import one_line, printable
from memptm.types import Answer, Evidence, Hit, Passage

if TYPE_CHECKING:
    from memptm.memory.verify import Check

WORTH_CITING = 0.01  # posterior below which a passage had no share in the answer worth a person's time


def line(text: str) -> None:
    """One line as it is."""
    _console().print(_text(text))


def stream(piece: str) -> None:
    """A piece of an answer as it is generated."""
    sys.stdout.write(printable(piece))
    sys.stdout.flush()


def note(text: str) -> None:
    """What the user should know; nothing if it is empty."""
    if text:
        _console().print(_text("Note: ", "yellow") + _text(one_line(text)))


def table(rows: Sequence[Mapping[str, object]]) -> None:
    """Rows of numbers under their names."""
    drawn = Table(box=None, pad_edge=False)
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        drawn.add_column(name, justify="right")
    for row in rows:
        drawn.add_row(*(str(row.get(name, "–")) for name in names))
    _console().print(drawn)


def phases(results: Mapping[str, dict[str, Any]]) -> None:
    """What each phase of a training run came to, after its telemetry."""
    for phase, numbers in results.items():
        line(f"{phase}:")
        table(numbers.pop("telemetry"))
        note(numbers.pop("warning", ""))
    table([{"phase": phase, **numbers} for phase, numbers in results.items()])


def added(result: dict[str, Any], *, warnings: Sequence[str]) -> None:
    """What a build did; the files it refused come last, a line each."""
    console = _console()
    done = ", ".join(f"{result[key]} {key}" for key in ("added", "updated", "unchanged", "removed"))
    console.print(_text(f"Documents: {done}; in {result['seconds']:.1f} s."))
    console.print(_text(f"The index holds {result['documents']} documents in {result['passages']} passages."))
    for warning in warnings:
        note(_near(warning))
    if result["refused"]:
        count = len(result["refused"])
        console.print(_text(f"{count} {'file was' if count == 1 else 'files were'} not taken:"))
    for refusal in result["refused"]:
        console.print(_text(f"  {one_line(_near(refusal['path']))}: ", "red") + _text(one_line(refusal["reason"])))


def hits(found: Sequence[Hit]) -> None:
    """Passages with their citation and score."""
    console = _console()
    if not found:
        console.print(_text("No passage found."))
    for number, hit in enumerate(found, 1):
        if number > 1:
            console.print()
        console.print(
            _text(f"{number}. ", "bold")
            + _citation(hit.passage, hit.passage.page)
            + _text(f"   score {hit.score:.3f}", "dim")
        )
        console.print(_indented(console, _text(printable(hit.passage.text))))


def answer(given: Answer, *, streamed: bool = False, most: int | None = None) -> None:
    """The answer, its probability, and the passages that say so (at most ``most``) with the answer marked in them."""
    console = _console()
    if streamed and given.text is not None:
        console.print()
    else:
        console.print(_text(printable(str(given)), "bold"))
    worth = "" if given.utility is None else f", reading was worth {given.utility:+.1f} nats"
    console.print(_text(f"probability {_probability(given.probability)}, method {given.method}{worth}", "dim"))
    if given.note:
        console.print(_text(one_line(given.note)))
    others = [other for other in given.answers if other.text != given.text][:3]
    if others and given.text is not None:
        shown = "; ".join(f"{one_line(other.text)} ({_probability(other.probability)})" for other in others)
        console.print(_text(f"or: {shown}", "dim"))
    cited = [one for n, one in enumerate(given.evidence) if n == 0 or one.posterior >= WORTH_CITING]
    _cite(console, cited[:most])


def evidence(given: Answer) -> None:
    """All passages that were read for an answer, whatever their share in it."""
    console = _console()
    if not given.evidence:
        console.print(_text("Nothing that was read says it."))
    _cite(console, given.evidence)


def _cite(console: Console, cited: Sequence[Evidence]) -> None:
    for number, one in enumerate(cited, 1):
        console.print()
        console.print(
            _text(f"[{number}] ", "bold")
            + _citation(one.passage, one.page)
            + _text(f"   p {_probability(one.posterior)}", "dim")
        )
        console.print(_indented(console, _marked(console, one)))


def info(result: dict[str, Any]) -> None:
    """A line a fact."""
    console = _console()
    width = max(len(key) for key in result)
    for key, value in result.items():
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        console.print(_text(f"{key:<{width}}  ", "dim") + _text(one_line(_near(shown))))


def checks(results: Sequence[Check]) -> None:
    """A line a check; a failed one with its remedy."""
    console = _console()
    for check in results:
        mark = _text("ok    ", "green") if check.ok else _text("FAIL  ", "red")
        console.print(mark + _text(one_line(f"{check.name}: {check.detail}" if check.detail else check.name)))
        if not check.ok and check.remedy:
            console.print(_text(f"      {one_line(check.remedy)}"))


def scores(result: dict[str, Any]) -> None:
    """The figures of an evaluation."""
    console = _console()
    recall = "  ".join(f"@{k} {_percent(value)}" for k, value in result["recall"].items())
    mrr = "–" if result["mrr"] is None else f"{result['mrr']:.3f}"
    console.print(_text(f"{result['n']} questions, method {result['method']}"))
    console.print(_text(f"exact match {_percent(result['em'])}   F1 {_percent(result['f1'])}"))
    console.print(_text(f"recall {recall}   MRR {mrr}"))
    console.print(_text(f"p50 {result['ms']['p50']:.0f} ms, p95 {result['ms']['p95']:.0f} ms a question"))


def _probability(value: float) -> str:
    return f"{value:.2f}" if value >= 0.005 or value == 0 else "below 0.01"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


class _Console(Console):
    """rich's console, but a closed pipe is the caller's to handle: rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console() -> Console:
    return _Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def _text(text: str, style: str = "") -> Text:
    return Text(text, style=style)


def _citation(passage: Passage, page: int | None) -> Text:
    """Title — source, page, section or row, characters: as one would say where it stands."""
    parts = [part for part in dict.fromkeys((one_line(passage.title), one_line(_near(passage.source)))) if part]
    place = [" — ".join(parts) or one_line(passage.id)]
    if passage.metadata.get("time_text"):
        place.append(one_line(str(passage.metadata["time_text"])))
    if isinstance(passage.metadata.get("from"), str) and "subject" in passage.metadata:
        place.append(one_line(_mail(passage.metadata)))
    if page is not None:
        place.append(f"{'slide' if 'slides' in passage.metadata else 'page'} {page}")
    row, sheet = passage.metadata.get("row"), passage.metadata.get("sheet")
    if sheet:
        place.append(f"sheet {one_line(str(sheet))}")
    place += [one_line(heading) for heading in passage.headings if heading not in (passage.title, sheet)]
    if row is not None:
        place.append(f"row {one_line(str(row))}")
    place.append(f"characters {passage.start}–{passage.end}")
    return _text(", ".join(place), "cyan")


def _mail(told: Mapping[str, Any]) -> str:
    """Whose message it is and of when, from its headers; what it quotes is somebody else's."""
    sent = f" of {str(told['date'])[:16].replace('T', ' ')}" if told.get("date") else ""
    return f"{'quoted in ' if told.get('quoted') else ''}mail from {parseaddr(told['from'])[0] or told['from']}{sent}"


def _near(source: str) -> str:
    """A path, or what begins with one, without the name of the working directory it lies below."""
    return source.removeprefix(f"{Path.cwd()}/")


def _marked(console: Console, evidence: Evidence) -> Text:
    """The passage with the answer bold, or between [[ ]] where nothing can be bold."""
    text, span = evidence.passage.text, evidence.answer_span
    if span is None:
        return _text(printable(text))
    before, said, after = (printable(part) for part in (text[: span[0]], text[span[0] : span[1]], text[span[1] :]))
    if console.is_terminal and console.color_system is not None:
        return _text(before) + _text(said, "bold reverse") + _text(after)
    return _text(f"{before}[[{said}]]{after}")


def _indented(console: Console, text: Text) -> Any:
    if console.is_terminal:
        return Padding(text, (0, 0, 0, 4))
    return _text("\n".join(f"    {line}".rstrip() for line in text.plain.split("\n")))
