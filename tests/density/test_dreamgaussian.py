"""DreamGaussian's density control: its statistics, its decisions, its limits."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.density.dreamgaussian import Config, Statistics, accumulate, densify_and_prune, due, prune_faint
from gaussmith.gaussians import Gaussians, logit

CONFIG = Config(min_count=1)
SMALL, LARGE = 0.03, 0.2  # To either side of 1 % of extent 4.


def gaussians_of(scales: list[float], opacities: list[float]) -> Gaussians:
    n = len(scales)
    return Gaussians(
        means=torch.arange(3.0 * n).reshape(n, 3),
        log_scales=torch.tensor(scales).log()[:, None].repeat(1, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        opacity_logits=torch.tensor([logit(o) for o in opacities]),
        sh=torch.zeros(n, 1, 3),
    )


def statistics_of(gradients: list[float], views: int = 2) -> Statistics:
    return Statistics(views * torch.tensor(gradients), torch.full((len(gradients),), float(views)))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_accumulate_counts_every_view_in_device_units():
    gradient = torch.tensor([[[0.1, 0.0], [0.0, 0.2], [5.0, 5.0]], [[0.3, 0.4], [0.0, 0.1], [math.nan, 0.0]]])
    radii = torch.tensor([[3.0, 1.0, 0.0], [2.0, 0.0, 4.0]])
    start = Statistics(torch.ones(3), torch.ones(3))
    got = accumulate(start, gradient, radii, width=200, height=100, factor=2.0)
    first = 2 * (math.hypot(0.1 * 100, 0) + math.hypot(0.3 * 100, 0.4 * 50))
    assert got.gradient.tolist() == pytest.approx([1 + first, 1 + 2 * 0.2 * 50, 1.0])
    assert got.views.tolist() == [3, 2, 1]
    assert start.views.tolist() == [1, 1, 1]


def test_a_batch_counts_as_its_views_one_by_one():
    g = _generator()
    gradient, radii = torch.randn(4, 9, 2, generator=g), torch.randint(0, 3, (4, 9), generator=g)
    zero = Statistics(torch.zeros(9), torch.zeros(9))
    whole, single = accumulate(zero, gradient, radii, 64, 64), zero
    for b in range(4):
        single = accumulate(single, gradient[b : b + 1], radii[b : b + 1], 64, 64)
    torch.testing.assert_close(whole.gradient, single.gradient)
    assert torch.equal(whole.views, single.views)


def test_small_ones_are_cloned_large_ones_split_faint_ones_dropped():
    gaussians = gaussians_of([SMALL, SMALL, LARGE, LARGE, LARGE], [0.5, 0.5, 0.5, 0.5, 0.005])
    done = densify_and_prune(gaussians, statistics_of([0.02, 0.001, 0.02, 0.001, 0.02]), _generator(), CONFIG)
    assert (done.cloned, done.split, done.pruned, done.mended, done.removed) == (1, 1, 1, 0, 0)
    assert done.source.tolist() == [0, 1, 3, -1, -1, -1]
    assert torch.equal(done.gaussians.means[:4], gaussians.means[[0, 1, 3, 0]])
    torch.testing.assert_close(done.gaussians.scales[4:], torch.full((2, 3), LARGE / 1.6))


def test_unseen_gaussians_do_not_grow():
    gaussians = gaussians_of([SMALL] * 3, [0.5] * 3)
    done = densify_and_prune(gaussians, Statistics.zeros(gaussians), _generator(), CONFIG)
    assert len(done.gaussians) == 3 and done.cloned == done.split == 0


def test_the_cap_lets_the_highest_gradients_grow():
    gaussians = gaussians_of([SMALL, LARGE, SMALL, LARGE], [0.5] * 4)
    done = densify_and_prune(
        gaussians, statistics_of([0.02, 0.05, 0.04, 0.03]), _generator(), replace(CONFIG, max_count=6)
    )
    assert len(done.gaussians) == 6 and (done.cloned, done.split) == (1, 1)
    assert done.source.tolist() == [0, 2, 3, -1, -1, -1]


def test_more_than_the_cap_leaves_the_most_opaque():
    gaussians = gaussians_of([SMALL] * 4, [0.5, 0.2, 0.9, 0.3])
    done = densify_and_prune(gaussians, statistics_of([1.0] * 4), _generator(), replace(CONFIG, max_count=2))
    assert done.source.tolist() == [0, 2] and done.pruned == 2


def test_non_finite_gaussians_are_mended_or_removed_and_their_statistics_go_with_them():
    gaussians = gaussians_of([SMALL] * 4, [0.5] * 4)
    gaussians.means[0] = math.nan
    gaussians.quats[2] = math.inf
    done = densify_and_prune(gaussians, statistics_of([9.0, 0.0, 0.0, 0.02]), _generator(), CONFIG)
    assert (done.removed, done.mended, done.cloned) == (1, 1, 1)
    assert done.source.tolist() == [1, -1, 3, -1]
    assert torch.equal(done.gaussians.means[3], gaussians.means[3])
    assert bool(done.gaussians.finite().all())


def test_an_opaque_gaussian_at_its_bound_keeps_its_row():
    gaussians = gaussians_of([SMALL] * 2, [0.5] * 2)
    gaussians.opacity_logits[1] = 15.5
    done = densify_and_prune(gaussians, Statistics.zeros(gaussians), _generator(), CONFIG)
    assert done.source.tolist() == [0, 1] and done.mended == 0 and float(done.gaussians.opacity_logits[1]) == 15


def test_pruning_never_deletes_everything():
    gaussians = gaussians_of([SMALL] * 50, [0.001 + 0.0001 * i for i in range(50)])
    config = replace(CONFIG, min_count=10)
    done = densify_and_prune(gaussians, Statistics.zeros(gaussians), _generator(), config)
    assert done.source.tolist() == list(range(40, 50))
    assert len(prune_faint(gaussians, config)[0]) == 10
    opaque = gaussians_of([SMALL] * 3, [0.5, 0.009, 0.011])
    assert prune_faint(opaque, CONFIG)[1].tolist() == [0, 2]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 10_000))
def test_counts_always_balance_and_respect_the_cap(n, cap, seed):
    g = torch.Generator().manual_seed(seed)
    gaussians = gaussians_of(
        (0.2 * torch.rand(n, generator=g) + 1e-3).tolist(), (0.9 * torch.rand(n, generator=g) + 1e-3).tolist()
    )
    gaussians.means[torch.rand(n, generator=g) < 0.1] = math.nan
    statistics = Statistics(0.1 * torch.rand(n, generator=g), torch.randint(0, 4, (n,), generator=g).float())
    config = replace(CONFIG, max_count=cap)
    done = densify_and_prune(gaussians, statistics, g, config)
    assert len(done.gaussians) == len(done.source) == n - done.removed - done.pruned + done.cloned + done.split <= cap
    kept = done.source[done.source >= 0]
    assert torch.equal(kept, kept.sort().values) and len(kept.unique()) == len(kept)


def test_due_follows_the_papers_interval():
    assert [s for s in range(1, 501) if due(s, 500, Config())] == [100, 200, 300, 400]
    assert [s for s in range(1, 301) if due(s, 300, Config(start=50, every=50))] == [50, 100, 150, 200, 250]
    assert [s for s in range(1, 601) if due(s, 600, Config(stop=250))] == [100, 200]


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 700), st.integers(0, 200), st.integers(1, 200))
def test_any_number_of_steps_leaves_training_after_the_last_densification(steps, start, every):
    config = Config(start=start, stop=500, every=every)
    dues = [s for s in range(1, steps + 1) if due(s, steps, config)]
    assert all(start <= s < steps and s <= 500 and (s - start) % every == 0 for s in dues)
    expected = [s for s in range(start, min(500, steps - 1) + 1, every) if s >= 1]
    assert dues == expected
