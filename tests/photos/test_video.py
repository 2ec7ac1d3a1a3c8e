from pathlib import Path

import numpy as np
import pytest

from gaussmith.events import UserError
from gaussmith.io.image import load_image, picture_size
from gaussmith.io.video import save_video
from gaussmith.photos import find, video
from gaussmith.photos.video import take_frames

GENERATOR = np.random.default_rng(0)
SHARP = GENERATOR.integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)


def filmed(path: Path, count: int = 60, sharp_every: int = 10) -> Path:
    """Two seconds whose frames grow brighter; one in ten is sharp, the others show only the mean."""
    frames = []
    for i in range(count):
        frame = SHARP if i % sharp_every == 4 else np.full_like(SHARP, 128)
        frames.append((0.5 * frame + 100 * i / count).astype(np.uint8))
    save_video(path, frames, fps=30)
    return path


def test_the_sharpest_of_each_stretch_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "FRAMES", 6)
    monkeypatch.setattr(video, "_CANDIDATES", 10)
    names = take_frames(filmed(tmp_path / "a.mp4"), tmp_path / "frames")
    assert names == [f"frame_{i:04d}.png" for i in range(6)] == sorted(p.name for p in (tmp_path / "frames").iterdir())
    pixels = [255 * load_image(tmp_path / "frames" / name)[..., :3] for name in names]
    assert pixels[0].shape == (96, 128, 3)
    assert all(p.std() > 20 for p in pixels)
    brightness = [p.mean() for p in pixels]
    assert brightness == sorted(brightness)  # spread over the film


def test_frames_are_bounded_and_reduced(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "FRAME_SIDE", 64)
    names = take_frames(filmed(tmp_path / "a.mp4"), tmp_path / "frames")
    assert 11 <= len(names) <= 14  # no closer than 0.15 seconds
    assert picture_size(tmp_path / "frames" / names[0])[0] == (64, 48)
    monkeypatch.setattr(video, "FRAMES", 4)
    assert len(take_frames(tmp_path / "a.mp4", tmp_path / "frames")) == 4
    assert len(list((tmp_path / "frames").iterdir())) == 4  # those of before are gone


def test_repeated_frames_are_kept_once(tmp_path):
    frames = np.random.default_rng(1).integers(0, 256, (5, 6, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    save_video(tmp_path / "a.mp4", frames, fps=1)
    assert len(take_frames(tmp_path / "a.mp4", tmp_path / "frames")) == 5


def test_same_film_gives_the_same_frames(tmp_path):
    film = filmed(tmp_path / "a.mp4")
    first, second = (
        [(tmp_path / name / f).read_bytes() for f in take_frames(film, tmp_path / name)] for name in ("x", "y")
    )
    assert first == second


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no film",
        b"\0\0\0\x18ftypmp42" + bytes(200),
        b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
    ],
)
def test_what_is_no_film_is_refused(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UserError, match="no video in it"):
        take_frames(tmp_path / "a.mp4", tmp_path / "frames")


def test_cut_off_too_short_and_too_long_films(tmp_path, monkeypatch):
    film = filmed(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(film.read_bytes()[:500])  # in the table of contents
    with pytest.raises(UserError, match="no video in it"):
        take_frames(tmp_path / "b.mp4", tmp_path / "frames")
    with pytest.raises(UserError, match="too short"):
        take_frames(filmed(tmp_path / "c.mp4", count=9), tmp_path / "frames")
    monkeypatch.setattr(video, "LONGEST", 1.0)
    with pytest.raises(UserError, match="lasts 2 s"):
        take_frames(film, tmp_path / "frames")


def test_a_film_is_a_sequence_of_photos(tmp_path, monkeypatch):
    calls: list = []
    monkeypatch.setattr(find, "structure_from_motion", lambda *args, **kwargs: calls.append((args, kwargs)))
    find.open_capture(filmed(tmp_path / "a.mp4"), work=tmp_path / "work")
    (folder, names), kwargs = calls[0]
    assert folder == tmp_path / "work" / "frames"
    assert len(names) > 10
    assert kwargs["ordered"]
