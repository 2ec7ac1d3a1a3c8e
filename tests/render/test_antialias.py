"""Antialiasing against areas, finite differences and what must not change; an outline that finds back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gaussmith.camera import Camera, concat, intrinsics, look_at, orbit
from gaussmith.render.antialias import antialias, topology
from gaussmith.render.mesh import Fragments, interpolate, rasterize_mesh
from gaussmith.render.mesh_gradients import with_gradients
from gaussmith.rotation import quat_to_matrix


def flat_camera(size: int) -> Camera:
    """Looks down +z from the origin; the plane z = 1 maps to pixels as (x, y) -> (x, y) exactly."""
    return Camera(torch.eye(4)[None], torch.eye(3)[None], size, size)


def two_cameras(size: int = 24) -> Camera:
    """One past the origin with an off-centre principal point and unequal focal lengths, and one from behind."""
    K = intrinsics(50.0, size, size)
    K[:, 0, 0] *= 1.2
    K[:, 0, 2] += 2.3
    askew = Camera(look_at(torch.tensor([[0.9, 0.7, 1.8]]), torch.tensor([0.15, -0.1, 0.05])), K, size, size)
    return concat([askew, orbit(170.0, -20.0, width=size)])


def sphere(rings: int, radius: float = 0.5) -> tuple[Tensor, Tensor]:
    """A closed sphere whose faces share vertices; float64."""
    polar = torch.arange(1, rings, dtype=torch.float64) * torch.pi / rings
    around = torch.arange(2 * rings, dtype=torch.float64) * torch.pi / rings
    v, u = torch.meshgrid(polar, around, indexing="ij")
    points = torch.stack([v.sin() * u.sin(), v.cos(), v.sin() * u.cos()], dim=-1).reshape(-1, 3)
    poles = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64)
    n, top = 2 * rings, len(points)
    i = torch.arange(n)
    j, faces = (i + 1) % n, []
    for ring in range(rings - 2):
        a, b = ring * n, (ring + 1) * n
        faces += [torch.stack([a + i, b + i, a + j], 1), torch.stack([a + j, b + i, b + j], 1)]
    faces.append(torch.stack([torch.full_like(i, top), i, j], 1))
    faces.append(torch.stack([torch.full_like(i, top + 1), top - n + j, top - n + i], 1))
    return radius * torch.cat([points, poles]), torch.cat(faces)


def outline(vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """The antialiased picture [B,H,W,1], 1 where the mesh is."""
    fragments = rasterize_mesh(vertices, faces, camera)
    return antialias((fragments.face >= 0).to(vertices.dtype)[..., None], fragments, vertices, faces, camera)


def coloured(vertices: Tensor, faces: Tensor, camera: Camera, colours: Tensor, fragments: Fragments) -> Tensor:
    """The antialiased picture of vertex colours and of depth, with the faces that fragments saw: smooth in vertices."""
    there = with_gradients(fragments, vertices, faces, camera)
    picture = torch.cat([interpolate(colours, faces, there), there.depth[..., None]], dim=-1)
    return antialias(picture, fragments, vertices, faces, camera)


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("border", [7.6, 7.9, 8.0, 8.2, 8.5, 9.4])
def test_a_half_plane_covers_its_area(border: float, upright: bool) -> None:
    """Moved by a fraction of a pixel, the edge changes one pixel by that fraction; the gradient says so too."""
    vertices = torch.tensor([[-5.0, -50, 1], [border, -50, 1], [border, 60, 1], [-5, 60, 1]], dtype=torch.float64)
    vertices = (vertices if upright else vertices[:, [1, 0, 2]]).requires_grad_()
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    picture = outline(vertices, faces, flat_camera(17))[0, ..., 0]
    row = picture[5] if upright else picture[:, 5]
    expected = (border - torch.arange(17, dtype=torch.float64)).clamp(0, 1)
    torch.testing.assert_close(row.detach(), expected, atol=1e-9, rtol=0)
    picture.sum().backward()
    moved = vertices.grad[:, 0 if upright else 1]
    assert float(moved[1] + moved[2]) == pytest.approx(17) and not moved[[0, 3]].any()


def test_a_slanted_border_covers_its_area_on_the_whole() -> None:
    vertices = torch.tensor([[-9.0, -9.0, 1.0], [12.3, -9.0, 1.0], [7.1, 90.0, 1.0], [-9, 90, 1]], dtype=torch.float64)
    picture = outline(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), flat_camera(17))
    at = [12.3 + (y + 9) / 99 * (7.1 - 12.3) for y in (0.0, 17.0)]
    assert float(picture.sum()) == pytest.approx(17 * sum(at) / 2, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_agree_with_finite_differences(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vertices, faces = sphere(4)
    vertices = vertices + 0.05 * torch.randn(vertices.shape, generator=generator, dtype=torch.float64)
    colours = torch.rand(len(vertices), 2, generator=generator, dtype=torch.float64)
    camera = two_cameras(13)
    fragments = rasterize_mesh(vertices, faces, camera)
    weights = torch.randn(2, 13, 13, 3, generator=generator, dtype=torch.float64)

    def loss(points: Tensor, paint: Tensor) -> Tensor:
        return (coloured(points, faces, camera, paint, fragments) * weights).sum()

    leaf, paint = vertices.clone().requires_grad_(), colours.clone().requires_grad_()
    gradients = torch.autograd.grad(loss(leaf, paint), (leaf, paint))
    assert all((g != 0).any() for g in gradients)
    for _ in range(5):
        for i, (start, gradient) in enumerate(zip((vertices, colours), gradients)):
            step = 1e-6 * torch.randn(start.shape, generator=generator, dtype=torch.float64)
            either = [[vertices, colours], [vertices, colours]]
            either[0][i], either[1][i] = start + step, start - step
            change = (loss(*either[0]) - loss(*either[1])) / 2
            assert float(change) == pytest.approx(float((gradient * step).sum()), rel=1e-4, abs=1e-10)


def test_where_no_outline_is_nothing_changes_and_no_gradient_flows() -> None:
    vertices = torch.tensor([[-50.0, -50, 1], [50, -50, 1], [50, 50, 1], [-50, 50, 1], [0.3, 0.4, 1]]) * 1.0
    faces = torch.tensor([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    camera = replace(flat_camera(16), K=torch.tensor([[[1.0, 0, 8], [0, 1, 8], [0, 0, 1]]]))
    leaf = vertices.requires_grad_()
    fragments = rasterize_mesh(leaf, faces, camera)
    assert len(fragments.face.unique()) == 4
    colour = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    picture = antialias(colour, fragments, leaf, faces, camera)
    assert torch.equal(picture, colour)
    picture.sum().backward()
    assert not leaf.grad.any() and torch.equal(colour.grad, torch.ones_like(colour))


def test_a_fold_is_an_outline_and_what_it_hides_is_not() -> None:
    """Two faces folded at x = 8.3, the farther one ending left of it: the border belongs to both; the edge behind the
    front face is not seen."""
    vertices = torch.tensor([[8.3, -40.0, 1.0], [8.3, 60.0, 1.0], [-30.0, 10.0, 1.0], [-28.0, 12.0, 1.5]]) * 1.0
    vertices[3] *= 1.5
    faces = torch.tensor([[0, 1, 2], [1, 0, 3]])
    leaf = vertices.double().requires_grad_()
    picture = outline(leaf, faces, flat_camera(17))
    assert picture[0, 10, 8].item() == pytest.approx(0.3, abs=1e-6) and bool((picture[0, :, :8] == 1).all())
    picture.sum().backward()
    assert leaf.grad[:2, 0].sum() > 10 and not leaf.grad[2:].any()


def test_the_order_of_the_faces_and_their_winding_do_not_matter() -> None:
    vertices, faces = sphere(7)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(faces), generator=generator)
    turned = faces.clone()
    turned[::3] = turned[::3].flip(1)
    expected = outline(vertices, faces, two_cameras())
    assert ((expected > 0) & (expected < 1)).any()
    for other in (faces[order], turned, faces.roll(1, dims=1)):
        torch.testing.assert_close(outline(vertices, other, two_cameras()), expected, atol=1e-9, rtol=0)


def test_moving_mesh_and_camera_together_changes_nothing() -> None:
    (vertices, faces), camera = sphere(6), two_cameras().to(dtype=torch.float64)
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3] = quat_to_matrix(torch.tensor([0.5, -0.3, 0.7, 0.2], dtype=torch.float64))
    motion[:3, 3] = torch.tensor([3.0, -1.0, 2.0])
    gradients = []
    for points, there in (
        (vertices, camera),
        (vertices @ motion[:3, :3].T + motion[:3, 3], replace(camera, c2w=motion @ camera.c2w)),
    ):
        leaf = points.clone().requires_grad_()
        picture = outline(leaf, faces, there)
        (picture * torch.linspace(0, 1, 24, dtype=torch.float64)[:, None]).sum().backward()
        gradients.append((picture.detach(), leaf.grad))
    (here, pull), (moved, turned) = gradients
    torch.testing.assert_close(moved, here, atol=1e-4, rtol=0)
    torch.testing.assert_close(turned, pull @ motion[:3, :3].T, atol=1e-3 * float(pull.abs().max()), rtol=0)


@pytest.mark.parametrize("rings", [6, 20, 60])
def test_outlines_of_fine_meshes_are_found(rings: int) -> None:
    """The disc's area, and how it grows with the radius, from faces of many pixels to many faces a pixel."""
    vertices, faces = sphere(rings)
    camera = orbit(0.0, 0.0, width=41)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    picture = outline(vertices * scale, faces, camera)
    focal, tangent = float(camera.K[0, 0, 0]), 0.5 / (4 - 0.25) ** 0.5
    area = torch.pi * (focal * tangent) ** 2
    growth = 2 * area / (1 - 0.25 / 4)  # tangent = r / sqrt(d^2 - r^2)
    (slope,) = torch.autograd.grad(picture.sum(), scale)
    assert picture.sum().item() == pytest.approx(area, rel=0.08 if rings == 6 else 0.01)
    assert float(slope) == pytest.approx(growth, rel=0.12 if rings == 6 else 0.05)


