"""Timestep schedules: their ranges, what never rises, and the published numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.diffusion.timesteps import TIMESTEPS, Annealed, DreamTime, Narrowing, SquareRoot, Uniform


def at(schedule, step: int, steps: int = 100, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return schedule.at(step, steps, torch.Generator().manual_seed(seed), batch)


bounds = st.tuples(st.floats(0.001, 1.0), st.floats(0.001, 1.0)).map(sorted)


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(["annealed", "sqrt", "uniform", "dreamtime"]), bounds, st.integers(1, 60), st.data())
def test_times_stay_in_range(name, limits, steps, data):
    schedule = TIMESTEPS[name](t_min=limits[0], t_max=limits[1])
    t = at(schedule, data.draw(st.integers(1, steps)), steps, batch=3)
    assert t.shape == (3,) and t.dtype == torch.float32
    assert bool((t >= limits[0] - 1e-6).all()) and bool((t <= limits[1] + 1e-6).all())
    assert bool((t > 0).all()) and bool((t <= 1).all())


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["annealed", "sqrt", "dreamtime"]), bounds, st.integers(2, 60))
def test_what_promises_never_rises(name, limits, steps):
    schedule = TIMESTEPS[name](t_min=limits[0], t_max=limits[1])
    times = torch.cat([at(schedule, i, steps, batch=2) for i in range(1, steps + 1)])
    assert bool((times.diff() <= 0).all())
    assert float(times[-1]) == pytest.approx(limits[0], abs=1e-6)


def test_annealed_and_square_root_by_hand():
    assert float(at(Annealed(), 250, 500)) == pytest.approx(0.5)
    assert float(at(Annealed(0.9, 0.5), 1, 500)) == pytest.approx(0.9)
    assert float(at(SquareRoot(), 25, 100)) == pytest.approx(0.5)  # Half the way at a quarter of the steps.
    assert float(at(SquareRoot(), 100, 100)) == pytest.approx(0.02)


def test_uniform_covers_its_range_and_follows_its_generator():
    t = at(Uniform(0.7, 0.2), 1, batch=4000)
    assert float(t.min()) < 0.205 and float(t.max()) > 0.695
    assert float(t.mean()) == pytest.approx(0.45, abs=0.01)
    assert torch.equal(t, at(Uniform(0.7, 0.2), 50, batch=4000))
    assert not torch.equal(t, at(Uniform(0.7, 0.2), 1, batch=4000, seed=1))
    together = at(Uniform(shared=True), 1, batch=4)
    assert together.shape == (4,) and len(together.unique()) == 1


def test_narrowing_is_gsgens_by_default_and_dreamcraft3ds_on_request():
    gsgen = Narrowing()
    assert gsgen.bounds(1) == gsgen.bounds(2000) == (0.02, 0.98)
    assert gsgen.bounds(2001) == gsgen.bounds(15000) == (0.02, 0.5)
    assert float(at(gsgen, 2001, 15000, batch=500).max()) <= 0.5 < float(at(gsgen, 2000, 15000, batch=500).max())
    craft = Narrowing(t_max=(0.85, 0.5), t_min=(0.7, 0.2), begin=0, end=200)
    assert craft.bounds(0) == (0.7, 0.85)
    assert craft.bounds(100) == pytest.approx((0.45, 0.675))
    assert craft.bounds(200) == craft.bounds(5000) == (0.2, 0.5)
    t = at(craft, 100, 5000, batch=500)
    assert bool((t >= 0.45).all()) and bool((t <= 0.675).all())


def test_dreamtime_spends_its_steps_where_the_weight_is():
    """Between 0.8 and 0.5 the weight is 1, so there the times are evenly spaced; beyond they rush."""
    schedule = DreamTime()
    times = torch.cat([at(schedule, i, 1000) for i in range(1, 1001)]).double()
    inside = (times < 0.78) & (times > 0.52)
    speed = -times.diff()
    flat = speed[inside[1:]].mean()
    # A slow integral of the weight over [0.02, 0.98]: a step passes 1/1000 of it.
    grid = torch.linspace(0.02, 0.98, 20001, dtype=torch.float64)
    over, under = (grid - 0.8).clamp_min(0), (0.5 - grid).clamp_min(0)
    weight = torch.exp(-(over**2) / (2 * 0.3**2)) * torch.exp(-(under**2) / (2 * 0.1**2))
    assert float(flat) == pytest.approx(float(torch.trapezoid(weight, grid)) / 1000, rel=0.02)
    assert float(speed[times[1:] < 0.3].mean()) > 3 * float(flat)
    share = float(((times <= 0.8) & (times >= 0.5)).double().mean())
    assert share == pytest.approx(0.3 / float(torch.trapezoid(weight, grid)), abs=0.01)


def test_malformed_schedules_are_refused():
    for name in ("annealed", "sqrt", "uniform", "dreamtime"):
        for low, high in ((0.0, 0.5), (0.6, 0.5), (0.5, 1.1)):
            with pytest.raises(ValueError, match="t_min"):
                TIMESTEPS[name](t_min=low, t_max=high)
    with pytest.raises(ValueError, match="t_min"):
        Narrowing(t_max=(0.9, 0.1), t_min=(0.2, 0.2))
    with pytest.raises(ValueError, match="begin"):
        Narrowing(begin=5, end=4)
    with pytest.raises(ValueError, match="spreads"):
        DreamTime(low_spread=0.0)
    for schedule in (Annealed(), SquareRoot(), DreamTime()):
        with pytest.raises(ValueError, match="step must lie"):
            at(schedule, 11, 10)
