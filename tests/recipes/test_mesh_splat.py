"""Any splat becomes a textured, valid mesh, wherever it is and however large."""

from __future__ import annotations

import pytest
import torch

from gaussmith.events import Event, StageFinished, StageStarted, UserError, Warned
from gaussmith.gaussians import Gaussians, from_points
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
