"""The files of a COLMAP model, binary and text: cameras, images, points3D (https://colmap.github.io/format.html).

Little endian. Every declared count is checked against the bytes that are there before anything of that size is
allocated.
"""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from gaussmith.capture import Lens
from gaussmith.events import UserError
from gaussmith.io.photo_files import MAX_NAME
from gaussmith.io.source import read_bytes
from gaussmith.lens import MODELS

# The models in the order of the numbers that stand for them in cameras.bin.
MODEL_NUMBERS = (
    *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV"),
    *("SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE"),
    *("SIMPLE_DIVISION", "DIVISION", "SIMPLE_FISHEYE", "FISHEYE", "EUCM"),
)
MAX_IMAGES = 1_000_000  # a hundred times the largest captures; keeps the memory of a hostile file bounded
_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<IiQQ")  # id, model, width, height; then the parameters
_IMAGE = struct.Struct("<I7dI")  # id, quaternion, translation, camera; then the name and the observations
_OBSERVATION = 24  # bytes: x, y, the point's id
_POINT = struct.Struct("<Q3d3Bd")  # id, position, colour, error; then the track
_TRACK = 8  # bytes: image id, index of the observation
_LONGEST_INTEGER = 20  # digits of a 64-bit number

_T = TypeVar("_T")


@dataclass(frozen=True)
class ImageRow:
    """A posed image as stored: world-to-camera quaternion (wxyz, of any length) and translation."""

    quat: tuple[float, ...]
    translation: tuple[float, ...]
    camera: int
    name: str


def read_cameras(path: Path) -> dict[int, Lens]:
    """The cameras by their id, not checked beyond their layout; UserError for a damaged file or an unknown model."""
    data = read_bytes(path)
    if path.suffix == ".txt":
        return dict(_parse_lines(data, path, "camera", _text_camera))
    count, at = _declared(data, path, "cameras", _CAMERA.size + 3 * 8)
    cameras = {}
    for _ in range(count):
        key, model, width, height = _unpack(_CAMERA, data, at, path)
        if not 0 <= model < len(MODEL_NUMBERS):
            raise UserError(
                f"cannot read {path}: camera {key} has model number {model}, which is not known here; undistort the "
                "photos with 'colmap image_undistorter' first"
            )
        name = MODEL_NUMBERS[model]
        layout = struct.Struct(f"<{MODELS[name].count}d")
        cameras[key] = Lens(name, _unpack(layout, data, at + _CAMERA.size, path), width, height)
        at += _CAMERA.size + layout.size
    return cameras


def read_images(path: Path) -> list[ImageRow]:
    """The posed images in the file's order; UserError for a damaged file."""
    data = read_bytes(path)
    if path.suffix == ".txt":
        return _text_images(data, path)
    count, at = _declared(data, path, "images", _IMAGE.size + 1 + _COUNT.size)
    _check_image_count(count, path)
    rows: list[ImageRow] = []
    for _ in range(count):
        _, *numbers, camera = _unpack(_IMAGE, data, at, path)
        start = at + _IMAGE.size
        stop = data.find(b"\0", start, start + MAX_NAME + 1)
        if stop < 0:
            raise UserError(f"cannot read {path}: the name of image number {len(rows) + 1:,} has no end")
        (observations,) = _unpack(_COUNT, data, stop + 1, path)
        at = stop + 1 + _COUNT.size + observations * _OBSERVATION
        if at > len(data):
            raise _cut_short(path)
        name = data[start:stop].decode("utf-8", "replace")
        rows.append(ImageRow(tuple(numbers[:4]), tuple(numbers[4:]), camera, name))
    return rows


