"""A capture: photos of one scene with known cameras, and the points that structure from motion saw.

World axes are those of the source (a COLMAP model, a transforms.json); camera axes are OpenCV's, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Lens:
    """Intrinsics with distortion.

    Attributes:
        model: a COLMAP camera model's name, such as SIMPLE_PINHOLE, PINHOLE, OPENCV or OPENCV_FISHEYE.
        params: the model's parameters in COLMAP's order, pixels for focal lengths and principal point.
        width, height: the picture size in pixels that the parameters belong to.
    """

    model: str
    params: tuple[float, ...]
    width: int
    height: int


@dataclass(frozen=True)
class Photo:
    """One posed photo.

    Attributes:
        name: what the source calls it; photos are kept in the order of their names.
        path: the picture file, not yet opened.
        c2w: [4,4] float64 rigid camera-to-world transform in the capture's world.
        lens: the camera.
        mask: a picture file whose dark pixels do not belong to the object; None where there is none.
        upright: whether the lens belongs to the picture turned as its EXIF says, or (as in the files of others) to the
            picture as stored.
    """

    name: str
    path: Path
    c2w: Tensor
    lens: Lens
    mask: Path | None = None
    upright: bool = False


@dataclass(frozen=True)
class Capture:
    """Posed photos of one scene.

    Attributes:
        photos: one or more.
        points: [P,3] float64 scene points in the capture's world; P = 0 where none are known.
        colors: [P,3] float32 sRGB in [0,1].
        source: what it was read from, for messages and the report.
    """

    photos: tuple[Photo, ...]
    points: Tensor
    colors: Tensor
    source: str

    def __post_init__(self) -> None:
        if self.points.shape != self.colors.shape or self.points.shape[1:] != (3,):
            raise ValueError(f"points and colors must be two [P,3]: {self.points.shape}, {self.colors.shape}")


def no_points() -> tuple[Tensor, Tensor]:
    """Points and colours of a capture that has none."""
    return torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 3)
