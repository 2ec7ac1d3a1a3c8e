"""CPU kernel: which splats each 16x16 tile has to blend, and in which order.

Exact: a tile lists a splat only if the ellipse within which its alpha reaches ALPHA_MIN meets the tile's pixel centres.
Each entry also tells which pixel rows of the tile the ellipse meets. Entries stand front to back, equal depths in the
order of the Gaussians. A counting sort by tile of splats already sorted by depth; its result does not depend on how the
work is cut into pieces.

No fastmath here: the counting and the filling pass must agree bit for bit.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from gaussmith.render._splat_rules import TILE

PIECES = 8
"""Pieces of parallel work per camera."""
SLACK = 1e-4
"""Added to the squared reach, so that the blend's float32 rounding never meets a tile that is not listed."""


@njit(cache=True, error_model="numpy")
def _depth_order(splats, reach, order):
    """Fill order with the drawn splats of one camera, nearest first (stable radix sort); returns their number."""
    count = 0
    for g in range(reach.shape[0]):
        if reach[g] > 0:
            order[count] = g
            count += 1
    depth = np.empty(count, np.float32)
    for i in range(count):
        depth[i] = splats[order[i], 7]
    keys = depth.view(np.uint32)  # the bits of positive floats sort like the floats
    other_keys, other = np.empty_like(keys), np.empty(count, np.int32)
    first = order[:count]
    source, target = first, other
    for shift in (0, 11, 22):
        start = np.zeros(2049, np.int64)
        for i in range(count):
            start[((keys[i] >> np.uint32(shift)) & np.uint32(2047)) + 1] += 1
        for i in range(2048):
            start[i + 1] += start[i]
        for i in range(count):
            digit = (keys[i] >> np.uint32(shift)) & np.uint32(2047)
            other_keys[start[digit]], target[start[digit]] = keys[i], source[i]
            start[digit] += 1
        keys, other_keys = other_keys, keys
        source, target = target, source
    first[:] = source
    return count


@njit(cache=True, error_model="numpy")
def _tile_rows(mean2d, splat, reach, height):
    """First and last tile row whose pixel centres the ellipse's vertical extent meets."""
    half = math.sqrt(reach + SLACK) / splat[2]
    top, bottom = max(mean2d[1] - half, 0.5), min(mean2d[1] + half, height - 0.5)
    return math.ceil((top - TILE + 0.5) / TILE), math.floor((bottom - 0.5) / TILE)


@njit(cache=True, error_model="numpy")
def _tile_columns(mean2d, splat, reach, row, width, height):
    """First and last tile column that the ellipse meets within one tile row (last < first when none).

    Within the strip the ellipse is convex, so its horizontal extent decides exactly.
    """
    l0, l1, l2, r2 = float(splat[0]), float(splat[1]), float(splat[2]), reach + SLACK
    y0 = row * TILE + 0.5 - mean2d[1]
    y1 = min(row * TILE + TILE, height) - 0.5 - mean2d[1]
    peak = -l1 * math.sqrt(r2 / (l1 * l1 + l2 * l2)) / l2  # dy of the rightmost point; the leftmost mirrors it
    right, left = min(max(peak, y0), y1), min(max(-peak, y0), y1)
    x1 = mean2d[0] + (math.sqrt(max(r2 - (l2 * right) ** 2, 0.0)) - l1 * right) / l0
    x0 = mean2d[0] - (math.sqrt(max(r2 - (l2 * left) ** 2, 0.0)) + l1 * left) / l0
    x0, x1 = max(x0, 0.5), min(x1, width - 0.5)
    if not x0 <= x1:
        return 0, -1
    return math.ceil((x0 - TILE + 0.5) / TILE), math.floor((x1 - 0.5) / TILE)


