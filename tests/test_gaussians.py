"""The Gaussians container against slow formulas."""

import math

import pytest
import torch

from gaussmith.gaussians import Gaussians, concat, from_points, in_ball, logit, nearest_distance
from gaussmith.rotation import quat_to_matrix
from gaussmith.sh import dc_to_rgb, evaluate


def random_gaussians(n: int, seed: int = 0, degree: int = 0, dtype=torch.float64) -> Gaussians:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    sh = 0.1 * normal(n, (degree + 1) ** 2, 3)
    return Gaussians(normal(n, 3), 0.5 * normal(n, 3) - 2, normal(n, 4), normal(n), sh)


def test_covariance_against_a_slow_loop():
    gaussians = random_gaussians(5)
    for n in range(5):
        rotation = quat_to_matrix(gaussians.quats[n])
        expected = torch.zeros(3, 3, dtype=torch.float64)
        for axis in range(3):
            column = rotation[:, axis]
            expected += math.exp(2 * float(gaussians.log_scales[n, axis])) * torch.outer(column, column)
        torch.testing.assert_close(gaussians.covariances[n], expected)


@pytest.mark.parametrize("degree", [0, 2])
def test_transform_moves_means_covariances_and_colours_alike(degree):
    gaussians = random_gaussians(6, degree=degree)
    g = torch.Generator().manual_seed(9)
    rotation = quat_to_matrix(torch.randn(4, generator=g, dtype=torch.float64))
    translation = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    moved = gaussians.transform(rotation, translation, 2.5)
    torch.testing.assert_close(moved.means, 2.5 * gaussians.means @ rotation.T + translation)
    expected = 2.5**2 * rotation @ gaussians.covariances @ rotation.T
    torch.testing.assert_close(moved.covariances, expected)
    directions = torch.nn.functional.normalize(torch.randn(6, 3, generator=g, dtype=torch.float64), dim=-1)
    torch.testing.assert_close(
        evaluate(moved.sh, directions @ rotation.T), evaluate(gaussians.sh, directions), atol=1e-9, rtol=0
    )


def test_transforms_compose():
    gaussians = random_gaussians(4, degree=3)
    g = torch.Generator().manual_seed(3)
    first, second = quat_to_matrix(torch.randn(2, 4, generator=g, dtype=torch.float64))
    zero = torch.zeros(3, dtype=torch.float64)
    twice = gaussians.transform(first, zero, 2.0).transform(second, zero, 0.5)
    once = gaussians.transform(second @ first, zero, 1.0)
    torch.testing.assert_close(twice.means, once.means)
    torch.testing.assert_close(twice.covariances, once.covariances)
    torch.testing.assert_close(twice.sh, once.sh, atol=1e-9, rtol=0)


def test_nearest_distance_against_brute_force():
    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    for k in (1, 3, 5):
        square = torch.cdist(points.double(), points.double()).square().fill_diagonal_(math.inf)
        expected = square.sort(dim=1).values[:, :k].mean(dim=1).sqrt().float()
        torch.testing.assert_close(nearest_distance(points, k), expected)


def test_nearest_distance_of_few_or_coincident_points_is_positive():
    assert nearest_distance(torch.zeros(0, 3)).shape == (0,)
    assert bool((nearest_distance(torch.zeros(1, 3)) > 0).all())
    assert bool((nearest_distance(torch.zeros(7, 3)) > 0).all())
    two = torch.tensor([[0.0, 0, 0], [0.0, 3, 4]])
    torch.testing.assert_close(nearest_distance(two), torch.tensor([5.0, 5.0]))


@pytest.mark.parametrize("degree", [0, 3])
def test_from_points(degree):
    points = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    colors = torch.rand(10, 3, generator=torch.Generator().manual_seed(1))
    gaussians = from_points(points, colors, opacity=0.3, sh_degree=degree)
    torch.testing.assert_close(dc_to_rgb(gaussians.sh[:, 0]), colors)
    assert gaussians.sh.shape[1] == (degree + 1) ** 2 and not gaussians.sh[:, 1:].any()
    torch.testing.assert_close(gaussians.opacities, torch.full((10,), 0.3))
    torch.testing.assert_close(gaussians.scales, nearest_distance(points)[:, None].repeat(1, 3))
    torch.testing.assert_close(gaussians.rotations, torch.eye(3).expand(10, 3, 3))


def test_ball_is_uniform_and_repeatable():
    def draw():
        return in_ball(4000, 0.5, torch.Generator().manual_seed(5))

    gaussians = draw()
    radii = gaussians.means.norm(dim=1)
    assert float(radii.max()) <= 0.5
    # Uniform in volume: the cube of the relative radius is uniform in [0,1]; 0.02 is over four standard errors.
    cubes = (radii / 0.5) ** 3
    assert abs(float(cubes.mean()) - 0.5) < 0.02 and abs(float(cubes.square().mean()) - 1 / 3) < 0.02
    assert float(gaussians.means.mean(dim=0).abs().max()) < 0.02
    assert all(torch.equal(a, b) for a, b in zip(gaussians.tensors().values(), draw().tensors().values()))


def test_select_concat_and_finite():
    gaussians = random_gaussians(6)
    mask = torch.tensor([True, False, True, False, True, True])
    parts = concat([gaussians.select(mask), gaussians.select(~mask)])
    order = torch.tensor([0, 2, 4, 5, 1, 3])
    for name, tensor in gaussians.select(order).tensors().items():
        assert torch.equal(parts.tensors()[name], tensor)
    for row, name in enumerate(gaussians.tensors()):
        gaussians.tensors()[name].view(6, -1)[row, -1] = math.inf if row % 2 else math.nan
    assert gaussians.finite().tolist() == [False] * 5 + [True]
    assert gaussians.select(torch.zeros(0, dtype=torch.int64)).finite().shape == (0,)


def test_logit():
    assert float(torch.tensor(logit(0.1)).sigmoid()) == pytest.approx(0.1)


def test_wrong_shapes_are_refused():
    parts = random_gaussians(3).tensors()
    for name in ("log_scales", "quats", "opacity_logits", "sh"):  # the means set the count
        with pytest.raises(ValueError, match=name):
            Gaussians(**{**parts, name: parts[name][:2]})
