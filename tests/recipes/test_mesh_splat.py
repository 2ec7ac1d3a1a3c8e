"""Any splat becomes a textured, valid mesh, wherever it is and however large."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gaussmith.camera import Camera, orbit
from gaussmith.events import Event, StageFinished, StageStarted, UserError, Warned
from gaussmith.gaussians import Gaussians, from_points
from gaussmith.recipes import mesh_splat
from gaussmith.recipes.mesh_splat import Config, run
from gaussmith.surface import check

SMALL = Config(resolution=32, max_faces=600, texture_size=64)


def ball(sh_degree: int = 0) -> Gaussians:
    """A sphere of radius 0.5: red where x > 0, blue elsewhere."""
    points = torch.nn.functional.normalize(torch.randn(900, 3, generator=torch.Generator().manual_seed(2)), dim=1) / 2
    colors = torch.where(points[:, :1] > 0, torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9]))
    return from_points(points, colors, opacity=0.95, sh_degree=sh_degree)


def test_a_ball_comes_out_closed_coloured_and_in_its_place() -> None:
    moved = ball(sh_degree=3).transform(torch.eye(3), torch.tensor([300.0, -40.0, 7.0]), 25.0)
    mesh = run(SMALL, moved)
    assert check(mesh).valid
    assert len(mesh.faces) <= SMALL.max_faces
    assert torch.allclose(mesh.bounds.mean(dim=0), torch.tensor([300.0, -40.0, 7.0]), atol=1.5)
    assert mesh.albedo is not None and mesh.uv is not None and mesh.uv_faces is not None
    centres = mesh.uv[mesh.uv_faces].mean(dim=1)
    texel = (centres * SMALL.texture_size).long().clamp(0, SMALL.texture_size - 1)
    seen = mesh.albedo[texel[:, 1], texel[:, 0]]
    side = mesh.vertices[mesh.faces].mean(dim=1)[:, 0] - 300.0
    assert float(seen[side > 3, 0].mean()) > 0.7 and float(seen[side > 3, 2].mean()) < 0.3
    assert float(seen[side < -3, 2].mean()) > 0.7 and float(seen[side < -3, 0].mean()) < 0.3


def test_same_input_same_bytes_and_input_untouched() -> None:
    splat = ball()
    before = splat.map(torch.clone)
    first, second = run(SMALL, splat), run(SMALL, splat)
    for name in ("vertices", "faces", "uv", "uv_faces", "albedo"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert all(torch.equal(a, b) for a, b in zip(before.tensors().values(), splat.tensors().values()))


def test_gaussians_that_are_not_finite_are_left_out_and_told_of() -> None:
    splat = ball()
    splat.means[5] = float("nan")
    splat.log_scales[6] = float("inf")
    events: list[Event] = []
    assert check(run(SMALL, splat, events.append)).valid
    warned = [e.message for e in events if isinstance(e, Warned)]
    assert len(warned) == 1 and warned[0].startswith("2 of 900")
    assert [e.stage for e in events if isinstance(e, StageStarted)] == ["surface", "texture"]
    assert [e.stage for e in events if isinstance(e, StageFinished)] == ["surface", "texture"]


def test_nothing_visible_is_a_sentence() -> None:
    splat = ball()
    splat.opacity_logits[:] = -12.0
    with pytest.raises(UserError, match="no visible Gaussian"):
        run(SMALL, splat)
    empty = splat.select(torch.zeros(len(splat), dtype=torch.bool))
    with pytest.raises(UserError, match="no visible Gaussian"):
        run(SMALL, empty)


# --- open scenes ---

SCENE = Config(resolution=40, max_faces=500, texture_size=128, method="tsdf")


def half_seen() -> list[Camera]:
    """Views of the ball's +X half, of two picture sizes."""
    ring = orbit(torch.tensor([90.0, 50, 130, 90, 90]), torch.tensor([0.0, 0, 0, 40, -40]), width=96)
    return [ring[0].resized(64, 48), *(ring[i] for i in range(1, 5))]


def test_a_scene_comes_out_open_coloured_and_in_its_place() -> None:
    shift = torch.tensor([30.0, -4.0, 7.0])
    splat = ball().transform(torch.eye(3), shift, 25.0)
    cameras = [replace(c, c2w=placed(c.c2w, 25.0, shift)) for c in half_seen()]
    events: list[Event] = []
    mesh = run(SCENE, splat, events.append, cameras)
    assert len(mesh.faces) <= SCENE.max_faces
    assert any("not watertight" in e.message for e in events if isinstance(e, Warned))
    reach = (mesh.vertices - shift) / 25
    # The ball is fuzzy: its Gaussians are spheres of 0.04 and more.
    assert float((reach.norm(dim=1) - 0.5).abs().mean()) < 0.1 and float(reach[:, 0].min()) > -0.3
    assert mesh.albedo is not None and mesh.uv is not None and mesh.uv_faces is not None
    centres = mesh.uv[mesh.uv_faces].mean(dim=1)
    texel = (centres * SCENE.texture_size).long().clamp(0, SCENE.texture_size - 1)
    red = mesh.albedo[texel[:, 1], texel[:, 0]][reach[mesh.faces].mean(dim=1)[:, 0] > 0.15]
    assert float(red[:, 0].mean()) > 0.7 and float(red[:, 2].mean()) < 0.3


def test_a_scene_has_a_colour_a_vertex_unless_a_texture_is_asked_for() -> None:
    mesh = run(replace(SCENE, texture_size=0), ball(), cameras=half_seen())
    assert mesh.uv is None and mesh.vertex_colors is not None and mesh.vertex_colors.shape == mesh.vertices.shape
    red = mesh.vertex_colors[mesh.vertices[:, 0] > 0.15]
    assert float(red[:, 0].mean()) > 0.7 and float(red[:, 2].mean()) < 0.3
    assert mesh_splat.METHODS["tsdf"].texture_size == 0


def placed(c2w: torch.Tensor, scale: float, shift: torch.Tensor) -> torch.Tensor:
    out = c2w.clone()
    out[:, :3, 3] = scale * out[:, :3, 3] + shift
    return out


def test_without_cameras_a_scene_is_seen_from_all_around() -> None:
    mesh = run(SCENE, ball())
    assert check(mesh).components == 1
    assert float((mesh.vertices.norm(dim=1) - 0.5).abs().mean()) < 0.1  # the ball is fuzzy


def test_many_views_are_thinned_for_the_texture() -> None:
    many = orbit(torch.arange(100.0), 0.0, width=2000, height=1000)
    views = mesh_splat._texture_views(many)
    assert views is not None and len(views) <= 48 and (views.width, views.height) == (800, 400)
    assert torch.equal(views.c2w[0], many.c2w[0]) and torch.equal(views.c2w[-1], many.c2w[-1])
