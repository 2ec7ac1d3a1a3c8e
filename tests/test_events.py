from __future__ import annotations

import pytest

from gaussmith.events import Event, StageFinished, StageStarted, timed


def test_a_stage_is_told_from_its_start_to_its_end() -> None:
    told: list[Event] = []
    seconds: dict[str, float] = {}
    with timed(told.append, "texture", 7, seconds) as figures:
        assert told == [StageStarted("texture", 7)] and not seconds
        figures["coverage"] = 0.5
    assert told[1:] == [StageFinished("texture", seconds["texture"], {"coverage": 0.5})]


def test_a_stage_that_fails_does_not_end() -> None:
    told: list[Event] = []
    seconds: dict[str, float] = {}
    with pytest.raises(ValueError), timed(told.append, "texture", seconds=seconds):
        raise ValueError
    assert told == [StageStarted("texture")] and not seconds
