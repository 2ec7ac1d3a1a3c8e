"""The consumers of events: lines where there is no terminal, bars on one, silence when asked."""

from __future__ import annotations

import io

import pytest

from gaussmith.events import Event, StageFinished, StageStarted, Step, Warned
from gaussmith.progress import describe, reporting

RUN: list[Event] = [
    StageStarted("splat", 2),
    Step("splat", 1, {"loss": 0.51234, "gaussians": 5000}),
    Warned("the [bold] object touches the border"),
    Step("splat", 2, {"loss": 0.25, "gaussians": 12345}),
    StageFinished("splat", 3.21, {"gaussians": 12345}),
    StageStarted("mesh"),
    StageFinished("mesh", 0.5),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def play(stream: io.StringIO, quiet: bool = False, events: list[Event] = RUN) -> str:
    with reporting(quiet, stream) as on_event:
        for event in events:
            on_event(event)
    return stream.getvalue()


def test_a_line_a_stage_off_a_terminal() -> None:
    assert play(io.StringIO()).splitlines() == [
        "warning: the [bold] object touches the border",
        "splat: 3.2 s  gaussians 12,345",
        "mesh: 0.5 s",
    ]


def test_quiet_is_silent() -> None:
    assert play(io.StringIO(), quiet=True) == ""
    assert play(Terminal(), quiet=True) == ""


def test_bars_name_stage_step_figures_and_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    drawn = play(Terminal())
    for part in ("splat", "mesh", "2/2", "gaussians 12,345", "the [bold] object touches the border"):
        assert part in drawn


def test_a_resumed_stage_starts_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    assert "300/500" in play(Terminal(), events=[StageStarted("splat", 500), Step("splat", 300)])


def test_a_step_of_an_unknown_stage_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert "ghost" not in play(Terminal(), events=[Step("ghost", 1), StageFinished("ghost", 1.0)])


def test_figures_are_readable() -> None:
    assert (
        describe({"loss": 0.0123456, "gaussians": 20000.0, "v_loss": 1.5})
        == "loss 0.0123  gaussians 20,000  v loss 1.5"
    )
    assert describe({}) == ""
    assert describe({"loss": float("nan")}) == "loss nan"
