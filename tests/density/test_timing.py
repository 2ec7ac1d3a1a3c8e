"""When density control works."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.density.timing import Timing, timing


def test_a_long_run_has_the_papers_times():
    got = timing(30_000, 500, 0.5, 100)
    assert got == Timing(500, 15_000, 100)
    dues = [s for s in range(1, 30_001) if got.due(s)]
    assert dues == list(range(500, 15_001, 100))
    assert timing(7000, 500, 0.5, 100) == Timing(500, 3500, 100)


def test_a_short_run_has_as_many_times_in_less_room():
    got = timing(2000, 500, 0.5, 100)
    assert (got.start, got.every) == (143, 50) and 950 < got.last <= 1000


def test_progress_and_the_next_time():
    got = Timing(500, 1500, 100)
    assert [got.progress(s) for s in (0, 500, 1000, 1500, 9000)] == [0, 0, 0.5, 1, 1]
    assert [got.first_from(s) for s in (0, 500, 501, 600, 640.5)] == [500, 500, 600, 600, 700]


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 40_000), st.integers(1, 3000), st.floats(0, 1), st.integers(1, 500))
def test_any_run_trains_after_the_last_time(steps, start, stop, every):
    got = timing(steps, start, stop, every)
    assert got.every >= 1 and 1 <= got.start <= start and got.every <= every
    assert got.last < steps and got.last <= stop * steps
    if got.last >= got.start:
        assert got.due(got.start) and got.due(got.last)
        assert got.progress(got.last) == pytest.approx(1 if got.last > got.start else 0)
    else:
        assert not any(got.due(s) for s in range(1, min(steps, 500)))
