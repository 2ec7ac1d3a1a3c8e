"""Pictures laid over a texture: trusted where they see the surface well, and nowhere else."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh
from torch import Tensor

from gaussmith.camera import DEFAULT_FOVY, DEFAULT_RADIUS, Camera, concat, orbit
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import render_mesh
from gaussmith.texture.atlas import atlas_fragments
from gaussmith.texture.overlay import FACING, GRAZING, lay, trust
from gaussmith.texture.unwrap import unwrap

from .conftest import SIZE, Coloured


def ball(bumps: float = 0.0) -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    vertices = torch.from_numpy(sphere.vertices.copy()).float()
    noise = 1 + bumps * torch.randn(len(vertices), 1, generator=torch.Generator().manual_seed(1))
    return Mesh(vertices * noise, torch.from_numpy(sphere.faces.copy()).long())


def plates(gap: float) -> Mesh:
    """A small square before a large one, both facing the camera at azimuth 0."""
    square = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    vertices = torch.cat([square * 0.5, square * 0.2 + torch.tensor([0.0, 0.0, gap])])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices, torch.cat([faces, faces + 4]))


def pictures(blob: Coloured, cameras: Camera) -> Tensor:
    """[K,H,W,4] what cameras see of the coloured mesh."""
    seen = render_mesh(blob.mesh.with_(albedo=blob.albedo()), cameras)
    return torch.cat([seen.rgb, seen.alpha], dim=-1)


def test_a_ball_is_trusted_by_the_cosine():
    camera = orbit(0.0, 0.0, width=256)
    trusted = trust(ball(), camera, torch.ones(1, 256, 256))[0]
    origin, rays = camera.rays()
    towards = torch.nn.functional.normalize(rays[0], dim=-1)
    along = (towards @ -origin[0]).clamp_min(0)
    miss = (origin[0].square().sum() - along.square()).clamp_min(0)
    hit = miss < 0.25
    # Where the ray meets the ball its cosine is the half chord over the radius.
    cosine = (0.25 - miss).clamp_min(0).sqrt() / 0.5
    assert torch.all(trusted[miss > 0.26] == 0)
    assert trusted[hit & (cosine > FACING + 0.1)].min() > 0.99
    # Averaged over some pixels: beyond the limit by little.
    assert trusted[hit & (cosine < GRAZING - 0.15)].max() < 0.1
    middle = ((FACING + GRAZING) / 2 - cosine).abs() < 0.01
    assert trusted[middle].mean() == pytest.approx(0.5, abs=0.15)  # averaged over a tenth of the ball


def test_bumps_do_not_fray_it():
    """From pixel to pixel the trust in a bumpy ball jumps no more than in a smooth one."""
    camera, alpha = orbit(0.0, 0.0, width=256), torch.ones(1, 256, 256)
    inside = trust(ball(), camera, alpha)[0] > 0.2
    jumps = []
    for mesh in (ball(), ball(0.004)):
        trusted = trust(mesh, camera, alpha)[0]
        jumps.append((trusted[:, 1:] - trusted[:, :-1]).abs()[inside[:, 1:] & inside[:, :-1]].quantile(0.99))
    assert jumps[1] < 2 * jumps[0] + 0.02


def test_nothing_is_trusted_that_is_not_solid_or_beside_an_edge_of_the_depth():
    camera = orbit(0.0, 0.0, width=128)
    alpha = torch.ones(1, 128, 128)
    alpha[:, :, :50] = 0.9
    trusted = trust(plates(0.2), camera, alpha)[0]
    assert torch.all(trusted[:, :50] == 0)
    row = trusted[64, 64:]
    edge = round(0.2 * 64 / math.tan(math.radians(DEFAULT_FOVY) / 2) / (DEFAULT_RADIUS - 0.2))
    assert row[edge - 1 : edge + 1].max() < 0.6
    assert row[: edge - 6].min() > 0.95 and row[edge + 6 : edge + 12].min() > 0.9
    # Without the jump nothing is lost there.
    flat = trust(plates(1e-3), camera, torch.ones(1, 128, 128))[0, 64, 64:]
    assert flat[: edge + 10].min() > 0.9


def test_the_picture_is_given_back_and_the_rest_stays(blob: Coloured):
    camera = orbit(20.0, 10.0, width=256)
    rgba = pictures(blob, camera)
    grey = torch.full((SIZE, SIZE, 3), 0.5)
    trusted = trust(blob.mesh, camera, rgba[..., 3])
    laid = lay(grey, blob.mesh, blob.atlas, camera, rgba, trusted)
    sure = trusted[0] > 0.99
    seen = render_mesh(blob.mesh.with_(albedo=laid), camera)
    assert int(sure.sum()) > 3000
    assert (seen.rgb[0] - rgba[0, ..., :3])[sure].abs().mean() < 0.02
    behind = render_mesh(blob.mesh.with_(albedo=laid), orbit(200.0, -10.0, width=128))
    inside = behind.alpha[0, ..., 0] > 0.999
    assert torch.allclose(behind.rgb[0][inside].median(dim=0).values, torch.full((3,), 0.5), atol=1e-4)
    # Nobody trusts it: nothing happens.
    assert torch.equal(lay(grey, blob.mesh, blob.atlas, camera, rgba, 0 * trusted), grey)


def test_what_is_hidden_stays():
    """The small plate hides the middle of the large one."""
    mesh = unwrap(plates(0.2), 128)
    atlas = atlas_fragments(mesh, 128)
    camera = orbit(0.0, 0.0, width=256)
    red = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(1, 256, 256, 4)
    laid = lay(torch.full((128, 128, 3), 0.5), mesh, atlas, camera, red, torch.ones(1, 256, 256))
    points = torch.from_numpy(atlas.at_corners(mesh.vertices.numpy(), mesh.faces.numpy()))
    colors = laid.reshape(-1, 3)[torch.from_numpy(atlas.texels)]
    far = points[:, 2] < 0.1
    middle = points[:, :2].abs().amax(dim=1) < 0.15
    assert torch.allclose(colors[far & middle], torch.tensor(0.5))
    assert torch.allclose(
        colors[far & (points[:, :2].abs().amax(dim=1) > 0.35)], torch.tensor([1.0, 0.0, 0.0]), atol=1e-4
    )
    assert torch.allclose(colors[~far], torch.tensor([1.0, 0.0, 0.0]), atol=1e-4)


def test_the_one_that_is_trusted_most_decides(blob: Coloured):
    """A red and a blue picture from two sides: each is alone in its middle, whatever their order."""
    cameras = concat([orbit(0.0, 0.0, width=128), orbit(90.0, 0.0, width=128)])
    color = torch.eye(3)[[0, 2]][:, None, None].expand(2, 128, 128, 3)
    rgba = torch.cat([color, torch.ones(2, 128, 128, 1)], dim=-1)
    trusted = trust(blob.mesh, cameras, rgba[..., 3])
    grey = torch.full((SIZE, SIZE, 3), 0.5)
    laid = lay(grey, blob.mesh, blob.atlas, cameras, rgba, trusted)
    swapped = lay(grey, blob.mesh, blob.atlas, concat([cameras[1], cameras[0]]), rgba.flip(0), trusted.flip(0))
    assert torch.allclose(laid, swapped, atol=1e-6)
    for k, wanted in enumerate(torch.eye(3)[[0, 2]]):
        seen = render_mesh(blob.mesh.with_(albedo=laid), cameras[k])
        assert torch.allclose(seen.rgb[0, 60:68, 60:68].mean(dim=(0, 1)), wanted, atol=0.02)
