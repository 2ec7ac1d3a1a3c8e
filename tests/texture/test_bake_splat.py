"""The texture baked from a splat shows what the splat shows."""

from __future__ import annotations

import torch

from gaussmith.camera import orbit
from gaussmith.gaussians import from_points
from gaussmith.render.mesh import render_mesh
from gaussmith.render.splat import rasterize
from gaussmith.surface import extract_mesh
from gaussmith.texture.bake_splat import bake_gaussians, render_views, texture_from_gaussians
from gaussmith.texture.unwrap import unwrap
from gaussmith.views import baking_ring

POINTS = torch.nn.functional.normalize(torch.randn(1500, 3, generator=torch.Generator().manual_seed(4)), dim=1) / 2
SPLAT = from_points(POINTS, 0.5 + 0.8 * POINTS, opacity=0.95)
MESH = extract_mesh(SPLAT, resolution=32, max_faces=800)


def test_views_match_the_rasteriser_one_by_one() -> None:
    cameras = baking_ring(size=16).camera()
    rgb, alpha = render_views(SPLAT, cameras)
    assert rgb.shape == (26, 16, 16, 3) and alpha.shape == (26, 16, 16, 1)
    whole = rasterize(SPLAT, cameras)
    assert torch.equal(rgb, whole.rgb) and torch.equal(alpha, whole.alpha)


def test_the_textured_mesh_looks_as_the_splat_from_an_unseen_view() -> None:
    mesh, coverage = texture_from_gaussians(MESH, SPLAT, 128, view_size=128)
    assert coverage > 0.9
    assert mesh.albedo is not None and mesh.albedo.shape == (128, 128, 3)
    assert torch.equal(mesh.faces, MESH.faces) and torch.equal(mesh.vertices, MESH.vertices)
    camera = orbit(70.0, 20.0, width=64)
    with torch.no_grad():
        painted, splat = render_mesh(mesh, camera), rasterize(SPLAT, camera)
    inside = (painted.alpha > 0.99) & (splat.alpha > 0.99)
    assert int(inside.sum()) > 500
    difference = (painted.rgb - splat.rgb).abs().mean(dim=-1, keepdim=True)[inside]
    assert float(difference.mean()) < 0.03


def test_a_ball_is_seen_nearly_everywhere() -> None:
    assert bake_gaussians(unwrap(MESH, 128), SPLAT, 128, view_size=128).coverage > 0.97


def test_a_picture_lies_over_the_renders() -> None:
    camera = orbit(0.0, 0.0, width=128)
    red = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(1, 128, 128, 4)
    plain, _ = texture_from_gaussians(MESH, SPLAT, 128, view_size=128)
    mesh, _ = texture_from_gaussians(MESH, SPLAT, 128, view_size=128, pictures=(camera, red))
    front, back = (render_mesh(mesh, orbit(a, 0.0, width=64)).rgb[0, 28:36, 28:36] for a in (0.0, 180.0))
    assert torch.allclose(front, torch.tensor([1.0, 0.0, 0.0]).expand_as(front), atol=0.05)
    assert torch.allclose(back, render_mesh(plain, orbit(180.0, 0.0, width=64)).rgb[0, 28:36, 28:36], atol=0.01)
