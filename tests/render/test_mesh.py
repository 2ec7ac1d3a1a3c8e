"""The triangle rasteriser against slow per-pixel loops, analytic cases and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gaussmith.camera import Camera, concat, intrinsics, look_at, orbit
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import NEAR, interpolate, rasterize_mesh, render_mesh, sample_texture


def off_origin_camera(width: int = 24, height: int = 20) -> Camera:
    """A camera that looks past the origin, with an off-centre principal point and unequal focal lengths."""
    K = intrinsics(50.0, width, height)
    K[:, 0, 0] *= 1.2
    K[:, 0, 2] += 2.3
    return Camera(look_at(torch.tensor([[0.9, 0.7, 1.8]]), torch.tensor([0.15, -0.1, 0.05])), K, width, height)


def triangle_soup(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 1, 3, generator=generator) - 0.5
    corners = centres + 0.9 * (torch.rand(count, 3, 3, generator=generator) - 0.5)
    return corners.reshape(-1, 3), torch.arange(3 * count).reshape(count, 3)


def ray_cast(vertices: Tensor, faces: Tensor, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moller-Trumbore for every face and pixel in float64: face [H,W], barycentric [H,W,3], depth [H,W]."""
    origin, rays = (t[0].double().numpy() for t in camera.to(dtype=torch.float64).rays())
    points, shape = vertices.double().numpy(), rays.shape[:2]
    face, barycentric, depth = np.full(shape, -1), np.zeros((*shape, 3)), np.zeros(shape)
    for f, (i, j, k) in enumerate(faces.tolist()):
        from_corner, edge1, edge2 = origin - points[i], points[j] - points[i], points[k] - points[i]
        across = np.cross(rays, edge2)
        volume = across @ edge1
        u = across @ from_corner / volume
        v = rays @ np.cross(from_corner, edge1) / volume
        z = edge2 @ np.cross(from_corner, edge1) / volume  # a ray's direction has camera depth 1
        seen = (u >= 0) & (v >= 0) & (u + v <= 1) & (z >= NEAR) & ((face < 0) | (z < depth))
        face[seen], barycentric[seen], depth[seen] = f, np.stack([1 - u - v, u, v], axis=-1)[seen], z[seen]
    return face, barycentric, depth


def test_agrees_with_ray_casting_off_origin() -> None:
    vertices, faces = triangle_soup(40)
    camera = off_origin_camera()
    fragments = rasterize_mesh(vertices, faces, camera)
    face, barycentric, depth = ray_cast(vertices, faces, camera)
    assert (face >= 0).mean() > 0.2
    np.testing.assert_array_equal(fragments.face[0], face)
    np.testing.assert_allclose(fragments.barycentric[0], barycentric, atol=2e-5)
    np.testing.assert_allclose(fragments.depth[0], depth, atol=1e-5)


def test_faces_through_the_near_plane_agree_with_ray_casting() -> None:
    camera = off_origin_camera()
    eye, forward = camera.position[0], camera.forward[0]
    beside, down = torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0])), torch.tensor([0.0, -0.4, 0.0])
    behind = eye - forward + down
    vertices = torch.stack([behind - 1.5 * beside, behind + 1.8 * beside, eye + 3 * forward + 0.1 * beside])
    faces = torch.tensor([[0, 1, 2]])
    fragments = rasterize_mesh(vertices, faces, camera)
    face, barycentric, depth = ray_cast(vertices, faces, camera)
    assert 0.1 < (face >= 0).mean() < 0.9
    np.testing.assert_array_equal(fragments.face[0], face)
    np.testing.assert_allclose(fragments.barycentric[0], barycentric, atol=1e-4)
    np.testing.assert_allclose(fragments.depth[0], depth, rtol=1e-4, atol=1e-6)


def test_nothing_behind_the_camera_or_before_the_near_plane_is_drawn() -> None:
    camera = orbit(0.0, 0.0, 2.0, 49.1, 16)
    corners = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    for z, visible in ((2.5, False), (2 - NEAR / 2, False), (2 - 2 * NEAR, True)):
        fragments = rasterize_mesh(corners + torch.tensor([0.0, 0.0, z]), torch.tensor([[0, 1, 2]]), camera)
        assert bool((fragments.face >= 0).any()) == visible


