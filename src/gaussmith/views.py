"""Which views to look from: samplers and fixed rings of cameras around the origin.

All angles are degrees. Azimuth 0 is the front and grows towards +X; elevation grows upwards (see camera.py). Every
function returns an `OrbitView`, which a prior reads as angles and a renderer reads as cameras (`view.camera()`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gaussmith.camera import DEFAULT_FOVY, DEFAULT_RADIUS, Camera, orbit


class Heights(NamedTuple):
    """Elevations to sample, degrees from `low` to `high`: all alike or, `on_sphere`, every part of the sphere alike."""

    low: float
    high: float
    on_sphere: bool = False


# Where text-to-3D looks from: GSGen's -20 to 90 on the sphere (DreamFusion: -10 to 90), short of the pole as all here.
# 16 % of the views are above 50 degrees, where "overhead view" begins to be said, 9 % above 60.
TEXT_HEIGHTS = Heights(-20.0, 80.0, on_sphere=True)


@dataclass(frozen=True)
class OrbitView:
    """B square views of the origin.

    Attributes:
        azimuth: [B] degrees in [-180, 180).
        elevation: [B] degrees in [-90, 90].
        radius: distance from the origin, world units.
        fovy: vertical field of view, degrees.
        size: side of the picture, pixels.
    """

    azimuth: Tensor
    elevation: Tensor
    radius: float = DEFAULT_RADIUS
    fovy: float = DEFAULT_FOVY
    size: int = 512

    def __post_init__(self) -> None:
        if self.azimuth.ndim != 1 or self.azimuth.shape != self.elevation.shape:
            raise ValueError(f"angles must be two [B], got {tuple(self.azimuth.shape)}, {tuple(self.elevation.shape)}")

    def __len__(self) -> int:
        return self.azimuth.shape[0]

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> OrbitView:
        """Select views; an integer keeps the batch dimension."""
        if isinstance(index, int):
            index = [index]
        return replace(self, azimuth=self.azimuth[index], elevation=self.elevation[index])

    def camera(self, size: int | None = None, fovy: float | None = None) -> Camera:
        """The cameras of these views, with another picture size or field of view if asked."""
        fovy = self.fovy if fovy is None else fovy
        return orbit(self.azimuth, self.elevation, self.radius, fovy, self.size if size is None else size)


def reference_view(
    elevation: float = 0.0, radius: float = DEFAULT_RADIUS, fovy: float = DEFAULT_FOVY, size: int = 512
) -> OrbitView:
    """The one view of the input picture: azimuth 0."""
    return _view([0.0], [elevation], radius, fovy, size)


def elevation_range(reference: float, spread: float = 30.0, limit: float = 80.0) -> tuple[float, float]:
    """Lowest and highest elevation to sample: `spread` to each side of the reference elevation, widened so that
    `spread` to each side of the horizon is covered too, clamped to +-limit (DreamGaussian, public settings)."""
    low, high = min(reference, 0.0) - spread, max(reference, 0.0) + spread
    return max(low, -limit), min(high, limit)


def random_orbit(
    batch: int,
    generator: torch.Generator,
    elevation_range: Heights | tuple[float, float] = (-30.0, 30.0),
    radius: float = DEFAULT_RADIUS,
    fovy: float = DEFAULT_FOVY,
    size: int = 512,
) -> OrbitView:
    """Independent views: azimuth uniform over the circle, elevation uniform in degrees (DreamGaussian, section 3.1) or
    as `Heights` say."""
    u = _uniform(2, batch, generator)
    return _view(360 * u[0], _between(u[1], elevation_range), radius, fovy, size)


def stratified_orbit(
    batch: int,
    generator: torch.Generator,
    elevation_range: Heights | tuple[float, float] = (-30.0, 30.0),
    radius: float = DEFAULT_RADIUS,
    fovy: float = DEFAULT_FOVY,
    size: int = 512,
) -> OrbitView:
    """As `random_orbit`, but each of the `batch` equal sectors of the circle gets exactly one view and each of the
    `batch` equal bands of elevation too (a Latin hypercube, turned at random), so that a batch sees all sides."""
    u = _uniform(2, batch, generator)
    turn = _uniform(1, 1, generator)[0]
    sector = torch.arange(batch, dtype=u.dtype)
    band = torch.randperm(batch, generator=generator).to(u)
    azimuth = 360 * (turn + (sector + u[0]) / batch)
    return _view(azimuth, _between((band + u[1]) / batch, elevation_range), radius, fovy, size)


def four_view_ring(
    generator: torch.Generator,
    elevation_range: Heights | tuple[float, float] = (-30.0, 30.0),
    radius: float = DEFAULT_RADIUS,
    fovy: float = DEFAULT_FOVY,
    size: int = 512,
) -> OrbitView:
    """Four views a quarter turn apart at one elevation, turned at random: what multi-view priors such as MVDream
    denoise together."""
    u = _uniform(2, 1, generator)
    azimuth = 360 * u[0] + 90 * torch.arange(4, dtype=u.dtype)
    return _view(azimuth, _between(u[1], elevation_range).expand(4), radius, fovy, size)


def turntable(
    count: int,
    elevation: float = 0.0,
    radius: float = DEFAULT_RADIUS,
    fovy: float = DEFAULT_FOVY,
    size: int = 512,
    start: float = 0.0,
) -> OrbitView:
    """`count` views evenly around the object from azimuth `start` on; the last is one step short of the first."""
    azimuth = start + 360 * torch.arange(count, dtype=torch.float64) / count
    return _view(azimuth, torch.full((count,), elevation), radius, fovy, size)


def baking_ring(radius: float = DEFAULT_RADIUS, fovy: float = DEFAULT_FOVY, size: int = 512) -> OrbitView:
    """The 26 views that colour a mesh: 8 azimuths at elevations 0, -45 and 45, and both poles (DreamGaussian,
    section 3.2). The front view comes first."""
    azimuth = [45.0 * i for i in range(8)] * 3 + [0.0, 0.0]
    elevation = [0.0] * 8 + [-45.0] * 8 + [45.0] * 8 + [-90.0, 90.0]
    return _view(azimuth, elevation, radius, fovy, size)


def _view(
    azimuth: Tensor | list[float], elevation: Tensor | list[float], radius: float, fovy: float, size: int
) -> OrbitView:
    # Angles are wrapped in float64: a sum just below 180 must not round to 180 on one path and -180 on another.
    az = torch.as_tensor(azimuth, dtype=torch.float64)
    el = torch.as_tensor(elevation, dtype=torch.float64)
    return OrbitView(((az + 180) % 360 - 180).float(), el.float(), radius, fovy, size)


def _uniform(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.rand(rows, columns, generator=generator, dtype=torch.float64)


def _between(u: Tensor, bounds: Heights | tuple[float, float]) -> Tensor:
    low, high, on_sphere = Heights(*bounds)
    if not -90 <= low <= high <= 90:
        raise ValueError(f"elevation range must be ordered and within +-90, got {bounds}")
    if not on_sphere:
        return low + (high - low) * u
    bottom, top = math.sin(math.radians(low)), math.sin(math.radians(high))  # a band's area grows with its height
    return torch.rad2deg(torch.asin(bottom + (top - bottom) * u)).clamp(low, high)
