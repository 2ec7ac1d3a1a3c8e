"""Fragments differentiable in the vertices, and the gradients of interpolation, against finite differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from mesh_scenes import soup, two_cameras
from torch import Tensor

from gaussmith.camera import orbit
from gaussmith.render.mesh import Fragments, interpolate, rasterize_mesh
from gaussmith.render.mesh_gradients import cross, with_gradients


def test_the_values_are_those_of_the_kernels_to_the_last_bit() -> None:
    vertices, faces = soup(40)
    camera = two_cameras(37, 26)
    plain = rasterize_mesh(vertices, faces, camera)
    found = with_gradients(plain, vertices.requires_grad_(), faces, camera)
    assert found.barycentric.requires_grad and found.depth.requires_grad
    assert torch.equal(found.barycentric, plain.barycentric) and torch.equal(found.depth, plain.depth)


def test_through_the_near_plane_too() -> None:
    camera = two_cameras(24, 20)[0]
    eye, forward = camera.position[0], camera.forward[0]
    beside, down = torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0])), torch.tensor([0.0, -0.4, 0.0])
    behind = eye - forward + down
    vertices = torch.stack([behind - 1.5 * beside, behind + 1.8 * beside, eye + 3 * forward + 0.1 * beside])
    faces = torch.tensor([[0, 1, 2]])
    plain = rasterize_mesh(vertices, faces, camera)
    found = with_gradients(plain, vertices.requires_grad_(), faces, camera)
    assert (plain.face >= 0).any() and torch.equal(found.barycentric, plain.barycentric)
    found.depth.sum().backward()
    assert vertices.grad.isfinite().all() and vertices.grad.any()


def test_gradients_agree_with_finite_differences() -> None:
    vertices, faces = soup(8)
    vertices, camera = vertices.double(), two_cameras(7, 6)
    plain = rasterize_mesh(vertices, faces, camera)
    assert (plain.face >= 0).sum() > 5

    def seen(points: Tensor) -> tuple[Tensor, Tensor]:
        found = with_gradients(plain, points, faces, camera)
        return found.barycentric, found.depth

    assert torch.autograd.gradcheck(seen, (vertices.requires_grad_(),))


@pytest.mark.parametrize("side", [1, 2])
def test_interpolation_has_both_gradients(side: int) -> None:
    vertices, faces = soup(8)
    plain = rasterize_mesh(vertices, faces, two_cameras(7, 5))  # 5 and 7 leave samples over with side 2
    assert (plain.face >= 0).sum() > 5
    generator = torch.Generator().manual_seed(0)
    attributes = torch.rand(len(vertices), 2, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = plain.barycentric.double().requires_grad_()

    def values(corners: Tensor, barycentric: Tensor) -> Tensor:
        return interpolate(corners, faces, replace(plain, barycentric=barycentric), side)

    assert torch.autograd.gradcheck(values, (attributes, weights))


def test_what_a_pixel_sees_stays_on_its_ray() -> None:
    """The interpolated position is the ray's point at that depth, whatever the vertices do."""
    vertices, faces = soup(20, seed=1)
    vertices, camera = vertices.double(), two_cameras(12, 10).to(dtype=torch.float64)
    plain = rasterize_mesh(vertices, faces, camera)

    def off_the_ray(points: Tensor) -> Tensor:
        found = with_gradients(plain, points, faces, camera)
        origin, rays = camera.rays()
        position = interpolate(points, faces, found) - (plain.face >= 0)[..., None] * origin[:, None, None]
        return position - rays * found.depth[..., None]

    direction = torch.randn(vertices.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    leaf = vertices.requires_grad_()
    assert off_the_ray(leaf).abs().max() < 1e-6
    for row in torch.randn(3, 2, 10, 12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64):
        (pull,) = torch.autograd.grad((off_the_ray(leaf) * row).sum(), leaf)
        assert abs(float((pull * direction).sum())) < 1e-5


def test_a_wall_moved_away_is_that_much_deeper() -> None:
    vertices = torch.tensor([[-9.0, -9.0, 0.0], [9.0, -9.0, 0.0], [0.0, 20.0, 0.0]], requires_grad=True)
    faces, camera = torch.tensor([[0, 1, 2]]), orbit(0.0, 0.0, width=6)
    found = with_gradients(rasterize_mesh(vertices, faces, camera), vertices, faces, camera)
    found.depth.mean().backward()
    assert float(vertices.grad[:, 2].sum()) == pytest.approx(-1, abs=1e-5)
    assert float(vertices.grad[:, :2].abs().max()) < 1e-6


def test_nothing_seen_is_no_fault() -> None:
    vertices, faces = torch.rand(3, 3, requires_grad=True), torch.tensor([[0, 1, 2]])
    camera = orbit(180.0, 0.0, radius=0.1, width=4)
    nothing = Fragments(torch.full((1, 4, 4), -1), torch.zeros(1, 4, 4, 3), torch.zeros(1, 4, 4))
    found = with_gradients(nothing, vertices, faces, camera)
    (interpolate(vertices, faces, found).sum() + found.depth.sum()).backward()
    assert not vertices.grad.any() and not found.depth.any()


def test_a_cross_product_is_exactly_opposite_for_exchanged_arguments() -> None:
    a, b = torch.randn(2, 1000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(cross(a, b), -cross(b, a))
