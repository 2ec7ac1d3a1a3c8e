"""Lenses: where a ray meets the picture, for the camera models of COLMAP.

A ray is given in normalised camera coordinates (x/z, y/z) with OpenCV's axes, so only what lies before the camera has
one. Pixel coordinates are continuous: the top left corner of the picture is (0, 0), pixel centres are at half integers.
Every model first distorts the normalised coordinates, then scales by the focal lengths and moves to the principal
point; distortion therefore does not change with the picture's size.

Sources: OpenCV, Camera Calibration (Brown-Conrady; rational model; Kannala & Brandt 2006 for fisheyes); Devernay &
Faugeras 2001 (FOV); Weng et al. 1992 (thin prism); Fitzgibbon 2001 (division); Khomutenko et al. 2016 (EUCM); parameter
order and names: COLMAP.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gaussmith.capture import Lens

MAX_SIDE = 100_000  # pixels; several times the largest camera
_SMALL = 1e-12  # squared radius under which a lens is as good as linear

Distort = Callable[..., tuple[Tensor, Tensor]]


def project(lens: Lens, xy: Tensor) -> Tensor:
    """Pixels [...,2] of rays xy [...,2] = (x/z, y/z); NaN where a model has no image of the ray (division models).

    Polynomial models fold back beyond the angles that they were fitted to: one far outside the picture may land in it.

    Raises:
        ValueError: unknown model, or not its number of parameters.
    """
    model = _model(lens)
    fx, fy, cx, cy, extra = _split(lens)
    x, y = model.distort(xy[..., 0], xy[..., 1], *extra)
    return torch.stack([fx * x + cx, fy * y + cy], dim=-1)


def is_pinhole(lens: Lens) -> bool:
    """Whether the lens does not distort, whatever its model."""
    _, _, _, _, extra = _split(lens)
    neutral = lens.model in _BROWN or lens.model in ("SIMPLE_DIVISION", "DIVISION")
    return lens.model in ("SIMPLE_PINHOLE", "PINHOLE") or (neutral and not any(extra))


def pinhole_matrix(lens: Lens) -> Tensor:
    """[3,3] float64 intrinsics in pixels from focal lengths and principal point, distortion left out."""
    fx, fy, cx, cy, _ = _split(lens)
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def scaled(lens: Lens, width: int, height: int) -> Lens:
    """The same lens with a grid of width x height pixels over the same frame.

    Where both sides do not scale alike, a model of one focal length becomes the one of two that contains it.
    """
    across, down = width / lens.width, height / lens.height
    fx, fy, cx, cy, extra = _split(lens)
    center = (cx * across, cy * down)
    if not _model(lens).one_focal:
        return replace(lens, params=(fx * across, fy * down, *center, *extra), width=width, height=height)
    if across == down:
        return replace(lens, params=(fx * across, *center, *extra), width=width, height=height)
    wide = _TWO_FOCALS[lens.model]
    zeros = (0.0,) * (MODELS[wide].count - 4 - len(extra))
    return Lens(wide, (fx * across, fy * down, *center, *extra, *zeros), width, height)


def fault(lens: Lens) -> str | None:
    """What makes this lens unusable, as the end of a sentence whose subject is the camera; None if nothing does."""
    model = MODELS.get(lens.model)
    if model is None:
        return f"has the model {lens.model[:40]!r}, which is none of {', '.join(MODELS)}; undistort the photos first"
    if len(lens.params) != model.count:
        return f"has {len(lens.params)} parameters, {lens.model} takes {model.count} ({model.names})"
    if not all(map(math.isfinite, lens.params)):
        return "has a parameter that is not a finite number"
    if not (1 <= lens.width <= MAX_SIDE and 1 <= lens.height <= MAX_SIDE):
        return f"has pictures of {lens.width:,}x{lens.height:,} pixels"
    focals = lens.params[: 1 if model.one_focal else 2]
    if not all(1e-3 < f / max(lens.width, lens.height) < 1e4 for f in focals):
        return f"has a focal length of {' and '.join(f'{f:.4g}' for f in focals)} pixels"
    return None


def _model(lens: Lens) -> Model:
    model = MODELS.get(lens.model)
    if model is None or len(lens.params) != model.count:
        raise ValueError(f"the camera {fault(lens)}")
    return model


def _split(lens: Lens) -> tuple[float, float, float, float, tuple[float, ...]]:
    """fx, fy, cx, cy and the distortion."""
    if _model(lens).one_focal:
        f, cx, cy, *extra = lens.params
        return f, f, cx, cy, tuple(extra)
    fx, fy, cx, cy, *extra = lens.params
    return fx, fy, cx, cy, tuple(extra)


def _radius(x: Tensor, y: Tensor) -> Tensor:
    """Distance from the axis, kept from zero so that ratios to it are finite and right to the last digit."""
    return (x * x + y * y).clamp_min(_SMALL**2).sqrt()


def _polynomial(square: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """1 + c0 s + c1 s^2 + ..."""
    total = torch.zeros_like(square)
    for coefficient in reversed(coefficients):
        total = (total + coefficient) * square
    return 1 + total


def _brown(
    x: Tensor, y: Tensor, k1: float = 0, k2: float = 0, p1: float = 0, p2: float = 0, k3: float = 0, *below: float
) -> tuple[Tensor, Tensor]:
    """Brown-Conrady, with the denominator of OpenCV's rational model if `below` (k4, k5, k6) is given."""
    r2 = x * x + y * y
    radial = _polynomial(r2, (k1, k2, k3)) / _polynomial(r2, below)
    dx = 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    dy = 2 * p2 * x * y + p1 * (r2 + 2 * y * y)
    return x * radial + dx, y * radial + dy


