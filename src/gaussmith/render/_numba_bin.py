"""CPU kernels: which splats each 16x16 tile has to blend, and in which order.

Exact: a tile lists a splat only if the ellipse within which its alpha reaches ALPHA_MIN meets the tile's pixel centres.
Each entry also tells which pixel rows of the tile the ellipse meets. Entries stand front to back, equal depths in the
order of the Gaussians: a counting sort by tile of splats already sorted by depth. Every worker takes a stretch of the
sorted splats; since the sort is stable, the result does not depend on how many there are.

No fastmath here: the counting and the filling pass must agree bit for bit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from gaussmith.render._numba_project import SPLAT
from gaussmith.render._splat_rules import TILE
from gaussmith.threads import run

SLACK = 1e-4
"""Added to the squared reach, so that the blend's float32 rounding never meets a tile that is not listed."""
DIGIT = 2048


class TileLists(NamedTuple):
    """P entries (splat, tile) of M = B*N splats in B*T tiles, sorted by tile and then by depth.

    Attributes:
        tile_start: [B*T+1] int64; the entries of tile i are tile_start[i] to tile_start[i+1].
        entry_splat: [P] int32 flat splat index b*N+n.
        entry_rows: [P] uint8 pixel rows of the tile, 16 * first + last.
        order: [D] int32 flat indices of the splats that are drawn, nearest first within each camera.
        pair_start: [D+1] int64; slots[pair_start[i] : pair_start[i+1]] are the entries of splat order[i].
        slots: [P] int64.
    """

    tile_start: NDArray[np.int64]
    entry_splat: NDArray[np.int32]
    entry_rows: NDArray[np.uint8]
    order: NDArray[np.int32]
    pair_start: NDArray[np.int64]
    slots: NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy")
def _radix_pass(keys, values, shift, out_keys, out_values):
    """One stable counting pass of a radix sort, by the 11 bits of the keys above `shift`."""
    start = np.zeros(DIGIT, np.int64)
    for key in keys:
        start[(np.int64(key) >> shift) & (DIGIT - 1)] += 1
    total = 0
    for i in range(DIGIT):
        count = start[i]
        start[i] = total
        total += count
    for i in range(keys.shape[0]):
        digit = (np.int64(keys[i]) >> shift) & (DIGIT - 1)
        out_keys[start[digit]] = keys[i]
        out_values[start[digit]] = values[i]
        start[digit] += 1


def _depth_order(depth: NDArray[np.float32], drawn: NDArray[np.int32]) -> NDArray[np.int32]:
    """The drawn splats, nearest first."""
    keys, values = depth[drawn].view(np.uint32), drawn  # the bits of positive floats sort like the floats
    for shift in (0, 11, 22):
        other = np.empty_like(keys), np.empty_like(values)
        _radix_pass(keys, values, shift, *other)
        keys, values = other
    return values


