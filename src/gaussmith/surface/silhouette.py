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
from gaussmith.threads import run

F32 = NDArray[np.float32]

LEVELS = np.geomspace(0.05, 20, 601)  # candidates, 1 % apart: finer than a pixel can tell
OPAQUE = 0.5  # alpha above which a pixel of the splat counts as covered
STEP = 0.5  # march step in cells


def peaks(density: F32, grid: Grid, cameras: Camera) -> F32:
    """The largest density in front of the camera on each pixel's ray [B,H,W], sampled every STEP cells."""
    origins, directions = cameras.rays()
    start = grid.to_index(origins.double().numpy())
    along = directions.double().numpy() / grid.spacing
    best = np.zeros(along.shape[:3], np.float32)
    pad = [(0, -n % BLOCK) for n in density.shape]
    blocks = np.pad(density, pad)
    shape = [n // BLOCK for n in blocks.shape]
    ceiling = blocks.reshape(shape[0], BLOCK, shape[1], BLOCK, shape[2], BLOCK).max(axis=(1, 3, 5))
    # A sample between two blocks reads nodes of both.
    ceiling = ndimage.maximum_filter(ceiling, 3)
    run(_march, density, ceiling, start, along, best)
    return best


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _march(worker, workers, density, ceiling, start, along, best):
    views, height, width, _ = along.shape
    for line in range(worker, views * height, workers):
        view, row = line // height, line % height
        for column in range(width):
            d = along[view, row, column]
            o = start[view]
            first, last = 0.0, 1e30  # camera depths where the ray is in the grid; none behind the camera
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
                high = max(high, value)
                t += step
            best[view, row, column] = high


def best_level(best: F32, covered: NDArray[np.bool_]) -> tuple[float, float]:
    """The level of LEVELS whose silhouettes best match `covered` [B,H,W] (mean IoU over the views), and that IoU.

    best: [B,H,W] from `peaks`. Views in which nothing is covered are left out. Among equals the higher level wins;
    if no level covers anything that it should, it is the paper's 1.
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
    if not mean.any():
        return 1.0, 0.0
    at = len(LEVELS) - 1 - int(np.argmax(mean[::-1]))
    return float(LEVELS[at]), float(mean[at])


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union; 1 for two empty masks."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def covered_pixels(alphas: Tensor) -> NDArray[np.bool_]:
    """[B,H,W] where alphas [B,H,W,1] or [B,H,W] exceed OPAQUE."""
    array = alphas.detach().cpu().numpy()
    return (array[..., 0] if array.ndim == 4 else array) > OPAQUE
