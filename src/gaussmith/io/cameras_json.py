"""cameras.json: the cameras of a scene beside its splat, as the 3DGS reference implementation writes them.

A list of objects, one a camera: id, img_name, width, height, position [3], rotation [3][3] (rows of the
camera-to-world matrix, OpenCV axes), fx, fy in pixels. The original has no principal point and means the middle of the
picture; cx and cy are added where it is elsewhere, which other readers pass over.
Source: Kerbl et al. 2023, the released code's camera_utils.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.events import UserError
from gaussmith.io.atomic import write_bytes
from gaussmith.io.source import read_bytes

LIMIT = 256 << 20  # bytes of a file: some 400,000 cameras
MAX_SIDE = 1 << 16  # pixels


def save_cameras(path: str | Path, names: Sequence[str], cameras: Sequence[Camera]) -> None:
    """Write one camera a name, each a `Camera` of one view, atomically. Float32 values come back exactly.

    Raises:
        UserError: the place cannot be written.
        ValueError: names and cameras do not pair up, a camera has several views or skew, or a number is not finite.
    """
    if len(names) != len(cameras):
        raise ValueError(f"{len(names)} names for {len(cameras)} cameras")
    entries = [_entry(number, name, camera) for number, (name, camera) in enumerate(zip(names, cameras))]
    write_bytes(path, (json.dumps(entries, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def load_cameras(path: str | Path) -> tuple[list[str], list[Camera]]:
    """Names and cameras (float32, one view each, of any picture sizes) in the order of the file; at least one.

    Raises:
        UserError: not such a file, or a camera that cannot be one: a size out of range, a focal length that is not
            positive, a rotation that is none, a number that is not finite.
    """
    try:
        entries = json.loads(read_bytes(path, LIMIT))
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, digits without end, nested without end
        raise UserError(f"cannot read {path}: it is no cameras.json (it cannot be read as JSON)") from error
    if not isinstance(entries, list) or not entries:
        raise UserError(f"cannot read {path}: a cameras.json is a list of at least one camera, as 3DGS writes it")
    names, cameras = [], []
    for number, entry in enumerate(entries):
        try:
            name, camera = _camera(entry)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise UserError(f"cannot read {path}: camera {number}: {what}") from error
        names.append(name)
        cameras.append(camera)
    return names, cameras


def _entry(number: int, name: str, camera: Camera) -> dict[str, Any]:
    if len(camera) != 1:
        raise ValueError(f"camera {number} has {len(camera)} views, one is wanted")
    c2w, K = camera.c2w[0], camera.K[0]
    if K[0, 1]:
        raise ValueError(f"camera {number} has skew, which cameras.json cannot say")
    entry = {
        "id": number,
        "img_name": name,
        "width": camera.width,
        "height": camera.height,
        "position": c2w[:3, 3].tolist(),
        "rotation": c2w[:3, :3].tolist(),
        "fx": float(K[0, 0]),
        "fy": float(K[1, 1]),
    }
    middle = (camera.width / 2, camera.height / 2)
    if (float(K[0, 2]), float(K[1, 2])) != middle:
        entry |= {"cx": float(K[0, 2]), "cy": float(K[1, 2])}
    return entry


def _camera(entry: Any) -> tuple[str, Camera]:
    """Name and camera of one object; KeyError, TypeError, ValueError or OverflowError where it is none."""
    if not isinstance(entry, dict):
        raise TypeError("it is not an object")
    width, height = (_side(key, entry[key]) for key in ("width", "height"))
    fx, fy = _number("fx", entry["fx"]), _number("fy", entry["fy"])
    if not (fx > 0 and fy > 0):
        raise ValueError(f"the focal lengths must be positive, got {fx:g} and {fy:g}")
    c2w = torch.eye(4, dtype=torch.float64)
    c2w[:3, 3] = _vector("position", entry["position"])
    rows = entry["rotation"]
    if not isinstance(rows, list) or len(rows) != 3:
        raise ValueError("rotation must be three rows")
    rotation = torch.stack([_vector("rotation", row) for row in rows])
    # 1e-3: files written with six digits pass, anything scaled or mirrored does not.
    error = (rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max()
    if not float(error) < 1e-3 or not float(torch.linalg.det(rotation)) > 0:
        raise ValueError("rotation is not a rotation matrix")
    c2w[:3, :3] = rotation
    cx, cy = _number("cx", entry.get("cx", width / 2)), _number("cy", entry.get("cy", height / 2))
    K = torch.tensor([[[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    return str(entry.get("img_name", "")), Camera(c2w[None].float(), K.float(), width, height)


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or abs(value) > 1e30:
        raise ValueError(f"{key} must be a finite number")
    return float(value)


def _side(key: str, value: Any) -> int:
    side = _number(key, value)
    if side != int(side) or not 1 <= side <= MAX_SIDE:
        raise ValueError(f"{key} must be a whole number from 1 to {MAX_SIDE}, got {side:g}")
    return int(side)


def _vector(key: str, value: Any) -> Tensor:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"{key} must be three numbers")
    return torch.tensor([_number(key, part) for part in value], dtype=torch.float64)
