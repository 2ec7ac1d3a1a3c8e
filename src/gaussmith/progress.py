"""What a person sees of a running recipe: progress bars on a terminal, a line a stage elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn
from rich.text import Text

from gaussmith.events import Event, OnEvent, StageFinished, StageStarted, Step, Warned, ignore


@contextmanager
def reporting(quiet: bool = False, stream: TextIO | None = None) -> Iterator[OnEvent]:
    """Yield the event consumer that suits `stream` (default stderr): bars, lines or, when quiet, nothing."""
    stream = sys.stderr if stream is None else stream
    if quiet:
        yield ignore
    elif stream.isatty():
        with _bars(stream) as on_event:
            yield on_event
    else:
        yield _lines(stream)


def describe(values: dict[str, float]) -> str:
    """Figures of an event in a line: counts with separators, everything else to three significant digits."""
    return "  ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in values.items())


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.3g}"


def _lines(stream: TextIO) -> OnEvent:
    """A consumer that writes one line when a stage is done, and one for a warning."""

    def on_event(event: Event) -> None:
        if isinstance(event, StageFinished):
            stream.write(f"{event.stage}: {event.seconds:.1f} s  {describe(event.values)}".rstrip() + "\n")
        elif isinstance(event, Warned):
            stream.write(f"warning: {event.message}\n")
        stream.flush()

    return on_event


@contextmanager
def _bars(stream: TextIO) -> Iterator[OnEvent]:
    """A consumer that draws one bar a stage; a stage that cannot be counted pulses."""
    console = Console(file=stream)
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeLeftColumn(),
        TextColumn("{task.fields[figures]}", style="dim", markup=False),
        console=console,
    )
    tasks: dict[str, TaskID] = {}

    def on_event(event: Event) -> None:
        if isinstance(event, StageStarted):
            tasks[event.stage] = progress.add_task(event.stage, total=event.steps, figures="")
        elif isinstance(event, Warned):
            console.print(Text(f"warning: {event.message}", style="yellow"))
        elif event.stage not in tasks:
            return
        elif isinstance(event, Step):
            task = tasks[event.stage]
            if event.step > 1 and progress.tasks[progress.task_ids.index(task)].completed == 0:
                # A resumed stage: what was done earlier must not count as speed when the time left is estimated.
                progress.reset(task, completed=event.step - 1)
            progress.update(task, completed=event.step, figures=describe(event.values))
        elif isinstance(event, StageFinished):
            task = tasks[event.stage]
            total = progress.tasks[progress.task_ids.index(task)].total or 1
            progress.update(task, total=total, completed=total)
            if event.values:
                progress.update(task, figures=describe(event.values))

    with progress:
        yield on_event
