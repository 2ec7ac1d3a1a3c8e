"""A path of the camera: keyframes, the smooth motion through them, and its JSON file.

Camera axes are OpenCV's (x right, y down, z forward), in the page as in the project.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from gaussmith.camera import Camera, intrinsics
from gaussmith.events import UserError
from gaussmith.rotation import matrix_to_quat, quat_to_matrix

MAX_KEYFRAMES = 1000
MAX_SECONDS = 60.0  # between two keyframes


@dataclass(frozen=True)
class Pose:
    """Where a camera stands and how it looks.

    Attributes:
        position: centre in the world.
        wxyz: unit quaternion, camera to world.
        fov: vertical field of view in degrees.
    """

    position: tuple[float, float, float]
    wxyz: tuple[float, float, float, float]
    fov: float

    def camera(self, width: int, height: int) -> Camera:
        """The camera (B = 1) of a picture size in pixels."""
        c2w = torch.eye(4, dtype=torch.float64)[None]
        c2w[0, :3, :3] = quat_to_matrix(torch.tensor(self.wxyz, dtype=torch.float64))
        c2w[0, :3, 3] = torch.tensor(self.position, dtype=torch.float64)
        return Camera(c2w.float(), intrinsics(self.fov, width, height), width, height)


def pose_of(camera: Camera) -> Pose:
    """The pose of a camera (B = 1) with its principal point in the middle."""
    c2w = camera.c2w[0].double()
    fov = math.degrees(2 * math.atan(camera.height / (2 * float(camera.K[0, 1, 1]))))
    return Pose(tuple(c2w[:3, 3].tolist()), tuple(matrix_to_quat(c2w[:3, :3]).tolist()), fov)


@dataclass(frozen=True)
class CameraPath:
    """Keyframes in their order.

    Attributes:
        keyframes: the poses.
        seconds: time from one keyframe to the next.
        loop: whether the camera goes on from the last keyframe to the first.
    """

    keyframes: tuple[Pose, ...] = ()
    seconds: float = 2.0
    loop: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= MAX_SECONDS:
            raise UserError(f"the time between keyframes must be above 0 and at most {MAX_SECONDS:g} seconds")
        if len(self.keyframes) > MAX_KEYFRAMES:
            raise UserError(f"a camera path has at most {MAX_KEYFRAMES} keyframes, this one {len(self.keyframes)}")

    @property
    def duration(self) -> float:
        """Seconds from beginning to end."""
        return self.seconds * max(0, len(self.keyframes) - (not self.loop))

    def poses(self, fps: float) -> list[Pose]:
        """The poses of a film: twice continuously differentiable through all keyframes.

        Positions and field of view follow a cubic spline, rotations a spline of their rotation vectors (scipy's
        RotationSpline). A loop ends one frame before it would repeat its first.

        Raises:
            UserError: fewer than two keyframes.
        """
        if len(self.keyframes) < 2:
            raise UserError("a camera path needs two keyframes or more; add some from where you stand")
        values = np.array([(*k.position, k.fov) for k in self.keyframes])
        turns = Rotation.from_quat([(*k.wxyz[1:], k.wxyz[0]) for k in self.keyframes])
        count = max(2, round(self.duration * fps) + (not self.loop))
        times = np.linspace(0, self.duration, count, endpoint=not self.loop)
        moved = _spline(values, self.seconds, self.loop)(times)
        turned = _turning(turns, self.seconds, self.loop)(times).as_quat()
        return [
            Pose((x, y, z), (qw, qx, qy, qz), min(max(fov, 1.0), 170.0))
            for (x, y, z, fov), (qx, qy, qz, qw) in zip(moved.tolist(), turned.tolist())
        ]

    def to_json(self) -> bytes:
        """The path as a JSON file."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()


def _spline(values: np.ndarray, seconds: float, loop: bool) -> CubicSpline:
    """Through values [K,C], one every `seconds`; natural at open ends, periodic in a loop."""
    if loop:
        values = np.concatenate([values, values[:1]])
    return CubicSpline(seconds * np.arange(len(values)), values, bc_type="periodic" if loop else "natural")


def _turning(turns: Rotation, seconds: float, loop: bool) -> RotationSpline:
    """Through K rotations, one every `seconds`. A loop is led in and out by its neighbours, and so nearly periodic."""
    if not loop:
        return RotationSpline(seconds * np.arange(len(turns)), turns)
    around = np.arange(-2, len(turns) + 3)
    return RotationSpline(seconds * around, turns[around % len(turns)])


def from_json(data: bytes) -> CameraPath:
    """Read what `to_json` wrote.

    Raises:
        UserError: not such a file, too many keyframes, or numbers that are no camera.
    """
    try:
        document = json.loads(data.decode("utf-8"))
        keyframes = document["keyframes"]
        if len(keyframes) > MAX_KEYFRAMES:
            raise UserError(f"a camera path has at most {MAX_KEYFRAMES} keyframes, this one {len(keyframes)}")
        poses = tuple(_pose(entry) for entry in keyframes)
        return CameraPath(poses, float(document["seconds"]), bool(document["loop"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"this is not a camera path that gaussmith saved ({type(error).__name__}: {error})") from error


def _pose(entry: dict[str, Any]) -> Pose:
    position, wxyz, fov = (np.asarray(entry[key], dtype=np.float64) for key in ("position", "wxyz", "fov"))
    length = float(np.linalg.norm(wxyz))
    usable = np.isfinite(position).all() and abs(position).max() < 1e30 and 1e-6 < length < 1e6 and 1 <= fov <= 170
    if position.shape != (3,) or wxyz.shape != (4,) or fov.shape != () or not usable:
        raise ValueError("a keyframe has numbers that are no camera")
    return Pose(tuple(position.tolist()), tuple((wxyz / length).tolist()), float(fov))


def with_keyframe(path: CameraPath, pose: Pose) -> CameraPath:
    """The path with one more keyframe at its end."""
    return replace(path, keyframes=(*path.keyframes, pose))


def film(poses: Sequence[Pose], width: int, height: int) -> list[Camera]:
    """The cameras of a film of one picture size."""
    return [pose.camera(width, height) for pose in poses]
