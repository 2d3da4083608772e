"""Progress events drawn on standard error, on a terminal only."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from memptm.cli.safe import one_line
from memptm.progress import Event, Progress, silent


@contextlib.contextmanager
def drawn(*, hidden: bool = False) -> Iterator[Progress]:
    """A progress function: a bar a stage, with rate and time left; silent off a terminal or when ``hidden``."""
    if hidden or not sys.stderr.isatty():
        yield silent
        return
    from rich import progress
    from rich.console import Console

    bars = progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}", markup=False),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[detail]}", markup=False),
        console=Console(file=sys.stderr),
        transient=True,
    )
    tasks: dict[str, progress.TaskID] = {}

    def draw(event: Event) -> None:
        if event.stage not in tasks:
            tasks[event.stage] = bars.add_task(one_line(event.stage), total=event.total, rate="", detail="")
        task = bars.tasks[bars.task_ids.index(tasks[event.stage])]
        elapsed = task.elapsed or 0.0
        rate = f"{event.done / elapsed:.0f} {event.unit}/s" if elapsed > 1 else event.unit
        bars.update(task.id, completed=event.done, total=event.total, rate=rate, detail=one_line(event.detail)[-40:])

    with bars:
        yield draw
