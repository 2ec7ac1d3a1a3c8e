"""GPU kernels: front-to-back blending of tile lists, and its gradient; one program takes one tile.

A program walks its list in chunks and holds a [CHUNK, 256] tensor of alphas. Its threads lie along the pixels, so the
running products and sums along the chunk stay within a thread. The gradient runs front to back too, as in
`_numba_blend`: what lies behind an entry is the known total less the running sum. The sums over a tile's pixels are
block reductions: each entry writes one row of gradients, or adds it to its splat's with one atomic per number.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from gaussmith.render import _splat_rules as rules
from gaussmith.render._triton_project import SPLAT

ROW = 16
"""Numbers in a splat's row of gradients: x, y, the columns of the splat, the absolute gradients of x and y."""

TILE = tl.constexpr(rules.TILE)
AREA = tl.constexpr(rules.TILE**2)
COLUMNS = tl.constexpr(SPLAT // 2)
GRADIENTS, ROW_LAST = tl.constexpr(ROW), tl.constexpr(ROW - 1)
ALPHA_MIN = tl.constexpr(rules.ALPHA_MIN)
ALPHA_MAX = tl.constexpr(rules.ALPHA_MAX)
T_STOP = tl.constexpr(rules.T_STOP)
# Splats are scaled on loading so that alpha = opacity * 2^-(u^2 + v^2).
ROOT, INV_ROOT = tl.constexpr(math.sqrt(0.5 / math.log(2))), tl.constexpr(math.sqrt(2 * math.log(2)))


@triton.jit
def _two(pointer, mask):
    """Two neighbouring float32 as one load of int64 (0 where masked)."""
    both = tl.load(pointer, mask, 0)
    return both.to(tl.int32).to(tl.float32, bitcast=True), (both >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _tile(width, height):
    """This program's camera, its pixels' flat index and centres, and which of them are in the picture."""
    across = (width + TILE - 1) // TILE
    tiles = across * ((height + TILE - 1) // TILE)
    index = tl.program_id(0)
    b, p = index // tiles, tl.arange(0, AREA)
    x = index % tiles % across * TILE + p % TILE
    y = index % tiles // across * TILE + p // TILE
    flat = (b.to(tl.int64) * height + y) * width + x
    return b, flat, x.to(tl.float32) + 0.5, y.to(tl.float32) + 0.5, (x < width) & (y < height)


@triton.jit
def _alphas(means2d, splats, g, listed, px, py):
    """[CHUNK,AREA] alphas of splats g before and after the cut-offs, with what their gradient needs."""
    mx, my = _two(means2d + g, listed)
    l0, l1 = _two(splats + COLUMNS * g, listed)
    l2, opacity = _two(splats + COLUMNS * g + 1, listed)
    l0, l1, l2 = l0 * ROOT, l1 * ROOT, l2 * ROOT
    dx, dy = px[None, :] - mx[:, None], py[None, :] - my[:, None]
    u, v = l0[:, None] * dx + l1[:, None] * dy, l2[:, None] * dy
    raw = opacity[:, None] * tl.exp2(-(u * u + v * v))
    alpha = tl.minimum(raw, ALPHA_MAX)
    return raw, tl.where(alpha >= ALPHA_MIN, alpha, 0.0), l0, l1, l2, opacity, dx, dy, u, v


@triton.jit
def _attenuate(light, alpha):
    """Transmittance before each entry, the alphas that still count, 1 / (1 - alpha), and the light after the chunk."""
    keep = 1 - alpha
    after = light[None, :] * tl.cumprod(keep, axis=0)
    inverse = tl.rsqrt(keep)  # squared it is 1 / keep, for a third of the instructions of a division
    inverse *= inverse
    before = after * inverse
    counts = before >= T_STOP
    left = tl.minimum(light, tl.min(tl.where(counts, after, 1.0), axis=0))
    return before, tl.where(counts, alpha, 0.0), inverse, left


@triton.jit(do_not_specialize=["width", "height"])
def blend(
    means2d, splats, tile_start, entry_splat, background, width, height, rgb, alpha, extra, done,
    GEOMETRY: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Fill rgb [B,H,W,3], alpha [B,H,W], done [B*T] (where each walk ended) and, if GEOMETRY, extra [B,H,W,4].

    means2d [M,1] and splats [M,SPLAT/2] are pairs of float32 viewed as int64; background is [B,3].
    """
    b, flat, px, py, inside = _tile(width, height)
    k, end = tl.load(tile_start + tl.program_id(0)), tl.load(tile_start + tl.program_id(0) + 1)
    light = tl.where(inside, 1.0, 0.0)
    red, green, blue = tl.zeros([AREA], tl.float32), tl.zeros([AREA], tl.float32), tl.zeros([AREA], tl.float32)
    depth, nx, ny, nz = red, red, red, red
    while (k < end) & (tl.max(light, axis=0) >= T_STOP):
        entry = k + tl.arange(0, CHUNK)
        listed = entry < end
        g = tl.load(entry_splat + entry, listed, 0).to(tl.int64)
        _, a, _, _, _, _, _, _, _, _ = _alphas(means2d, splats, g, listed, px, py)
        before, a, _, light = _attenuate(light, a)
        weight = a * before
        r, gr = _two(splats + COLUMNS * g + 2, listed)
        bl, z = _two(splats + COLUMNS * g + 3, listed)
        red += tl.sum(weight * r[:, None], axis=0)
        green += tl.sum(weight * gr[:, None], axis=0)
        blue += tl.sum(weight * bl[:, None], axis=0)
        if GEOMETRY:
            n0, n1 = _two(splats + COLUMNS * g + 4, listed)
            n2, _ = _two(splats + COLUMNS * g + 5, listed)
            depth += tl.sum(weight * z[:, None], axis=0)
            nx += tl.sum(weight * n0[:, None], axis=0)
            ny += tl.sum(weight * n1[:, None], axis=0)
            nz += tl.sum(weight * n2[:, None], axis=0)
        k += CHUNK
    tl.store(done + tl.program_id(0), tl.minimum(k, end))
    tl.store(alpha + flat, 1 - light, inside)
    tl.store(rgb + 3 * flat, red + light * tl.load(background + 3 * b), inside)
    tl.store(rgb + 3 * flat + 1, green + light * tl.load(background + 3 * b + 1), inside)
    tl.store(rgb + 3 * flat + 2, blue + light * tl.load(background + 3 * b + 2), inside)
    if GEOMETRY:
        tl.store(extra + 4 * flat, depth, inside)
        tl.store(extra + 4 * flat + 1, nx, inside)
        tl.store(extra + 4 * flat + 2, ny, inside)
        tl.store(extra + 4 * flat + 3, nz, inside)


@triton.jit
def _emit(pointer, sums, listed, ATOMIC: tl.constexpr):
    if ATOMIC:
        tl.atomic_add(pointer, sums, listed, sem="relaxed")
    else:
        tl.store(pointer, sums, listed)


@triton.jit(do_not_specialize=["width", "height"])
def blend_backward(
    means2d, splats, tile_start, entry_splat, entry_pair, width, height, rgb, alpha, extra, done,
    g_rgb, g_alpha, g_extra, out,
    GEOMETRY: tl.constexpr, ALPHA: tl.constexpr, ABSOLUTE: tl.constexpr, ATOMIC: tl.constexpr, STRIDE: tl.constexpr,
    CHUNK: tl.constexpr,
):  # fmt: skip
    """Each entry's share of the gradient of its splat: x, y, then as the splat's columns.

    ATOMIC: added to out [M,STRIDE] at the splat; otherwise stored to out [P,STRIDE] at the pair, zeros behind `done`.
    Without ALPHA or GEOMETRY, g_alpha or g_extra is not read.
    """
    _b, flat, px, py, inside = _tile(width, height)
    k, end = tl.load(tile_start + tl.program_id(0)), tl.load(done + tl.program_id(0))
    light = tl.where(inside, 1.0, 0.0)
    g0, g1 = tl.load(g_rgb + 3 * flat, inside, 0.0), tl.load(g_rgb + 3 * flat + 1, inside, 0.0)
    g2 = tl.load(g_rgb + 3 * flat + 2, inside, 0.0)
    rest = g0 * tl.load(rgb + 3 * flat, inside, 0.0) + g1 * tl.load(rgb + 3 * flat + 1, inside, 0.0)
    rest += g2 * tl.load(rgb + 3 * flat + 2, inside, 0.0)
    if ALPHA:
        rest -= (1 - tl.load(alpha + flat, inside, 0.0)) * tl.load(g_alpha + flat, inside, 0.0)
    if GEOMETRY:
        h0, h1 = tl.load(g_extra + 4 * flat, inside, 0.0), tl.load(g_extra + 4 * flat + 1, inside, 0.0)
        h2, h3 = tl.load(g_extra + 4 * flat + 2, inside, 0.0), tl.load(g_extra + 4 * flat + 3, inside, 0.0)
        rest += h0 * tl.load(extra + 4 * flat, inside, 0.0) + h1 * tl.load(extra + 4 * flat + 1, inside, 0.0)
        rest += h2 * tl.load(extra + 4 * flat + 2, inside, 0.0) + h3 * tl.load(extra + 4 * flat + 3, inside, 0.0)
    while k < end:
        entry = k + tl.arange(0, CHUNK)
        listed = entry < end
        g = tl.load(entry_splat + entry, listed, 0).to(tl.int64)
        if ATOMIC:
            to = out + g * STRIDE
        else:
            to = out + tl.load(entry_pair + entry, listed, 0) * STRIDE
        raw, a, l0, l1, l2, opacity, dx, dy, u, v = _alphas(means2d, splats, g, listed, px, py)
        before, a, inverse, light = _attenuate(light, a)
        weight = a * before
        r, gr = _two(splats + COLUMNS * g + 2, listed)
        bl, z = _two(splats + COLUMNS * g + 3, listed)
        value = r[:, None] * g0[None, :] + gr[:, None] * g1[None, :] + bl[:, None] * g2[None, :]
        _emit(to + 6, tl.sum(weight * g0[None, :], axis=1), listed, ATOMIC)
        _emit(to + 7, tl.sum(weight * g1[None, :], axis=1), listed, ATOMIC)
        _emit(to + 8, tl.sum(weight * g2[None, :], axis=1), listed, ATOMIC)
        if GEOMETRY:
            n0, n1 = _two(splats + COLUMNS * g + 4, listed)
            n2, _ = _two(splats + COLUMNS * g + 5, listed)
            value += z[:, None] * h0[None, :] + n0[:, None] * h1[None, :]
            value += n1[:, None] * h2[None, :] + n2[:, None] * h3[None, :]
            _emit(to + 9, tl.sum(weight * h0[None, :], axis=1), listed, ATOMIC)
            _emit(to + 10, tl.sum(weight * h1[None, :], axis=1), listed, ATOMIC)
            _emit(to + 11, tl.sum(weight * h2[None, :], axis=1), listed, ATOMIC)
            _emit(to + 12, tl.sum(weight * h3[None, :], axis=1), listed, ATOMIC)
        share = weight * value
        behind = rest[None, :] - tl.cumsum(share, axis=0)
        rest -= tl.sum(share, axis=0)
        moment = tl.where(raw <= ALPHA_MAX, a * (before * value - behind * inverse), 0.0)
        mu, mv = moment * u, moment * v
        sum_u, sum_v = tl.sum(mu, axis=1) * (INV_ROOT * INV_ROOT), tl.sum(mv, axis=1) * (INV_ROOT * INV_ROOT)
        _emit(to, sum_u * l0, listed, ATOMIC)
        _emit(to + 1, sum_u * l1 + sum_v * l2, listed, ATOMIC)
        _emit(to + 2, tl.sum(mu * dx, axis=1) * -INV_ROOT, listed, ATOMIC)
        _emit(to + 3, tl.sum(mu * dy, axis=1) * -INV_ROOT, listed, ATOMIC)
        _emit(to + 4, tl.sum(mv * dy, axis=1) * -INV_ROOT, listed, ATOMIC)
        _emit(to + 5, tl.sum(moment, axis=1) / tl.where(listed, opacity, 1.0), listed, ATOMIC)
        if ABSOLUTE:
            across, down = tl.abs(mu) * l0[:, None], tl.abs(mu * l1[:, None] + mv * l2[:, None])
            _emit(to + ROW_LAST - 1, tl.sum(across, axis=1) * (INV_ROOT * INV_ROOT), listed, ATOMIC)
            _emit(to + ROW_LAST, tl.sum(down, axis=1) * (INV_ROOT * INV_ROOT), listed, ATOMIC)
        k += CHUNK
    if not ATOMIC:
        k, end = end, tl.load(tile_start + tl.program_id(0) + 1)
        column = tl.arange(0, GRADIENTS)[None, :]
        while k < end:
            entry = k + tl.arange(0, CHUNK)
            listed = entry < end
            row = tl.load(entry_pair + entry, listed, 0)[:, None] * STRIDE
            tl.store(out + row + column, tl.zeros([CHUNK, GRADIENTS], tl.float32), listed[:, None] & (column < STRIDE))
            k += CHUNK


@triton.jit(do_not_specialize=["m"])
def gather(partial, order, ends, m, out, STRIDE: tl.constexpr, BLOCK: tl.constexpr, DEPTH: tl.constexpr):
    """Add each splat's rows of partial [P,STRIDE], in their order, to out [m,ROW]: the same bits every time."""
    rank = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    begin = tl.load(ends + rank - 1, (rank > 0) & (rank < m), 0)
    count = tl.load(ends + rank, rank < m, 0) - begin
    column = tl.arange(0, GRADIENTS)[None, None, :]
    step = tl.arange(0, DEPTH)[None, :, None]
    total = tl.zeros([BLOCK, GRADIENTS], tl.float32)
    for k in range(0, tl.max(count, axis=0), DEPTH):
        mask = (k + step < count[:, None, None]) & (column < STRIDE)
        total += tl.sum(tl.load(partial + (begin[:, None, None] + k + step) * STRIDE + column, mask, 0.0), axis=1)
    at = tl.load(order + rank, rank < m, 0)[:, None] * GRADIENTS + tl.arange(0, GRADIENTS)[None, :]
    tl.store(out + at, total, (rank < m)[:, None])