def test_gradient_descent_brings_an_outline_back() -> None:
    target, faces = sphere(8)
    camera = orbit(torch.tensor([0.0, 60.0, 120.0]), torch.tensor([10.0, -30.0, 40.0]), width=40)
    wanted = outline(target, faces, camera)
    stretch = torch.tensor([1.25, 0.8, 0.9], dtype=torch.float64)
    vertices = (target * stretch + torch.tensor([0.06, -0.04, 0.05])).float().requires_grad_()
    optimiser = torch.optim.Adam([vertices], lr=0.01, betas=(0.8, 0.95))
    losses = []
    for _ in range(40):
        loss = (outline(vertices, faces, camera) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 50
    assert vertices.isfinite().all()


def test_the_bits_are_the_same_every_time_and_for_any_number_of_threads() -> None:
    vertices, faces = sphere(12)
    vertices, camera, threads, results = vertices.float(), two_cameras(64), torch.get_num_threads(), []
    colours = torch.rand(len(vertices), 3, generator=torch.Generator().manual_seed(0))
    fragments = rasterize_mesh(vertices, faces, camera)
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            leaf, paint = vertices.clone().requires_grad_(), colours.clone().requires_grad_()
            picture = coloured(leaf, faces, camera, paint, fragments)
            picture.square().sum().backward()
            results.append((picture.detach(), leaf.grad, paint.grad))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*results):
        assert torch.equal(one, other)


