"""transforms.json as nerfstudio, instant-ngp and Blender write it; damaged ones are refused in a sentence."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gaussmith.camera import look_at, opengl_to_opencv
from gaussmith.events import UserError, Warned
from gaussmith.io.transforms import find_transforms, load_transforms
from gaussmith.lens import project

SETTINGS = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
EYES = torch.tensor([[0.0, 1.0, 4.0], [3.0, 0.5, -2.0], [-2.0, 2.0, 1.0]], dtype=torch.float64)
POSES = look_at(EYES, torch.zeros(3, dtype=torch.float64))  # OpenCV axes
PLY = b"""ply
format ascii 1.0
element vertex 2
property float x
property float y
property float z
%send_header
0 0.5 1%s
2 3 4%s
"""
COLORS = b"property uchar red\nproperty uchar green\nproperty uchar blue\n"
INTRINSICS = {"w": 64, "h": 48, "fl_x": 50.0, "fl_y": 51.0, "cx": 31.0, "cy": 25.0}


def frames(names=("images/a.png", "images/b.png", "images/c.png")) -> list[dict]:
    matrices = opengl_to_opencv(POSES)
    return [{"file_path": name, "transform_matrix": m.tolist()} for name, m in zip(names, matrices)]


def lay_out(
    root: Path, top: dict, name: str = "transforms.json", pictures=("images/a.png", "images/b.png", "images/c.png")
):
    root.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        (root / picture).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(root / picture)
    (root / name).write_text(json.dumps(top))
    return root


def test_nerfstudio(tmp_path) -> None:
    top = INTRINSICS | {"camera_model": "OPENCV", "k1": -0.1, "k2": 0.02, "p1": 1e-3, "p2": -2e-3, "frames": frames()}
    top |= {"applied_transform": [[1, 0, 0, 9], [0, 0, 1, 9], [0, -1, 0, 9]], "ply_file_path": "sparse_pc.ply"}
    top["frames"][1] |= {"mask_path": "masks/b.png", "fl_x": 77.0, "w": 128}
    (tmp_path / "sparse_pc.ply").write_bytes(PLY % (COLORS, b" 255 0 51", b" 0 0 0"))
    root = lay_out(tmp_path, top, pictures=("images/a.png", "images/b.png", "images/c.png", "masks/b.png"))
    events: list = []
    capture = load_transforms(root, on_event=events.append)
    assert not events
    assert [photo.name for photo in capture.photos] == ["images/a.png", "images/b.png", "images/c.png"]
    for photo, pose in zip(capture.photos, POSES):
        torch.testing.assert_close(photo.c2w, pose, rtol=0, atol=1e-12)
        assert photo.path == root / photo.name
    assert capture.photos[0].lens.model == "OPENCV"
    assert capture.photos[0].lens.params == (50, 51, 31, 25, -0.1, 0.02, 1e-3, -2e-3)
    assert (capture.photos[1].lens.params[0], capture.photos[1].lens.width, capture.photos[1].lens.height) == (
        77,
        128,
        48,
    )
    assert [photo.mask for photo in capture.photos] == [None, root / "masks/b.png", None]
    torch.testing.assert_close(capture.points, torch.tensor([[0, 0.5, 1], [2, 3, 4]]).double())
    torch.testing.assert_close(capture.colors, torch.tensor([[1, 0, 0.2], [0, 0, 0]]))


def test_blender(tmp_path) -> None:
    """Extensionless names, an angle instead of a focal length, the pictures' own size, splits in files of their own."""
    top = {"camera_angle_x": 0.6911112070083618, "frames": frames(("./train/r_0", "./train/r_1", "./train/r_10"))}
    root = lay_out(tmp_path, top, "transforms_train.json", [f"train/r_{i}.png" for i in (0, 1, 10)])
    lay_out(tmp_path, top | {"frames": frames(("./test/r_0",))}, "transforms_test.json", ["test/r_0.png"])
    capture = load_transforms(root)
    assert [photo.name for photo in capture.photos] == ["train/r_0", "train/r_1", "train/r_10"]
    assert [photo.path for photo in capture.photos] == [root / f"train/r_{i}.png" for i in (0, 1, 10)]
    lens = capture.photos[0].lens
    assert (lens.model, lens.width, lens.height) == ("PINHOLE", 64, 48)
    half = 32 / math.tan(0.6911112070083618 / 2)
    assert lens.params == pytest.approx((half, half, 32, 24))
    assert len(capture.points) == 0
    assert [photo.name for photo in load_transforms(root / "transforms_test.json").photos] == ["test/r_0"]


