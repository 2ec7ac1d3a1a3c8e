"""`gaussmith reconstruct` from the command line: what it writes, how it goes on, and how it fails."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gaussmith
from gaussmith import cli
from gaussmith.camera import opengl_to_opencv, orbit
from gaussmith.io import load_gaussians
from gaussmith.mesh import Mesh
from gaussmith.recipes import reconstruct as recipe
from gaussmith.render.mesh import render_mesh

SIZE, FOVY = 40, 40.0


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Blender's layout: ten pictures, with alpha, of a box whose corners are its colours."""
    folder = tmp_path_factory.mktemp("photos")
    corners = torch.tensor([[x, y, z] for x in (0.0, 1) for y in (0.0, 1) for z in (0.0, 1)])
    faces = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]]
    faces += [[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    box = Mesh((corners - 0.5) * torch.tensor([0.8, 0.6, 0.5]), torch.tensor(faces), vertex_colors=corners)
    frames = []
    for i in range(10):
        camera = orbit(36.0 * i, 25.0 * (i % 2), fovy=FOVY, width=SIZE)
        seen = render_mesh(box, camera, torch.zeros(3), supersample=3)
        rgba = torch.cat([seen.rgb / seen.alpha.clamp_min(1e-6), seen.alpha], dim=-1)[0]
        Image.fromarray((rgba.clamp(0, 1) * 255).round().to(torch.uint8).numpy()).save(folder / f"r_{i}.png")
        pose = opengl_to_opencv(camera.c2w[0].double())
        frames.append({"file_path": f"./r_{i}", "transform_matrix": pose.tolist()})
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": math.radians(FOVY), "frames": frames}))
    return folder


@pytest.fixture
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets that begin with few Gaussians and save often."""
    small = recipe.replace(recipe.PRESETS["draft"], points=400, save_every=5)
    monkeypatch.setattr(recipe, "PRESETS", dict.fromkeys(recipe.PRESETS, small))


def fails(capsys: pytest.CaptureFixture[str], *args: object, code: int = 2) -> str:
    """Run a command that must fail; returns its one line on stderr."""
    assert cli.main(["reconstruct", *map(str, args), "--quiet"]) == code
    out, err = capsys.readouterr()
    lines = err.strip().splitlines()
    assert out == "" and len(lines) == 1 and lines[0].startswith("gaussmith: "), err
    return lines[0]


def test_photos_become_files_twice_the_same(photos, tmp_path, capsys, little_work):
    args = ["reconstruct", str(photos), "--steps", "30", "--max-gaussians", "600", "--eval-every", "5"]
    assert cli.main([*args, "-o", str(tmp_path / "a")]) == 0
    out, err = capsys.readouterr()
    names = ["scene.ply", "cameras.json", "preview.png", "turntable.mp4", "report.json"]
    assert out.splitlines() == [str(tmp_path / "a" / name) for name in names]
    assert "train: " in err
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(names)
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["settings"]["steps"] == 30 and report["held_out"]["views"] == 2 and report["photos"] == 10
    assert np.asarray(Image.open(tmp_path / "a" / "preview.png")).std() > 10
    assert len(load_gaussians(tmp_path / "a" / "scene.ply")) <= 600
    assert cli.main([*args, "-o", str(tmp_path / "b"), "--quiet"]) == 0
    assert (tmp_path / "a" / "scene.ply").read_bytes() == (tmp_path / "b" / "scene.ply").read_bytes()
    assert capsys.readouterr().out == ""


def test_interrupted_work_goes_on_with_resume(photos, tmp_path, capsys, little_work, monkeypatch):
    args = ["reconstruct", str(photos / "transforms.json"), "--steps", "20", "--strategy", "mcmc", "--quiet"]
    assert cli.main([*args, "-o", str(tmp_path / "whole")]) == 0
    draw, calls = recipe.rasterize, []

    def stopping(*given, **named):
        calls.append(1)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return draw(*given, **named)

    monkeypatch.setattr(recipe, "rasterize", stopping)
    assert cli.main([*args, "-o", str(tmp_path / "part")]) == 130
    assert "--resume" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "part").iterdir()] == ["reconstruct.checkpoint"]
    assert cli.main([*args, "-o", str(tmp_path / "part"), "--resume"]) == 0
    assert len(calls) == 13 + 10  # the two steps after the checkpoint at 10 were lost
    whole, part = ((tmp_path / name / "scene.ply").read_bytes() for name in ("whole", "part"))
    assert whole == part


def test_the_input_s_frame_is_its_own(photos, tmp_path, little_work):
    args = ["reconstruct", str(photos), "--steps", "10", "--quiet", "--frame", "input", "-o", str(tmp_path)]
    assert cli.main(args) == 0
    cameras = json.loads((tmp_path / "cameras.json").read_text())
    frame = json.loads((photos / "transforms.json").read_text())["frames"][3]
    position = np.array(frame["transform_matrix"])[:3, 3]
    np.testing.assert_allclose(cameras[3]["position"], position, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--steps", 0), ("--max-gaussians", 5), ("--downscale", 0), ("--eval-every", -1), ("--seed", -1)],
)
def test_numbers_out_of_range_are_refused(photos, tmp_path, capsys, option, value):
    assert option in fails(capsys, photos, option, value, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_inputs_that_cannot_be_are_told_of_and_leave_nothing(photos, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no photo")
    (tmp_path / "transforms.json").write_text('{"frames": [')
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").write_bytes((photos / "r_0.png").read_bytes())
    for bad in ("missing", "empty", "text.txt", "transforms.json", "one"):
        assert "unexpected" not in fails(capsys, tmp_path / bad, "-o", out)
        assert not out.exists(), bad
    assert "masks" in fails(capsys, photos, "--masks", tmp_path / "no-masks", "-o", out)
    assert "--downscale" in fails(capsys, photos, "--downscale", 8, "-o", out)
    assert not out.exists()
    if not torch.cuda.is_available():
        assert "CUDA" in fails(capsys, photos, "--device", "cuda", "-o", out)


def test_a_picture_that_is_missing_is_named(photos, tmp_path, capsys):
    copy = tmp_path / "photos"
    copy.mkdir()
    for file in photos.iterdir():
        if file.name != "r_4.png":
            (copy / file.name).write_bytes(file.read_bytes())
    cli.main(["reconstruct", str(copy), "--steps", "1", "-o", str(tmp_path / "out")])
    assert "r_4" in capsys.readouterr().err


def test_the_function_takes_a_scene_and_shows_its_state(photos, little_work):
    scene = gaussmith.load_photos(photos, downscale=2)
    assert scene.views[0].camera.width == SIZE // 2 and scene.views[0].alpha is not None and scene.inward
    seen: list[int] = []
    result = gaussmith.reconstruct(scene, steps=6, seed=3, on_state=lambda step, gaussians: seen.append(step))
    assert seen == [1, 2, 3, 4, 5, 6] and result.report["seed"] == 3
    with pytest.raises(gaussmith.UserError, match="no preset"):
        gaussmith.reconstruct(scene, preset="best")
    with pytest.raises(gaussmith.UserError, match="no strategy"):
        gaussmith.reconstruct(scene, strategy="luck")