def _fisheye(x: Tensor, y: Tensor, *k: float) -> tuple[Tensor, Tensor]:
    """Kannala-Brandt: the distance from the centre is an odd polynomial of the angle to the axis."""
    r = _radius(x, y)
    angle = torch.atan(r)
    scale = angle / r * _polynomial(angle * angle, k)
    return x * scale, y * scale


def _thin_prism_fisheye(
    x: Tensor, y: Tensor, k1: float, k2: float, p1: float, p2: float, k3: float, k4: float, sx1: float, sy1: float
) -> tuple[Tensor, Tensor]:
    x, y = _fisheye(x, y)
    r2 = x * x + y * y
    radial = _polynomial(r2, (k1, k2, k3, k4))
    dx = 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + sx1 * r2
    dy = 2 * p2 * x * y + p1 * (r2 + 2 * y * y) + sy1 * r2
    return x * radial + dx, y * radial + dy


def _rad_tan_thin_prism_fisheye(x: Tensor, y: Tensor, *values: float) -> tuple[Tensor, Tensor]:
    """Project Aria's Fisheye624: six radial (k), two tangential (p), four thin prism (s) coefficients."""
    k, (p0, p1), (s0, s1, s2, s3) = values[:6], values[6:8], values[8:]
    x, y = _fisheye(x, y, *k)
    r2 = x * x + y * y
    dx = p0 * (r2 + 2 * x * x) + 2 * p1 * x * y + s0 * r2 + s1 * r2 * r2
    dy = p1 * (r2 + 2 * y * y) + 2 * p0 * x * y + s2 * r2 + s3 * r2 * r2
    return x + dx, y + dy


def _fov(x: Tensor, y: Tensor, omega: float) -> tuple[Tensor, Tensor]:
    if omega * omega < _SMALL:  # the limit of no distortion
        return x, y
    r = _radius(x, y)
    scale = torch.atan(2 * math.tan(omega / 2) * r) / (r * omega)
    return x * scale, y * scale


def _division(x: Tensor, y: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """The distorted point d whose d / (1 + k |d|^2) is (x, y)."""
    scale = 2 / (1 + (1 - 4 * k * (x * x + y * y)).sqrt())
    return x * scale, y * scale


def _eucm(x: Tensor, y: Tensor, alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    scale = 1 / (alpha * (beta * (x * x + y * y) + 1).sqrt() + 1 - alpha)
    return x * scale, y * scale


@dataclass(frozen=True)
class Model:
    """A camera model: the names of its parameters in order, and the distortion that those after the centre describe."""

    names: str
    distort: Distort

    @property
    def count(self) -> int:
        return len(self.names.split())

    @property
    def one_focal(self) -> bool:
        return self.names.startswith("f ")


MODELS: dict[str, Model] = {
    "SIMPLE_PINHOLE": Model("f cx cy", _brown),
    "PINHOLE": Model("fx fy cx cy", _brown),
    "SIMPLE_RADIAL": Model("f cx cy k", _brown),
    "RADIAL": Model("f cx cy k1 k2", _brown),
    "OPENCV": Model("fx fy cx cy k1 k2 p1 p2", _brown),
    "FULL_OPENCV": Model("fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6", _brown),
    "SIMPLE_FISHEYE": Model("f cx cy", _fisheye),
    "FISHEYE": Model("fx fy cx cy", _fisheye),
    "SIMPLE_RADIAL_FISHEYE": Model("f cx cy k", _fisheye),
    "RADIAL_FISHEYE": Model("f cx cy k1 k2", _fisheye),
    "OPENCV_FISHEYE": Model("fx fy cx cy k1 k2 k3 k4", _fisheye),
    "THIN_PRISM_FISHEYE": Model("fx fy cx cy k1 k2 p1 p2 k3 k4 sx1 sy1", _thin_prism_fisheye),
    "RAD_TAN_THIN_PRISM_FISHEYE": Model("fx fy cx cy k0 k1 k2 k3 k4 k5 p0 p1 s0 s1 s2 s3", _rad_tan_thin_prism_fisheye),
    "FOV": Model("fx fy cx cy omega", _fov),
    "SIMPLE_DIVISION": Model("f cx cy k", _division),
    "DIVISION": Model("fx fy cx cy k", _division),
    "EUCM": Model("fx fy cx cy alpha beta", _eucm),
}
_BROWN = tuple(name for name, model in MODELS.items() if model.distort is _brown)
_TWO_FOCALS = {
    "SIMPLE_PINHOLE": "PINHOLE",
    "SIMPLE_RADIAL": "OPENCV",
    "RADIAL": "OPENCV",
    "SIMPLE_FISHEYE": "FISHEYE",
    "SIMPLE_RADIAL_FISHEYE": "OPENCV_FISHEYE",
    "RADIAL_FISHEYE": "OPENCV_FISHEYE",
    "SIMPLE_DIVISION": "DIVISION",
}
