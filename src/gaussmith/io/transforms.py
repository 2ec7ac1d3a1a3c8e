"""transforms.json: posed photos as nerfstudio, instant-ngp and the Blender sets of NeRF write them.

The capture's world is that of the file's matrices, and of its points. What only says how a program placed that world in
a box of its own (applied_transform, applied_scale, scale, offset, aabb_scale) is not needed and not read. Camera axes
become OpenCV's. Sources: docs.nerf.studio, data conventions; instant-ngp, docs/nerf_dataset_tips.md; Mildenhall et al.
2020, the released synthetic sets.
"""

from __future__ import annotations

import json
import math
import os
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaussmith.capture import Capture, Lens, Photo, no_points
from gaussmith.events import OnEvent, UserError, Warned, ignore
from gaussmith.io import ply_format
from gaussmith.io.image import picture_size
from gaussmith.io.photo_files import FURTHEST, find_picture, finite_points, inside, is_file, present, with_masks
from gaussmith.io.source import read_bytes
from gaussmith.lens import fault

NAMES = ("transforms.json", "transforms_train.json")
MAX_BYTES = 256 << 20  # a hundred thousand frames with everything that is ever written beside them
_FISHEYES = ("OPENCV_FISHEYE", "FISHEYE")
_PERSPECTIVES = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "PERSPECTIVE")
# Signs that turn a matrix's camera axes into OpenCV's: from OpenGL's (x right, y up, z back), and what instant-ngp and
# NeuS2 mark at the top of the file: Mitsuba's (x left, y up, z forward) and OpenCV's own.
_OPENGL = (1.0, -1.0, -1.0)
_MARKED_AXES = {"from_mitsuba": (-1.0, -1.0, 1.0), "from_na": (1.0, 1.0, 1.0)}
_ROUNDING = 0.01  # by which the columns of a written rotation may miss right angles and one length
_COLOR = ("red", "green", "blue")

_Keys = Mapping[str, Any]


def find_transforms(path: str | Path) -> Path | None:
    """The file itself if it is a .json, else the folder's transforms.json, else its transforms_train.json."""
    path = Path(path)
    candidates = (path,) if path.suffix.lower() == ".json" else tuple(path / name for name in NAMES)
    return next((candidate for candidate in candidates if is_file(candidate)), None)


def load_transforms(path: str | Path, masks: str | Path | None = None, on_event: OnEvent = ignore) -> Capture:
    """The posed photos and points of a transforms.json.

    Args:
        path: the file, or its folder. Of a set with splits a folder stands for transforms_train.json; the others are
            read by naming their file.
        masks: folder of the masks (see `photo_files.find_mask`); by default those that the file names, if any.
        on_event: told of photos, masks and points that are left out.

    Raises:
        UserError: no such file, not JSON, a frame without a pose or lens, a pose that is none, a file outside the
            folder of the json, no photo found.
    """
    source = find_transforms(path)
    if source is None:
        raise UserError(f"there is no {' or '.join(NAMES)} at {path}")
    top = _parse(source)
    axes = next((axes for key, axes in _MARKED_AXES.items() if top.get(key) is True), _OPENGL)
    frames = [_photo(ChainMap(frame, top), axes, f"frame {i}", source) for i, frame in enumerate(top["frames"])]
    photos = present(frames, on_event)
    if masks is not None:
        photos = with_masks(photos, Path(masks), on_event)
    points, colors = _points(top, source, on_event)
    return Capture(photos, points, colors, str(source))