def test_topology_of_a_tetrahedron_a_border_and_an_edge_of_three_faces() -> None:
    closed = topology(torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]]))
    assert len(closed.edge.unique()) == 6 and (closed.neighbour >= 0).all()
    slots = torch.arange(12).reshape(4, 3)
    assert torch.equal(closed.neighbour.flatten()[closed.neighbour], slots)
    assert (closed.forward.flatten()[closed.neighbour] != closed.forward).all()
    fan = topology(torch.tensor([[0, 1, 2], [0, 1, 3], [1, 0, 4]]))
    assert fan.neighbour[:, 2].tolist() == [5, 8, 2]  # round the edge 0 1
    assert (fan.neighbour[:, :2] == -1).all() and len(fan.edge.unique()) == 7


def test_sizes_must_agree_and_no_faces_are_no_fault() -> None:
    vertices, faces = sphere(4)
    camera = orbit(0.0, 0.0, width=8)
    fragments = rasterize_mesh(vertices, faces, camera)
    with pytest.raises(ValueError, match="8x8"):
        antialias(torch.zeros(1, 4, 4, 3), fragments, vertices, faces, camera)
    nothing = faces[:0]
    colour = torch.rand(1, 8, 8, 3)
    empty = rasterize_mesh(vertices, nothing, camera)
    assert torch.equal(antialias(colour, empty, vertices, nothing, camera), colour)


any_float = st.floats(-1e6, 1e6, width=32)
some_float = st.one_of(any_float, st.floats(-2, 2, width=32), st.sampled_from([0.0, 0.5, -0.5, 1.0]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(some_float, min_size=3, max_size=3), min_size=4, max_size=9),
    st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=9),
)
def test_finite_for_any_finite_mesh(points: list[list[float]], faces: list[list[int]]) -> None:
    vertices, triangles = torch.tensor(points, dtype=torch.float32).requires_grad_(), torch.tensor(faces)
    camera = two_cameras(12)
    fragments = rasterize_mesh(vertices, triangles, camera)
    colours = torch.rand(len(points), 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    picture = antialias(
        interpolate(colours, triangles, with_gradients(fragments, vertices, triangles, camera)),
        fragments, vertices, triangles, camera,
    )  # fmt: skip
    assert picture.isfinite().all() and picture.min() >= -1e-5
    picture.sum().backward()
    assert colours.grad.isfinite().all() and vertices.grad.isfinite().all()
