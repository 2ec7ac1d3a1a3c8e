import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gaussmith.camera import orbit
from gaussmith.capture import Capture, no_points
from gaussmith.events import UserError, Warned
from gaussmith.photos import find, open_capture


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(path)


@pytest.fixture
def asked(monkeypatch) -> list:
    """What structure from motion is asked for."""
    calls: list = []

    def record(folder: Path, names: list[str], **kwargs: object) -> Capture:
        calls.append((folder, names, kwargs))
        return Capture((), *no_points(), "photos")

    monkeypatch.setattr(find, "structure_from_motion", record)
    return calls


@pytest.mark.parametrize("inside", [".", "images", "input", "photos"])
def test_photos_are_found_in_order(tmp_path, asked, inside):
    for name in ("b.JPG", "a.png", "c.webp", ".hidden.png"):
        picture(tmp_path / inside / name)
    (tmp_path / inside / "notes.md").write_text("about")
    open_capture(tmp_path, work=tmp_path / "work")
    folder, names, kwargs = asked[0]
    assert folder == tmp_path / inside
    assert names == ["a.png", "b.JPG", "c.webp"]
    assert kwargs["work"] == tmp_path / "work"


def test_masks_are_matched_by_name(tmp_path, asked):
    events: list = []
    for name in ("photos/a.jpg", "photos/b.jpg", "photos/c.jpg", "m/a.png", "m/b.jpg.png", "none/z.png"):
        picture(tmp_path / name)
    open_capture(tmp_path / "photos", masks=tmp_path / "m", on_event=events.append)
    assert asked[0][2]["masks"] == {"a.jpg": tmp_path / "m" / "a.png", "b.jpg": tmp_path / "m" / "b.jpg.png"}
    assert [event.message for event in events if isinstance(event, Warned)] == [
        f"1 of 3 photos have no mask in {tmp_path / 'm'}, the first is c.jpg"
    ]
    with pytest.raises(UserError, match=r"called a\.jpg\.png"):
        open_capture(tmp_path / "photos", masks=tmp_path / "none")
    with pytest.raises(UserError, match="no folder of masks"):
        open_capture(tmp_path / "photos", masks=tmp_path / "gone")
    shutil.move(tmp_path / "m", tmp_path / "photos" / "masks")
    open_capture(tmp_path / "photos")
    assert sorted(asked[1][2]["masks"]) == ["a.jpg", "b.jpg"]


def test_temporary_work_is_not_beside_the_photos(tmp_path, asked):
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    open_capture(tmp_path)
    assert tmp_path not in asked[0][2]["work"].parents
    assert asked[0][2]["work"].is_dir()


def refused(path: Path, match: str, **kwargs) -> None:
    with pytest.raises(UserError, match=match) as caught:
        open_capture(path, **kwargs)
    assert "\n" not in str(caught.value)


def test_inputs_without_photos_are_refused_in_a_sentence(tmp_path, asked):
    refused(tmp_path / "gone", "there is nothing at")
    refused(tmp_path, "there are no photos in")
    (tmp_path / "walk.MP4").write_bytes(b"\0" * 64)
    refused(tmp_path, r"but a video: name it, .*walk\.MP4")
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0" * 64)
    refused(tmp_path, r"IMG_1\.HEIC.* save them as JPEG")
    picture(tmp_path / "a.jpg")
    refused(tmp_path, "only one photo")
    refused(tmp_path / "a.jpg", "is one photo")
    (tmp_path / "notes.md").write_text("about")
    refused(tmp_path / "notes.md", "is none of these")
    (tmp_path / "cameras.bin").write_bytes(b"\0")
    refused(tmp_path / "cameras.bin", "name the folder")
    refused(tmp_path / "walk.MP4", "no video in it", work=tmp_path / "work")
    refused(tmp_path / "walk.MP4", "masks cannot be matched", masks=tmp_path)
    (tmp_path / "t.json").write_text("{")
    refused(tmp_path / "t.json", "not JSON")
    assert asked == []


def test_posed_photos_are_read_as_they_are(tmp_path, asked):
    cameras = orbit([0.0, 90.0, 180.0], 10, 3, 50, 60, 40)
    frames = []
    for i, c2w in enumerate(cameras.c2w):
        picture(tmp_path / f"{i}.png")
        opengl = (c2w * torch.tensor([1.0, -1, -1, 1])).tolist()
        frames.append({"file_path": f"{i}.png", "transform_matrix": opengl})
    focal = float(cameras.K[0, 0, 0])
    top = {"w": 60, "h": 40, "fl_x": focal, "fl_y": focal, "cx": 30, "cy": 20, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(top))
    for path in (tmp_path, tmp_path / "transforms.json"):
        capture = open_capture(path)
        assert asked == []
        torch.testing.assert_close(torch.stack([p.c2w for p in capture.photos]).float(), cameras.c2w)
