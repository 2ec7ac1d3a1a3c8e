"""What a running recipe tells the outside world. Terminal bar, log file and web page consume the same events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class UserError(Exception):
    """A problem the user can mend: one sentence that says what is wrong and what to do. Shells exit with code 2."""


class OutOfMemory(UserError):
    """The memory of the GPU or of the machine does not suffice; says what to lower."""


@dataclass(frozen=True)
class StageStarted:
    """A stage of a recipe begins; `steps` is None when it cannot be counted."""

    stage: str
    steps: int | None = None


@dataclass(frozen=True)
class Step:
    """One step of the current stage is done (`step` counts from 1); `values` are figures such as loss or Gaussians."""

    stage: str
    step: int
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StageFinished:
    """A stage is done after `seconds` of wall-clock time."""

    stage: str
    seconds: float
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Warned:
    """Something the user should know that did not stop the work."""

    message: str


Event = StageStarted | Step | StageFinished | Warned
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The default consumer: drops every event."""


@contextmanager
def timed(
    on_event: OnEvent, stage: str, steps: int | None = None, seconds: dict[str, float] | None = None
) -> Iterator[dict[str, float]]:
    """Tell of a stage's start and, if it ends well, of its end; its time is also left in `seconds`.

    Yields:
        Figures of the stage, empty, to be filled for the event of its end.
    """
    values: dict[str, float] = {}
    started = time.monotonic()
    on_event(StageStarted(stage, steps))
    yield values
    spent = time.monotonic() - started
    if seconds is not None:
        seconds[stage] = spent
    on_event(StageFinished(stage, spent, values))
