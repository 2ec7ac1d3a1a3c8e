"""cameras.json there and back, and whatever else may lie under that name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaussmith.camera import Camera, orbit
from gaussmith.events import UserError
from gaussmith.io.cameras_json import load_cameras, save_cameras


def plain() -> dict[str, Any]:
    eye = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    return {"id": 0, "img_name": "a", "width": 8, "height": 6, "position": [1, 2, 3], "rotation": eye, "fx": 9, "fy": 7}


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "cameras.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_cameras_come_back_exactly(tmp_path: Path) -> None:
    ring = orbit(torch.tensor([0.0, 33.0, 190.0]), torch.tensor([10.0, -70.0, 90.0]), width=40, height=30)
    shifted = ring.K.clone()
    shifted[:, 0, 2] += 1.25
    cameras = [ring[0], Camera(ring.c2w[1:2], shifted[1:2], 40, 30), ring[2].resized(64, 50)]
    save_cameras(tmp_path / "c.json", ["a.jpg", "ä b", "c"], cameras)
    names, back = load_cameras(tmp_path / "c.json")
    assert names == ["a.jpg", "ä b", "c"]
    for camera, other in zip(cameras, back, strict=True):
        assert torch.equal(camera.c2w, other.c2w) and torch.equal(camera.K, other.K)
        assert (camera.width, camera.height) == (other.width, other.height)


def test_the_layout_is_that_of_3dgs(tmp_path: Path) -> None:
    camera = orbit(90.0, 0.0, radius=3.0, width=20, height=10)
    save_cameras(tmp_path / "c.json", ["x"], [camera])
    (entry,) = json.loads((tmp_path / "c.json").read_text())
    assert set(entry) == {"id", "img_name", "width", "height", "position", "rotation", "fx", "fy"}
    assert entry["position"] == pytest.approx([3, 0, 0], abs=1e-6)
    # Rows of camera-to-world: its last column is the viewing direction, towards -X from there.
    assert [row[2] for row in entry["rotation"]] == pytest.approx([-1, 0, 0], abs=1e-6)


def test_a_file_without_principal_point_means_the_middle(tmp_path: Path) -> None:
    _, (camera,) = load_cameras(written(tmp_path, [plain()]))
    assert camera.K[0].tolist() == [[9, 0, 4], [0, 7, 3], [0, 0, 1]]
    assert camera.position.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 0}, "width"),
        ({"height": 1e9}, "height"),
        ({"width": 2.5}, "whole"),
        ({"fx": -1}, "positive"),
        ({"fy": float("nan")}, "finite"),
        ({"fx": True}, "finite"),
        ({"fx": 10**400}, "camera 0"),
        ({"position": [0, 0]}, "three numbers"),
        ({"position": [0, 0, "1"]}, "finite"),
        ({"rotation": [[2, 0, 0], [0, 2, 0], [0, 0, 2]]}, "rotation"),
        ({"rotation": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}, "rotation"),
        ({"rotation": 3}, "rows"),
        ({"cx": float("inf")}, "cx"),
    ],
)
def test_impossible_cameras_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_cameras(written(tmp_path, [plain() | change]))


@pytest.mark.parametrize("missing", ["width", "position", "rotation", "fx"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    with pytest.raises(UserError, match=f"{missing} is missing"):
        load_cameras(written(tmp_path, [{k: v for k, v in plain().items() if k != missing}]))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "3", "[3]", "[" * 100_000, "\x00", '"' + "9" * 5000])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError):
        load_cameras(written(tmp_path, content))


def test_what_cannot_be_written_is_a_fault_of_the_caller(tmp_path: Path) -> None:
    ring = orbit(torch.tensor([0.0, 90.0]), 0.0, width=8)
    skewed = ring.K.clone()
    skewed[:, 0, 1] = 1
    for names, cameras in ((["a"], []), (["a"], [ring]), (["a"], [Camera(ring.c2w[:1], skewed[:1], 8, 8)])):
        with pytest.raises(ValueError):
            save_cameras(tmp_path / "c.json", names, cameras)
    with pytest.raises(ValueError):
        save_cameras(tmp_path / "c.json", ["a"], [Camera(ring.c2w[:1] * float("nan"), ring.K[:1], 8, 8)])
    assert not list(tmp_path.iterdir())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(plain())), inner, max_size=8),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(plain())), values, max_size=4), st.binary(max_size=40))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, change: dict, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("c") / "cameras.json"
    for content in (json.dumps([plain() | change]).encode(), noise, json.dumps([plain()]).encode()[: 20 + len(noise)]):
        path.write_bytes(content)
        try:
            _, cameras = load_cameras(path)
        except UserError:
            continue
        assert all(bool(c.c2w.isfinite().all() & c.K.isfinite().all()) for c in cameras)
