import re
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from gaussmith.events import UserError
from gaussmith.io.video import save_video


def read(path) -> np.ndarray:
    """Frames [T,H,W,3], by ffmpeg itself."""
    told = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, check=False).stderr
    width, height = re.search(rb", (\d+)x(\d+)", told).groups()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, int(height), int(width), 3)


def test_colours_sizes_and_count(tmp_path):
    colours = [(0.9, 0.1, 0.1), (0.1, 0.8, 0.2), (0.2, 0.3, 0.9), (0.5, 0.5, 0.5)]
    frames = (torch.tensor(colour).expand(33, 47, 3) for colour in colours)
    assert save_video(tmp_path / "a.mp4", frames, fps=10) == 4
    video = read(tmp_path / "a.mp4")
    assert video.shape == (4, 34, 48, 3)
    np.testing.assert_allclose(video[:, 16, 20] / 255, colours, atol=0.025)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_equal_frames_equal_bytes(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    for name in ("a.mp4", "b.mp4"):
        save_video(tmp_path / name, frames)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_refusals_leave_nothing(tmp_path):
    def failing():
        yield np.zeros((8, 8, 3))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        save_video(tmp_path / "a.mp4", failing())
    with pytest.raises(ValueError, match="at least one frame"):
        save_video(tmp_path / "a.mp4", [])
    with pytest.raises(ValueError, match="another size"):
        save_video(tmp_path / "a.mp4", [np.zeros((8, 8, 3)), np.zeros((8, 10, 3))])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="cannot write"):
        save_video(tmp_path, [np.zeros((8, 8, 3))])


def test_missing_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="ffmpeg"):
        save_video(tmp_path / "a.mp4", [np.zeros((8, 8, 3))])
    assert list(tmp_path.iterdir()) == []