def _parse(source: Path) -> dict[str, Any]:
    """The top of the file, in which `frames` is a list of dictionaries with one entry or more."""
    try:
        top = json.loads(read_bytes(source, MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise UserError(f"cannot read {source}: it is not JSON, or is cut short") from error
    frames = top.get("frames") if isinstance(top, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise UserError(f"cannot read {source}: it has no list of 'frames', so it is no transforms.json")
    return top


def _photo(keys: _Keys, axes: tuple[float, float, float], label: str, source: Path) -> Photo:
    name = keys.get("file_path")
    if not isinstance(name, str):
        raise UserError(f"cannot read {source}: {label} has no file_path")
    path = inside(source.parent, name, source)
    name = path.relative_to(os.path.normpath(source.parent)).as_posix()
    label = f"{label} ({name[:80]!r})"
    named = keys.get("mask_path")
    mask = inside(source.parent, named, source) if isinstance(named, str) else None
    found = find_picture(path)
    return Photo(
        name=name,
        path=path,
        c2w=_pose(keys.get("transform_matrix"), axes, label, source),
        lens=_lens(keys, found, label, source),
        mask=mask if mask is not None and is_file(mask) else None,
    )


def _pose(matrix: object, axes: tuple[float, float, float], label: str, source: Path) -> Tensor:
    """[4,4] rigid, OpenCV axes: the nearest rotation to the matrix's, whose columns may share a scale."""
    try:
        rows = torch.tensor([[_finite(value) for value in row] for row in matrix], dtype=torch.float64)  # type: ignore
        if rows.shape not in ((4, 4), (3, 4)):
            raise ValueError("not a pose")
    except (ValueError, TypeError) as error:
        raise UserError(f"cannot use {source}: {label} has no transform_matrix of 4x4 finite numbers") from error
    if float(rows.abs().max()) > FURTHEST:
        raise UserError(f"cannot use {source}: {label} stands {float(rows.abs().max()):.3g} units from the origin")
    stored = rows[:3, :3] * torch.tensor(axes, dtype=torch.float64)
    scale = stored.norm() / math.sqrt(3)
    u, stretch, v = torch.linalg.svd(stored / scale.clamp_min(1e-12))
    if float((stretch - 1).abs().max()) > _ROUNDING or float(torch.det(u @ v)) < 0:
        raise UserError(f"cannot use {source}: the transform_matrix of {label} is no rotation with a translation")
    c2w = torch.eye(4, dtype=torch.float64)
    c2w[:3, :3] = u @ v
    c2w[:3, 3] = rows[:3, 3]
    return c2w


def _lens(keys: _Keys, picture: Path | None, label: str, source: Path) -> Lens:
    """The lens of a frame from its keys or those of the whole file; where no size is written, the picture's.

    Without a size and a picture it is a lens of no pixels: the photo is left out for its missing file later.
    """
    try:
        size = [_number(keys, side, math.nan) for side in ("w", "h")]
        if any(map(math.isnan, size)):
            if picture is None:
                return Lens("PINHOLE", (1.0, 1.0, 0.0, 0.0), 0, 0)
            size = [float(side) for side in picture_size(picture)[0]]
        width, height = size
        fx = _number(keys, "fl_x", _focal(keys, "camera_angle_x", width))
        fy = _number(keys, "fl_y", _focal(keys, "camera_angle_y", height))
        fx, fy = (fy, fy) if math.isnan(fx) else (fx, fx if math.isnan(fy) else fy)
        center = (_number(keys, "cx", width / 2), _number(keys, "cy", height / 2))
        model, extra = _distortion(keys)
    except ValueError as error:
        raise UserError(f"cannot use {source}: the camera of {label} {error}") from error
    if math.isnan(fx):
        raise UserError(f"cannot use {source}: {label} has no focal length (fl_x or camera_angle_x)")
    lens = Lens(model, (fx, fy, *center, *extra), int(min(width, 1e18)), int(min(height, 1e18)))
    if (wrong := fault(lens)) is not None:
        raise UserError(f"cannot use {source}: the camera of {label} {wrong}")
    return lens


def _distortion(keys: _Keys) -> tuple[str, tuple[float, ...]]:
    """The simplest of COLMAP's models that says what the keys say, and its parameters after the centre.

    Raises:
        ValueError: a model that is not known, or coefficients that it does not have; the end of a sentence.
    """
    k1, k2, k3, k4, k5, k6, p1, p2 = (_number(keys, f, 0.0) for f in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"))
    model = keys.get("camera_model") or "OPENCV"
    if model not in (*_FISHEYES, *_PERSPECTIVES):
        raise ValueError(f"has the model {str(model)[:40]!r}; undistort the photos first")
    if model in _FISHEYES or keys.get("is_fisheye") is True:
        if any((k5, k6, p1, p2)):
            raise ValueError("is a fisheye with coefficients beside k1 to k4; undistort the photos first")
        return "OPENCV_FISHEYE", (k1, k2, k3, k4)
    if any((k4, k5, k6)) and model != "FULL_OPENCV":  # nerfstudio's k4 is of another kind than OpenCV's
        raise ValueError("has coefficients beyond k3; undistort the photos first")
    if any((k3, k4, k5, k6)):
        return "FULL_OPENCV", (k1, k2, p1, p2, k3, k4, k5, k6)
    return ("OPENCV", (k1, k2, p1, p2)) if any((k1, k2, p1, p2)) else ("PINHOLE", ())


def _focal(keys: _Keys, angle: str, side: float) -> float:
    """Pixels of focal length from the angle in radians that a side of the picture spans; NaN where none is written."""
    radians = _number(keys, angle, math.nan)
    return side / (2 * math.tan(radians / 2)) if 0 < radians < math.pi else math.nan


def _number(keys: _Keys, name: str, default: float) -> float:
    """A finite number, or the default where there is none; ValueError, the end of a sentence, for anything else."""
    value = keys.get(name)
    if value is None:
        return default
    try:
        return _finite(value)
    except ValueError as error:
        raise ValueError(f"has a {name} that is not a finite number") from error


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:  # catches NaN too
        raise ValueError("not a finite number")
    return float(value)


def _points(top: _Keys, source: Path, on_event: OnEvent) -> tuple[Tensor, Tensor]:
    """The points of the PLY that the file names; grey where it has no colours."""
    name = top.get("ply_file_path")
    if not isinstance(name, str) or not name:
        return no_points()
    path = inside(source.parent, name, source)
    if not is_file(path):
        on_event(Warned(f"{source} names the points {path}, which are not there; it is read without points"))
        return no_points()
    vertex = ply_format.read(path).get("vertex")
    if vertex is None or any(axis not in vertex.columns for axis in "xyz"):
        raise UserError(f"cannot read {path}: this PLY has no points with x, y and z")
    colors = None
    if all(channel in vertex.columns for channel in _COLOR):
        full = 255 if vertex.types["red"][0] in "iu" else 1
        colors = np.stack([vertex.columns[channel] for channel in _COLOR], axis=1).astype(np.float64) / full
    positions = np.stack([vertex.columns[axis] for axis in "xyz"], axis=1).astype(np.float64)
    return finite_points(positions, colors, path, on_event)