@njit(cache=True, error_model="numpy")
def _pixel_rows(mean2d, splat, reach, row, column, width, height):
    """The pixel rows of one tile that the ellipse meets, packed as 16 * first + last."""
    l0, l1, l2, r2 = float(splat[0]), float(splat[1]), float(splat[2]), reach + SLACK
    x0 = column * TILE + 0.5 - mean2d[0]
    x1 = min(column * TILE + TILE, width) - 0.5 - mean2d[0]
    c = l1 * l1 + l2 * l2
    peak = -l1 / l0 * math.sqrt(r2) / l2  # dx of the lowest point; the highest mirrors it
    low, high = min(max(peak, x0), x1), min(max(-peak, x0), x1)
    y1 = (math.sqrt(max(c * r2 - (l0 * l2 * low) ** 2, 0.0)) - l0 * l1 * low) / c
    y0 = -(math.sqrt(max(c * r2 - (l0 * l2 * high) ** 2, 0.0)) + l0 * l1 * high) / c
    origin = mean2d[1] - row * TILE - 0.5
    last = min(TILE, height - row * TILE) - 1
    first = min(max(math.ceil(min(max(y0 + origin, 0.0), 15.0)), 0), last)
    return first * TILE + min(max(math.floor(min(max(y1 + origin, 0.0), 15.0)), first), last)


@njit(cache=True, parallel=True, error_model="numpy")
def bin_splats(means2d, splats, reach, width, height):
    """Tile lists of B cameras with N splats each (arrays as `_numba_project.project` fills them).

    Returns
        tile_start [B*T+1] int64: entries of tile t of camera b are tile_start[b*T+t] to tile_start[b*T+t+1];
        entry_splat [P] int32: index b*N+n of each entry;  entry_rows [P] uint8: pixel rows, 16 * first + last;
        splat_start [B*N+1] int64 and slots [P] int64: slots[splat_start[b*N+n]:...] are the entries of one splat.
    """
    batch, n = reach.shape
    columns, rows = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    tiles = columns * rows
    order = np.empty((batch, n), np.int32)
    drawn = np.empty(batch, np.int64)
    for b in prange(batch):
        drawn[b] = _depth_order(splats[b], reach[b], order[b])

    cursor = np.zeros((batch, PIECES, tiles), np.int64)
    splat_start = np.zeros(batch * n + 1, np.int64)
    for job in prange(batch * PIECES):
        b, piece = job // PIECES, job % PIECES
        for i in range(drawn[b] * piece // PIECES, drawn[b] * (piece + 1) // PIECES):
            g = order[b, i]
            count = 0
            row0, row1 = _tile_rows(means2d[b, g], splats[b, g], reach[b, g], height)
            for row in range(row0, row1 + 1):
                c0, c1 = _tile_columns(means2d[b, g], splats[b, g], reach[b, g], row, width, height)
                for column in range(c0, c1 + 1):
                    cursor[b, piece, row * columns + column] += 1
                    count += 1
            splat_start[b * n + g + 1] = count

    for i in range(batch * n):
        splat_start[i + 1] += splat_start[i]
    tile_start = np.empty(batch * tiles + 1, np.int64)
    total = 0
    for b in range(batch):
        for tile in range(tiles):
            tile_start[b * tiles + tile] = total
            for piece in range(PIECES):
                count = cursor[b, piece, tile]
                cursor[b, piece, tile] = total
                total += count
    tile_start[batch * tiles] = total

    entry_splat, entry_rows, slots = np.empty(total, np.int32), np.empty(total, np.uint8), np.empty(total, np.int64)
    for job in prange(batch * PIECES):
        b, piece = job // PIECES, job % PIECES
        for i in range(drawn[b] * piece // PIECES, drawn[b] * (piece + 1) // PIECES):
            g = order[b, i]
            pair = splat_start[b * n + g]
            row0, row1 = _tile_rows(means2d[b, g], splats[b, g], reach[b, g], height)
            for row in range(row0, row1 + 1):
                c0, c1 = _tile_columns(means2d[b, g], splats[b, g], reach[b, g], row, width, height)
                for column in range(c0, c1 + 1):
                    slot = cursor[b, piece, row * columns + column]
                    cursor[b, piece, row * columns + column] = slot + 1
                    entry_splat[slot] = b * n + g
                    entry_rows[slot] = _pixel_rows(means2d[b, g], splats[b, g], reach[b, g], row, column, width, height)
                    slots[pair] = slot
                    pair += 1
    return tile_start, entry_splat, entry_rows, splat_start, slots