def test_instant_ngp(tmp_path) -> None:
    """Both angles and focal lengths: the latter count. Its box is no matter of ours."""
    top = {"camera_angle_x": 1.0, "camera_angle_y": 0.5, "aabb_scale": 16, "scale": 0.33, "offset": [0.5, 0.5, 0.5]}
    top |= INTRINSICS | {"k1": 0.1, "k2": 0.0, "k3": 0.01, "k4": 0.002, "p1": 0, "p2": 0, "is_fisheye": True}
    capture = load_transforms(lay_out(tmp_path, top | {"frames": frames()}))
    assert capture.photos[0].lens.model == "OPENCV_FISHEYE"
    assert capture.photos[0].lens.params == (50, 51, 31, 25, 0.1, 0, 0.01, 0.002)
    torch.testing.assert_close(capture.photos[2].c2w, POSES[2], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("mark", "signs"), [("from_na", (1, 1, 1)), ("from_mitsuba", (-1, -1, 1))])
def test_marked_axes(mark, signs, tmp_path) -> None:
    top = INTRINSICS | {mark: True, "frames": frames()}
    for frame, pose in zip(top["frames"], POSES):
        frame["transform_matrix"] = (pose * torch.tensor([*signs, 1.0]).double()).tolist()
    capture = load_transforms(lay_out(tmp_path, top))
    for photo, pose in zip(capture.photos, POSES):
        torch.testing.assert_close(photo.c2w, pose, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("keys", "model", "extra"),
    [
        ({}, "PINHOLE", ()),
        ({"k1": 0, "k2": 0.0, "p1": None}, "PINHOLE", ()),
        ({"k1": 0.1}, "OPENCV", (0.1, 0, 0, 0)),
        ({"k1": 0.1, "k3": 0.2}, "FULL_OPENCV", (0.1, 0, 0, 0, 0.2, 0, 0, 0)),
        ({"k4": 0.1, "camera_model": "FULL_OPENCV"}, "FULL_OPENCV", (0, 0, 0, 0, 0, 0.1, 0, 0)),
        ({"camera_model": "OPENCV_FISHEYE"}, "OPENCV_FISHEYE", (0, 0, 0, 0)),
    ],
)
def test_the_simplest_model_is_taken(keys, model, extra, tmp_path) -> None:
    lens = load_transforms(lay_out(tmp_path, INTRINSICS | keys | {"frames": frames()})).photos[0].lens
    assert (lens.model, lens.params[4:]) == (model, extra)


def test_scaled_and_rounded_matrices_become_rigid(tmp_path) -> None:
    top = INTRINSICS | {"frames": frames()}
    for frame in top["frames"]:
        matrix = np.array(frame["transform_matrix"])
        matrix[:3, :3] *= 2.5
        frame["transform_matrix"] = np.round(matrix, 5)[:3].tolist()
    for photo, pose in zip(load_transforms(lay_out(tmp_path, top)).photos, POSES):
        torch.testing.assert_close(photo.c2w, pose, rtol=0, atol=1e-5)
        rotation = photo.c2w[:3, :3]
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3).double(), rtol=0, atol=1e-12)


def test_points_without_colour_are_grey_and_missing_ones_told_of(tmp_path) -> None:
    top = INTRINSICS | {"frames": frames(), "ply_file_path": "points.ply"}
    root = lay_out(tmp_path, top)
    events: list = []
    assert len(load_transforms(root, on_event=events.append).points) == 0
    assert "which are not there" in events[0].message
    (root / "points.ply").write_bytes(PLY % (b"", b"", b""))
    assert load_transforms(root).colors.tolist() == [[0.5] * 3] * 2


def test_missing_photos_and_masks(tmp_path) -> None:
    top = INTRINSICS | {"frames": frames()}
    root = lay_out(tmp_path, top, pictures=("images/a.png", "images/c.png", "cut/c.png"))
    events: list = []
    capture = load_transforms(root, masks=root / "cut", on_event=events.append)
    assert [(photo.name, photo.mask) for photo in capture.photos] == [
        ("images/a.png", None),
        ("images/c.png", root / "cut/c.png"),
    ]
    assert [type(event) for event in events] == [Warned, Warned]
    with pytest.raises(UserError, match="none of the 3 photos can be found"):
        load_transforms(lay_out(tmp_path / "bare", top, pictures=()))
    del top["w"], top["h"]
    assert len(load_transforms(lay_out(root, top, pictures=())).photos) == 2, "sizes come from those that are there"


def changed(**keys) -> dict:
    top = INTRINSICS | {"frames": frames()}
    top["frames"][1] |= keys
    return top


