"""CPU kernels: front-to-back blending of tile lists, and its gradient.

The hot loops run over the 16 pixels of a tile row, in float32, over flat scratch arrays with constant offsets between
the planes: that is the form LLVM turns into vector code. `exp` is a polynomial for the same reason.

Front to back in both directions: with v = colour . gradient at a pixel, dL/dalpha_i = T_i v_i - rest_i / (1 - alpha_i),
where rest_i, what the splats behind i and the background add to the loss, is the known total less the running sum.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gaussmith.render import _splat_rules as rules
from gaussmith.render._numba_project import SPLAT

f4 = np.float32
ALPHA_MIN, ALPHA_MAX, T_STOP = f4(rules.ALPHA_MIN), f4(rules.ALPHA_MAX), f4(rules.T_STOP)
TILE = rules.TILE
AREA = TILE * TILE
ROOT_HALF = f4(0.5**0.5)
ONE, ZERO, HALF = f4(1), f4(0), f4(0.5)
CHECK = 16
"""Entries between two looks at whether a tile is finished."""

# exp(p) = (1 + p (E1 + p (E2 + ...)))^8 on [-5.7, 0], least-maximum fit: relative error 1.2e-6 in float32.
# Below -5.7 no opacity reaches ALPHA_MIN.
LOWEST = f4(-5.7)
E1, E2, E3 = f4(0.12499996439572433), f4(0.00781240558792469), f4(0.00032542515139082605)
E4, E5, E6 = f4(1.0125553691018084e-05), f4(2.4222642043236474e-07), f4(3.695620035796748e-09)

# Scratch planes of one tile.
T, RED, GREEN, BLUE, DEPTH, NX, NY, NZ, WEIGHT = (AREA * i for i in range(9))
REST, VALUE = AREA * 9, AREA * 10
SCRATCH = AREA * 11
LANES = 10 * TILE
"""Sums over a tile's rows, one vector of 16 lanes for each of 10 quantities."""
SPREAD = 2 * TILE
"""The same for the absolute gradients of x and y."""


@njit(fastmath=True, error_model="numpy", inline="always")
def _exp(p):
    p = max(p, LOWEST)
    e = ONE + p * (E1 + p * (E2 + p * (E3 + p * (E4 + p * (E5 + p * E6)))))
    e = e * e
    e = e * e
    return e * e


@njit(inline="always", error_model="numpy", fastmath=True)
def _open_rows(s, top, bottom):
    """Narrow the rows top to bottom to those between which a pixel takes further splats; top > bottom if none does."""
    lowest, highest = TILE, -1
    for i in range(top, bottom + 1):
        light = ZERO
        for j in range(TILE):
            light = max(light, s[T + i * TILE + j])
        if light >= T_STOP:
            lowest, highest = min(lowest, i), i
    return lowest, highest


@njit(inline="always", error_model="numpy")
def _rows(packed, upper, lower):
    """First and last row of an entry within the open ones; the masks tell LLVM that no index is negative."""
    first, last = packed >> 4, packed & 15
    return (upper if upper > first else first) & 15, (lower if lower < last else last) & 15


@njit(cache=True, error_model="numpy")
def _clear(s, rows, columns):
    """Reset the scratch; pixels beyond the picture start finished."""
    s[:] = ZERO
    for i in range(rows):
        for j in range(columns):
            s[T + i * TILE + j] = ONE