def read_points(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions [P,3] float64, as stored, and colours [P,3] uint8 or None; UserError for a damaged file."""
    data = read_bytes(path)
    if path.suffix == ".txt":
        return _text_points(data, path)
    count, at = _declared(data, path, "points", _POINT.size + _COUNT.size)
    starts = np.empty(count, dtype=np.int64)
    for i in range(count):
        starts[i] = at
        (track,) = _unpack(_COUNT, data, at + _POINT.size, path)
        at += _POINT.size + _COUNT.size + track * _TRACK
        if at > len(data):
            raise _cut_short(path)
    raw = np.frombuffer(data, dtype=np.uint8)
    xyz = raw[starts[:, None] + np.arange(8, 32)].view("<f8").astype(np.float64)
    return xyz, raw[starts[:, None] + np.arange(32, 35)]


def _declared(data: bytes, path: Path, kind: str, smallest: int) -> tuple[int, int]:
    """The count that a binary file opens with, and where its rows start."""
    (count,) = _unpack(_COUNT, data, 0, path)
    if count * smallest > len(data) - _COUNT.size:
        raise UserError(
            f"cannot read {path}: it declares {count:,} {kind} but is too short for them; it is truncated or damaged"
        )
    return count, _COUNT.size


def _unpack(layout: struct.Struct, data: bytes, at: int, path: Path) -> tuple:
    if at + layout.size > len(data):
        raise _cut_short(path)
    return layout.unpack_from(data, at)


def _cut_short(path: Path) -> UserError:
    return UserError(f"cannot read {path}: it ends in the middle of a row; it is truncated or damaged")


def _check_image_count(count: int, path: Path) -> None:
    if count > MAX_IMAGES:
        raise UserError(f"cannot read {path}: {count:,} images are more than the limit of {MAX_IMAGES:,}")


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each line that is no comment; empty lines are kept."""
    for number, line in enumerate(io.BytesIO(data), 1):
        if not line.startswith(b"#"):
            yield number, line.strip()


def _parse_lines(data: bytes, path: Path, kind: str, parse: Callable[[bytes], _T]) -> list[_T]:
    return [_parsed(line, number, path, kind, parse) for number, line in _lines(data) if line]


def _parsed(line: bytes, number: int, path: Path, kind: str, parse: Callable[[bytes], _T]) -> _T:
    try:
        return parse(line)
    except (ValueError, IndexError) as error:
        shown = line[:60].decode("utf-8", "replace")
        raise UserError(f"cannot read {path}: line {number:,} is no {kind}: {shown!r}") from error


def _integer(word: bytes) -> int:
    if len(word) > _LONGEST_INTEGER:
        raise ValueError("too many digits")
    return int(word)


def _text_camera(line: bytes) -> tuple[int, Lens]:
    """CAMERA_ID MODEL WIDTH HEIGHT PARAMS..."""
    key, model, width, height, *params = line.split(maxsplit=64)
    name = model.decode("utf-8", "replace")
    return _integer(key), Lens(name, tuple(map(float, params)), _integer(width), _integer(height))


def _text_image(line: bytes) -> ImageRow:
    """IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, the name with any spaces."""
    _, *numbers, camera, name = line.split(maxsplit=9)
    if len(numbers) != 7:
        raise ValueError("too few words")
    values = tuple(map(float, numbers))
    return ImageRow(values[:4], values[4:], _integer(camera), name.decode("utf-8", "replace"))


def _text_images(data: bytes, path: Path) -> list[ImageRow]:
    """Two lines an image: the pose, then its observations, which may be empty and are not needed."""
    lines = _lines(data)
    rows: list[ImageRow] = []
    for number, line in lines:
        if line:
            rows.append(_parsed(line, number, path, "image", _text_image))
            next(lines, None)
            _check_image_count(len(rows), path)
    return rows


def _text_points(data: bytes, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """POINT3D_ID X Y Z R G B ERROR TRACK...; colours may be left out of every line."""
    xyz, rgb = array("d"), bytearray()

    def parse(line: bytes) -> None:
        words = line.split(maxsplit=7)
        _, x, y, z = words[:4]
        xyz.extend((float(x), float(y), float(z)))
        rgb.extend(map(_integer, words[4:7]))  # a byte each, else ValueError

    for number, line in _lines(data):
        if line:
            _parsed(line, number, path, "point", parse)
    positions = np.frombuffer(xyz, dtype=np.float64).reshape(-1, 3)
    return positions, np.frombuffer(rgb, dtype=np.uint8).reshape(-1, 3) if len(rgb) == len(xyz) else None
