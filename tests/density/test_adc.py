"""Adaptive density control: its plan, its choices, its limits."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.density.adc import ADC, Config
from gaussmith.density.base import DensityControl
from gaussmith.density.ops import USUAL_EXTENT, bounded
from gaussmith.gaussians import Gaussians, logit

EXTENT = 2.0
SMALL, LARGE, HUGE = 0.01, 0.1, 0.5  # To either side of 1 % of the extent, and more than 10 % of it.
CONFIG = Config(max_count=1000, min_count=0, max_share=0.1, max_radius=0.02)
STEPS = 30_000


def gaussians_of(scales: list[float], opacities: list[float]) -> Gaussians:
    n = len(scales)
    return Gaussians(
        means=torch.arange(3.0 * n).reshape(n, 3),
        log_scales=torch.tensor(scales).log()[:, None].repeat(1, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        opacity_logits=torch.tensor([logit(o) for o in opacities]),
        sh=torch.zeros(n, 1, 3),
    )


def many(n: int, seed: int = 0) -> Gaussians:
    g = torch.Generator().manual_seed(seed)
    scales, opacities = 0.002 + 0.08 * torch.rand(n, generator=g), 0.01 + 0.9 * torch.rand(n, generator=g)
    gaussians = gaussians_of(scales.tolist(), opacities.tolist())
    gaussians.means.copy_(torch.randn(n, 3, generator=g))
    return gaussians


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def observed(config: Config, gradients: list[float], radii: list[float] | None = None, step: int = 1, **kwargs) -> ADC:
    """A control that has seen one view of 1000 x 1000 pixels with these gradients in device units."""
    control = ADC(config, EXTENT, STEPS, **kwargs)
    see(control, gradients, radii, step)
    return control


def see(control: ADC, gradients: list[float], radii: list[float] | None = None, step: int = 1) -> None:
    gradient = torch.tensor([[[g / 500, 0.0] for g in gradients]])
    control.observe(step, gradient, torch.tensor([radii or [5.0] * len(gradients)]), 1000, 1000)


def same(a: Gaussians, b: Gaussians) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values()))


def test_it_is_a_density_control():
    control: DensityControl = ADC(CONFIG, EXTENT, STEPS)
    assert control.uses_absolute and not ADC(replace(CONFIG, absolute=False), EXTENT, STEPS).uses_absolute
    assert control.penalty(many(3)) is None


def test_absolute_gradients_are_wanted_as_long_as_they_are_looked_at():
    control, later = ADC(CONFIG, EXTENT, STEPS), ADC(CONFIG, EXTENT, STEPS)
    for step, wanted in ((14_900, True), (14_999, True), (15_000, False), (15_001, False)):
        control.after(step, many(3), {}, generator())
        assert control.uses_absolute == wanted
    later.restore(control.state())
    assert not later.uses_absolute and not ADC(CONFIG, EXTENT, 1).uses_absolute


def test_a_set_threshold_clones_small_ones_splits_large_ones_and_drops_faint_ones():
    gaussians = gaussians_of([SMALL, SMALL, LARGE, LARGE, LARGE], [0.5, 0.5, 0.5, 0.5, 0.004])
    control = observed(replace(CONFIG, gradient=2e-4), [3e-4, 1e-4, 3e-4, 1e-4, 3e-4])
    change = control.after(500, gaussians, {}, generator())
    assert change.source.tolist() == [0, 1, 3, -1, -1, -1]
    assert {k: v for k, v in change.counts.items() if v} == {"cloned": 1, "split": 1, "pruned_faint": 1}
    torch.testing.assert_close(change.gaussians.scales[4:], torch.full((2, 3), LARGE / 1.6))
    assert control.chosen()["gradient"] == pytest.approx(3e-4) and change.forget == ()


def test_the_plan_lets_the_strongest_grow_and_shows_what_it_chose():
    # Each time as many grow as the plan has room for, whatever the size of the gradients.
    for factor in (1.0, 100.0):
        control = ADC(replace(CONFIG, max_count=400), EXTENT, STEPS)
        gaussians = many(100)
        rank = torch.rand(100, generator=generator(1))
        see(control, (0.01 * factor * rank).tolist())
        assert len(control.after(500, gaussians, {}, generator()).gaussians) == 100
        see(control, (0.01 * factor * rank).tolist(), step=501)
        change = control.after(4500, gaussians, {}, generator())
        room = control.planned(4500) - 100
        assert len(change.gaussians) == 100 + room and room > 20
        strongest = rank.topk(room)
        assert control.chosen()["gradient"] == pytest.approx(0.01 * factor * float(strongest.values[-1]), rel=1e-5)
        split_ones = set(range(100)) - set(change.source.tolist())
        assert split_ones and split_ones <= set(strongest.indices.tolist())


def test_the_plan_rises_from_what_there_is_to_the_bound():
    control = ADC(CONFIG, EXTENT, STEPS)
    control.after(500, many(100), {}, generator())
    plan = [control.planned(s) for s in range(500, 15_001, 100)]
    assert plan[0] == 100 and plan[-1] == 1000 and plan == sorted(plan)
    assert {b - a for a, b in pairwise(plan)} <= {6, 7}
    full = ADC(CONFIG, EXTENT, STEPS)
    full.after(500, many(1500), {}, generator())
    assert full.planned(500) == 1000


def test_what_is_too_weak_does_not_grow_even_with_room():
    control = observed(CONFIG, [1.9e-5] * 10)
    assert control.after(15_000, many(10), {}, generator()).counts["split"] == 0
    see(control, [2.1e-5] * 10)
    change = control.after(15_000, many(10), {}, generator())
    assert change.counts["split"] + change.counts["cloned"] == 10


@pytest.mark.parametrize("world, side", [(8, 1), (1, 2), (8, 4), (0.125, 1)])
def test_the_units_of_the_world_and_of_the_picture_change_nothing(world, side):
    gaussians = many(200)
    gaussians.means[7] = torch.tensor([0.3, 0.2, 0.15])
    gaussians.log_scales[9] = math.log(0.3)
    larger = gaussians.transform(torch.eye(3), torch.zeros(3), world)
    gradient = torch.rand(3, 200, 2, generator=generator(1)) * 1e-6
    radii = 30 * torch.rand(3, 200, generator=generator(2))
    cameras = torch.tensor([[0.3, 0.2, 0.1]])
    changes = []
    for scene, w, s in ((gaussians, 1, 1), (larger, world, side)):
        control = ADC(replace(CONFIG, max_count=300), EXTENT * w, STEPS, cameras * w)
        # A picture of twice the side has four times the pixels to average over, and half the world to a pixel.
        control.observe(1, gradient / s, radii * s, 1000 * s, 800 * s)
        control.after(500, scene, {}, generator())
        control.observe(501, gradient / s, radii * s, 1000 * s, 800 * s)
        changes.append(control.after(9000, scene, {}, generator()))
    assert torch.equal(changes[0].source, changes[1].source) and changes[0].counts == changes[1].counts
    for name in ("pruned_large", "pruned_at_camera", "split"):
        assert changes[0].counts[name] > 0
    torch.testing.assert_close(changes[0].gaussians.means * world, changes[1].gaussians.means)


def test_a_batch_counts_as_its_views_one_by_one():
    gradient, radii = torch.randn(4, 9, 2, generator=generator()), torch.randint(0, 9, (4, 9), generator=generator(1))
    whole, single = ADC(CONFIG, EXTENT, STEPS), ADC(CONFIG, EXTENT, STEPS)
    whole.observe(1, gradient / 4, radii, 64, 48)
    for b in range(4):
        single.observe(1 + b, gradient[b : b + 1], radii[b : b + 1], 64, 48)
    for name, tensor in single.state().items():
        torch.testing.assert_close(whole.state()[name], tensor)
    assert whole.state()["views"].tolist() == (radii > 0).sum(dim=0).tolist()


def test_large_ones_go_only_after_the_first_lowering():
    gaussians = gaussians_of([SMALL, HUGE, SMALL, SMALL], [0.5] * 4)
    for step, kept in ((3000, [0, 1, 2, 3]), (3100, [0, 3])):
        control = observed(CONFIG, [0.0] * 4, [5.0, 5.0, 21.0, 19.0])
        change = control.after(step, gaussians, {}, generator())
        assert change.source.tolist() == kept and change.counts["pruned_large"] == 4 - len(kept)


def test_nothing_stays_at_a_camera():
    gaussians = gaussians_of([SMALL] * 4, [0.5] * 4)
    cameras = gaussians.means[[1, 3]] + torch.tensor([[0.06, 0.0, 0.0], [0.0, 0.11, 0.0]])  # the bound is 0.1
    change = observed(CONFIG, [0.0] * 4, cameras=cameras).after(500, gaussians, {}, generator())
    assert change.source.tolist() == [0, 2, 3] and change.counts["pruned_at_camera"] == 1


def test_opacities_are_lowered_on_time_and_never_without_time_to_recover():
    assert sorted(ADC(CONFIG, EXTENT, 30_000).resets) == [3000, 6000, 9000, 12_000]
    assert not ADC(replace(CONFIG, reset_every=0), EXTENT, 30_000).resets
    change = observed(CONFIG, [0.0] * 3).after(3000, many(3), {}, generator())
    assert change.forget == ("opacity_logits",) and float(change.gaussians.opacities.max()) <= 0.0100001
    for steps in range(1, 33_000, 331):
        control = ADC(CONFIG, EXTENT, steps)
        resets = sorted(control.resets)
        assert all(control.timing.due(r) and r + 1000 <= control.timing.last < steps for r in resets)
        assert all(b - a >= 1000 for a, b in pairwise(resets))
        assert bool(resets) == (steps > 3500)


def test_nothing_grows_from_gradients_of_the_dark_picture():
    for step, grows in ((3000, True), (3100, False), (3200, False), (3300, True)):
        control = observed(replace(CONFIG, gradient=1e-4), [1.0] * 5)
        counts = control.after(step, many(5), {}, generator()).counts
        assert ("split" in counts) == grows


def test_between_its_times_it_does_nothing_but_hold_the_bound():
    control = observed(CONFIG, [1.0] * 10)
    assert control.after(499, many(10), {}, generator()) is None
    assert control.after(15_100, many(10), {}, generator()) is None
    change = ADC(replace(CONFIG, max_count=4), EXTENT, STEPS).after(1, many(10), {}, generator())
    assert len(change.gaussians) == 4 == len(change.source) and change.counts == {"trimmed": 6}


def test_the_most_opaque_are_never_dropped():
    gaussians = gaussians_of([SMALL] * 30, [0.0001 * (i + 1) for i in range(30)])
    change = ADC(replace(CONFIG, min_count=10), EXTENT, STEPS).after(500, gaussians, {}, generator())
    assert change.source.tolist() == list(range(20, 30))


def test_another_number_of_gaussians_is_an_error():
    control = observed(CONFIG, [0.0] * 3)
    with pytest.raises(ValueError, match="observed"):
        see(control, [0.0] * 4)
    with pytest.raises(ValueError, match="observed"):
        control.after(500, many(5), {}, generator())
    for bad in (replace(CONFIG, max_count=0), CONFIG):
        with pytest.raises(ValueError, match="positive"):
            ADC(bad, 1.0 if bad.max_count == 0 else math.nan, STEPS)


def _drive(control: ADC, gaussians: Gaussians, steps: range, g: torch.Generator) -> Gaussians:
    """A run without a picture: the gradients are noise."""
    for step in steps:
        n = len(gaussians)
        gradient, radii = 1e-6 * torch.randn(1, n, 2, generator=g), 10 * torch.rand(1, n, generator=g)
        control.observe(step, gradient, radii, 640, 480)
        change = control.after(step, gaussians, {}, g)
        gaussians = gaussians if change is None else change.gaussians
    return gaussians


@pytest.mark.parametrize("cut", [1, 57, 110, 430])
def test_a_resumed_run_goes_on_to_the_same_bytes(cut):
    config, steps = replace(CONFIG, start=20, every=10, recovery=50, reset_every=100), 1000

    def fresh() -> ADC:
        return ADC(config, EXTENT, steps, torch.zeros(1, 3))

    g = generator()
    whole = _drive(fresh(), many(60), range(1, 501), g)
    assert len(whole) > 120
    g, first = generator(), fresh()
    half = _drive(first, many(60), range(1, cut + 1), g)
    saved, later = {k: v.clone() for k, v in first.state().items()}, fresh()
    later.restore(saved)
    assert same(_drive(later, half, range(cut + 1, 501), g), whole)
    assert all(torch.equal(v, first.state()[k]) for k, v in saved.items())  # going on does not change what was saved


_ANY = st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 1.0, 1e30, -1.0, math.nan, math.inf])


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_whatever_is_observed_the_result_is_bounded_finite_and_follows_its_source(data):
    n = data.draw(st.integers(0, 25), "n")
    config = replace(
        CONFIG, max_count=data.draw(st.integers(1, 40)), min_count=data.draw(st.integers(0, 5)),
        gradient=data.draw(st.sampled_from([None, 0.0, 2e-4])),
    )  # fmt: skip
    control = ADC(config, EXTENT, STEPS, torch.zeros(1, 3) if data.draw(st.booleans()) else None)
    g = generator(data.draw(st.integers(0, 99)))
    gaussians = many(n, int(g.initial_seed()))
    for tensor in gaussians.tensors().values():
        tensor[torch.rand(tensor.shape, generator=g) < data.draw(st.sampled_from([0.0, 0.02]))] = data.draw(_ANY)
    for _ in range(data.draw(st.integers(0, 2))):
        gradient = torch.tensor([[[data.draw(_ANY), data.draw(_ANY)] for _ in range(n)]]).reshape(1, n, 2)
        radii = torch.tensor([[data.draw(_ANY) for _ in range(n)]]).reshape(1, n)
        control.observe(1, gradient, radii, 64, 48)
    step = data.draw(st.sampled_from([1, 500, 700, 3000, 9000, 15_000, 15_100]))
    change = control.after(step, gaussians, {}, g)
    if change is None:
        assert n <= config.max_count and not control.timing.due(step)
        return
    assert len(change.gaussians) == len(change.source) <= config.max_count
    kept = change.source[change.source >= 0]
    assert len(kept.unique()) == len(kept) and bool((kept < n).all()) and bool((change.source >= -1).all())
    if control.timing.due(step):
        assert bool(change.gaussians.finite().all())
        untouched, sound = change.gaussians.select(change.source >= 0), bounded(gaussians, EXTENT / USUAL_EXTENT)
        names = set(untouched.tensors()) - set(change.forget)
        assert all(torch.equal(untouched.tensors()[k], sound.tensors()[k][kept]) for k in names)
