"""Baking objects whose colour is a known function of the place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import trimesh
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import interpolate, rasterize_mesh, sample_texture
from gaussmith.texture.atlas import atlas_fragments
from gaussmith.texture.backproject import bake, texel_visibility
from gaussmith.texture.inpaint import fill
from gaussmith.texture.unwrap import unwrap
from gaussmith.views import baking_ring, turntable

SIZE = 256


def photograph(mesh: Mesh, cameras: Camera, colour: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Premultiplied pictures and alphas of a mesh coloured by place, one sample a pixel."""
    fragments = rasterize_mesh(mesh.vertices, mesh.faces, cameras)
    alpha = (fragments.face >= 0)[..., None].float()
    return colour(interpolate(mesh.vertices, mesh.faces, fragments)) * alpha, alpha


def soften(pictures: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Average 2 x 2 samples a pixel, so that silhouettes have partial alpha."""
    rgb, alpha = (torch.nn.functional.avg_pool2d(p.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1) for p in pictures)
    return rgb, alpha


def psnr(error: Tensor) -> float:
    return float(-10 * torch.log10(error.square().mean()))


def boxes(*specs: tuple[tuple[float, float, float], tuple[float, float, float]]) -> Mesh:
    """Axis-aligned boxes (extents, centre) with their sides cut into small triangles."""
    parts = [trimesh.creation.box(extents=e).apply_translation(c).subdivide().subdivide() for e, c in specs]
    whole = trimesh.util.concatenate(parts)
    return Mesh(torch.from_numpy(whole.vertices.copy()).float(), torch.from_numpy(whole.faces.copy()).long())


def test_unseen_views_of_a_baked_texture(blob):
    cameras = baking_ring(size=192).camera()
    baked = bake(blob.mesh, cameras, *soften(photograph(blob.mesh, cameras.resized(384, 384), blob.colour)), SIZE)
    assert baked.coverage > 0.999
    albedo = fill(baked.albedo, baked.weight, blob.mesh, baked.atlas)
    unseen = turntable(5, elevation=20.0, size=160, start=22.0).camera()
    fragments = rasterize_mesh(blob.mesh.vertices, blob.mesh.faces, unseen)
    covered = fragments.face >= 0
    shown = sample_texture(albedo, interpolate(blob.mesh.uv, blob.mesh.uv_faces, fragments)[covered])
    truth = blob.colour(interpolate(blob.mesh.vertices, blob.mesh.faces, fragments)[covered])
    assert psnr(shown - truth) > 38
    assert (shown - truth).abs().max() < 0.08  # no speck, no seam, no background


def test_the_background_does_not_bleed(blob):
    """The same object on white, with soft silhouettes, gives the same texture as on black."""
    cameras = baking_ring(size=96).camera()
    rgb, alpha = soften(photograph(blob.mesh, cameras.resized(192, 192), blob.colour))
    black = bake(blob.mesh, cameras, rgb, alpha, SIZE)
    white = bake(blob.mesh, cameras, rgb + 1 - alpha, alpha, SIZE, background=torch.ones(3))
    assert torch.allclose(black.albedo, white.albedo, atol=1e-4)
    truth = blob.albedo()
    seen = black.weight > 0
    assert psnr((white.albedo - truth)[seen]) > 33 and (white.albedo - truth)[seen].abs().max() < 0.15


def test_what_is_in_front_does_not_colour_what_is_behind():
    """A red plate hovers before a blue one: no blue texel is tinted, nor any red one, by views past its edge."""
    mesh = unwrap(boxes(((0.5, 0.5, 0.05), (0, 0, 0.2)), ((0.9, 0.9, 0.05), (0, 0, -0.2))), SIZE)
    atlas = atlas_fragments(mesh, SIZE)
    red, blue = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    cameras = baking_ring(size=128).camera()
    pictures = soften(photograph(mesh, cameras.resized(256, 256), lambda p: torch.where(p[..., 2:] > 0, red, blue)))
    baked = bake(mesh, cameras, *pictures, SIZE, atlas=atlas)
    z = torch.from_numpy(atlas.at_corners(mesh.vertices.numpy(), mesh.faces.numpy()))[:, 2]
    colour = baked.albedo.reshape(-1, 3)[atlas.texels]
    trusted = baked.weight.reshape(-1)[atlas.texels] > 0.01
    assert trusted.float().mean() > 0.95
    wrong = (colour - torch.where(z[:, None] > 0, red, blue)).abs().amax(dim=1)
    assert wrong[trusted].max() < 0.02
    # A hidden texel is left empty rather than given the colour in front of it: only the front view is there to see.
    front = bake(mesh, cameras[:1], pictures[0][:1], pictures[1][:1], SIZE, atlas=atlas)
    points = torch.from_numpy(atlas.at_corners(mesh.vertices.numpy(), mesh.faces.numpy()))
    hidden = (points[:, 2] < 0) & (points[:, :2].abs().amax(dim=1) < 0.24)
    assert hidden.sum() > 500 and (front.weight.reshape(-1)[atlas.texels][hidden] == 0).all()


def test_a_trusted_view_decides_where_it_looks_straight_on(blob):
    cameras = baking_ring(size=96).camera()
    rgb, alpha = photograph(blob.mesh, cameras, blob.colour)
    rgb[0] = torch.tensor([0.0, 1.0, 0.0]) * alpha[0]
    weights, least = torch.ones(26), torch.full((26,), 0.1)
    weights[0], least[0] = 1e4, 0.5
    baked = bake(blob.mesh, cameras, rgb, alpha, SIZE, view_weights=weights, min_cosine=least)
    cosine = texel_visibility(blob.mesh, cameras[:1], SIZE, atlas=blob.atlas)[0]
    green = (baked.albedo - torch.tensor([0.0, 1.0, 0.0])).abs().amax(dim=-1)
    clear = (cosine > 0.7) & (baked.weight > 1.0)
    assert green[clear].quantile(0.99) < 0.05
    apart = (cosine > 0) & (cosine < 0.5) & (baked.weight > 0.1)
    assert (baked.albedo - blob.albedo())[apart].abs().max() < 0.15


def test_one_view_that_disagrees_is_outvoted(blob):
    cameras = baking_ring(size=96).camera()
    rgb, alpha = photograph(blob.mesh, cameras, blob.colour)
    honest = bake(blob.mesh, cameras, rgb, alpha, SIZE, sharpness=1.0)
    rgb[0] = (1 - rgb[0]) * alpha[0]
    fooled = bake(blob.mesh, cameras, rgb, alpha, SIZE, sharpness=1.0)
    change = (fooled.albedo - honest.albedo).abs()[honest.weight > 0.5]
    assert change.quantile(0.98) < 0.06


def test_visibility_against_the_closed_form_of_a_sphere():
    """From distance d, a sphere of radius r shows the points whose normal has n . c / |c| > r / d."""
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    mesh = unwrap(Mesh(torch.from_numpy(sphere.vertices).float(), torch.from_numpy(sphere.faces).long()), 128)
    cameras = baking_ring(size=256).camera()[[0, 10]]
    atlas = atlas_fragments(mesh, 128)
    seen = texel_visibility(mesh, cameras, 128, atlas=atlas).reshape(2, -1)[:, atlas.texels]
    points = torch.from_numpy(atlas.at_corners(mesh.vertices.numpy(), mesh.faces.numpy()))
    normals = torch.nn.functional.normalize(points, dim=1)
    for b in range(2):
        towards = torch.nn.functional.normalize(cameras.position[b] - points, dim=1)
        cosine = (normals * towards).sum(dim=1)
        assert torch.allclose(seen[b][cosine > 0.1], cosine[cosine > 0.1], atol=0.01)
        assert (seen[b][cosine < -0.05] == 0).all()


def test_thin_parts_are_still_seen():
    """A rod less than two pixels wide has no pixel without an edge beside it, and gets its colour all the same."""
    mesh = unwrap(boxes(((0.02, 0.9, 0.02), (0, 0, 0))), 128)
    orange = torch.tensor([0.9, 0.5, 0.1])
    cameras = baking_ring(size=96).camera()
    pictures = soften(photograph(mesh, cameras.resized(192, 192), lambda p: orange.expand(p.shape)))
    baked = bake(mesh, cameras, *pictures, 128)
    assert baked.coverage > 0.9
    assert (baked.albedo[baked.weight > 0] - orange).abs().max() < 0.02


def test_same_bytes_whatever_the_threads(blob):
    cameras = baking_ring(size=64).camera()
    pictures = photograph(blob.mesh, cameras, blob.colour)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(bake(blob.mesh, cameras, *pictures, SIZE))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert torch.equal(results[0].albedo, other.albedo) and torch.equal(results[0].weight, other.weight)


def test_pictures_must_fit_the_cameras(blob):
    cameras = baking_ring(size=32).camera()
    with pytest.raises(ValueError, match="26 cameras"):
        bake(blob.mesh, cameras, torch.zeros(3, 32, 32, 3), torch.zeros(3, 32, 32, 1), 64)
