"""The moves of density control."""

import math

import pytest
import torch

from gaussmith.density.ops import (
    MAX_SCALE,
    MIN_SCALE,
    bounded,
    clone,
    follow,
    near,
    normal,
    prune,
    repair,
    reset_opacity,
    sample,
    screen_gradient,
    split,
    top,
    trim,
)  # fmt: skip
from gaussmith.gaussians import Gaussians, logit


def random_gaussians(n: int, seed: int = 0) -> Gaussians:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g)

    return Gaussians(normal(n, 3), 0.3 * normal(n, 3) - 3, normal(n, 4), normal(n), 0.1 * normal(n, 1, 3))


def same(a: Gaussians, b: Gaussians) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values()))


def continues(result: Gaussians, source: torch.Tensor, before: Gaussians) -> bool:
    """Whether every old row of the result is bit for bit the row that `source` names."""
    old = source >= 0
    return len(source) == len(result) and same(result.select(old), before.select(source[old]))


def test_clone_appends_exact_copies():
    before, mask = random_gaussians(5), torch.tensor([False, True, False, True, False])
    after, source = clone(before.map(lambda t: t.requires_grad_()), mask)
    assert source.tolist() == [0, 1, 2, 3, 4, -1, -1]
    assert continues(after, source, before) and same(after.select(source < 0), before.select(mask))
    assert not after.means.requires_grad


def test_split_replaces_by_two_smaller_ones_drawn_from_it():
    before, mask = random_gaussians(5), torch.tensor([False, True, False, True, False])
    after, source = split(before, mask, torch.Generator().manual_seed(0))
    assert source.tolist() == [0, 2, 4, -1, -1, -1, -1]
    assert continues(after, source, before)
    children, parents = after.select(source < 0), before.select(torch.tensor([1, 3, 1, 3]))
    torch.testing.assert_close(children.scales * 1.6, parents.scales)
    for name in ("quats", "opacity_logits", "sh"):
        assert torch.equal(children.tensors()[name], parents.tensors()[name])
    again, _ = split(before, mask, torch.Generator().manual_seed(0))
    assert same(after, again)


def test_children_are_spread_as_the_parent():
    parent = random_gaussians(1, seed=4)
    children, _ = split(parent, torch.tensor([True]), torch.Generator().manual_seed(1), parts=20_000)
    offset = children.means - parent.means
    sample, exact = offset.T @ offset / len(offset), parent.covariances[0]
    # The standard error of a variance from n samples is sqrt(2/n) = 1 % of it.
    assert float((sample - exact).abs().max()) < 0.05 * float(exact.diagonal().max())


def test_nothing_to_do_changes_nothing():
    before, none = random_gaussians(4), torch.zeros(4, dtype=torch.bool)
    for after, source in (clone(before, none), split(before, none, torch.Generator()), prune(before, ~none)):
        assert same(before, after) and source.tolist() == [0, 1, 2, 3]


def test_prune_keeps_order():
    before, keep = random_gaussians(5), torch.tensor([True, False, True, True, False])
    after, source = prune(before, keep)
    assert source.tolist() == [0, 2, 3] and continues(after, source, before)
    assert len(prune(before, torch.zeros(5, dtype=torch.bool))[0]) == 0


def test_reset_opacity_only_lowers():
    before = random_gaussians(50)
    before.opacity_logits[0] = logit(0.001)
    after = reset_opacity(before)
    torch.testing.assert_close(after.opacities, before.opacities.clamp(max=0.01))
    assert float(after.opacities[0]) == pytest.approx(0.001)
    assert torch.equal(after.means, before.means)


def test_top_takes_the_earlier_of_equals():
    score = torch.tensor([1.0, 3.0, 2.0, 3.0, 3.0])
    assert top(score, 2).nonzero()[:, 0].tolist() == [1, 3]
    assert int(top(score, 0).sum()) == 0 == int(top(score, -3).sum()) and int(top(score, 9).sum()) == 5


