"""Noise levels, predictions and the sampler, against definitions and an exactly solvable case."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.diffusion import schedule as S

ALL = {
    "linear": S.linear(),
    "scaled_linear": S.scaled_linear(),
    "cosine": S.cosine(),
    "zero_snr": S.zero_terminal_snr(S.scaled_linear()),
    "time": S.CosineTime(),
}


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_discrete_schedules_against_slow_loops():
    first, last = 1e-4, 0.02
    product = 1.0
    got = S.linear(50, first, last)
    for i in range(50):
        product *= 1 - (first + (last - first) * i / 49)
        assert float(got.alphas_bar[i]) == pytest.approx(product, rel=1e-12)
    product = 1.0
    got = S.scaled_linear(50)
    for i in range(50):
        product *= 1 - (math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * i / 49) ** 2
        assert float(got.alphas_bar[i]) == pytest.approx(product, rel=1e-12)
    got = S.cosine(50)
    curve = [math.cos((i / 50 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(51)]
    for i in range(49):  # The last beta is clipped.
        assert float(got.alphas_bar[i]) == pytest.approx(curve[i + 1] / curve[0], rel=1e-9)
    assert float(got.alphas_bar[49] / got.alphas_bar[48]) == pytest.approx(0.001)


def test_published_end_points():
    """Stable Diffusion ends at alpha_bar 0.0047 (Lin et al. 2023, table 1), DDPM at 4e-5."""
    assert float(ALL["scaled_linear"].alphas_bar[-1]) == pytest.approx(0.004660, rel=1e-3)
    assert float(ALL["linear"].alphas_bar[-1]) == pytest.approx(4.0e-5, rel=2e-2)


def test_zero_terminal_snr():
    before, after = ALL["scaled_linear"], ALL["zero_snr"]
    assert float(after.alphas_bar[-1]) == 0
    assert float(after.alphas_bar[0]) == pytest.approx(float(before.alphas_bar[0]), rel=1e-12)
    again = S.zero_terminal_snr(after)
    torch.testing.assert_close(again.alphas_bar, after.alphas_bar)


@pytest.mark.parametrize("name", ALL)
def test_levels_run_from_clean_to_noise_and_preserve_variance(name):
    level = ALL[name].level(torch.linspace(0, 1, 101))
    assert float(level.alpha[0]) == 1 and float(level.sigma[0]) == 0
    assert bool((level.alpha.diff() < 0).all()) and bool((level.sigma.diff() > 0).all())
    torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.ones(101).double())
    assert bool((level.alpha >= 0).all())


def test_network_steps_and_times_agree():
    schedule = ALL["linear"]
    steps = torch.arange(1000)
    times = (steps + 1) / 1000
    assert torch.equal(schedule.index(times), steps)
    torch.testing.assert_close(schedule.level(times).alpha ** 2, schedule.alphas_bar)
    assert int(schedule.index(0.0)) == 0


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
@pytest.mark.parametrize("name", ["linear", "time"])
def test_times_outside_are_refused(name, bad):
    with pytest.raises(ValueError, match="time must lie"):
        ALL[name].level(bad)


def test_malformed_schedules_are_refused():
    for bad in ([0.5, 0.6], [1.5, 0.2], [0.5, -0.1]):
        with pytest.raises(ValueError, match="never increase"):
            S.NoiseSchedule(torch.tensor(bad, dtype=torch.float64))
    with pytest.raises(ValueError, match="float64"):
        S.NoiseSchedule(torch.tensor([0.5]))
    with pytest.raises(ValueError, match="stretched"):
        S.zero_terminal_snr(S.NoiseSchedule(torch.tensor([0.5, 0.5], dtype=torch.float64)))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(ALL)), st.floats(0.002, 0.99))
def test_conversions_are_exact_inverses(name, t):
    level = ALL[name].level(torch.tensor([t, t]))
    x0, eps = _normal(2, 3, 4, 4), _normal(2, 3, 4, 4, seed=1)
    x = S.add_noise(x0, eps, level)
    alpha, sigma = level.like(x)
    v = alpha * eps - sigma * x0  # The definition.
    close = {"atol": 1e-9, "rtol": 1e-9}
    torch.testing.assert_close(S.x0_from_eps(x, eps, level), x0, **close)
    torch.testing.assert_close(S.eps_from_x0(x, x0, level), eps, **close)
    torch.testing.assert_close(S.x0_from_v(x, v, level), x0, **close)
    torch.testing.assert_close(S.eps_from_v(x, v, level), eps, **close)
    torch.testing.assert_close(S.v_from_x0(x, x0, level), v, **close)
    torch.testing.assert_close(S.v_from_eps(x, eps, level), v, **close)


@pytest.mark.parametrize("name", ["zero_snr", "time"])
def test_conversions_at_the_ends_are_finite_and_right_where_they_can_be(name):
    x = _normal(2, 3).float()
    other = _normal(2, 3, seed=1).float()
    clean, noise = ALL[name].level(torch.zeros(2)), ALL[name].level(torch.ones(2))
    for level in (clean, noise):
        for fn in (S.x0_from_eps, S.eps_from_x0, S.x0_from_v, S.eps_from_v, S.v_from_x0, S.v_from_eps):
            assert bool(fn(x, other, level).isfinite().all()) and fn(x, other, level).dtype == torch.float32
    assert torch.equal(S.x0_from_eps(x, other, clean), x)
    assert not S.eps_from_x0(x, other, clean).any()
    torch.testing.assert_close(S.eps_from_x0(x, other, noise), x)
    assert not S.x0_from_eps(x, other, noise).any()
    torch.testing.assert_close(S.v_from_x0(x, other, noise), -other)


def test_cfg_convention():
    null, cond = _normal(2, 3), _normal(2, 3, seed=1)
    assert torch.equal(S.cfg(null, cond, 0.0), null)
    torch.testing.assert_close(S.cfg(null, cond, 1.0), cond)
    torch.testing.assert_close(S.cfg(null, cond, 5.0), 5 * cond - 4 * null)


@pytest.mark.parametrize("name", ALL)
def test_guidance_means_the_same_for_eps_x0_and_v(name):
    level = ALL[name].level(torch.tensor([0.6, 0.6]))
    x, null, cond = (_normal(2, 3, seed=s) for s in range(3))
    guided = S.cfg(null, cond, 3.0)
    via_x0 = S.cfg(S.x0_from_eps(x, null, level), S.x0_from_eps(x, cond, level), 3.0)
    torch.testing.assert_close(S.eps_from_x0(x, via_x0, level), guided)
    via_v = S.cfg(S.v_from_eps(x, null, level), S.v_from_eps(x, cond, level), 3.0)
    torch.testing.assert_close(S.eps_from_v(x, via_v, level), guided)


@pytest.mark.parametrize("name", ALL)
def test_ddim_is_exact_when_the_answer_is_known(name):
    """If x0 does not depend on x, any number of steps gives it; stopping early leaves the noise of that level."""
    x0, eps = _normal(2, 3), _normal(2, 3, seed=1)
    level = ALL[name].level(0.9)
    x = S.add_noise(x0, eps, level)
    for steps in (1, 2, 7):
        torch.testing.assert_close(S.ddim(lambda x, t: x0, x, S.even_times(0.9, steps), ALL[name]), x0)
    part = S.ddim(lambda x, t: x0, x, [0.9, 0.5, 0.3], ALL[name])
    torch.testing.assert_close(part, S.add_noise(x0, eps, ALL[name].level(0.3)), atol=1e-6, rtol=1e-6)


def test_ddim_converges_at_first_order_on_gaussian_data():
    """For data N(m, s^2) the ideal denoiser is linear; the flow keeps (x - alpha m) / sqrt(alpha^2 s^2 + sigma^2)."""
    m, s = 0.7, 0.3
    schedule = S.CosineTime()

    def denoise(x, t):
        alpha, sigma = schedule.level(t).like(x)
        return m + alpha * s**2 / (alpha**2 * s**2 + sigma**2) * (x - alpha * m)

    x = _normal(500, 1)  # At t = 1 the marginal is N(0, 1).
    exact = m + s * x
    errors = [float((S.ddim(denoise, x, S.even_times(1.0, n), schedule) - exact).abs().max()) for n in (10, 20, 40)]
    assert errors[2] < 0.1
    assert 1.6 < errors[0] / errors[1] < 2.6 and 1.6 < errors[1] / errors[2] < 2.6


def test_ddim_asks_at_the_times_it_stands_at():
    seen = []

    def denoise(x, t):
        seen.append(t)
        return x

    S.ddim(denoise, torch.zeros(3, 2), [1.0, 0.5, 0.0], S.CosineTime())
    assert [t.tolist() for t in seen] == [[1.0] * 3, [0.5] * 3]


def test_even_times():
    assert S.even_times(0.8, 4) == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    assert S.even_times(0.7, 3)[-1] == 0
    assert S.even_times(1.0, 4, 0.7) == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.0])
    assert S.even_times(0.5, 2, 0.7) == S.even_times(0.5, 2) and S.even_times(1.0, 1, 0.7) == [1.0, 0.0]
    for bad in ((0.5, 0), (1.5, 3)):
        with pytest.raises(ValueError, match="strength"):
            S.even_times(*bad)
