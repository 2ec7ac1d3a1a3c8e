import dataclasses

import numpy as np
import pytest
import torch

from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians, concat, from_points, in_ball
from gaussmith.surface import density_query as dq


def soup(count: int, seed: int, spread: float = 0.3, low: float = -4.5, high: float = -1.5) -> Gaussians:
    g = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=spread * torch.randn(count, 3, generator=g),
        log_scales=low + (high - low) * torch.rand(count, 3, generator=g),
        quats=torch.randn(count, 4, generator=g),
        opacity_logits=2 * torch.randn(count, generator=g),
        sh=torch.zeros(count, 1, 3),
    )


def slow_density(g: Gaussians, points: np.ndarray, min_scale: float = 0.0) -> np.ndarray:
    """The plain sum, one Gaussian and one point at a time, in float64."""
    out = np.zeros(len(points))
    rotations = g.to(dtype=torch.float64).rotations.numpy()
    scales = np.maximum(g.log_scales.double().exp().numpy(), min_scale)
    opacities = g.opacities.double().numpy()
    for mean, rotation, scale, opacity in zip(g.means.double().numpy(), rotations, scales, opacities):
        if opacity <= dq.MIN_OPACITY:
            continue
        inverse = np.linalg.inv(rotation @ np.diag(scale**2) @ rotation.T)
        for p, point in enumerate(points):
            d = point - mean
            out[p] += opacity * np.exp(-0.5 * d @ inverse @ d)
    return out


@pytest.mark.parametrize("seed", [0, 1])
def test_grid_is_the_plain_sum(seed: int) -> None:
    g = soup(60, seed)
    grid = dq.Grid(np.array([-0.7, -0.6, -0.5]), 0.06, (21, 18, 25))
    density = dq.density_grid(dq.prepare(g), grid)
    nodes = np.random.default_rng(seed).integers(0, grid.shape, (150, 3))
    expected = slow_density(g, grid.to_world(nodes))
    assert density.shape == grid.shape
    # At most a CUTOFF for each Gaussian that misses the node, in practice the tails of a few.
    np.testing.assert_allclose(density[tuple(nodes.T)], expected, atol=10 * dq.CUTOFF)
    assert expected.max() > 0.5


def test_points_agree_with_the_plain_sum_and_its_differences() -> None:
    g = soup(40, 3, low=-2.5)
    grid = dq.Grid(np.full(3, -0.8), 0.1, (17, 17, 17))
    field = dq.prepare(g)
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (40, 3))
    value, gradient = dq.density_at(field, grid, points)
    np.testing.assert_allclose(value, slow_density(g, points), atol=10 * dq.CUTOFF)
    step = 1e-4
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        difference = (slow_density(g, points + shift) - slow_density(g, points - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[:, axis], difference, atol=2e-2)
    outside, slope = dq.density_at(field, grid, np.array([[5.0, 0, 0], [0, -9.0, 0]]))
    assert not outside.any() and not slope.any()


def test_needle_is_not_lost() -> None:
    """A needle with scales 1 : 1e-4 at an odd angle keeps float accuracy and, widened, shows on a coarse grid."""
    g = soup(1, 5, spread=0.0)
    g = dataclasses.replace(g, log_scales=torch.tensor([[-1.0, -10.0, -10.0]]), opacity_logits=torch.tensor([4.0]))
    along = g.rotations[0, :, 0].double().numpy()
    grid = dq.Grid(np.full(3, -0.5), 0.05, (21, 21, 21))
    value, _ = dq.density_at(dq.prepare(g), grid, np.array([0.2 * along]))
    np.testing.assert_allclose(value, slow_density(g, np.array([0.2 * along])), rtol=1e-3)
    wide = dq.density_grid(dq.prepare(g, dq.MIN_SIGMA * grid.spacing), grid)
    assert (wide > 0.5).sum() >= 10


def test_batches_and_threads_do_not_change_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    g = soup(300, 7)
    grid = dq.choose_grid(g, 40)
    whole, threads = dq.density_grid(dq.prepare(g), grid), torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            np.testing.assert_array_equal(whole, dq.density_grid(dq.prepare(g), grid))
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(dq, "PAIR_BUDGET", 500)
    np.testing.assert_allclose(whole, dq.density_grid(dq.prepare(g), grid), rtol=1e-4, atol=1e-5)


def test_grid_ignores_floaters_and_is_isotropic() -> None:
    body = in_ball(2000, 0.4, torch.Generator().manual_seed(0), opacity=0.8)
    alone = dq.choose_grid(body, 64)
    far = from_points(torch.tensor([[30.0, 0, 0], [0, 0.8, 0], [0, 0.82, 0]]), torch.zeros(3, 3), opacity=0.9)
    far = dataclasses.replace(far, log_scales=torch.full((3, 3), -4.0))
    both = dq.choose_grid(concat([body, far]), 64)
    assert max(both.shape) == 64 and max(alone.shape) == 64
    assert both.spacing < 1.15 * alone.spacing
    density = dq.density_grid(dq.prepare(body), alone)
    border = density.copy()
    border[1:-1, 1:-1, 1:-1] = 0
    assert border.max() < dq.FAINT
    everything = dq.choose_grid(concat([body, far]), 64, min_component=0.0)
    assert everything.to_world(np.array(everything.shape) - 1)[1] > 0.82


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_grid_follows_the_unit(scale: float) -> None:
    g = in_ball(500, 0.4, torch.Generator().manual_seed(1), opacity=0.8)
    other = g.transform(torch.eye(3), torch.zeros(3), scale)
    a, b = dq.choose_grid(g, 48), dq.choose_grid(other, 48)
    assert a.shape == b.shape
    np.testing.assert_allclose(b.spacing, scale * a.spacing, rtol=1e-3)


def test_nothing_to_query() -> None:
    g = in_ball(50, 0.4, torch.Generator().manual_seed(1), opacity=0.004)
    with pytest.raises(UserError, match="no surface"):
        dq.choose_grid(g, 32)
    nan = in_ball(50, 0.4, torch.Generator().manual_seed(1)).map(lambda t: t * float("nan"))
    with pytest.raises(UserError, match="finite"):
        dq.prepare(nan)
    faint = in_ball(2, 0.4, torch.Generator().manual_seed(1), opacity=0.02)
    with pytest.raises(UserError, match="stays below"):
        dq.choose_grid(faint, 32)
    distant = in_ball(200, 1e-4, torch.Generator().manual_seed(1), opacity=0.9)
    distant = distant.transform(torch.eye(3), torch.tensor([100.0, 0, 0]))
    with pytest.raises(UserError, match="origin"):
        dq.choose_grid(distant, 128)


def test_bad_rows_are_dropped() -> None:
    g = soup(30, 9)
    bad = soup(3, 10)
    bad.means[0, 1] = float("inf")
    bad.log_scales[1, 0] = float("nan")
    bad.quats[2] = 0
    mixed = dq.prepare(concat([g, bad]))
    assert len(mixed) == len(dq.prepare(g))
    huge = dataclasses.replace(g, log_scales=g.log_scales + 500)
    assert np.isfinite(dq.prepare(huge).white).all()