def test_repair_leaves_good_gaussians_alone():
    before = random_gaussians(6)
    fixed = repair(before)
    assert same(before, fixed.gaussians) and fixed.source.tolist() == list(range(6))
    assert (fixed.mended, fixed.removed) == (0, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_repair_mends_or_removes_what_is_not_finite(bad):
    before = random_gaussians(8)
    before.means[0, 1] = bad
    before.log_scales[1, 2] = bad
    before.quats[2, 0] = bad
    before.opacity_logits[3] = bad
    before.sh[4, 0, 1] = bad
    fixed = repair(before)
    assert fixed.source.tolist() == [-1, -1, -1, -1, 5, 6, 7]
    assert (fixed.mended, fixed.removed) == (4, 1)
    assert bool(fixed.gaussians.finite().all()) and bool(fixed.gaussians.covariances.isfinite().all())
    assert continues(fixed.gaussians, fixed.source, before)
    assert torch.equal(fixed.gaussians.log_scales[0, :2], before.log_scales[1, :2])  # What was good stays.
    assert repair(fixed.gaussians).mended == 0


def test_repair_bounds_scales_logits_and_zero_quaternions():
    before = random_gaussians(4)
    before.log_scales[0] = torch.tensor([200.0, -200.0, 0.0])
    before.quats[1] = 0
    before.opacity_logits[2] = 80
    fixed = repair(before)
    # What was healthy but for its bounds keeps its row, and with it the optimiser's state.
    assert fixed.mended == 1 and fixed.source.tolist() == [0, -1, 2, 3]
    torch.testing.assert_close(fixed.gaussians.scales[0], torch.tensor([MAX_SCALE, MIN_SCALE, 1.0]))
    assert fixed.gaussians.quats[1].tolist() == [1, 0, 0, 0]
    assert float(fixed.gaussians.opacity_logits[2]) == 15


def test_repair_of_nothing_but_ruins_and_of_nothing():
    ruins = random_gaussians(3).map(lambda t: torch.full_like(t, math.nan))
    assert len(repair(ruins).gaussians) == 0 and repair(ruins).removed == 3
    ruins.means.zero_()
    assert bool(repair(ruins).gaussians.finite().all()) and repair(ruins).mended == 3
    assert len(repair(random_gaussians(0)).gaussians) == 0


def test_follow_is_the_composition_of_two_moves():
    before = random_gaussians(6)
    middle, first = clone(before, torch.tensor([True, False, False, False, False, True]))
    after, second = prune(middle, torch.tensor([True, False, True, False, True, False, True, True]))
    source = follow(first, second)
    assert source.tolist() == [0, 2, 4, -1, -1] and continues(after, source, before)
    assert follow(torch.zeros(0, dtype=torch.int64), torch.tensor([-1])).tolist() == [-1]


def test_trim_keeps_the_most_opaque_and_any_of_equals():
    before = random_gaussians(200)
    after, source = trim(before, 50, torch.Generator().manual_seed(0))
    assert source.tolist() == before.opacity_logits.topk(50).indices.sort().values.tolist()
    assert continues(after, source, before)
    before.opacity_logits.fill_(0.1)
    chosen = trim(before, 50, torch.Generator().manual_seed(0))[1]
    assert chosen.tolist() == sorted(chosen.tolist()) and 75 < float(chosen.double().mean()) < 125  # not the first 50
    before.opacity_logits[:150] = math.nan
    assert int(trim(before, 50, torch.Generator())[1].min()) == 150


def test_sample_draws_in_proportion_and_never_a_zero():
    weights = torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0])
    rows = sample(weights, 40_000, torch.Generator().manual_seed(0))
    share = torch.bincount(rows, minlength=5) / 40_000
    assert share[[0, 2, 4]].tolist() == [0, 0, 0]
    assert float(share[3]) == pytest.approx(0.75, abs=0.01)  # standard error 0.002
    assert torch.equal(rows, sample(weights, 40_000, torch.Generator().manual_seed(0)))


def test_near_is_a_distance_to_any_place():
    g = torch.Generator().manual_seed(0)
    points, places = torch.randn(300, 3, generator=g), torch.randn(7, 3, generator=g)
    expected = [any(math.dist(p, c) < 0.7 for c in places.tolist()) for p in points.tolist()]
    assert near(points, places, 0.7).tolist() == expected and any(expected) and not all(expected)
    points[0] = math.nan
    assert not bool(near(points, places, 1e9)[0]) and len(near(points[:0], places, 1.0)) == 0
    assert not bool(near(points, places[:0], 1.0).any())


def test_screen_gradient_is_in_device_units_and_skips_what_is_not_there():
    gradient = torch.tensor([[[0.1, 0.0], [0.0, 0.2], [5.0, 5.0], [math.inf, 0.0], [1.0, 1.0]]])
    norms, counts = screen_gradient(gradient, torch.tensor([[3.0, 1.0, 0.0, 2.0, math.nan]]), 200, 100, factor=2.0)
    assert norms[0].tolist() == pytest.approx([20.0, 20.0, 0.0, 0.0, 0.0])
    assert counts[0].tolist() == [True, True, False, False, False]


def test_normal_follows_the_generator():
    like = torch.zeros(2)
    first, again = (normal(1000, like, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again) and first.shape == (1000, 3)
    assert abs(float(first.mean())) < 0.1 and float(first.std()) == pytest.approx(1, abs=0.1)


def test_repair_in_another_unit_is_repair_of_the_smaller_world():
    before = random_gaussians(6)
    before.log_scales[0] = torch.tensor([200.0, -200.0, 0.0])
    before.log_scales[1, 0] = math.nan
    larger = Gaussians(**{**before.tensors(), "means": 8 * before.means, "log_scales": before.log_scales + math.log(8)})
    one, other = repair(before).gaussians, repair(larger, 8.0).gaussians
    torch.testing.assert_close(one.scales * 8, other.scales)


def test_bounded_brings_back_what_is_finite_and_leaves_the_rest_to_repair():
    before = random_gaussians(5)
    before.log_scales[0] = torch.tensor([200.0, -200.0, 0.0])
    before.opacity_logits[1], before.opacity_logits[2], before.log_scales[3, 1] = 80, math.nan, math.inf
    after = bounded(before)
    torch.testing.assert_close(after.scales[0], torch.tensor([MAX_SCALE, MIN_SCALE, 1.0]))
    assert float(after.opacity_logits[1]) == 15 and float(after.log_scales[3, 1]) == math.inf
    fixed = repair(after)
    assert fixed.source.tolist() == [0, 1, -1, -1, 4] and fixed.mended == 2
