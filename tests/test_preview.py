"""Contact sheets, turntables and the preview of an asset."""

from __future__ import annotations

import json
import math
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch
from torch import Tensor

from gaussmith import asset
from gaussmith.asset import save_asset
from gaussmith.camera import orbit
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians, from_points
from gaussmith.io import load_gaussians, load_mesh
from gaussmith.mesh import Mesh
from gaussmith.preview import GAP, PAGE, PANEL, contact_sheet, preview_sheet, render_view, turntable, views_sheet
from gaussmith.render.mesh import render_mesh

CORNERS = torch.tensor([[x, y, z] for x in (-0.3, 0.3) for y in (-0.2, 0.2) for z in (-0.1, 0.1)])
# Outward, counter-clockwise; corner index is 4 [x > 0] + 2 [y > 0] + [z > 0].
FACES = torch.tensor(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ]
)  # fmt: skip
PANEL_COLOR = torch.tensor(PANEL) / 255


def box(scale: float = 1.0, shift: float = 0.0) -> Mesh:
    """A box that is red in front (+Z) and blue behind."""
    colors = torch.where(CORNERS[:, 2:] > 0, torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    return Mesh(CORNERS * scale + shift, FACES, vertex_colors=colors)


def textured_box() -> Mesh:
    uv = (CORNERS[:, :2] / 0.8) + 0.5
    return box().with_(uv=uv, uv_faces=FACES, albedo=torch.full((16, 16, 3), 0.25), vertex_colors=None)


def splat_of(mesh: Mesh) -> Gaussians:
    t = torch.linspace(0, 1, 12)[:, None, None]
    lines = (mesh.vertices[FACES[:, :2]][:, :1] * (1 - t) + mesh.vertices[FACES[:, 1:]][:, :1] * t).reshape(-1, 3)
    return from_points(lines, torch.full((len(lines), 3), 0.2), opacity=0.9)


def foreground(picture: Tensor) -> Tensor:
    return (picture - PANEL_COLOR).abs().amax(dim=-1) > 0.02


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-3, 5.0), (400.0, -7000.0)])
def test_every_view_of_an_object_of_any_place_and_size_is_in_frame_and_large(scale: float, shift: float) -> None:
    for picture in turntable(box(scale, shift), views=4, size=48, elevation=20):
        seen = foreground(picture)
        assert not (seen[0].any() or seen[-1].any() or seen[:, 0].any() or seen[:, -1].any())
        assert 0.03 < float(seen.float().mean()) < 0.9


def test_the_turn_starts_in_front_and_goes_towards_plus_x() -> None:
    front, right, back, left = turntable(box(), views=4, size=33, elevation=0)
    assert front[16, 16, 0] > 0.8 and front[16, 16, 2] < 0.2
    assert back[16, 16, 2] > 0.8 and back[16, 16, 0] < 0.2
    # From +X the red front is on the left of the picture, from -X on the right.
    for picture, red_column, blue_column in ((right, 14, 18), (left, 18, 14)):
        assert picture[16, red_column, 0] > picture[16, red_column, 2]
        assert picture[16, blue_column, 2] > picture[16, blue_column, 0]


def test_a_far_and_huge_splat_looks_as_the_same_splat_at_home() -> None:
    home = splat_of(box())
    away = home.transform(torch.eye(3), torch.tensor([50.0, -20.0, 9.0]), 30.0)
    for here, there in zip(turntable(home, views=2, size=40), turntable(away, views=2, size=40)):
        assert foreground(here).any()
        assert torch.allclose(here, there, atol=0.02)


def test_nothing_to_see_is_a_sentence() -> None:
    ghost = splat_of(box())
    ghost.opacity_logits[:] = -20.0
    with pytest.raises(UserError, match="no visible Gaussian"):
        next(turntable(ghost))
    with pytest.raises(UserError, match="no faces"):
        next(turntable(Mesh(CORNERS, torch.zeros(0, 3, dtype=torch.int64))))


def test_clay_is_grey_and_shaded() -> None:
    picture = render_view(box(), orbit(30.0, 20.0, width=64), shaded=True)
    inside = picture[foreground(picture)]
    assert float((inside.amax(dim=-1) - inside.amin(dim=-1)).max()) < 0.03
    assert float(inside.std()) > 0.01


