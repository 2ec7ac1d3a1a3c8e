"""The checker of CI finds what it is there to find."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from gaussmith.camera import orbit
from gaussmith.io import save_image, save_mesh
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import render_mesh

SCRIPT = Path(__file__).parents[1] / ".ci" / "check_asset.py"
SPEC = importlib.util.spec_from_file_location("check_asset", SCRIPT)
assert SPEC is not None and SPEC.loader is not None
check_asset = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check_asset)


def sphere() -> Mesh:
    """A textured ball, each face with a triangle of its own in the texture: all edges are seams."""
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.4)
    count = len(ball.faces)
    corner = torch.tensor([[0.1, 0.1], [0.6, 0.1], [0.1, 0.6]])
    row, column = torch.arange(count) // 18, torch.arange(count) % 18
    uv = (torch.stack([column, row], dim=1)[:, None] + corner) / 18
    y, x = np.mgrid[:72, :72] / 72
    albedo = torch.from_numpy(np.stack([x, y, 1 - x], axis=-1)).float()
    vertices, faces = torch.from_numpy(ball.vertices).float(), torch.from_numpy(ball.faces).long()
    return Mesh(vertices, faces, uv=uv.reshape(-1, 2), uv_faces=torch.arange(3 * count).reshape(-1, 3), albedo=albedo)


def reread(mesh: Mesh, folder: Path) -> trimesh.Trimesh:
    save_mesh(mesh, folder / "m.glb")
    return check_asset.read(folder / "m.glb")


def test_a_closed_ball_has_no_faults(tmp_path: Path) -> None:
    read = reread(sphere(), tmp_path)
    assert len(read.vertices) > len(sphere().vertices), "seams split vertices in the file"
    assert check_asset.shape_faults(read) == []
    assert check_asset.texture_faults(read) == []


def test_shape_faults_are_found(tmp_path: Path) -> None:
    ball = sphere()
    keep = torch.arange(len(ball.faces)) != 7
    assert ball.uv_faces is not None
    holed = ball.with_(faces=ball.faces[keep], uv_faces=ball.uv_faces[keep])
    assert any("watertight" in fault for fault in check_asset.shape_faults(reread(holed, tmp_path)))
    inverted = ball.with_(faces=ball.faces.flip(1), uv_faces=ball.uv_faces.flip(1))
    assert any("inside out" in fault for fault in check_asset.shape_faults(reread(inverted, tmp_path)))
    turned = ball.faces.clone()
    turned[3] = turned[3].flip(0)
    assert any(
        "not oriented" in fault for fault in check_asset.shape_faults(reread(ball.with_(faces=turned), tmp_path))
    )


def test_texture_faults_are_found(tmp_path: Path) -> None:
    grey = sphere().with_(albedo=torch.full((72, 72, 3), 0.5))
    assert check_asset.texture_faults(reread(grey, tmp_path)) == ["the texture is of one colour"]
    small = sphere().with_(albedo=torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(0)))
    assert check_asset.texture_faults(reread(small, tmp_path)) == ["texture of 16x16 pixels"]
    plain = sphere().with_(albedo=None, uv=None, uv_faces=None)
    assert check_asset.texture_faults(reread(plain, tmp_path)) == ["no base colour texture"]


def test_the_whole_check_passes_a_true_asset_and_fails_a_wrong_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.no_grad():
        view = render_mesh(sphere(), orbit(0.0, 10.0, width=512))
    rgba = torch.cat([view.rgb / view.alpha.clamp_min(1e-6), view.alpha], dim=-1)[0]
    # The picture has a margin on the left and above, and the report says where it was put.
    wide = torch.zeros(552, 552, 4)
    wide[40:, 30:542] = rgba
    save_image(tmp_path / "picture.png", wide)
    save_mesh(sphere(), tmp_path / "ball.glb")
    whole = {"seed": 0, "mesh": {}, "seconds": {}, "reference": {}, "elevation": 10.0}
    whole["picture"] = {"scale": 1.0, "shift": [-30.0, -40.0]}
    for name in ("ball.ply", "preview.png", "turntable.mp4"):
        (tmp_path / name).write_bytes(b"something")
    (tmp_path / "report.json").write_text(json.dumps(whole))
    command = ["check_asset", str(tmp_path / "ball.glb"), str(tmp_path / "picture.png")]
    monkeypatch.setattr(sys, "argv", command)
    assert check_asset.main() == 0, capsys.readouterr().err
    for wrong in ({"elevation": 40.0}, {"picture": {"scale": 1.0, "shift": [0.0, 0.0]}}):
        (tmp_path / "report.json").write_text(json.dumps(whole | wrong))
        assert check_asset.main() == 1
    (tmp_path / "report.json").write_text(json.dumps(whole))

    monkeypatch.setattr(sys, "argv", [*command, "--min-psnr", "90"])
    assert check_asset.main() == 1
    (tmp_path / "report.json").write_text(json.dumps({"seed": 0}))
    (tmp_path / "turntable.mp4").unlink()
    monkeypatch.setattr(sys, "argv", command)
    assert check_asset.main() == 1
    errors = capsys.readouterr().err
    assert "report.json has no mesh" in errors and "turntable.mp4 is missing" in errors