@njit(cache=True, error_model="numpy")
def _stage(start, count, entry_splat, means2d, splats, staged):
    """Copy the splats of `count` entries to staged [CHECK,SPLAT+2], screen position last.

    Fetched together, they wait for memory together; one by one they took a fifth of the blending's time.
    """
    for i in range(count):
        g = entry_splat[start + i]
        for c in range(SPLAT):
            staged[i, c] = splats[g, c]
        staged[i, SPLAT], staged[i, SPLAT + 1] = means2d[g, 0], means2d[g, 1]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def blend(
    worker, workers, means2d, splats, tile_start, entry_splat, entry_rows, schedule, background, geometry,
    rgb, alpha, extra, done,
):  # fmt: skip
    """Blend the tile lists of `bin_splats`; means2d [B*N,2] and splats [B*N,SPLAT] are flat, background is [B,3].

    Fills rgb [B,H,W,3], alpha [B,H,W], done [B*T] (entries looked at) and, if geometry, extra [B,H,W,4]: the weighted
    sums of depth and normal. Worker w takes the tiles schedule[w], schedule[w + workers], ...
    """
    height, width = alpha.shape[1:]
    across = (width + TILE - 1) // TILE
    tiles = across * ((height + TILE - 1) // TILE)
    s, staged = np.empty(SCRATCH, np.float32), np.empty((CHECK, SPLAT + 2), np.float32)
    for job in range(worker, schedule.shape[0], workers):
        tile = schedule[job]
        b, left, top = tile // tiles, tile % tiles % across * TILE, tile % tiles // across * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        _clear(s, rows, columns)
        end = tile_start[tile + 1]
        k, upper, lower = tile_start[tile], 0, TILE - 1
        while k < end:
            at = k & (CHECK - 1)
            if at == 0 or k == tile_start[tile]:
                _stage(k, min(CHECK - at, end - k), entry_splat, means2d, splats, staged[at:])
            splat = staged[at]
            l0, l1, l2 = splat[0] * ROOT_HALF, splat[1] * ROOT_HALF, splat[2] * ROOT_HALF
            opacity, red, green, blue = splat[3], splat[4], splat[5], splat[6]
            depth, nx, ny, nz = splat[7], splat[8], splat[9], splat[10]
            dx, dy = f4(left) + HALF - splat[SPLAT], f4(top) + HALF - splat[SPLAT + 1]
            first, last = _rows(np.int64(entry_rows[k]), upper, lower)
            for i in range(first, last + 1):
                y = dy + f4(i)
                u0, v = l0 * dx + l1 * y, l2 * y
                row = i * TILE
                for j in range(TILE):
                    u = u0 + l0 * f4(j)
                    t = s[T + row + j]
                    a = min(opacity * _exp(-v * v - u * u), ALPHA_MAX)
                    a = a if (a >= ALPHA_MIN) & (t >= T_STOP) else ZERO
                    w = a * t
                    s[T + row + j] = t - w
                    s[RED + row + j] += w * red
                    s[GREEN + row + j] += w * green
                    s[BLUE + row + j] += w * blue
                    s[WEIGHT + row + j] = w
                if geometry:
                    for j in range(TILE):
                        w = s[WEIGHT + row + j]
                        s[DEPTH + row + j] += w * depth
                        s[NX + row + j] += w * nx
                        s[NY + row + j] += w * ny
                        s[NZ + row + j] += w * nz
            k += 1
            if (k & (CHECK - 1)) == 0:
                upper, lower = _open_rows(s, upper, lower)
                if upper > lower:
                    break
        done[tile] = k - tile_start[tile]
        for i in range(rows):
            for j in range(columns):
                p = i * TILE + j
                t, y, x = s[T + p], top + i, left + j
                alpha[b, y, x] = ONE - t
                rgb[b, y, x, 0] = s[RED + p] + t * background[b, 0]
                rgb[b, y, x, 1] = s[GREEN + p] + t * background[b, 1]
                rgb[b, y, x, 2] = s[BLUE + p] + t * background[b, 2]
                if geometry:
                    extra[b, y, x, 0], extra[b, y, x, 1] = s[DEPTH + p], s[NX + p]
                    extra[b, y, x, 2], extra[b, y, x, 3] = s[NY + p], s[NZ + p]


@njit(inline="always", error_model="numpy", fastmath=True)
def _load_gradients(s, b, top, left, rows, columns, geometry, rgb, alpha, extra, g_rgb, g_alpha, g_extra):
    """Put the pixel gradients of one tile into the colour planes and the total of the weighted values into REST."""
    for i in range(rows):
        for j in range(columns):
            p, y, x = i * TILE + j, top + i, left + j
            rest = -(ONE - alpha[b, y, x]) * g_alpha[b, y, x]
            for c in range(3):
                s[RED + c * AREA + p] = g_rgb[b, y, x, c]
                rest += rgb[b, y, x, c] * g_rgb[b, y, x, c]
            if geometry:
                for c in range(4):
                    s[DEPTH + c * AREA + p] = g_extra[b, y, x, c]
                    rest += extra[b, y, x, c] * g_extra[b, y, x, c]
            s[REST + p] = rest


@njit(inline="always", error_model="numpy", fastmath=True)
def _store_partial(lanes, dx, dy, splat, geometry, out):
    """Turn the lane sums of one entry into the gradient of its splat: out = x, y, then as the splat's own columns."""
    m0, mx, mxx, my, mxy, myy = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    red, green, blue = ZERO, ZERO, ZERO
    for j in range(TILE):
        x = dx + f4(j)
        a, b = lanes[j], lanes[TILE + j]
        m0 += a
        mx += x * a
        mxx += x * x * a
        my += b
        mxy += x * b
        myy += lanes[2 * TILE + j]
        red += lanes[3 * TILE + j]
        green += lanes[4 * TILE + j]
        blue += lanes[5 * TILE + j]
    l0, l1, l2 = splat[0], splat[1], splat[2]
    u = l0 * mx + l1 * my
    out[0], out[1] = l0 * u, l1 * u + l2 * l2 * my
    out[2], out[3], out[4] = -(l0 * mxx + l1 * mxy), -(l0 * mxy + l1 * myy), -l2 * myy
    out[5], out[6], out[7], out[8] = m0 / splat[3], red, green, blue
    if geometry:
        for c in range(4):
            total = ZERO
            for j in range(TILE):
                total += lanes[(6 + c) * TILE + j]
            out[9 + c] = total


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def blend_backward(
    worker, workers, means2d, splats, tile_start, entry_splat, entry_rows, schedule, geometry,
    rgb, alpha, extra, done, g_rgb, g_alpha, g_extra, partial, absolute,
):  # fmt: skip
    """From the pixel gradients g_rgb, g_alpha, g_extra, fill partial [P,9 or 13]: each entry's share of the gradient
    of its splat, as x, y and then the splat's own columns.

    And absolute [P,2], the sums over pixels of the absolute gradients of x and y; where it is None, Numba leaves out
    all that belongs to it.
    """
    height, width = alpha.shape[1:]
    across = (width + TILE - 1) // TILE
    tiles = across * ((height + TILE - 1) // TILE)
    s, lanes = np.empty(SCRATCH, np.float32), np.empty(LANES, np.float32)
    if absolute is not None:
        moment, spread = np.empty(TILE, np.float32), np.empty(SPREAD, np.float32)
    for job in range(worker, schedule.shape[0], workers):
        tile = schedule[job]
        b, left, top = tile // tiles, tile % tiles % across * TILE, tile % tiles // across * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        _clear(s, rows, columns)
        _load_gradients(s, b, top, left, rows, columns, geometry, rgb, alpha, extra, g_rgb, g_alpha, g_extra)
        stop = tile_start[tile] + done[tile]
        upper, lower = 0, TILE - 1
        for k in range(tile_start[tile], stop):
            if (k & (CHECK - 1)) == 0:
                upper, lower = _open_rows(s, upper, lower)
            g = entry_splat[k]
            splat = splats[g]
            l0, l1, l2 = splat[0] * ROOT_HALF, splat[1] * ROOT_HALF, splat[2] * ROOT_HALF
            opacity, red, green, blue = splat[3], splat[4], splat[5], splat[6]
            depth, nx, ny, nz = splat[7], splat[8], splat[9], splat[10]
            dx, dy = f4(left) + HALF - means2d[g, 0], f4(top) + HALF - means2d[g, 1]
            first, last = _rows(np.int64(entry_rows[k]), upper, lower)
            lanes[:] = ZERO
            if absolute is not None:
                spread[:] = ZERO
            for i in range(first, last + 1):
                y = dy + f4(i)
                u0, v = l0 * dx + l1 * y, l2 * y
                row = i * TILE
                if geometry:
                    for j in range(TILE):
                        p = row + j
                        near = s[DEPTH + p] * depth + s[NX + p] * nx
                        s[VALUE + p] = near + s[NY + p] * ny + s[NZ + p] * nz
                for j in range(TILE):
                    u = u0 + l0 * f4(j)
                    t = s[T + row + j]
                    raw = opacity * _exp(-v * v - u * u)
                    a = min(raw, ALPHA_MAX)
                    a = a if (a >= ALPHA_MIN) & (t >= T_STOP) else ZERO
                    w = a * t
                    g_red, g_green, g_blue = s[RED + row + j], s[GREEN + row + j], s[BLUE + row + j]
                    value = s[VALUE + row + j] + red * g_red + green * g_green + blue * g_blue
                    rest = s[REST + row + j] - w * value
                    m = a * (t * value - rest / (ONE - a))
                    m = m if raw <= ALPHA_MAX else ZERO
                    s[T + row + j] = t - w
                    s[REST + row + j] = rest
                    s[WEIGHT + row + j] = w
                    lanes[j] += m
                    lanes[TILE + j] += m * y
                    lanes[2 * TILE + j] += m * (y * y)
                    lanes[3 * TILE + j] += w * g_red
                    lanes[4 * TILE + j] += w * g_green
                    lanes[5 * TILE + j] += w * g_blue
                    if absolute is not None:
                        moment[j] = m
                if absolute is not None:
                    for j in range(TILE):
                        m, u = moment[j], u0 + l0 * f4(j)
                        spread[j] += abs(m * u)
                        spread[TILE + j] += abs(m * (l1 * u + l2 * v))
                if geometry:
                    for j in range(TILE):
                        w = s[WEIGHT + row + j]
                        lanes[6 * TILE + j] += w * s[DEPTH + row + j]
                        lanes[7 * TILE + j] += w * s[NX + row + j]
                        lanes[8 * TILE + j] += w * s[NY + row + j]
                        lanes[9 * TILE + j] += w * s[NZ + row + j]
            _store_partial(lanes, dx, dy, splat, geometry, partial[k])
            if absolute is not None:
                sum_x, sum_y = ZERO, ZERO
                for j in range(TILE):
                    sum_x += spread[j]
                    sum_y += spread[TILE + j]
                absolute[k, 0], absolute[k, 1] = sum_x * l0 * f4(2), sum_y * f4(2)  # l0, l1, l2 hold a root of 1/2
        partial[stop : tile_start[tile + 1]] = ZERO
        if absolute is not None:
            absolute[stop : tile_start[tile + 1]] = ZERO


@njit(cache=True, nogil=True, error_model="numpy")
def gather(worker, workers, partial, order, pair_start, slots, g_means2d, g_splats):
    """Add each splat's rows of partial in order, to g_means2d [B*N,2] and g_splats [B*N,SPLAT], which come as zeros.

    No two threads ever write to one place, so the sums do not depend on the number of threads. Nearest splats first:
    the rows of every tile are then read from front to back.
    """
    count, parts = order.shape[0], partial.shape[1]
    for i in range(count * worker // workers, count * (worker + 1) // workers):
        g = order[i]
        for pair in range(pair_start[i], pair_start[i + 1]):
            slot = slots[pair]
            g_means2d[g, 0] += partial[slot, 0]
            g_means2d[g, 1] += partial[slot, 1]
            for c in range(parts - 2):
                g_splats[g, c] += partial[slot, 2 + c]


@njit(cache=True, nogil=True, error_model="numpy")
def gather_absolute(worker, workers, absolute, order, pair_start, slots, g_absolute):
    """Add each splat's rows of absolute [P,2] in order, to g_absolute [B*N,2], which comes as zeros."""
    count = order.shape[0]
    for i in range(count * worker // workers, count * (worker + 1) // workers):
        g, x, y = order[i], ZERO, ZERO
        for pair in range(pair_start[i], pair_start[i + 1]):
            x += absolute[slots[pair], 0]
            y += absolute[slots[pair], 1]
        g_absolute[g, 0], g_absolute[g, 1] = x, y
