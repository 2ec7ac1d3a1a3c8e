"""The command line: what it accepts, what it writes, and how it fails."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gaussmith
from gaussmith import api, cli, cli_train_prior
from gaussmith.events import UserError
from gaussmith.gaussians import from_points
from gaussmith.io import load_mesh, save_gaussians, save_mesh
from gaussmith.mesh import Mesh

TETRAHEDRON = Mesh(
    torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A red disc on a transparent ground."""
    y, x = np.mgrid[:64, :64] - 31.5
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[x**2 + y**2 < 400] = (200, 40, 30, 255)
    Image.fromarray(rgba).save(tmp_path / "disc.png")
    return tmp_path / "disc.png"


@pytest.fixture
def prior(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Loading a prior gives a word instead, and is noted: (name, device)."""
    asked: list[tuple[str, str]] = []

    def load(name: str, device: str, max_memory: int | None = None) -> str:
        asked.append((name, device))
        return "the prior"

    monkeypatch.setattr(api, "load_prior", load)
    return asked


@pytest.fixture
def splat(tmp_path: Path) -> Path:
    """A ball of opaque green Gaussians, far from the origin."""
    direction = torch.nn.functional.normalize(torch.randn(800, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    save_gaussians(
        from_points(7 + 2 * direction, torch.tensor([0.1, 0.8, 0.2]).expand(800, 3), 0.95), tmp_path / "s.ply"
    )
    return tmp_path / "s.ply"


def fails(capsys: pytest.CaptureFixture[str], *args: object, code: int = 2) -> str:
    """Run a command that must fail; returns its one line on stderr."""
    assert cli.main([str(a) for a in args]) == code
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("gaussmith: "), err
    return lines[0]


# --- starting up ---


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, gaussmith, gaussmith.cli; gaussmith.cli.main(['--help']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numba', 'scipy', 'PIL', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for command in ("image", "mesh", "render", "prepare", "train-prior"):
        assert command in done.stdout


def test_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"gaussmith {gaussmith.__version__}\n"
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert f'version = "{gaussmith.__version__}"' in project


def test_the_public_surface_is_what_type_checkers_see() -> None:
    tree = ast.parse(Path(gaussmith.__file__).read_text())
    seen = {a.asname: n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names if a.asname}
    assert seen == gaussmith._HOME
    assert all(getattr(gaussmith, name) is not None for name in gaussmith.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gaussmith.nothing


# --- options ---


@pytest.mark.parametrize("command", [*cli.COMMANDS, "train-prior"])
def test_every_option_has_a_line_of_help(command: str) -> None:
    function = cli.commands_for([command])[command]
    text = inspect.getdoc(function) or ""
    for name in inspect.signature(function).parameters:
        assert f"    {name}: " in text


@pytest.mark.parametrize(
    "args",
    [
        [], ["image"], ["sculpt"], ["image", "a.png", "--elevation", "high"], ["image", "a.png", "--preset", "best"],
        ["image", "a.png", "--seed", "1.5"], ["mesh", "a.ply"], ["render", "a.glb", "--no-such-option"],
        ["image", "a.png", "b.png"], ["image", "a.png", "--device", "tpu"], ["train-prior"],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(args) == (2 if args else 0)  # nothing at all prints the help
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--elevation", "80.1"), ("--elevation", "-81"), ("--elevation", "nan"), ("--elevation", "inf"),
        ("--seed", "-1"),
        ("--texture-size", "63"), ("--texture-size", "8193"), ("--max-faces", "99"), ("--max-faces", "1000001"),
    ],
)  # fmt: skip
def test_image_checks_ranges_before_anything_else(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, "image", "there-is-no-such.png", option, value)
    assert option in message and value in message


@pytest.mark.parametrize(
    "args",
    [
        ["mesh", "a.ply", "-o", "b.glb", "--resolution", "31"], ["mesh", "a.ply", "-o", "b.glb", "--max-faces", "0"],
        ["render", "a.glb", "--views", "0"], ["render", "a.glb", "--views", "721"], ["render", "a.glb", "--size", "31"],
        ["render", "a.glb", "--elevation", "90.5"],
    ],
)  # fmt: skip
def test_other_commands_check_ranges(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "must be from" in fails(capsys, *args)


# --- bad input ---


@pytest.mark.parametrize("command", [["image"], ["prepare"], ["render"], ["mesh", "-o", "x.glb"]])
def test_a_missing_file_is_a_sentence(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "gone.png" if command[0] in ("image", "prepare") else "gone.ply"
    assert name in fails(capsys, command[0], name, *command[1:])
    assert list(tmp_path.iterdir()) == []


def test_a_mesh_is_not_meshed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_mesh(TETRAHEDRON, tmp_path / "m.ply")
    assert "is a mesh already" in fails(capsys, "mesh", tmp_path / "m.ply", "-o", tmp_path / "x.glb")
    assert not (tmp_path / "x.glb").exists()


def test_unknown_suffixes_are_refused(splat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ".glb" in fails(capsys, "mesh", splat, "-o", tmp_path / "x.fbx")
    assert ".mp4" in fails(capsys, "render", splat, "-o", tmp_path / "x.gif")
    assert ".png" in fails(capsys, "prepare", splat, "-o", tmp_path / "x.jpg")


def test_an_unwritable_folder_stops_before_the_work(
    picture: Path,
    prior: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(api, "image_to_3d", lambda *a, **k: pytest.fail("the work began"))
    (tmp_path / "file").write_text("in the way")
    assert "choose another folder" in fails(capsys, "image", picture, "-o", tmp_path / "file")
    assert "choose another folder" in fails(capsys, "image", picture, "-o", tmp_path / "file" / "below")


def test_a_full_disk_stops_before_the_work(
    picture: Path,
    prior: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(api, "image_to_3d", lambda *a, **k: pytest.fail("the work began"))
    monkeypatch.setattr("gaussmith.cli.shutil.disk_usage", lambda folder: type("Usage", (), {"free": 5 * 2**20}))
    assert "only 5 MB are free" in fails(capsys, "image", picture, "-o", tmp_path / "out")


def test_cuda_where_there_is_none(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device" in fails(capsys, "image", picture, "-o", tmp_path / "out", "--device", "cuda", "--quiet")
    assert not (tmp_path / "out").exists()
    assert str(api.resolve_device("auto")) == "cpu"


def test_python_callers_get_the_same_sentences(picture: Path) -> None:
    with pytest.raises(UserError, match="elevation"):
        gaussmith.image_to_3d(picture, elevation=float("nan"))
    with pytest.raises(UserError, match="no preset 'best'"):
        gaussmith.image_to_3d(picture, preset="best")
    with pytest.raises(UserError, match="no prior 'dreams'"):
        gaussmith.image_to_3d(picture, prior="dreams")


# --- interruption and faults ---


class Stops:
    """A recipe that raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *args: object, **kwargs: object) -> None:
        raise self.error


