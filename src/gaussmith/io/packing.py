"""What the splat formats share: Gaussians as plain arrays and back, checked, and how small numbers are packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians

MAX_GAUSSIANS = 20_000_000  # of a file that is packed: a small one can declare any number
MAX_LOG_SCALE = 80.0  # exp() of more is not finite in float32
MIN_SCALE = 1e-12  # a linear scale of 0 has no logarithm; this one shows nothing either
_MIN_ALPHA = 1e-6  # an opacity of 0 or 1 has no finite logit; the limit that other programs take


def arrays(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """The parameters as float32 arrays; ValueError where one is not finite, or a scale is not in float32."""
    if not bool(gaussians.finite().all()):
        raise ValueError("Gaussians with non-finite parameters cannot be saved")
    if len(gaussians) and float(gaussians.log_scales.detach().max()) > MAX_LOG_SCALE:
        raise ValueError(f"Gaussians with scales beyond exp({MAX_LOG_SCALE:g}) cannot be saved")
    return {name: t.detach().cpu().float().numpy() for name, t in gaussians.tensors().items()}


def build(
    path: str | Path,
    means: np.ndarray,
    log_scales: np.ndarray,
    quats: np.ndarray,
    opacity_logits: np.ndarray,
    sh: np.ndarray,
) -> Gaussians:
    """Gaussians of arrays shaped as in `Gaussians`; UserError where one is not finite in float32, or far too large."""
    given = {"means": means, "log_scales": log_scales, "quats": quats, "opacity_logits": opacity_logits, "sh": sh}
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is reported below
        floats = {name: np.require(values, np.float32, ["C", "W"]) for name, values in given.items()}
    for name, values in floats.items():
        bad = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
        if len(bad):
            raise UserError(
                f"cannot read {path}: {len(bad):,} of {len(values):,} Gaussians have a value in {name} that is "
                f"not a finite number, the first is number {bad[0]:,}"
            )
    if log_scales.size and float(floats["log_scales"].max()) > MAX_LOG_SCALE:
        raise UserError(f"cannot read {path}: a Gaussian has a scale of exp({float(floats['log_scales'].max()):.4g})")
    return Gaussians(**{name: torch.from_numpy(values) for name, values in floats.items()})


def too_many(path: str | Path, count: int) -> UserError:
    """The refusal of a file that declares more Gaussians than its bytes can hold, or than this program takes."""
    return UserError(f"cannot read {path}: it declares {count:,} Gaussians, which it is too short for, or too many")


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Opacities in [0,1] of logits, float64; saturates without warnings."""
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -80, 80)))


def logits(alpha: np.ndarray) -> np.ndarray:
    """Logits of opacities in [0,1], finite at both ends."""
    clipped = np.clip(alpha.astype(np.float64), _MIN_ALPHA, 1 - _MIN_ALPHA)
    return np.log(clipped / (1 - clipped))


def finite_logits(values: np.ndarray) -> np.ndarray:
    """The same with infinite logits as `logits` has them; NaN stays."""
    most = np.log((1 - _MIN_ALPHA) / _MIN_ALPHA)
    return np.where(np.isinf(values), np.copysign(most, values), values)


def finite_log(log_scales: np.ndarray) -> np.ndarray:
    """The same with the logarithm of 0 replaced by that of MIN_SCALE; other numbers that are not finite stay."""
    return np.where(log_scales == -np.inf, np.log(MIN_SCALE), log_scales)


def lookup(packed: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Each byte's value, float32, from the 256 `values`: many times faster than arithmetic on every number."""
    return values.astype(np.float32)[packed]


def to_unorm(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers of numbers in [0,1] (others are clamped), rounded: decoded they are within 1 / (2 (2^bits - 1))."""
    top = (1 << bits) - 1
    return np.clip(np.floor(values * top + 0.5), 0, top).astype(np.uint32)


def from_unorm(packed: np.ndarray, bits: int, shift: int = 0) -> np.ndarray:
    """Numbers in [0,1] of the `bits` bits that stand `shift` above the lowest."""
    top = (1 << bits) - 1
    return ((packed >> np.uint32(shift)) & np.uint32(top)) / np.float64(top)


def unit(quats: np.ndarray) -> np.ndarray:
    """Quaternions [N,4] at unit length, float64; one of no length is the identity (wxyz)."""
    quats = quats.astype(np.float64)
    length = np.linalg.norm(quats, axis=1, keepdims=True)
    usable = length > 1e-30
    return np.where(usable, quats / np.where(usable, length, 1), np.array([1.0, 0, 0, 0]))


def drop_largest(quats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index [N] of each unit quaternion's largest component, and the other three [N,3], each in +-1/sqrt(2).

    The sign is chosen so that the one left out is positive ("smallest three").
    """
    largest = np.abs(quats).argmax(axis=1)
    sign = np.where(quats[np.arange(len(quats)), largest] < 0, -1.0, 1.0)
    kept = np.arange(4) != largest[:, None]
    return largest.astype(np.uint32), (quats * sign[:, None])[kept].reshape(-1, 3)


def restore_largest(largest: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Inverse of `drop_largest`: quaternions [N,4]."""
    out = np.empty((len(rest), 4))
    kept = np.arange(4) != largest[:, None]
    out[kept] = rest.reshape(-1)
    out[~kept] = np.sqrt(np.maximum(0, 1 - np.square(rest).sum(axis=1)))
    return out


def morton_order(points: np.ndarray) -> np.ndarray:
    """The order [N] of points [N,3] along a Z-curve (Morton 1966) of 2^21 cells a side: neighbours stand together."""
    if len(points) == 0:
        return np.zeros(0, dtype=np.int64)
    points = points.astype(np.float64)
    low = points.min(axis=0)
    extent = np.maximum(points.max(axis=0) - low, 1e-30)
    code = np.zeros(len(points), dtype=np.uint64)
    for axis in range(3):
        cell = ((points[:, axis] - low[axis]) / extent[axis] * 0x1FFFFF).astype(np.uint64)
        code |= _spread(cell) << np.uint64(axis)
    return np.argsort(code, kind="stable")


def _spread(cell: np.ndarray) -> np.ndarray:
    """The 21 low bits with two zeros between each."""
    steps = ((32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F), (4, 0x10C30C30C30C30C3))
    for shift, mask in (*steps, (2, 0x1249249249249249)):
        cell = (cell | (cell << np.uint64(shift))) & np.uint64(mask)
    return cell