def flat_camera(size: int) -> Camera:
    """Looks down +z from the origin; the plane z = 1 maps to pixels as (x, y) -> (x, y) exactly."""
    return Camera(torch.eye(4)[None], torch.eye(3)[None], size, size)


@pytest.mark.parametrize("centre", [(8.0, 8.0), (8.5, 8.5), (7.3, 9.1)])
def test_a_closed_fan_covers_each_pixel_exactly_once(centre: tuple[float, float]) -> None:
    """Vertices and edges on pixel centres: (8.5, 8.5) puts the hub and whole diagonals and axes exactly on them."""
    rim = [(0.5, 0.5), (8.5, 0.5), (16.5, 0.5), (16.5, 8.5), (16.5, 16.5), (8.5, 16.5), (0.5, 16.5), (0.5, 8.5)]
    vertices = torch.tensor([[*centre, 1.0], *([x, y, 1.0] for x, y in rim)])
    fan = torch.tensor([[0, 1 + i, 1 + (i + 1) % 8] for i in range(8)])
    times = torch.zeros(17, 17, dtype=torch.int64)
    for triangle in fan:
        times += rasterize_mesh(vertices, triangle[None], flat_camera(17)).face[0] >= 0
    expected = torch.ones(17, 17, dtype=torch.int64)
    expected[-1, :] = expected[:, -1] = 0  # the rim's right and bottom edges belong to the next face over
    if centre == (7.3, 9.1):
        assert set(times[:16, :16].unique().tolist()) == {1}
    assert torch.equal(times, expected)


def test_a_fan_whose_rim_is_behind_the_camera_covers_each_pixel_exactly_once() -> None:
    angles = torch.arange(7) * (2 * torch.pi / 7)
    rim = torch.stack([8.3 + 100 * angles.cos(), 9.1 + 100 * angles.sin(), torch.full((7,), -0.5)], dim=1)
    vertices = torch.cat([torch.tensor([[8.3, 9.1, 1.0]]), rim])
    fan = torch.tensor([[0, 1 + i, 1 + (i + 1) % 7] for i in range(7)])
    times = sum((rasterize_mesh(vertices, triangle[None], flat_camera(17)).face[0] >= 0).long() for triangle in fan)
    assert torch.equal(times, torch.ones(17, 17, dtype=torch.int64))


def test_flipped_winding_covers_the_same_pixels() -> None:
    vertices, faces = triangle_soup(25, seed=3)
    one, other = (rasterize_mesh(vertices, f, off_origin_camera()) for f in (faces, faces.flip(1)))
    assert torch.equal(one.face, other.face)
    torch.testing.assert_close(one.barycentric, other.barycentric.flip(-1))


def test_interpolation_is_perspective_correct() -> None:
    """World position as attribute must come back as the point that the pixel's ray hits at that depth."""
    vertices, faces = triangle_soup(30, seed=1)
    camera = concat([off_origin_camera(), off_origin_camera()])
    fragments = rasterize_mesh(vertices, faces, camera)
    positions = interpolate(vertices, faces, fragments)
    origin, directions = camera.rays()
    drawn = fragments.face >= 0
    expected = origin[:, None, None] + directions * fragments.depth[..., None]
    torch.testing.assert_close(positions[drawn], expected[drawn], atol=1e-5, rtol=0)
    assert (positions[~drawn] == 0).all()


def test_summed_interpolation_is_the_sum_of_the_samples() -> None:
    vertices, faces = triangle_soup(30, seed=1)
    fragments = rasterize_mesh(vertices, faces, off_origin_camera())
    samples = interpolate(vertices, faces, fragments)
    summed = interpolate(vertices, faces, fragments, side=2)
    torch.testing.assert_close(summed, samples.reshape(1, 10, 2, 12, 2, 3).sum(dim=(2, 4)))