@pytest.mark.parametrize(
    ("top", "words"),
    [
        ([1, 2], "no list of 'frames'"),
        ({"frames": []}, "no list of 'frames'"),
        ({"frames": [1]}, "no list of 'frames'"),
        (changed(file_path=3), "frame 1 has no file_path"),
        (changed(file_path="../b.png"), "does not lie inside"),
        (changed(file_path="/etc/passwd"), "does not lie inside"),
        (changed(file_path="images\\..\\..\\b.png"), "does not lie inside"),
        (changed(file_path="."), "does not lie inside"),
        (changed(mask_path="../../m.png"), "does not lie inside"),
        (changed(file_path="a\nb"), "no usable name"),
        (changed(transform_matrix=None), "no transform_matrix of 4x4"),
        (changed(transform_matrix=[[1, 0], [0, 1]]), "no transform_matrix of 4x4"),
        (changed(transform_matrix=[["1"] * 4] * 4), "no transform_matrix of 4x4"),
        (changed(transform_matrix=[[math.nan] * 4] * 4), "no transform_matrix of 4x4"),
        (changed(transform_matrix=[[0] * 4] * 4), "no rotation"),
        (changed(transform_matrix=[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]), "no rotation"),
        (changed(transform_matrix=[[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "no rotation"),
        (changed(transform_matrix=[[1, 0, 0, 1e20], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "from the origin"),
        (changed(fl_x=0), "focal length"),
        (changed(fl_x="50"), "has a fl_x that is not a finite number"),
        (changed(fl_x=10**400), "has a fl_x that is not a finite number"),
        (changed(w=1e200), "pixels"),
        (changed(cx=math.inf), "has a cx that is not"),
        (changed(camera_model="EQUIRECTANGULAR"), "EQUIRECTANGULAR"),
        (changed(camera_model=[1]), "has the model"),
        (changed(k4=0.1), "beyond k3"),
        (changed(p1=0.1, is_fisheye=True), "a fisheye with"),
        ({"w": 64, "h": 48, "frames": frames()}, "has no focal length"),
        ({"w": 64, "h": 48, "camera_angle_x": 4.0, "frames": frames()}, "has no focal length"),
        (INTRINSICS | {"frames": frames(), "ply_file_path": "../p.ply"}, "does not lie inside"),
    ],
)
def test_one_sentence_each(top, words, tmp_path) -> None:
    with pytest.raises(UserError) as error:
        load_transforms(lay_out(tmp_path, top))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"frames": [' + b"9" * 5000 + b"]}"])
def test_not_json(data, tmp_path) -> None:
    (tmp_path / "transforms.json").write_bytes(data)
    with pytest.raises(UserError, match=r"cannot read .*transforms.json"):
        load_transforms(tmp_path)


def test_finding(tmp_path) -> None:
    assert find_transforms(tmp_path) is None
    with pytest.raises(UserError, match=r"there is no transforms.json"):
        load_transforms(tmp_path)
    for name in ("transforms_train.json", "transforms.json"):
        (tmp_path / name).write_text("{}")
        assert find_transforms(tmp_path) == tmp_path / name == find_transforms(tmp_path / name)


def check_any(root: Path) -> None:
    """A sound capture or one sentence."""
    try:
        capture = load_transforms(root)
    except UserError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
        return
    assert capture.points.isfinite().all()
    for photo in capture.photos:
        assert photo.path.is_relative_to(root)
        assert photo.path.is_file()
        rotation = photo.c2w[:3, :3]
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3).double(), rtol=0, atol=1e-9)
        assert project(photo.lens, torch.zeros(1, 2).double()).isfinite().all()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "images/a", "OPENCV", "..", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["frames", "w"]), inner, max_size=2),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        *("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_model", "is_fisheye", "k1", "k3", "k4", "p1"),
        *("frames", "ply_file_path", "from_na", "file_path", "transform_matrix", "mask_path"),
    ]
)


class TestFuzz:
    @SETTINGS
    @given(top=st.dictionaries(KEYS, VALUES, max_size=3), frame=st.dictionaries(KEYS, VALUES, max_size=3))
    def test_any_values(self, top, frame, tmp_path) -> None:
        whole = INTRINSICS | {"frames": frames()} | top
        if isinstance(whole["frames"], list) and whole["frames"] and isinstance(whole["frames"][0], dict):
            whole["frames"][0] |= frame
        check_any(lay_out(tmp_path, whole, pictures=("images/a.png",) if not (tmp_path / "images").exists() else ()))

    @SETTINGS
    @given(data=st.data())
    def test_any_bytes(self, data, tmp_path) -> None:
        file = json.dumps(INTRINSICS | {"frames": frames()[:1]}).encode()
        lay_out(tmp_path, {}, pictures=("images/a.png",) if not (tmp_path / "images").exists() else ())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(file)))
            piece = data.draw(st.binary(max_size=6) | st.sampled_from([b"NaN", b"1e999", b"null", b"[", b'"']))
            file = file[:at] + piece + file[at + data.draw(st.integers(0, 6)) :]
        (tmp_path / "transforms.json").write_bytes(file)
        check_any(tmp_path)