def test_ctrl_c_says_how_to_go_on(
    picture: Path,
    prior: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(api, "image_to_3d", Stops(KeyboardInterrupt()))
    assert "--resume" in fails(capsys, "image", picture, "-o", tmp_path / "out", code=130)
    save_mesh(TETRAHEDRON, tmp_path / "t.glb")
    monkeypatch.setattr(api, "refine_mesh", Stops(KeyboardInterrupt()))
    (tmp_path / "r.checkpoint").mkdir()
    told = ("--image", picture, "-o", tmp_path / "r.glb")
    assert "--resume" in fails(capsys, "refine", tmp_path / "t.glb", *told, code=130)
    assert (tmp_path / "r.checkpoint").is_dir()
    monkeypatch.setattr(api, "load", Stops(KeyboardInterrupt()))
    assert "nothing was written" in fails(capsys, "render", tmp_path / "a.glb", code=130)


def test_a_fault_of_ours_is_one_line_and_a_traceback_only_if_asked(
    picture: Path,
    prior: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("GAUSSMITH_DEBUG", raising=False)
    monkeypatch.setattr(api, "image_to_3d", Stops(RuntimeError("kernel trouble\nwith details")))
    command = ["image", str(picture), "-o", str(tmp_path / "out")]
    message = fails(capsys, *command, code=1)
    assert "RuntimeError: kernel trouble" in message and "--debug" in message
    assert cli.main([*command, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("GAUSSMITH_DEBUG", "1")
    assert cli.main(command) == 1
    assert "Traceback" in capsys.readouterr().err


def test_image_passes_every_option_on_and_keeps_the_checkpoint_of_a_failed_run(
    picture: Path,
    prior: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    got: dict[str, object] = {}

    class Result:
        def save(self, folder: Path, name: str) -> list[Path]:
            return [folder / f"{name}.glb", folder / "report.json"]

    def job(views: object, **options: object) -> object:
        got.update(options, views=views)
        folder = options["checkpoint_dir"]
        assert isinstance(folder, Path)
        folder.mkdir()
        if options["resume"]:
            return Result()
        raise UserError("give up")

    monkeypatch.setattr(api, "image_to_3d", job)
    out = tmp_path / "made" / "here"
    command = ["image", str(picture), "-o", str(out), "--elevation", "-12.5", "--seed", "7", "--preset", "draft"]
    command += ["--texture-size", "256", "--max-faces", "5000", "--device", "cpu", "--keep-framing"]
    assert "give up" in fails(capsys, *command)
    assert (out / "disc.checkpoint").is_dir()
    (out / "disc.checkpoint").rmdir()
    assert cli.main([*command, "--resume"]) == 0
    (view,) = got["views"]  # type: ignore[misc]
    assert view.prepared.keep_framing and (view.elevation, view.azimuth, view.spread) == (-12.5, 0.0, 0.0)
    expected = {
        "seed": 7, "preset": "draft", "texture_size": 256,
        "max_faces": 5000, "prior": "the prior", "resume": True,
    }  # fmt: skip
    assert {key: got[key] for key in expected} == expected
    assert prior == [("embedded", "cpu")] * 2
    assert not (out / "disc.checkpoint").exists()
    assert capsys.readouterr().out.splitlines() == [str(out / "disc.glb"), str(out / "report.json")]


# --- the commands that take seconds, for real ---


def test_prepare_writes_the_framed_picture(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["prepare", str(picture), "-o", str(tmp_path / "p.png"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    with Image.open(tmp_path / "p.png") as result:
        assert (result.size, result.mode) == ((512, 512), "RGBA")
        left, top, right, bottom = result.getchannel("A").point(lambda a: 255 * (a > 128)).getbbox()
    # A disc may be a ball: a box with a diagonal of 1.2 around it would make it 0.69 wide, 196 pixels.
    assert right - left == pytest.approx(196, abs=40) and abs(left + right - 512) <= 30
    assert bottom - top == pytest.approx(right - left, abs=4) and abs(top + bottom - 512) <= 30


def test_a_splat_becomes_a_mesh_in_its_place_and_is_rendered(
    splat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asset = tmp_path / "new" / "ball.glb"
    command = ["mesh", splat, "-o", asset, "--resolution", "32", "--max-faces", "500", "--texture-size", "64"]
    assert cli.main([str(a) for a in command]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(asset)
    assert [line.split(":")[0] for line in err.splitlines()] == ["surface", "texture"]
    mesh = load_mesh(asset)
    assert len(mesh.faces) <= 500 and mesh.albedo is not None
    assert torch.allclose(mesh.bounds.mean(dim=0), torch.tensor(7.0), atol=0.2)
    sides = mesh.bounds[1] - mesh.bounds[0]  # the sphere of centres has diameter 4, the Gaussians add their own size
    assert bool(((sides > 4.0) & (sides < 5.4)).all())
    assert torch.allclose(mesh.albedo.mean(dim=(0, 1)), torch.tensor([0.1, 0.8, 0.2]), atol=0.1)

    for file in (splat, asset):
        sheet = tmp_path / f"{file.stem}.png"
        assert cli.main(["render", str(file), "-o", str(sheet), "--views", "3", "--size", "48", "--quiet"]) == 0
        pixels = np.asarray(Image.open(sheet).convert("RGB")).astype(int)
        green = (pixels[..., 1] > pixels[..., 0] + 60) & (pixels[..., 1] > pixels[..., 2] + 60)
        assert green.mean() > 0.1, "no green ball on the sheet"


def test_render_makes_a_film_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_mesh(TETRAHEDRON, tmp_path / "t.stl")
    assert cli.main(["render", "t.stl", "--views", "3", "--size", "32"]) == 0
    out, err = capsys.readouterr()
    assert out == "t-turntable.mp4\n" and err.startswith("views: ")
    assert (tmp_path / "t-turntable.mp4").read_bytes()[4:8] == b"ftyp"


def test_train_prior_offers_the_recipe_s_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train-prior", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--samples", "--rate", "--seed", "--resume", "--device"):
        assert option in text
    assert "objects.npz" in fails(capsys, "train-prior", "gone.npz")
    assert "--views" in fails(capsys, "train-prior", "gone.npz", "--views", "7")
    assert cli_train_prior.DEFAULTS.seed == 0


def test_several_pictures_need_their_angles(picture, capsys, tmp_path) -> None:
    out = ["-o", str(tmp_path / "out")]
    assert "--azimuths" in fails(capsys, "image", picture, picture, *out)
    assert "one for each" in fails(capsys, "image", picture, picture, "--azimuths", "0,90,180", *out)
    assert "degrees between commas" in fails(capsys, "image", picture, picture, "--azimuths", "0;90", *out)
    assert "same azimuth" in fails(capsys, "image", picture, picture, "--azimuths", "0,0", *out)
    assert not (tmp_path / "out").exists()


def test_text_passes_every_option_on(monkeypatch, prior, tmp_path, capsys) -> None:
    got: dict[str, object] = {}

    class Result:
        def save(self, folder: Path, name: str) -> list[Path]:
            return [folder / f"{name}.glb"]

    def job(prompt: str, **options: object) -> object:
        got.update(options, prompt=prompt)
        return Result()

    monkeypatch.setattr(api, "text_to_3d", job)
    command = ["text", "A blue house, with a RED roof!", "-o", str(tmp_path), "--negative", "snow", "--seed", "3"]
    command += ["--preset", "draft", "--distillation", "ism", "--guidance-scale", "4", "--picture-prior", "embedded"]
    command += ["--shape", "none"]
    assert cli.main(command) == 0
    expected = {
        "shape": "none", "prompt": "A blue house, with a RED roof!", "negative": "snow", "seed": 3, "preset": "draft",
        "distillation": "ism", "guidance_scale": 4.0, "prior": "the prior", "picture_prior": "the prior",
    }  # fmt: skip
    assert {key: got[key] for key in expected} == expected
    assert capsys.readouterr().out.strip() == str(tmp_path / "a-blue-house-with-a-red-roof.glb")


def test_text_refuses_what_cannot_be_made(prior, capsys, tmp_path) -> None:
    assert "empty" in fails(capsys, "text", "  ", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "--max-memory" in fails(capsys, "text", "a chair", "--max-memory", "0")


# --- refine ---


def test_refine_passes_every_option_on(picture, prior, monkeypatch, tmp_path, capsys) -> None:
    got: dict[str, object] = {}

    class Result:
        def save(self, path: Path) -> list[Path]:
            return [path, path.with_suffix(".json")]

    def job(mesh: Mesh, **options: object) -> object:
        got.update(options, mesh=mesh)
        return Result()

    monkeypatch.setattr(api, "refine_mesh", job)
    monkeypatch.chdir(tmp_path)
    save_mesh(TETRAHEDRON, tmp_path / "t.stl")
    command = ["refine", "t.stl", "--image", str(picture), str(picture), "--azimuth", "-30,150", "--elevation", "10"]
    command += ["--prompt", "a gem", "--negative", "dull", "--seed", "3", "--steps", "7", "--texture-size", "256"]
    (tmp_path / "t-refined.checkpoint").mkdir()  # left by a run that stopped, gone with one that ends
    assert cli.main([*command, "--guidance-scale", "4", "--fresh", "--device", "cpu", "--resume"]) == 0
    expected = {
        "prompt": "a gem", "negative": "dull", "azimuth": [-30.0, 150.0], "elevation": 10.0, "seed": 3, "steps": 7,
        "texture_size": 256, "guidance_scale": 4.0, "fresh": True, "prior": "the prior", "resume": True,
        "checkpoint_dir": Path("t-refined.checkpoint"),
    }  # fmt: skip
    assert {key: got[key] for key in expected} == expected
    assert got["mesh"].faces.shape == (4, 3) and len(got["image"]) == 2  # type: ignore[attr-defined, arg-type]
    assert capsys.readouterr().out.split() == ["t-refined.glb", "t-refined.json"]
    assert not (tmp_path / "t-refined.checkpoint").exists()


def test_refine_refuses_what_cannot_be_made(picture, splat, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(api, "load_prior", lambda *a: pytest.fail("the prior was loaded"))
    monkeypatch.chdir(tmp_path)
    save_mesh(TETRAHEDRON, tmp_path / "t.glb")
    (tmp_path / "points.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        "end_header\n0 0 0\n"
    )
    (tmp_path / "nan.obj").write_text("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    before = sorted(tmp_path.iterdir())
    told = ("--image", picture)
    assert "--image or --prompt" in fails(capsys, "refine", "t.glb")
    assert "is a Gaussian splat" in fails(capsys, "refine", splat, *told)
    assert "no faces" in fails(capsys, "refine", "points.ply", *told)
    assert "not finite" in fails(capsys, "refine", "nan.obj", *told)
    assert "gone.glb" in fails(capsys, "refine", "gone.glb", *told)
    assert "gone.png" in fails(capsys, "refine", "t.glb", "--image", "gone.png")
    assert ".glb" in fails(capsys, "refine", "t.glb", *told, "-o", "new/x.stl")
    assert "one for each" in fails(capsys, "refine", "t.glb", *told, "--azimuth", "0,90")
    assert "--steps" in fails(capsys, "refine", "t.glb", *told, "--steps", "-1")
    assert "--elevation" in fails(capsys, "refine", "t.glb", *told, "--elevation", "81")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_stops_early_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as pipe:
        command = [sys.executable, "-m", "gaussmith", "image", "--help"]
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 141 and done.stderr == ""