def test_a_batch_equals_its_views() -> None:
    vertices, faces = triangle_soup(20)
    cameras = orbit(torch.tensor([0.0, 70.0, 200.0]), torch.tensor([0.0, 30.0, -50.0]), 2.0, 49.1, 70)
    batch = rasterize_mesh(vertices, faces, cameras)
    for i in range(3):
        single = rasterize_mesh(vertices, faces, cameras[i])
        assert torch.equal(batch.face[i], single.face[0])
        assert torch.equal(batch.barycentric[i], single.barycentric[0])


def test_coplanar_faces_go_to_the_first() -> None:
    vertices, _ = triangle_soup(1)
    fragments = rasterize_mesh(vertices, torch.tensor([[0, 1, 2], [0, 1, 2]]), orbit(0.0, 10.0, 2.0, 30.0, 32))
    assert set(fragments.face.unique().tolist()) == {-1, 0}


def test_empty_mesh_and_degenerate_faces_draw_nothing() -> None:
    camera = orbit(0.0, 0.0, 2.0, 49.1, 8)
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    line = Mesh(
        torch.tensor([[-1.0, 0.1, 0.0], [0.0, 0.1, 0.0], [1.0, 0.1, 0.0]]),
        torch.tensor([[0, 1, 2], [0, 0, 1], [2, 2, 2]]),
    )
    for mesh in (empty, line):
        picture = render_mesh(mesh, camera, torch.tensor([0.2, 0.4, 0.6]))
        assert picture.alpha.sum() == 0 and picture.depth.sum() == 0 and picture.normal.abs().sum() == 0
        torch.testing.assert_close(picture.rgb, torch.tensor([0.2, 0.4, 0.6]).expand(1, 8, 8, 3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_vertices_that_are_not_finite_are_refused(bad: float) -> None:
    vertices, faces = triangle_soup(2)
    vertices[1, 1] = bad
    with pytest.raises(ValueError, match="finite"):
        rasterize_mesh(vertices, faces, off_origin_camera())


@pytest.mark.parametrize("index", [-1, 6])
def test_indices_out_of_range_are_refused(index: int) -> None:
    vertices, faces = triangle_soup(2)
    faces[0, 0] = index
    with pytest.raises(ValueError, match="face indices"):
        rasterize_mesh(vertices, faces, off_origin_camera())


def test_texture_lookup_agrees_with_grid_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(7, 11, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    uv = torch.rand(5, 40, 2, generator=generator, dtype=torch.float64) * 1.4 - 0.2
    theirs = texture.detach().clone().requires_grad_()
    expected = torch.nn.functional.grid_sample(
        theirs.permute(2, 0, 1)[None], uv[None] * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False
    )[0].permute(1, 2, 0)
    samples = sample_texture(texture, uv)
    torch.testing.assert_close(samples, expected)
    weights = torch.rand(samples.shape, generator=generator, dtype=torch.float64)
    (samples * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(texture.grad, theirs.grad)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 2)])
def test_texture_gradient_agrees_with_finite_differences(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    texture = torch.rand(*size, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    uv = torch.rand(9, 2, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: sample_texture(t, uv), (texture,))


def test_texel_centres_give_the_texels_themselves() -> None:
    texture = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(2))
    v, u = torch.meshgrid((torch.arange(4) + 0.5) / 4, (torch.arange(5) + 0.5) / 5, indexing="ij")
    torch.testing.assert_close(sample_texture(texture, torch.stack([u, v], dim=-1)), texture)


def test_bad_textures_and_coordinates_are_refused() -> None:
    with pytest.raises(ValueError, match="texture"):
        sample_texture(torch.zeros(0, 4, 3), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="finite"):
        sample_texture(torch.zeros(4, 4, 3), torch.full((1, 2), float("nan")))


def textured_quad() -> Mesh:
    """Two faces over the picture; on their diagonal the second face has its own uv rows, in another chart."""
    vertices = torch.tensor([[-0.4, 0.4, 0.0], [0.4, 0.4, 0.0], [0.4, -0.4, 0.0], [-0.4, -0.4, 0.0]])
    faces = torch.tensor([[0, 2, 1], [0, 3, 2]])
    left = torch.tensor([[0.05, 0.05], [0.45, 0.95], [0.45, 0.05]])  # of the first face: red chart
    right = torch.tensor([[0.55, 0.05], [0.55, 0.95], [0.95, 0.95]])  # of the second: blue chart
    albedo = torch.zeros(16, 32, 3)
    albedo[:, :16, 0] = 1
    albedo[:, 16:, 2] = 1
    uv_faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    return Mesh(vertices, faces, uv=torch.cat([left, right]), uv_faces=uv_faces, albedo=albedo)


def test_uv_seams_do_not_bleed() -> None:
    mesh, camera = textured_quad(), orbit(0.0, 0.0, 2.0, 30.0, 40)
    picture = render_mesh(mesh, camera, supersample=1)
    drawn = picture.alpha[..., 0] > 0
    colours = picture.rgb[drawn]
    torch.testing.assert_close(colours[:, 0] + colours[:, 2], torch.ones(len(colours)))
    assert set(colours[:, 0].round(decimals=4).unique().tolist()) == {0.0, 1.0}
    assert picture.rgb[0, 15, 25, 0] == 1 and picture.rgb[0, 25, 15, 2] == 1  # upper right red, lower left blue


def test_supersampling_averages_the_finer_picture() -> None:
    mesh, camera, ground = textured_quad(), orbit(20.0, 10.0, 2.0, 30.0, 24), torch.tensor([0.1, 0.5, 0.9])
    coarse = render_mesh(mesh, camera, ground, supersample=3)
    fine = render_mesh(mesh, camera.resized(72, 72), ground, supersample=1)
    expected = fine.rgb.reshape(1, 24, 3, 24, 3, 3).mean(dim=(2, 4))
    torch.testing.assert_close(coarse.rgb, expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(coarse.alpha, fine.alpha.reshape(1, 24, 3, 24, 3, 1).mean(dim=(2, 4)))
    torch.testing.assert_close(
        coarse.depth[coarse.alpha == 1], fine.depth[0, 1::3, 1::3][coarse.alpha[0] == 1], atol=1e-2, rtol=0
    )


def test_the_gradient_of_a_picture_is_that_of_its_linear_map() -> None:
    """The picture is linear in the texture, so <gradient, change> is the exact change of the loss."""
    mesh, camera = textured_quad(), orbit(torch.tensor([20.0, -35.0]), 10.0, 2.0, 30.0, 24)
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(16, 32, 3, generator=generator, requires_grad=True)
    weights = torch.rand(2, 24, 24, 3, generator=generator)
    (render_mesh(mesh, camera, texture=texture).rgb * weights).sum().backward()
    change = torch.rand(16, 32, 3, generator=generator)
    with torch.no_grad():
        before, after = (
            (render_mesh(mesh, camera, texture=t).rgb.double() * weights).sum() for t in (texture, texture + change)
        )
    assert texture.grad is not None
    torch.testing.assert_close((texture.grad.double() * change).sum(), after - before, rtol=1e-5, atol=1e-4)


def test_gradients_reach_the_albedo() -> None:
    mesh = textured_quad()
    albedo = mesh.albedo.clone().requires_grad_()
    render_mesh(mesh.with_(albedo=albedo), orbit(0.0, 0.0, 2.0, 30.0, 8)).rgb.sum().backward()
    assert albedo.grad is not None and albedo.grad.abs().sum() > 0


def test_colours_fall_back_to_vertices_then_to_grey() -> None:
    mesh, camera = textured_quad().with_(uv=None, uv_faces=None, albedo=None), orbit(0.0, 0.0, 2.0, 30.0, 9)
    assert render_mesh(mesh, camera).rgb[0, 4, 4].tolist() == pytest.approx([0.8] * 3)
    coloured = mesh.with_(vertex_colors=torch.tensor([0.1, 0.2, 0.3]).expand(4, 3))
    assert render_mesh(coloured, camera).rgb[0, 4, 4].tolist() == pytest.approx([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="uv"):
        render_mesh(mesh, camera, texture=torch.zeros(2, 2, 3))


@pytest.mark.parametrize("supersample", [1, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_normals_and_depth_of_a_quad_seen_askew(flip: bool, supersample: int) -> None:
    mesh = textured_quad()
    mesh = mesh.with_(faces=mesh.faces.flip(1)) if flip else mesh
    for azimuth, sign in ((25.0, 1.0), (155.0, -1.0)):
        picture = render_mesh(mesh, orbit(azimuth, 15.0, 2.0, 30.0, 21), supersample=supersample)
        drawn = picture.alpha[..., 0] > 0
        torch.testing.assert_close(picture.normal[drawn], torch.tensor([0.0, 0.0, sign]).expand(int(drawn.sum()), 3))
        assert (picture.normal[~drawn] == 0).all()
        assert picture.depth[0, 10, 10].item() == pytest.approx(2.0, abs=1e-3)  # the centre pixel looks at the origin


def test_vertex_normals_are_interpolated_and_stay_unit() -> None:
    mesh = textured_quad()
    normals = torch.nn.functional.normalize(torch.tensor([[-1.0, 1, 2], [1, 1, 2], [1, -1, 2], [-1, -1, 2]]), dim=1)
    normal = render_mesh(mesh.with_(normals=normals), orbit(0.0, 0.0, 2.0, 30.0, 21)).normal[0]
    lengths = normal.norm(dim=-1)
    torch.testing.assert_close(lengths[lengths > 0], torch.ones(int((lengths > 0).sum())))
    assert normal[10, 5, 0] < -0.1 < 0.1 < normal[10, 15, 0] and normal[15, 10, 1] < -0.1 < 0.1 < normal[5, 10, 1]


def test_clay_is_grey_bounded_and_brighter_where_it_faces_the_camera() -> None:
    mesh = textured_quad()
    facing, askew = (render_mesh(mesh, orbit(a, 0.0, 2.0, 30.0, 9), shaded=True).rgb[0, 4, 4] for a in (0.0, 75.0))
    assert facing.unique().numel() == 1 and askew.unique().numel() == 1
    assert 0.1 < askew[0] < facing[0] <= 0.9


def test_backgrounds_broadcast_and_differ_by_view() -> None:
    camera = orbit(torch.tensor([0.0, 90.0]), 0.0, 2.0, 60.0, 8)
    grounds = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    corners = render_mesh(textured_quad(), camera, grounds).rgb[:, 0, 0]
    assert torch.equal(corners, grounds)


def test_the_bits_do_not_depend_on_the_threads() -> None:
    vertices, faces = triangle_soup(300, seed=5)
    uv = torch.rand(len(vertices), 2, generator=torch.Generator().manual_seed(1))
    mesh = Mesh(vertices, faces, uv=uv, uv_faces=faces)
    camera, threads, results = orbit(torch.tensor([0.0, 40.0]), 20.0, 2.0, 40.0, 96), torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            texture = torch.rand(33, 20, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
            picture = render_mesh(mesh, camera, texture=texture)
            picture.rgb.square().sum().backward()
            results.append((picture.rgb.detach(), picture.alpha, picture.depth, picture.normal, texture.grad))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        for first, other in zip(results[0], result):
            assert torch.equal(first, other)


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_the_texture_gradient_does_not_depend_on_the_workers(workers: int) -> None:
    from gaussmith.render import _mesh_numba as kernels

    rng = np.random.default_rng(0)
    gradient, uv = rng.random((1, 20, 20, 3), np.float32), rng.random((1, 40, 40, 2), np.float32)
    drawn = rng.random((1, 40, 40)) < 0.7
    one, many = np.zeros((2, 5, 9, 3), np.float32)
    kernels.lookup_backward(0, 1, gradient, uv, drawn, 2, one)
    for worker in range(workers):
        kernels.lookup_backward(worker, workers, gradient, uv, drawn, 2, many)
    assert one.any()
    np.testing.assert_array_equal(many, one)
