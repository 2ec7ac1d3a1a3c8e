import numpy as np
import pytest
import torch

from gaussmith.camera import orbit
from gaussmith.surface import density_query as dq
from gaussmith.surface import silhouette


def bump() -> tuple[np.ndarray, dq.Grid]:
    grid = dq.Grid(np.full(3, -0.6), 0.03, (41, 41, 41))
    nodes = grid.to_world(np.stack(np.unravel_index(np.arange(41**3), grid.shape), axis=1))
    return np.exp(-np.square(nodes).sum(axis=1) / 0.08).reshape(grid.shape).astype(np.float32), grid


def test_peaks_are_the_nearest_approach_of_each_ray() -> None:
    density, grid = bump()
    cameras = orbit(torch.tensor([0.0, 130.0]), torch.tensor([10.0, -50.0]), width=33)
    best = silhouette.peaks(density, grid, cameras)
    origins, directions = (t.double().numpy() for t in cameras.rays())
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    along = np.einsum("bhwc,bc->bhw", unit, -origins)
    distance = np.linalg.norm(origins[:, None, None] + along[..., None] * unit, axis=-1)
    inside = distance < 0.5
    np.testing.assert_allclose(best[inside], np.exp(-np.square(distance[inside]) / 0.08), atol=0.02)
    assert not best[distance > 1.1].any()


def test_nothing_behind_the_camera() -> None:
    density, grid = bump()
    cameras = orbit(0.0, 0.0, radius=2.0, width=9, target=torch.tensor([0.0, 0.0, 5.0]))
    turned = cameras.c2w.clone()
    turned[:, :3, 3] = torch.tensor([0.0, 0.0, 2.0])
    turned[:, :3, :2] *= -1
    turned[:, 1, 1], turned[:, :3, 2] = turned[:, 1, 1], -turned[:, :3, 2]
    assert not silhouette.peaks(density, grid, type(cameras)(turned, cameras.K, 9, 9)).any()


@pytest.mark.parametrize("radius", [0.15, 0.3])
def test_best_level_is_the_one_of_the_silhouette(radius: float) -> None:
    density, grid = bump()
    cameras = orbit(torch.tensor([0.0, 90.0, 200.0]), 20.0, width=97)
    origins, directions = cameras.rays()
    unit = torch.nn.functional.normalize(directions, dim=-1)
    distance = torch.linalg.cross(origins[:, None, None].expand_as(unit), unit).norm(dim=-1)
    covered = (distance < radius).numpy()
    level, score = silhouette.best_level(silhouette.peaks(density, grid, cameras), covered)
    assert score > 0.97
    assert level == pytest.approx(np.exp(-(radius**2) / 0.08), rel=0.12)


def test_best_level_without_overlap_is_the_papers() -> None:
    best = np.zeros((2, 4, 4), np.float32)
    assert silhouette.best_level(best, np.zeros((2, 4, 4), bool)) == (1.0, 0.0)
    assert silhouette.best_level(best, np.ones((2, 4, 4), bool)) == (1.0, 0.0)


def test_iou() -> None:
    a, b = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)
    assert silhouette.iou(a, b) == pytest.approx(1 / 3)
    assert silhouette.iou(~a & a, ~b & b) == 1