@njit(cache=True, nogil=True, error_model="numpy")
def _line_up(worker, workers, order, means2d, splats, reach, shapes):
    """Fill shapes [D,6]: x, y, l0, l1, l2 and the reach of the splats in `order`.

    The walks below then read memory from front to back; to jump about in it cost them half of their time.
    """
    for i in range(order.shape[0] * worker // workers, order.shape[0] * (worker + 1) // workers):
        g = order[i]
        shapes[i, 0], shapes[i, 1], shapes[i, 5] = means2d[g, 0], means2d[g, 1], reach[g]
        shapes[i, 2], shapes[i, 3], shapes[i, 4] = splats[g, 0], splats[g, 1], splats[g, 2]


@njit(cache=True, error_model="numpy", inline="always")
def _clamp(value, low, high):
    return min(max(value, low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def _walk_tiles(
    worker, workers, fill, order, shapes, splats_per_camera, width, height, pair_start, cursor,
    entry_splat, entry_rows, slots,
):  # fmt: skip
    """Visit every (splat, tile) pair of this worker's stretch of `order`, nearest first.

    Without fill: count them, in cursor [workers,B*T] per tile and in pair_start[1:] per splat. With fill: write the
    entries where cursor and pair_start, now positions, say.

    Within a strip of tiles the ellipse is convex, so its extent along the strip decides exactly which tiles it meets.
    """
    columns = (width + TILE - 1) // TILE
    tiles = columns * ((height + TILE - 1) // TILE)
    for i in range(order.shape[0] * worker // workers, order.shape[0] * (worker + 1) // workers):
        g = order[i]
        x, y, r2 = float(shapes[i, 0]), float(shapes[i, 1]), shapes[i, 5] + SLACK
        l0, l1, l2 = float(shapes[i, 2]), float(shapes[i, 3]), float(shapes[i, 4])
        root, norm2, inv_l0 = math.sqrt(r2), l1 * l1 + l2 * l2, 1 / l0
        half = root / l2
        steep, flat = l1 * root / (l2 * math.sqrt(norm2)), l1 * half * inv_l0  # see the extents below
        inv_norm2, c_r2, area2, mixed = 1 / norm2, norm2 * r2, (l0 * l2) ** 2, l0 * l1
        top, bottom = max(y - half, 0.5), min(y + half, height - 0.5)
        first_tile = g // splats_per_camera * tiles
        pair, count = pair_start[i], 0
        for row in range(math.ceil((top - TILE + 0.5) / TILE), math.floor((bottom - 0.5) / TILE) + 1):
            # Horizontal extent in the row of tiles: rightmost at dy = -steep, leftmost at its mirror image.
            y0, y1 = row * TILE + 0.5 - y, min(row * TILE + TILE, height) - 0.5 - y
            dy = _clamp(-steep, y0, y1)
            right = x + (math.sqrt(max(r2 - (l2 * dy) ** 2, 0.0)) - l1 * dy) * inv_l0
            dy = _clamp(steep, y0, y1)
            left = x - (math.sqrt(max(r2 - (l2 * dy) ** 2, 0.0)) + l1 * dy) * inv_l0
            left, right = max(left, 0.5), min(right, width - 0.5)
            if left > right:
                continue
            tile = first_tile + row * columns
            for column in range(math.ceil((left - TILE + 0.5) / TILE), math.floor((right - 0.5) / TILE) + 1):
                if fill:
                    # Vertical extent in the tile: lowest at dx = -flat, highest at its mirror image.
                    x0, x1 = column * TILE + 0.5 - x, min(column * TILE + TILE, width) - 0.5 - x
                    dx = _clamp(-flat, x0, x1)
                    low = (math.sqrt(max(c_r2 - area2 * dx * dx, 0.0)) - mixed * dx) * inv_norm2 - y0
                    dx = _clamp(flat, x0, x1)
                    high = -(math.sqrt(max(c_r2 - area2 * dx * dx, 0.0)) + mixed * dx) * inv_norm2 - y0
                    first = math.ceil(_clamp(high, 0.0, y1 - y0))
                    last = math.floor(_clamp(low, first, y1 - y0))
                    slot = cursor[worker, tile + column]
                    entry_splat[slot], entry_rows[slot], slots[pair + count] = g, first * TILE + last, slot
                cursor[worker, tile + column] += 1
                count += 1
        if not fill:
            pair_start[i + 1] = count


def bin_splats(
    means2d: NDArray[np.float32], splats: NDArray[np.float32], reach: NDArray[np.float32], width: int, height: int
) -> TileLists:
    """Tile lists of means2d [B,N,2], splats [B,N,SPLAT], reach [B,N] as `_numba_project.project` fills them."""
    batch, n = reach.shape
    tiles = -(-width // TILE) * -(-height // TILE)
    means2d, splats, reach = means2d.reshape(-1, 2), splats.reshape(batch * n, SPLAT), reach.reshape(-1)
    drawn = [np.flatnonzero(reach[b * n : b * n + n]).astype(np.int32) + np.int32(b * n) for b in range(batch)]
    order = np.concatenate([_depth_order(splats[:, 7], d) for d in drawn])
    shapes, pair_start = np.empty((len(order), 6), np.float32), np.zeros(len(order) + 1, np.int64)
    run(_line_up, order, means2d, splats, reach, shapes)
    cursor = np.zeros((torch.get_num_threads(), batch * tiles), np.int64)
    entries = np.empty(0, np.int32), np.empty(0, np.uint8), np.empty(0, np.int64)
    scene = (order, shapes, n, width, height, pair_start, cursor)
    run(_walk_tiles, False, *scene, *entries)

    np.cumsum(pair_start, out=pair_start)
    ends = np.cumsum(cursor.T).reshape(-1, len(cursor)).T
    tile_start = np.concatenate([np.zeros(1, np.int64), ends[-1]])
    cursor[:] = ends - cursor
    total = int(tile_start[-1])
    entries = np.empty(total, np.int32), np.empty(total, np.uint8), np.empty(total, np.int64)
    run(_walk_tiles, True, *scene, *entries)
    return TileLists(tile_start, entries[0], entries[1], order, pair_start, entries[2])
