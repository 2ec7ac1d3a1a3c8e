from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaussmith.camera import orbit
from gaussmith.events import UserError
from gaussmith.rotation import quat_to_matrix
from gaussmith.viewer.camera_path import CameraPath, Pose, from_json, pose_of, with_keyframe


def around(count: int = 5, loop: bool = False) -> CameraPath:
    """Keyframes evenly round the origin."""
    turns = torch.arange(count) * 360.0 / count
    return CameraPath(tuple(pose_of(orbit(t, 10.0, 2.0)) for t in turns), seconds=1.0, loop=loop)


def matrix(pose: Pose) -> np.ndarray:
    return quat_to_matrix(torch.tensor(pose.wxyz, dtype=torch.float64)).numpy()


def angle(a: Pose, b: Pose) -> float:
    cosine = (np.trace(matrix(a).T @ matrix(b)) - 1) / 2
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def test_a_pose_is_its_camera() -> None:
    camera = orbit(77, -20, 3.0, 40.0, 64, 48, target=torch.tensor([1.0, 2.0, 3.0]))
    again = pose_of(camera).camera(64, 48)
    torch.testing.assert_close(again.c2w, camera.c2w, atol=1e-6, rtol=0)
    torch.testing.assert_close(again.K, camera.K)
    assert pose_of(camera).fov == pytest.approx(40)


@pytest.mark.parametrize("loop", [False, True])
def test_the_path_goes_through_its_keyframes(loop: bool) -> None:
    path = around(loop=loop)
    poses = path.poses(fps=10)
    assert len(poses) == (50 if loop else 41)
    for i, keyframe in enumerate(path.keyframes):
        assert poses[10 * i].position == pytest.approx(keyframe.position, abs=1e-9)
        assert angle(poses[10 * i], keyframe) < 1e-4
        assert poses[10 * i].fov == pytest.approx(keyframe.fov)


@pytest.mark.parametrize("loop", [False, True])
def test_the_motion_is_smooth(loop: bool) -> None:
    poses = around(loop=loop).poses(fps=60)
    if loop:
        poses = [*poses, *poses[:2]]
    steps = np.diff([pose.position for pose in poses], axis=0)
    turns = np.array([angle(a, b) for a, b in itertools.pairwise(poses)])
    assert np.linalg.norm(np.diff(steps, axis=0), axis=1).max() < 0.05 * np.linalg.norm(steps, axis=1).max()
    assert turns.min() > 0.4 * turns.max()
    assert np.abs(np.diff(turns)).max() < 0.05 * turns.max()


def test_a_loop_round_the_origin_stays_near_its_circle() -> None:
    distance = [np.linalg.norm(pose.position) for pose in around(8, loop=True).poses(fps=20)]
    assert min(distance) > 1.99 and max(distance) < 2.01


def test_a_path_needs_two_keyframes_and_a_time() -> None:
    one = with_keyframe(CameraPath(), pose_of(orbit(0, 0)))
    with pytest.raises(UserError, match="two keyframes"):
        one.poses(30)
    assert one.duration == 0
    assert len(with_keyframe(one, pose_of(orbit(90, 0))).poses(30)) == 61
    for seconds in (0.0, -1.0, 61.0, math.nan):
        with pytest.raises(UserError, match="time between keyframes"):
            CameraPath(seconds=seconds)


def test_two_equal_keyframes_stand_still() -> None:
    pose = pose_of(orbit(30, 10))
    for loop in (False, True):
        poses = CameraPath((pose, pose), 0.5, loop).poses(10)
        assert all(p.position == pytest.approx(pose.position) and angle(p, pose) < 1e-4 for p in poses)


def test_json_gives_the_path_back() -> None:
    path = around(loop=True)
    again = from_json(path.to_json())
    assert (again.seconds, again.loop) == (path.seconds, path.loop)
    np.testing.assert_allclose([k.wxyz for k in again.keyframes], [k.wxyz for k in path.keyframes], atol=1e-12)
    assert [k.position for k in again.keyframes] == [k.position for k in path.keyframes]


def keyframe(**changes: object) -> dict[str, object]:
    return {"position": [0, 0, 2], "wxyz": [1, 0, 0, 0], "fov": 49.1, **changes}


@pytest.mark.parametrize(
    "keyframes",
    [
        [keyframe(position=[0, 0])],
        [keyframe(position=[0, 0, math.nan])],
        [keyframe(position=[0, 0, 1e300])],
        [keyframe(wxyz=[0, 0, 0, 0])],
        [keyframe(wxyz="half a turn")],
        [keyframe(fov=180)],
        [keyframe(fov=[49])],
        [{"position": [0, 0, 2]}],
        [3],
        7,
        [keyframe()] * 1001,
    ],
)
def test_json_with_wrong_keyframes_is_refused(keyframes: object) -> None:
    with pytest.raises(UserError):
        from_json(json.dumps({"keyframes": keyframes, "seconds": 1, "loop": False}).encode())


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["position", "wxyz", "fov"]), inner),
)


@given(st.binary(max_size=50) | st.dictionaries(st.sampled_from(["keyframes", "seconds", "loop"]), VALUES))
def test_no_file_breaks_the_reader(content: bytes | dict[str, object]) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    try:
        path = from_json(data)
    except UserError:
        return
    assert all(np.isfinite(k.position).all() and 1 <= k.fov <= 170 for k in path.keyframes)
