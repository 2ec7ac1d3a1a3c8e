"""Distances between surfaces against what geometry says."""

import math

import numpy as np
import pytest
import torch

from gaussmith.mesh import Mesh
from gaussmith.metrics import chamfer, f_score, surface_points


def sphere(radius: float, steps: int = 48) -> Mesh:
    """Latitude and longitude grid; its pole triangles have no area."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, steps), np.linspace(0, 2 * np.pi, 2 * steps), indexing="ij")
    points = np.stack([np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], axis=-1)
    index = np.arange(points[..., 0].size).reshape(polar.shape)
    a, b, c, d = (index[i : i - 1 or None, j : j - 1 or None].ravel() for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    return Mesh(torch.from_numpy(radius * points.reshape(-1, 3)).float(), torch.from_numpy(faces).long())


def square(side: float, z: float = 0.0) -> Mesh:
    corners = torch.tensor([[0.0, 0, z], [side, 0, z], [side, side, z], [0, side, z]])
    return Mesh(corners, torch.tensor([[0, 1, 2], [0, 2, 3]]))


def test_points_lie_on_the_surface_and_are_even():
    # A small dense and a large coarse square: points go by area, not by face.
    small, large = square(1.0), square(3.0, z=1.0)
    many = small.faces.repeat(50, 1)[:99]
    mesh = Mesh(torch.cat([small.vertices, large.vertices]), torch.cat([many, large.faces + 4]))
    points = surface_points(mesh, 5850, np.random.default_rng(0))
    assert set(np.unique(points[:, 2])) <= {0.0, 1.0}
    upper = points[points[:, 2] == 1]
    assert len(upper) / len(points) == pytest.approx(9 / (9 + 49.5), abs=1e-3)
    assert upper[:, :2].min() >= 0 and upper[:, :2].max() <= 3
    quarters = np.histogram2d(upper[:, 0], upper[:, 1], bins=2)[0] / len(upper)
    assert np.abs(quarters - 0.25).max() < 0.05


def test_points_follow_their_generator():
    mesh = sphere(0.5)
    a, b, c = (surface_points(mesh, 100, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert a.tobytes() == b.tobytes() and a.tobytes() != c.tobytes()


@pytest.mark.parametrize("mesh", [square(0.0), Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long))])
def test_a_mesh_without_area_is_refused(mesh):
    with pytest.raises(ValueError, match="area"):
        surface_points(mesh, 10, np.random.default_rng(0))


def points(mesh: Mesh, seed: int, count: int = 20_000) -> np.ndarray:
    return surface_points(mesh, count, np.random.default_rng(seed))


def test_chamfer_by_hand():
    a, b = np.array([[0.0, 0, 0]]), np.array([[3.0, 4, 0], [0, 0, 1]])
    assert chamfer(a, b) == pytest.approx((1 + (5 + 1) / 2) / 2)
    assert chamfer(a, b) == chamfer(b, a) and chamfer(b, b) == 0
    with pytest.raises(ValueError, match="no points"):
        chamfer(a, b[:0])


def test_chamfer_of_two_spheres_is_the_gap():
    assert chamfer(points(sphere(0.5), 1), points(sphere(0.6), 2)) == pytest.approx(0.1, abs=0.001)


def test_chamfer_of_equal_surfaces_is_its_floor():
    floor = chamfer(points(sphere(0.5), 0, 5000), points(sphere(0.5), 1, 5000))
    assert floor == pytest.approx(0.4 * math.sqrt(math.pi / 5000), rel=0.25)


def test_f_score_counts_both_ways():
    half, apart = square(1), square(1, z=0.5)
    whole = Mesh(torch.cat([half.vertices, apart.vertices]), torch.cat([half.faces, half.faces + 4]))
    a, b, other = points(half, 0), points(whole, 1), points(apart, 2)
    # Of the guess all is true; of the truth half is found: 2 * 1 * 0.5 / 1.5.
    assert f_score(a, b, 0.1) == pytest.approx(2 / 3, abs=1e-3)
    assert f_score(b, a, 0.1) == pytest.approx(2 / 3, abs=1e-3)
    assert f_score(a, points(half, 3), 0.1) == 1
    assert f_score(a, other, 0.1) == 0
