"""Density control by Markov chain Monte Carlo: the correction, the noise, the budget."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.density.base import DensityControl
from gaussmith.density.mcmc import MAX_PARTS, MCMC, Config, divided, relocated
from gaussmith.gaussians import Gaussians, concat, logit

EXTENT, STEPS = 2.2, 30_000
CONFIG = Config(max_count=1000, spread=0)
RATES = {"means": 1e-4}


def many(n: int, seed: int = 0, opacity: float | None = None) -> Gaussians:
    g = torch.Generator().manual_seed(seed)
    opacities = 0.01 + 0.9 * torch.rand(n, generator=g) if opacity is None else torch.full((n,), opacity)
    return Gaussians(
        means=torch.randn(n, 3, generator=g),
        log_scales=-3 + 0.5 * torch.randn(n, 3, generator=g),
        quats=torch.randn(n, 4, generator=g),
        opacity_logits=opacities.logit(),
        sh=torch.randn(n, 1, 3, generator=g),
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(a: Gaussians, b: Gaussians) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values()))


def absorbed(opacity: float, scale: float, parts: int) -> tuple[float, float]:
    """What `parts` coincident Gaussians, blended one after the other, hide at their centre, and summed along a line of
    rays across it."""
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    alpha = opacity * torch.exp(-0.5 * (x / scale) ** 2)
    through = torch.ones_like(x)
    for _ in range(parts):
        through = through * (1 - alpha)
    return float(1 - through[10_000]), float(torch.trapezoid(1 - through, x))


@pytest.mark.parametrize("opacity", [0.006, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("parts", [1, 2, 3, 10, MAX_PARTS])
def test_coincident_parts_look_like_the_one_they_replace(opacity, parts):
    new, factor = relocated(torch.tensor([opacity], dtype=torch.float64), torch.tensor([parts]))
    assert absorbed(float(new), float(factor), parts) == pytest.approx(absorbed(opacity, 1.0, 1), rel=1e-6)
    assert float(new) <= opacity * (1 + 1e-12) and (parts == 1) == (float(factor) == pytest.approx(1, rel=1e-9))


def test_the_correction_is_the_papers_double_sum():
    opacity, parts = 0.7, 6
    new = 1 - (1 - opacity) ** (1 / parts)
    total = sum(
        (-1) ** k * math.comb(i - 1, k) * new ** (k + 1) / math.sqrt(k + 1)
        for i in range(1, parts + 1) for k in range(i)
    )  # fmt: skip
    got = relocated(torch.tensor([opacity]), torch.tensor([parts]))
    assert (float(got[0]), float(got[1])) == pytest.approx((new, opacity / total), rel=1e-6)


def test_very_faint_and_very_opaque_ones_stay_in_range():
    opacity = torch.tensor([1e-7, 1e-4, 0.5, 0.99999, 1 - 1e-6]).repeat_interleave(MAX_PARTS)
    parts = torch.arange(1, MAX_PARTS + 1).repeat(5)
    new, factor = relocated(opacity, parts)
    assert bool(((new > 0) & (new <= opacity)).all()) and bool(((factor > 0.1) & (factor < 1.001)).all())
    # More than the table holds are treated as its last.
    assert torch.equal(relocated(opacity[:1], torch.tensor([200]))[0], relocated(opacity[:1], parts[-1:])[0])


def test_divided_changes_only_the_hosts():
    before = many(6)
    after = divided(before, torch.tensor([4, 1, 4]), 0.005)
    changed = (before.log_scales != after.log_scales).any(dim=1)
    assert changed.tolist() == [False, True, False, False, True, False]
    opacity, factor = relocated(before.opacities[[1, 4]], torch.tensor([2, 3]))
    torch.testing.assert_close(after.opacities[[1, 4]], opacity)
    torch.testing.assert_close(after.scales[[1, 4]], before.scales[[1, 4]] * factor[:, None])
    for name in ("means", "quats", "sh"):
        assert torch.equal(before.tensors()[name], after.tensors()[name])


def test_the_dead_go_to_live_ones_in_proportion_to_opacity():
    live, dead = many(2), many(3000, opacity=0.004)
    live.opacity_logits.copy_(torch.tensor([logit(0.2), logit(0.8)]))
    control = MCMC(replace(CONFIG, max_count=3002, noise=0), EXTENT, STEPS)
    change = control.after(500, concat([live, dead]), RATES, generator())
    assert change.counts["relocated"] == 3000 and change.counts["added"] == 0
    at_second = (change.gaussians.means == live.means[1]).all(dim=1)
    assert bool((at_second | (change.gaussians.means == live.means[0]).all(dim=1)).all())
    assert float(at_second.double().mean()) == pytest.approx(0.8, abs=0.03)  # standard error 0.007
    assert bool((change.source == -1).all())
    assert float(change.gaussians.opacities.min()) >= 0.005 * (1 - 1e-5)


def test_relocation_leaves_every_place_as_it_looked():
    gaussians = many(300)
    gaussians.opacity_logits[:150] = logit(0.003)
    change = MCMC(replace(CONFIG, max_count=300, noise=0), EXTENT, STEPS).after(500, gaussians, RATES, generator())
    result, looked = change.gaussians, 0
    for row in range(150, 300):
        here = (result.means == gaussians.means[row]).all(dim=1).nonzero()[:, 0]
        parts, first = len(here), int(here[0])
        for name, tensor in result.tensors().items():
            assert torch.equal(tensor[here], tensor[first : first + 1].expand_as(tensor[here])), name
        new = float(result.opacities[first]), float(result.scales[first, 0])
        old = float(gaussians.opacities[row]), float(gaussians.scales[row, 0])
        assert absorbed(*new, parts) == pytest.approx(absorbed(*old, 1), rel=1e-3)
        assert (int(change.source[row]) == row) == (parts == 1)
        looked += parts
    assert looked == 300


def test_parts_are_drawn_from_the_gaussian_they_divide():
    one = many(1, seed=5, opacity=0.9)
    crowd = concat([one, one.select(torch.zeros(9999, dtype=torch.int64))])
    crowd.opacity_logits[1:] = logit(0.001)
    config = replace(CONFIG, max_count=10_000, noise=0, spread=0.5)
    result = MCMC(config, EXTENT, STEPS).after(500, crowd, RATES, generator()).gaussians
    offset = result.means - one.means
    torch.testing.assert_close(result.scales, result.scales[:1].expand_as(result.scales))
    # The standard error of a variance from n samples is sqrt(2/n) = 1.4 % of it.
    expected = 0.25 * result.select(torch.tensor([0])).covariances[0]
    assert float((offset.T @ offset / len(offset) - expected).abs().max()) < 0.06 * float(expected.diagonal().max())


def test_growth_is_five_per_cent_to_the_bound():
    control = MCMC(replace(CONFIG, noise=0), EXTENT, STEPS)
    gaussians, counts = many(100), []
    for step in range(500, 6001, 100):
        change = control.after(step, gaussians, RATES, generator(step))
        assert change.counts["added"] == len(change.gaussians) - len(gaussians)
        gaussians = change.gaussians
        counts.append(len(gaussians))
    assert counts[0] == 105 and counts[-1] == 1000 == max(counts)
    assert all(b == min(1000, math.ceil(1.05 * a)) for a, b in pairwise(counts))


def test_short_runs_grow_as_much_in_the_same_share_of_the_time():
    counts = {}
    for steps in (30_000, 7000, 2000):
        control, gaussians = MCMC(replace(CONFIG, max_count=10_000, noise=0), EXTENT, steps), many(400)
        times = [s for s in range(1, steps) if control.timing.due(s) and control.timing.progress(s) <= 0.2]
        for step in times:
            gaussians = control.after(step, gaussians, RATES, generator(step)).gaussians
        counts[steps] = len(gaussians)
    assert counts[30_000] == pytest.approx(400 * 1.05**49, rel=0.1)
    assert counts[7000] == pytest.approx(counts[30_000], rel=0.3)
    assert counts[2000] == pytest.approx(counts[30_000], rel=0.3)


def test_noise_has_the_covariance_of_the_gaussian():
    n, one = 40_000, many(1, seed=3, opacity=0.004)
    crowd = one.select(torch.zeros(n, dtype=torch.int64))
    change = MCMC(replace(CONFIG, max_count=n), EXTENT, STEPS).after(1, crowd, {"means": 1e-3}, generator())
    assert change.source is None and not change.counts
    strength = 5e5 * 1e-3 / (1 + math.exp(100 * (0.004 - 0.005)))
    covariance = strength**2 * (one.covariances[0] @ one.covariances[0])
    offset = change.gaussians.means - crowd.means
    sample = offset.T @ offset / n
    # The standard error of a variance from n samples is sqrt(2/n) = 0.7 % of it.
    assert float((sample - covariance).abs().max()) < 0.03 * float(covariance.diagonal().max())
    assert float(offset.mean(dim=0).abs().max()) < 4 * float(covariance.diagonal().max() / n) ** 0.5


def test_noise_fades_with_opacity_and_leaves_the_rest_alone():
    opacities = [0.001, 0.005, 0.02, 0.05, 0.09, 0.11, 0.9]
    gaussians = concat([many(4000, opacity=o) for o in opacities])
    gaussians.log_scales.fill_(-3)
    change = MCMC(replace(CONFIG, max_count=28_000), EXTENT, STEPS).after(1, gaussians, {"means": 1e-3}, generator())
    moved = (change.gaussians.means - gaussians.means).reshape(len(opacities), -1).std(dim=1)
    gate = 1 / (1 + torch.exp(100 * (torch.tensor(opacities) - 0.005)))
    torch.testing.assert_close(moved[:4] / moved[1], gate[:4] / gate[1], rtol=0.05, atol=0)
    assert float(moved[4]) < 1e-3 * float(moved[1]) and moved[5:].tolist() == [0, 0]
    for name in ("log_scales", "quats", "opacity_logits", "sh"):
        assert change.gaussians.tensors()[name] is gaussians.tensors()[name]


def test_the_unit_of_the_world_changes_nothing():
    gaussians = many(400, seed=1)
    gaussians.opacity_logits[::3] = logit(0.004)
    changes, penalties = [], []
    for world in (1, 8):
        control = MCMC(CONFIG, EXTENT * world, STEPS, torch.zeros(1, 3))
        scene = gaussians.transform(torch.eye(3), torch.zeros(3), world)
        penalties.append(control.penalty(scene))
        # The rate of the positions is in units of the extent.
        changes.append(control.after(500, scene, {"means": 1e-4 * world}, generator()))
    assert torch.equal(changes[0].source, changes[1].source) and changes[0].counts == changes[1].counts
    torch.testing.assert_close(changes[0].gaussians.means * 8, changes[1].gaussians.means, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(penalties[0], penalties[1])


def test_the_penalty_is_the_mean_opacity_and_scale():
    gaussians = many(50).map(lambda t: t.requires_grad_())
    penalty = MCMC(CONFIG, EXTENT, STEPS).penalty(gaussians)
    plain = gaussians.detach()
    assert penalty.item() == pytest.approx(0.01 * float(plain.opacities.mean() + plain.scales.mean()))
    assert MCMC(CONFIG, EXTENT, STEPS).penalty(many(0)).item() == 0
    penalty.backward()
    assert float(gaussians.opacity_logits.grad.min()) > 0 and float(gaussians.log_scales.grad.min()) > 0


def test_what_is_at_a_camera_is_relocated():
    gaussians = many(50, opacity=0.9)
    control = MCMC(replace(CONFIG, max_count=50, noise=0), EXTENT, STEPS, gaussians.means[[7]] + 0.01)
    change = control.after(500, gaussians, RATES, generator())
    assert change.counts["relocated"] == 1 and int(change.source[7]) == -1
    assert not bool((change.gaussians.means == gaussians.means[7]).all(dim=1).any())


def test_nothing_to_do_and_nothing_left():
    control = MCMC(CONFIG, EXTENT, STEPS)
    assert control.after(1, many(10, opacity=0.5), RATES, generator()) is None
    assert control.after(STEPS, many(10, opacity=0.004), RATES, generator()) is None  # no training would follow
    assert len(control.after(500, many(0), RATES, generator()).gaussians) == 0
    dead = control.after(500, many(10, opacity=0.004), RATES, generator())
    assert dead.counts["relocated"] == 0 and len(dead.gaussians) == 10
    trimmed = MCMC(replace(CONFIG, max_count=4), EXTENT, STEPS).after(1, many(10, opacity=0.5), RATES, generator())
    assert len(trimmed.gaussians) == 4 and trimmed.counts == {"trimmed": 6}
    with pytest.raises(ValueError, match="positive"):
        MCMC(replace(CONFIG, max_count=0), EXTENT, STEPS)


@pytest.mark.parametrize("cut", [3, 40, 71])
def test_a_resumed_run_goes_on_to_the_same_bytes(cut):
    config = replace(CONFIG, start=10, every=10, max_count=200)

    def drive(control: DensityControl, gaussians: Gaussians, steps: range, g: torch.Generator) -> Gaussians:
        for step in steps:
            gaussians.opacity_logits.sub_(0.05 * torch.rand(len(gaussians), generator=g))
            change = control.after(step, gaussians, RATES, g)
            gaussians = gaussians if change is None else change.gaussians
        return gaussians

    def fresh() -> MCMC:
        return MCMC(config, EXTENT, 400, torch.zeros(1, 3))

    g = generator()
    whole = drive(fresh(), many(80), range(1, 101), g)
    assert len(whole) > 80
    g, first, later = generator(), fresh(), fresh()
    half = drive(first, many(80), range(1, cut + 1), g)
    later.restore(first.state())
    assert same(drive(later, half, range(cut + 1, 101), g), whole)


_ANY = st.sampled_from([0.0, 1e-6, 100.0, -100.0, 1e30, math.nan, math.inf, -math.inf])


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_whatever_there_is_the_result_is_bounded_finite_and_follows_its_source(data):
    n = data.draw(st.integers(0, 25), "n")
    config = replace(CONFIG, max_count=data.draw(st.integers(1, 40)), growth=data.draw(st.sampled_from([0.0, 0.05, 3])))
    control = MCMC(config, EXTENT, STEPS, torch.zeros(1, 3) if data.draw(st.booleans()) else None)
    g = generator(data.draw(st.integers(0, 99)))
    gaussians = many(n, int(g.initial_seed()))
    gaussians.opacity_logits[torch.rand(n, generator=g) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))] = logit(0.001)
    for tensor in gaussians.tensors().values():
        tensor[torch.rand(tensor.shape, generator=g) < data.draw(st.sampled_from([0.0, 0.02]))] = data.draw(_ANY)
    control.observe(1, torch.full((1, n, 2), math.nan), torch.zeros(1, n), 64, 48)
    step = data.draw(st.sampled_from([1, 500, 600, 25_000, 25_100, STEPS]))
    change = control.after(step, gaussians, RATES, g)
    if change is None:
        assert n <= config.max_count and not control.timing.due(step)
        return
    assert len(change.gaussians) <= config.max_count
    if change.source is None:
        assert len(change.gaussians) == n
        return
    kept = change.source[change.source >= 0]
    assert len(change.source) == len(change.gaussians) and bool((change.source >= -1).all())
    assert len(kept.unique()) == len(kept) and bool((kept < n).all())
    if control.timing.due(step):
        assert bool(change.gaussians.finite().all())
        untouched = change.gaussians.select(change.source >= 0)
        for name in ("quats", "sh"):
            assert torch.equal(untouched.tensors()[name], gaussians.tensors()[name][kept])
