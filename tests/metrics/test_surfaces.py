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


def test_chamfer_of_two_spheres_is_the_gap():
    a, b = sphere(0.5), sphere(0.6)
    there, back = (chamfer(x, y, np.random.default_rng(1)) for x, y in ((a, b), (b, a)))
    assert there == pytest.approx(0.1, abs=0.001) and back == pytest.approx(there, abs=2e-4)


def test_chamfer_of_equal_surfaces_is_its_floor():
    mesh, count = sphere(0.5), 5000
    floor = chamfer(mesh, mesh, np.random.default_rng(0), count)
    assert floor == pytest.approx(0.4 * math.sqrt(math.pi / count), rel=0.25)


def test_f_score_counts_both_ways():
    whole = Mesh(
        torch.cat([square(1).vertices, square(1, z=1).vertices]), torch.cat([square(1).faces, square(1).faces + 4])
    )
    half = square(1)
    # Of the guess all is true; of the truth half is found: 2 * 1 * 0.5 / 1.5.
    assert f_score(half, whole, 0.1, np.random.default_rng(0)) == pytest.approx(2 / 3, abs=1e-3)
    assert f_score(whole, half, 0.1, np.random.default_rng(0)) == pytest.approx(2 / 3, abs=1e-3)
    assert f_score(half, half, 0.1, np.random.default_rng(0)) == 1
    assert f_score(half, square(1, z=0.5), 0.1, np.random.default_rng(0)) == 0
