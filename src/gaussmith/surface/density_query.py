"""The density of a set of Gaussians on a grid and at points: block-wise local density query.

d(x) = sum_i alpha_i exp(-1/2 (x-m_i)^T Sigma_i^-1 (x-m_i)), DreamGaussian (Tang et al. 2023, section 3.3). As there,
space is cut into blocks of 8^3 nodes and a block only meets the Gaussians that reach into it; unlike there, the reach
is no fixed overlap factor but the ellipsoid on which a Gaussian has fallen to CUTOFF, so the sum is complete.

Axes: arrays are [x,y,z]; "index units" count grid nodes from the origin node. Threads share the blocks and add the
Gaussians of a block in their given order: the result does not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.rotation import quat_to_matrix
from gaussmith.threads import run

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

BLOCK = 8  # nodes a side; 16^3 blocks of 8^3 nodes are the paper's 128^3 grid
MIN_OPACITY = 0.005  # fainter Gaussians are dropped (DreamGaussian, reference implementation)
CUTOFF = 1e-4  # a Gaussian's contribution below this is not summed: 4.3 standard deviations at opacity 1
FAINT = 0.05  # density that still counts as matter when bounds are chosen; no useful iso level lies below it
MIN_SIGMA = 0.5  # thinnest standard deviation in cells: a sheet between two nodes still shows exp(-1/2) of its peak
PAIR_BUDGET = 1 << 25  # block-Gaussian pairs held at once (128 MB): huge Gaussians cost time, not memory


@dataclass(frozen=True)
class Field:
    """Gaussians ready for queries.

    Attributes:
        means: [N,3] float64 centres, world units.
        white: [N,3,3] float64 whitening W = diag(1/s) R^T, so that the Mahalanobis distance of d is |W d|.
        extent: [N,3] float64 standard deviations along the world axes.
        opacity: [N] float64 in (0,1].
    """

    means: F64
    white: F64
    extent: F64
    opacity: F64

    def __len__(self) -> int:
        return len(self.means)

    @property
    def reach(self) -> F64:
        """[N,3] half sides of the box outside which a Gaussian stays below CUTOFF."""
        return self.extent * np.sqrt(2 * np.log(np.maximum(self.opacity / CUTOFF, 1)))[:, None]


@dataclass(frozen=True)
class Grid:
    """Nodes origin + spacing * (i, j, k), for 0 <= (i, j, k) < shape."""

    origin: F64
    spacing: float
    shape: tuple[int, int, int]

    def to_index(self, points: NDArray) -> F64:
        """World points [M,3] in index units."""
        return (np.asarray(points, np.float64) - self.origin) / self.spacing

    def to_world(self, index: NDArray) -> F64:
        """Index units [M,3] to world points."""
        return self.origin + self.spacing * np.asarray(index, np.float64)


def prepare(gaussians: Gaussians, min_scale: float = 0.0) -> Field:
    """Drop faint and non-finite Gaussians and invert the covariances, in float64.

    min_scale widens thinner axes to that standard deviation (peak kept), so that a grid cannot miss them.
    Raises UserError when nothing is left.
    """
    g = gaussians.detach().to(device="cpu")
    opacity = g.opacities.double()
    keep = g.means.isfinite().all(1) & g.log_scales.isfinite().all(1) & g.quats.isfinite().all(1)
    keep &= (g.quats.norm(dim=-1) > 0) & (opacity > MIN_OPACITY)
    if not bool(keep.any()):
        raise UserError(
            f"None of the {len(g)} Gaussians is finite and above opacity {MIN_OPACITY}, so there is no surface: "
            "train longer, prune less, or check the file."
        )
    g = g.select(keep)
    # Scales beyond e^+-30 are as good as infinite or zero; the clamp keeps their inverses finite.
    scale = np.maximum(g.log_scales.double().clamp(-30, 30).exp().numpy(), max(min_scale, 1e-13))
    rotation = quat_to_matrix(g.quats.double()).numpy()
    extent = np.sqrt(np.einsum("nij,nj->ni", rotation**2, scale**2))
    white = rotation.transpose(0, 2, 1) / scale[:, :, None]
    return Field(g.means.double().numpy(), white, extent, opacity[keep].numpy())


def choose_grid(gaussians: Gaussians, resolution: int, min_component: float = 0.2) -> Grid:
    """An isotropic grid whose longest side has `resolution` nodes and which holds everything worth meshing.

    (The paper normalises the longest side to 1.8 units; here the grid goes to the object instead.) Two steps, so that
    floaters do not eat the resolution: the opacity-weighted 0.5 % quantiles of the Gaussians' boxes, widened by half
    the longest side but never beyond the last Gaussian, bound a coarse 64^3 query; of the connected parts where that
    is above FAINT, those smaller than `min_component` of the largest are left out, and the rest, plus one coarse cell,
    is the grid.

    Raises UserError if there is no density, or the object is too far away for single precision.
    """
    field = prepare(gaussians)
    low, high = field.means - 3 * field.extent, field.means + 3 * field.extent
    first, last = _quantile(low, field.opacity, 0.005), _quantile(high, field.opacity, 0.995)
    slack = 0.5 * float((last - first).max())
    first, last = np.maximum(first - slack, low.min(axis=0)), np.minimum(last + slack, high.max(axis=0))
    coarse = _grid_over(first, last, 64)
    matter = density_grid(prepare(gaussians, MIN_SIGMA * coarse.spacing), coarse) > FAINT
    boxes = ndimage.find_objects(ndimage.label(matter, np.ones((3, 3, 3)))[0])
    if not boxes:
        raise UserError(
            f"The density of the {len(field)} Gaussians stays below {FAINT} everywhere: "
            "raise their opacities or scales, or train longer."
        )
    corners = np.array([[[s.start for s in box], [s.stop for s in box]] for box in boxes])
    size = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=-1)
    corners = corners[size >= min_component * size.max()]
    first, last = coarse.to_world(np.stack([corners[:, 0].min(axis=0) - 1, corners[:, 1].max(axis=0)]))
    grid = _grid_over(first, last, resolution)
    farthest = float(np.abs([first, last]).max())
    if grid.spacing < 1e-6 * farthest:  # some 16 steps of float32
        raise UserError(
            f"The object is too small ({float((last - first).max()):.2g}) for its distance from the origin "
            f"({farthest:.2g}): move it to the origin first."
        )
    return grid


def _quantile(values: F64, weights: F64, q: float) -> F64:
    """Weighted quantile of each column of values [N,3]: the first value at which the weight reaches q of the total."""
    order = np.argsort(values, axis=0, kind="stable")
    share = np.cumsum(weights[order], axis=0) / weights.sum()
    at = np.minimum((share < q).sum(axis=0), len(values) - 1)
    return np.take_along_axis(values, np.take_along_axis(order, at[None], 0), 0)[0]


def _grid_over(first: F64, last: F64, resolution: int) -> Grid:
    spacing = max(float((last - first).max()) / (resolution - 1), 1e-12)
    nodes = np.maximum(np.ceil((last - first) / spacing - 1e-6).astype(int) + 1, 4)
    origin = (first + last) / 2 - spacing * (nodes - 1) / 2
    return Grid(origin, spacing, (int(nodes[0]), int(nodes[1]), int(nodes[2])))


def density_grid(field: Field, grid: Grid) -> F32:
    """The density at every node of the grid, float32 [X,Y,Z]; differs from the full sum by < CUTOFF a Gaussian."""
    blocks = tuple(-(-n // BLOCK) for n in grid.shape)
    tiles = np.zeros((blocks[0] * blocks[1] * blocks[2], BLOCK, BLOCK, BLOCK), np.float32)
    for starts, ids, packed in _batches(field, grid, blocks):
        run(_grid_kernel, tiles, starts, ids, packed, blocks[1], blocks[2])
    nodes = tiles.reshape(*blocks, BLOCK, BLOCK, BLOCK).transpose(0, 3, 1, 4, 2, 5)
    nodes = nodes.reshape(blocks[0] * BLOCK, blocks[1] * BLOCK, blocks[2] * BLOCK)
    return np.ascontiguousarray(nodes[: grid.shape[0], : grid.shape[1], : grid.shape[2]])


def density_at(field: Field, grid: Grid, points: NDArray) -> tuple[F64, F64]:
    """Density [M] and its gradient [M,3] (per world unit) at world points [M,3]; zero outside the grid."""
    blocks = tuple(-(-n // BLOCK) for n in grid.shape)
    index = grid.to_index(points)
    value, gradient = np.zeros(len(index)), np.zeros((len(index), 3))
    for starts, ids, packed in _batches(field, grid, blocks):
        run(_point_kernel, value, gradient, index, starts, ids, packed, *blocks)
    return value, gradient / grid.spacing


def _batches(field: Field, grid: Grid, blocks: tuple[int, ...]):
    """Yield (starts, ids, packed): the Gaussians of each block as CSR lists, for as many as fit the budget."""
    centre, reach = grid.to_index(field.means), field.reach / grid.spacing
    size = np.array(blocks)
    # Compare as floats: centres far away would overflow an integer.
    lower = np.clip(np.floor((centre - reach) / BLOCK), 0, size).astype(np.int32)
    upper = np.clip(np.floor((centre + reach) / BLOCK) + 1, 0, size).astype(np.int32)
    pairs = np.maximum(upper - lower, 0).astype(np.int64).prod(axis=1)
    near = np.flatnonzero(pairs)
    # Eleven numbers a Gaussian: centre, whitening (rows), opacity, squared cut-off distance (all in index units).
    packed = np.concatenate(
        [
            centre,
            (field.white * grid.spacing).reshape(-1, 9),
            field.opacity[:, None],
            2 * np.log(np.maximum(field.opacity / CUTOFF, 1))[:, None],
        ],
        axis=1,
    )
    batch = np.cumsum(pairs[near]) // PAIR_BUDGET
    for number in range(int(batch[-1]) + 1 if len(near) else 0):
        chosen = near[batch == number]
        if len(chosen):
            starts, ids = _block_lists(lower[chosen], upper[chosen], size)
            yield starts, ids, packed[chosen].astype(np.float32)


@nb.njit(cache=True)
def _block_lists(lower, upper, size):
    starts = np.zeros(size[0] * size[1] * size[2] + 1, np.int64)
    for g in range(len(lower)):
        for x in range(lower[g, 0], upper[g, 0]):
            for y in range(lower[g, 1], upper[g, 1]):
                for z in range(lower[g, 2], upper[g, 2]):
                    starts[(x * size[1] + y) * size[2] + z + 1] += 1
    for b in range(len(starts) - 1):
        starts[b + 1] += starts[b]
    cursor = starts[:-1].copy()
    ids = np.empty(starts[-1], np.int32)
    for g in range(len(lower)):
        for x in range(lower[g, 0], upper[g, 0]):
            for y in range(lower[g, 1], upper[g, 1]):
                for z in range(lower[g, 2], upper[g, 2]):
                    b = (x * size[1] + y) * size[2] + z
                    ids[cursor[b]] = g
                    cursor[b] += 1
    return starts, ids


@nb.njit(inline="always", fastmath=True)
def _exp(x):
    """exp on [-20, 0] as the 64th power of a quintic: plain arithmetic that LLVM vectorises, absolute error < 5e-6."""
    t = max(x, np.float32(-20)) * np.float32(1 / 64)
    e = np.float32(1 / 120) * t + np.float32(1 / 24)
    e = e * t + np.float32(1 / 6)
    e = e * t + np.float32(0.5)
    e = e * t + np.float32(1)
    e = e * t + np.float32(1)
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    return e * e


@nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _grid_kernel(worker, workers, tiles, starts, ids, packed, blocks_y, blocks_z):
    half = np.float32(-0.5)
    for b in range(worker, len(tiles), workers):
        x0 = np.float32(b // (blocks_y * blocks_z) * BLOCK)
        y0 = np.float32(b // blocks_z % blocks_y * BLOCK)
        z0 = np.float32(b % blocks_z * BLOCK)
        tile = tiles[b]
        for k in range(starts[b], starts[b + 1]):
            g = packed[ids[k]]
            dz = z0 - g[2]
            opacity, limit = g[12], g[13]
            lz0, lz1, lz2 = g[5], g[8], g[11]
            step = lz0 * lz0 + lz1 * lz1 + lz2 * lz2
            for i in range(BLOCK):
                dx = x0 + np.float32(i) - g[0]
                for j in range(BLOCK):
                    dy = y0 + np.float32(j) - g[1]
                    a0 = g[3] * dx + g[4] * dy + lz0 * dz
                    a1 = g[6] * dx + g[7] * dy + lz1 * dz
                    a2 = g[9] * dx + g[10] * dy + lz2 * dz
                    # The row's line passes the ellipsoid where |a|^2 - (a.l)^2/|l|^2 exceeds the cut-off.
                    along = a0 * lz0 + a1 * lz1 + a2 * lz2
                    if (a0 * a0 + a1 * a1 + a2 * a2 - limit) * step > along * along:
                        continue
                    row = tile[i, j]
                    for t in range(BLOCK):
                        z = np.float32(t)
                        b0 = a0 + lz0 * z
                        b1 = a1 + lz1 * z
                        b2 = a2 + lz2 * z
                        row[t] += opacity * _exp(half * (b0 * b0 + b1 * b1 + b2 * b2))


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _point_kernel(worker, workers, value, gradient, index, starts, ids, packed, blocks_x, blocks_y, blocks_z):
    for p in range(worker * len(index) // workers, (worker + 1) * len(index) // workers):
        x, y, z = index[p, 0], index[p, 1], index[p, 2]
        bx, by, bz = int(np.floor(x / BLOCK)), int(np.floor(y / BLOCK)), int(np.floor(z / BLOCK))
        if bx < 0 or by < 0 or bz < 0 or bx >= blocks_x or by >= blocks_y or bz >= blocks_z:
            continue
        b = (bx * blocks_y + by) * blocks_z + bz
        for k in range(starts[b], starts[b + 1]):
            g = packed[ids[k]]
            dx, dy, dz = x - g[0], y - g[1], z - g[2]
            a0 = g[3] * dx + g[4] * dy + g[5] * dz
            a1 = g[6] * dx + g[7] * dy + g[8] * dz
            a2 = g[9] * dx + g[10] * dy + g[11] * dz
            q = a0 * a0 + a1 * a1 + a2 * a2
            if q > g[13]:
                continue
            e = g[12] * np.exp(-0.5 * q)
            value[p] += e
            gradient[p, 0] -= e * (a0 * g[3] + a1 * g[6] + a2 * g[9])
            gradient[p, 1] -= e * (a0 * g[4] + a1 * g[7] + a2 * g[10])
            gradient[p, 2] -= e * (a0 * g[5] + a1 * g[8] + a2 * g[11])
