from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from gaussmith.camera import orbit
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians, in_ball
from gaussmith.io import load_gaussians, load_image, load_mesh
from gaussmith.mesh import Mesh
from gaussmith.viewer.camera_path import CameraPath, from_json, pose_of
from gaussmith.viewer.exports import new_file, save_cropped, save_film, save_path, save_picture
from gaussmith.viewer.items import Item, Look, picture

FRONT = pose_of(orbit(0, 0))


@pytest.fixture
def items() -> list[Item]:
    return [Item("ball", in_ball(200, 0.5, torch.Generator().manual_seed(0), color=0.8, opacity=0.9))]


def test_a_picture_has_the_size_asked_for_and_shows_what_our_rasteriser_sees(tmp_path: Path, items: list[Item]) -> None:
    path = save_picture(items, Look(), FRONT, (80, 60), tmp_path)
    assert path == tmp_path / "ball.png"
    expected = picture(items, Look(), FRONT.camera(80, 60))
    pixels = torch.from_numpy(np.asarray(load_image(path)))[..., :3]
    assert pixels.shape == (60, 80, 3)
    torch.testing.assert_close(pixels, expected, atol=0.51 / 255, rtol=0)
    assert float((expected - expected[0, 0]).abs().max()) > 0.1  # there is something in it


def test_nothing_is_ever_overwritten(tmp_path: Path, items: list[Item]) -> None:
    first, second = (save_picture(items, Look(), FRONT, (16, 16), tmp_path) for _ in range(2))
    assert (first.name, second.name) == ("ball.png", "ball-2.png")
    assert new_file(tmp_path, "ball", ".png").name == "ball-3.png"


@pytest.mark.parametrize("size", [(15, 100), (100, 5000), (0, 0)])
def test_absurd_sizes_are_refused(tmp_path: Path, items: list[Item], size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="16 to 4096"):
        save_picture(items, Look(), FRONT, size, tmp_path)
    assert list(tmp_path.iterdir()) == []


def short_path() -> CameraPath:
    return CameraPath((FRONT, pose_of(orbit(40, 10))), seconds=0.2)


def test_a_film_has_a_frame_for_every_pose(tmp_path: Path, items: list[Item]) -> None:
    shares: list[float] = []
    path = save_film(items, Look(), short_path(), (48, 32), tmp_path, shares.append)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, 32, 48, 3) / 255
    assert len(frames) == len(short_path().poses(30)) == len(shares) == 7
    assert shares[0] == 0 and sorted(shares) == shares and shares[-1] < 1
    assert np.abs(frames[0] - picture(items, Look(), FRONT.camera(48, 32)).numpy()).mean() < 0.03


def test_a_film_that_is_stopped_leaves_no_file(tmp_path: Path, items: list[Item]) -> None:
    class Enough(Exception):
        pass

    def stop(share: float) -> None:
        if share > 0.5:
            raise Enough

    with pytest.raises(Enough):
        save_film(items, Look(), short_path(), (32, 32), tmp_path, stop)
    assert list(tmp_path.iterdir()) == []


def test_paths_are_saved_as_json(tmp_path: Path) -> None:
    file = save_path(short_path(), tmp_path)
    assert file.name == "camera-path.json"
    assert len(from_json(file.read_bytes()).keyframes) == 2


def test_a_cropped_copy_holds_what_is_in_the_box(tmp_path: Path, items: list[Item]) -> None:
    square = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]]))
    scene = [*items, Item("flat", square)]
    look = Look(size=0.5, box=((0.0, -9.0, -9.0), (9.0, 9.0, 9.0)))
    paths = save_cropped(scene, look, tmp_path)
    assert [path.name for path in paths] == ["ball-cropped.ply", "flat-cropped.glb"]
    left, whole = load_gaussians(paths[0]), items[0].thing
    assert isinstance(whole, Gaussians)
    inside = whole.means[:, 0] >= 0
    assert torch.equal(left.means, whole.means[inside])
    assert torch.equal(left.log_scales, whole.log_scales[inside])  # the size is for looking only
    assert len(load_mesh(paths[1]).faces) == 1
    only = save_cropped(scene, replace(look, hidden=frozenset({"flat"})), tmp_path)
    assert [path.name for path in only] == ["ball-cropped-2.ply"]


def test_an_empty_box_is_said(tmp_path: Path, items: list[Item]) -> None:
    with pytest.raises(UserError, match="nothing in the box"):
        save_cropped(items, Look(box=((5.0, 5.0, 5.0), (6.0, 6.0, 6.0))), tmp_path)
    assert list(tmp_path.iterdir()) == []
