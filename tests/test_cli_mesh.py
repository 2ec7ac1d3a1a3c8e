"""`gaussmith mesh --method tsdf` from a splat and its cameras.json to a file that can be shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gaussmith
from gaussmith import cli
from gaussmith.camera import orbit
from gaussmith.events import UserError
from gaussmith.gaussians import from_points
from gaussmith.io import load_mesh, save_gaussians
from gaussmith.io.cameras_json import save_cameras
from gaussmith.surface import check

SMALL = ["--resolution", "32", "--max-faces", "300", "--texture-size", "64"]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A folder with scene.ply, a green hill, and cameras.json, views from above."""
    x, z = torch.meshgrid(torch.linspace(-0.5, 0.5, 30), torch.linspace(-0.5, 0.5, 30), indexing="ij")
    points = torch.stack([x, 0.3 * torch.exp(-8 * (x * x + z * z)), z], dim=-1).reshape(-1, 3)
    save_gaussians(
        from_points(points, torch.tensor([0.1, 0.8, 0.2]).expand_as(points), opacity=0.95), tmp_path / "scene.ply"
    )
    ring = orbit(torch.tensor([0.0, 120, 240, 0]), torch.tensor([50.0, 50, 50, 90]), width=64)
    save_cameras(tmp_path / "cameras.json", list("abcd"), [ring[i] for i in range(4)])
    return tmp_path


def test_a_splat_and_its_cameras_become_an_open_textured_mesh(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, sheet = scene / "new" / "hill.glb", scene / "hill.png"
    options = ["--method", "tsdf", "--cameras", str(scene / "cameras.json"), *SMALL]
    assert cli.main(["mesh", str(scene / "scene.ply"), "-o", str(out), *options]) == 0
    captured = capsys.readouterr()
    assert str(out) in captured.out and "not watertight" in captured.out + captured.err
    mesh = load_mesh(out)
    assert not check(mesh).watertight and 50 < len(mesh.faces) <= 300
    hill = 0.3 * torch.exp(-8 * (mesh.vertices[:, 0] ** 2 + mesh.vertices[:, 2] ** 2))
    assert float((mesh.vertices[:, 1] - hill).abs().mean()) < 0.05
    assert float(mesh.face_normals()[:, 1].min()) > 0  # seen from above, nothing below
    assert mesh.albedo is not None
    plain = scene / "plain.glb"
    assert cli.main(["mesh", str(scene / "scene.ply"), "-o", str(plain), *options[:-2]]) == 0
    colors = load_mesh(plain).vertex_colors
    assert colors is not None
    assert torch.allclose(colors.median(dim=0).values, torch.tensor([0.1, 0.8, 0.2]), atol=0.1)
    middle = mesh.albedo.flatten(0, 1).median(dim=0).values
    assert torch.allclose(middle, torch.tensor([0.1, 0.8, 0.2]), atol=0.1)
    assert cli.main(["render", str(out), "-o", str(sheet), "--views", "2", "--size", "48", "--quiet"]) == 0
    assert sheet.stat().st_size > 500


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cameras", "cameras.json"], "--method tsdf"),
        (["--method", "tsdf", "--cameras", "gone.json"], "gone.json"),
        (["--method", "tsdf", "--cameras", "scene.ply"], "cameras.json"),
        (["--method", "tsdf", "--resolution", "600"], "--resolution"),
        (["--method", "marching"], "method"),
    ],
)
def test_bad_options_are_sentences(
    scene: Path,
    options: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(scene)
    assert cli.main(["mesh", "scene.ply", "-o", "x.glb", *options]) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error and not Path("x.glb").exists()


def test_cameras_of_another_scene_are_a_sentence(scene: Path) -> None:
    away = orbit(0.0, 0.0, width=32, target=torch.tensor([900.0, 0, 0]))
    with pytest.raises(UserError, match="another scene"):
        gaussmith.mesh_from_gaussians(gaussmith.load(scene / "scene.ply"), method="tsdf", cameras=[away])
    with pytest.raises(UserError, match="no method"):
        gaussmith.mesh_from_gaussians(gaussmith.load(scene / "scene.ply"), method="best")
    with pytest.raises(UserError, match="needs no cameras"):
        gaussmith.mesh_from_gaussians(gaussmith.load(scene / "scene.ply"), cameras=[away])