def test_sheet_places_pictures_in_rows_with_labels_below() -> None:
    colors = [torch.full((20, 30, 3), v) for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    sheet = contact_sheet(colors, ["a", "b", "c", "d", "e"], columns=2)
    strip = int(1.9 * 10)
    assert sheet.shape == (3 * (20 + strip + GAP) + GAP, 2 * (30 + GAP) + GAP, 3)
    for index, color in enumerate(colors):
        row, column = divmod(index, 2)
        y, x = GAP + row * (20 + strip + GAP), GAP + column * (30 + GAP)
        assert torch.allclose(sheet[y + 10, x + 15], color[0, 0], atol=1 / 255)
        label = sheet[y + 21 : y + 20 + strip, x : x + 30]
        assert float(label.min()) < 0.6, "no ink in the label"
    empty_cell = sheet[-(20 + strip + GAP) :, -(30 + GAP) :]
    assert torch.allclose(empty_cell, torch.tensor(PAGE) / 255, atol=1 / 255)


def test_sheet_refuses_nothing_and_pictures_of_two_sizes() -> None:
    with pytest.raises(ValueError, match="needs a picture"):
        contact_sheet([])
    with pytest.raises(ValueError, match="one size"):
        contact_sheet([torch.zeros(2, 2, 3), torch.zeros(2, 3, 3)])


def test_views_sheet_has_a_cell_a_view() -> None:
    frames = [torch.full((16, 16, 3), 0.5)] * 5
    sheet = views_sheet(frames)
    assert sheet.shape[1] == 4 * (16 + GAP) + GAP
    assert math.isclose(float(sheet.max()), PAGE[0] / 255, abs_tol=1e-6)


def picture_of(mesh: Mesh, elevation: float, size: int = 96) -> Tensor:
    with torch.no_grad():
        view = render_mesh(mesh, orbit(0.0, elevation, width=size))
    return torch.cat([view.rgb / view.alpha.clamp_min(1e-6), view.alpha], dim=-1)[0]


def test_front_panel_matches_the_input_panel() -> None:
    mesh, size = textured_box(), 64
    sheet = preview_sheet(picture_of(mesh, 25.0), mesh, 25.0, size)
    first = sheet[GAP : GAP + size, GAP : GAP + size]
    front = sheet[GAP : GAP + size, 2 * GAP + size : 2 * (GAP + size)]
    assert foreground(first).float().mean() > 0.1
    assert float((first - front).abs().mean()) < 0.02


def test_an_object_that_fills_the_picture_is_shown_whole() -> None:
    mesh, size = textured_box().with_(vertices=CORNERS * 2.2), 64
    sheet = preview_sheet(picture_of(mesh, 0.0), mesh, 0.0, size)
    back = sheet[-(size + 2 * GAP) :, GAP : GAP + size]
    inner = foreground(sheet[GAP : GAP + size, GAP : GAP + size][4:-4, 4:-4])
    assert inner.any()
    for column in range(4):
        x = GAP + column * (size + GAP)
        panel = sheet[GAP : GAP + size, x : x + size]
        edge = torch.cat([panel[0, 12:-12], panel[-1, 12:-12]])
        assert not foreground(edge).any(), f"panel {column} is cut"
    assert back.numel()


def test_an_asset_is_five_files_that_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asset, "VIEWS", 5)
    mesh, folder = textured_box(), tmp_path / "new"
    splat = splat_of(mesh)
    rgba = picture_of(mesh, 10.0)
    paths = save_asset(folder, "thing", gaussians=splat, mesh=mesh, rgba=rgba, elevation=10.0, report={"seed": 3})
    assert [p.name for p in paths] == ["thing.glb", "thing.ply", "preview.png", "turntable.mp4", "report.json"]
    assert len(load_mesh(paths[0]).faces) == 12
    assert len(load_gaussians(paths[1])) == len(splat)
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(paths[3]))
    assert frames == 5
    report = json.loads(paths[4].read_text())
    assert report["seed"] == 3 and report["versions"]["torch"] == torch.__version__
    assert sorted(folder.iterdir()) == sorted(paths)


def test_a_report_with_nan_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    mesh, folder = textured_box(), tmp_path / "new"
    parts = {"gaussians": splat_of(mesh), "mesh": mesh, "rgba": picture_of(mesh, 0.0)}
    with pytest.raises(ValueError):
        save_asset(folder, "thing", **parts, elevation=0.0, report={"psnr": float("nan")})
    assert not folder.exists()
