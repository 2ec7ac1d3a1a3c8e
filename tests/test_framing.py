"""Moving objects of any place and size to where the cameras look, and back."""

from __future__ import annotations

import pytest
import torch

from gaussmith.framing import fit_points, visible_points
from gaussmith.gaussians import from_points, in_ball
from gaussmith.mesh import Mesh


def test_fit_moves_the_box_to_the_origin_and_the_farthest_point_to_the_radius() -> None:
    points = torch.tensor([[10.0, 0.0, 0.0], [30.0, 4.0, 2.0], [12.0, 1.0, 1.0]])
    fit = fit_points(points, radius=0.6)
    moved = (points - fit.centre) * fit.scale
    assert torch.allclose(moved.amin(0), -moved.amax(0), atol=1e-6)
    assert float(moved.norm(dim=1).max()) == pytest.approx(0.6, rel=1e-5)


def test_mesh_and_gaussians_move_alike_and_back() -> None:
    points = 40 * torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) + 100
    fit = fit_points(points)
    mesh = Mesh(points, torch.arange(48).reshape(-1, 3))
    splat = from_points(points, torch.full((50, 3), 0.5))
    moved = fit.gaussians(splat)
    assert torch.allclose(moved.means, fit.mesh(mesh).vertices, atol=1e-5)
    assert torch.allclose(moved.scales, splat.scales * fit.scale, rtol=1e-5)
    assert torch.allclose(fit.undo(fit.mesh(mesh)).vertices, points, atol=1e-4)


def test_one_point_is_left_alone_in_size_and_centred() -> None:
    fit = fit_points(torch.tensor([[1.0, 2.0, 3.0]]))
    assert fit.centre.tolist() == [1.0, 2.0, 3.0]
    assert torch.isfinite(torch.tensor(fit.scale))


def test_no_points_is_an_error() -> None:
    with pytest.raises(ValueError, match="no points"):
        fit_points(torch.zeros(0, 3))


def test_floaters_ghosts_and_nan_do_not_count_as_the_object() -> None:
    splat = in_ball(1000, 0.5, torch.Generator().manual_seed(1), opacity=0.9)
    splat.means[0] = torch.tensor([1e4, 0.0, 0.0])
    splat.means[1] = float("nan")
    splat.means[2] = torch.tensor([0.0, 50.0, 0.0])
    splat.opacity_logits[2] = -9.0
    points = visible_points(splat)
    assert len(points) > 900
    assert float(points.abs().max()) <= 0.5


def test_few_gaussians_are_all_kept() -> None:
    splat = from_points(torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]), torch.ones(2, 3), opacity=0.9)
    assert len(visible_points(splat)) == 2
