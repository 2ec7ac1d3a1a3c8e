"""Iso level by silhouettes: where to cut the density so that the mesh covers the pixels that the splat covers.

The paper cuts at 1. The summed density depends on how many Gaussians overlap, so a fixed level bloats dense parts and
loses faint and thin ones. The silhouette of the solid {density > T} is, exactly, the pixels on whose ray the largest
density exceeds T: one march through the grid gives the silhouettes of all levels at once, with no mesh.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.surface.density_query import BLOCK, Grid

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

LEVELS = np.geomspace(0.05, 20, 97)  # candidates, 6 % apart: finer than a pixel can tell
OPAQUE = 0.5  # alpha above which a pixel of the splat counts as covered
STEP = 0.5  # march step in cells
GAIN_CELL = 6  # cells between the nodes of the gain field: wider than the seam of a misfit, narrower than a part
GAIN_LIMIT = np.log(8.0)  # the local level stays within a factor 8 of the global one


def peaks(density: F32, grid: Grid, cameras: Camera) -> tuple[F32, F32]:
    """The largest density on each pixel's ray [B,H,W] and where it is taken [B,H,W,3] (index units)."""
    origins, directions = cameras.rays()
    start = grid.to_index(origins.double().numpy())
    along = directions.double().numpy() / grid.spacing
    best = np.zeros(along.shape[:3], np.float32)
    place = np.zeros(along.shape, np.float32)
    pad = [(0, -n % BLOCK) for n in density.shape]
    blocks = np.pad(density, pad)
    shape = [n // BLOCK for n in blocks.shape]
    ceiling = blocks.reshape(shape[0], BLOCK, shape[1], BLOCK, shape[2], BLOCK).max(axis=(1, 3, 5))
    # A sample between two blocks reads nodes of both.
    ceiling = ndimage.maximum_filter(ceiling, 3)
    _march(density, ceiling, start, along, best, place)
    return best, place


@nb.njit(parallel=True, cache=True)
def _march(density, ceiling, start, along, best, place):
    views, height, width, _ = along.shape
    for line in nb.prange(views * height):
        view, row = line // height, line % height
        for column in range(width):
            d = along[view, row, column]
            o = start[view]
            first, last = 0.0, 1e30
            for axis in range(3):
                end = density.shape[axis] - 1.0
                if abs(d[axis]) < 1e-12:
                    if o[axis] < 0 or o[axis] > end:
                        last = -1.0
                    continue
                t0, t1 = -o[axis] / d[axis], (end - o[axis]) / d[axis]
                first, last = max(first, min(t0, t1)), min(last, max(t0, t1))
            step = STEP / np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
            t = first + 0.5 * step
            high = np.float32(0)
            while t < last:
                x, y, z = o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]
                i, j, k = int(x), int(y), int(z)
                if ceiling[i // BLOCK, j // BLOCK, k // BLOCK] <= high:
                    t += 4 * step  # two cells, well inside the ceiling's reach of a block
                    continue
                i, j, k = min(i, density.shape[0] - 2), min(j, density.shape[1] - 2), min(k, density.shape[2] - 2)
                u, v, w = x - i, y - j, z - k
                near = (density[i, j, k] * (1 - w) + density[i, j, k + 1] * w) * (1 - v)
                near += (density[i, j + 1, k] * (1 - w) + density[i, j + 1, k + 1] * w) * v
                far = (density[i + 1, j, k] * (1 - w) + density[i + 1, j, k + 1] * w) * (1 - v)
                far += (density[i + 1, j + 1, k] * (1 - w) + density[i + 1, j + 1, k + 1] * w) * v
                value = np.float32(near * (1 - u) + far * u)
                if value > high:
                    high = value
                    place[view, row, column, 0] = x
                    place[view, row, column, 1] = y
                    place[view, row, column, 2] = z
                t += step
            best[view, row, column] = high


def best_level(best: F32, covered: NDArray[np.bool_]) -> tuple[float, float]:
    """The level of LEVELS whose silhouettes best match `covered` [B,H,W] (mean IoU over the views), and that IoU.

    best: [B,H,W] from `peaks`. Views in which nothing is covered are left out. Among equals the higher level wins.
    """
    scores = []
    for peak, cover in zip(best, covered):
        if not cover.any():
            continue
        # Pixels inside the silhouette of level T are those with peak > T: counts for all levels from sorted peaks.
        hit, miss = np.sort(peak[cover]), np.sort(peak[~cover])
        inter = len(hit) - np.searchsorted(hit, LEVELS, side="right")
        extra = len(miss) - np.searchsorted(miss, LEVELS, side="right")
        scores.append(inter / (cover.sum() + extra))
    if not scores:
        return 1.0, 0.0
    mean = np.mean(scores, axis=0)
    at = len(LEVELS) - 1 - int(np.argmax(mean[::-1]))
    return float(LEVELS[at]), float(mean[at])


def fit_gain(
    density: F32, grid: Grid, cameras: Camera, covered: NDArray[np.bool_], level: float, rounds: int = 6
) -> F32:
    """A smooth positive field [X,Y,Z]: cutting density * gain at `level` matches the silhouettes better than density.

    Each round finds the pixels on the wrong side of `level`, and moves the logarithm of the gain at the densest point
    of their rays by what they lack (or exceed); pixels near the level that are right pull towards no change. The
    logarithm lives on a lattice GAIN_CELL cells wide and is smoothed, so a fault is mended in its neighbourhood and
    noise is not followed. The best round is kept: the result never matches worse than no gain at all.
    """
    lattice = tuple(n // GAIN_CELL + 2 for n in density.shape)
    log_gain = np.zeros(lattice)
    best_gain, best_score = np.ones_like(density), -1.0
    for number in range(rounds + 1):
        gain = np.exp(_upsample(log_gain, density.shape)).astype(np.float32)
        peak, place = peaks(density * gain, grid, cameras)
        score = float(np.mean([iou(p > level, c) for p, c in zip(peak, covered)]))
        if score > best_score:
            best_gain, best_score = gain, score
        if number == rounds:
            break
        lack = np.log(level / np.maximum(peak, 1e-3 * level))
        wrong = (peak > level) != covered
        near = (np.abs(lack) < 1.0) & (peak > 0)
        at = (wrong & (peak > 1e-3 * level)) | near
        push = np.where(wrong, lack + 0.05 * np.sign(lack), 0)[at]
        change = _splat(place[at] / GAIN_CELL, push, lattice)
        log_gain = np.clip(log_gain + change, -GAIN_LIMIT, GAIN_LIMIT)
    return best_gain


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union; 1 for two empty masks."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def covered_pixels(alphas: Tensor) -> NDArray[np.bool_]:
    """[B,H,W] where alphas [B,H,W,1] or [B,H,W] exceed OPAQUE."""
    array = alphas.detach().cpu().numpy()
    return (array[..., 0] if array.ndim == 4 else array) > OPAQUE


def _splat(points: F32, values: F64, shape: tuple[int, ...]) -> F64:
    """The smoothed mean of values [M] given at points [M,3] (lattice units), on the lattice; 0 where there are none."""
    total, weight = np.zeros(shape), np.zeros(shape)
    base = np.floor(points).astype(np.int64)
    part = points - base
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(corner, part, 1 - part), axis=1)
        flat = np.ravel_multi_index(tuple((base + corner).T), shape)
        total += np.bincount(flat, weights=share * values, minlength=total.size).reshape(shape)
        weight += np.bincount(flat, weights=share, minlength=total.size).reshape(shape)
    total, weight = (ndimage.gaussian_filter(field, 0.5, mode="constant") for field in (total, weight))
    # Three pixels' worth of doubt keeps a single stray pixel from moving its surroundings.
    return total / (weight + 3.0)


def _upsample(lattice: F64, shape: tuple[int, ...]) -> F64:
    """Trilinear values of the lattice at every grid node."""
    out = lattice
    for axis, n in enumerate(shape):
        at = np.arange(n) / GAIN_CELL
        low = at.astype(int)
        part = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        out = np.take(out, low, axis) * (1 - part) + np.take(out, low + 1, axis) * part
    return out
