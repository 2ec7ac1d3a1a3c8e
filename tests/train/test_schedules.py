"""Values that change with the step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussmith.train.schedules import lerp, log_lerp, staged, warmup_cosine


def test_lerp():
    assert lerp(2, 4, 0.25) == 2.5
    assert lerp(0.1, 0.7, 1.0) == 0.7 and lerp(0.1, 0.7, 5.0) == 0.7 and lerp(0.1, 0.7, -1.0) == 0.1


@given(st.floats(0, 1))
def test_log_lerp_is_a_constant_factor_per_step(t):
    assert log_lerp(1e-2, 2e-4, t) == pytest.approx(1e-2 * 0.02**t)


def test_log_lerp_needs_positive_ends():
    with pytest.raises(ValueError, match="positive"):
        log_lerp(0.0, 1.0, 0.5)


def test_warmup_cosine():
    values = [warmup_cosine(s, 100, warmup=10, floor=0.1) for s in range(100)]
    assert values[:11] == sorted(values[:11]) and values[10:] == sorted(values[10:], reverse=True)
    assert 0 < values[0] < 0.1 and values[10] == 1 and values[-1] == pytest.approx(0.1)
    assert warmup_cosine(0, 1) == 1 and warmup_cosine(500, 100, floor=0.2) == pytest.approx(0.2)


def test_staged():
    stages = ((0.0, 128), (0.3, 256), (0.6, 512))
    assert [staged(stages, p) for p in (0.0, 0.29, 0.3, 0.5, 0.6, 1.0)] == [128, 128, 256, 256, 512, 512]
    with pytest.raises(ValueError, match="begin at 0"):
        staged(((0.5, 1),), 0.7)
