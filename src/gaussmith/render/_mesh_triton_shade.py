"""GPU kernels of the triangle rasteriser: what a pixel's samples add up to; the arithmetic of `_mesh_numba`.

A program takes a block of pixels and a few channels and walks the side x side samples of each pixel, in their order.
Nothing is added by two programs at once but the texture's gradient, and that in whole numbers (see `_rows`): the bits
are always the same.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _pixel(height, width, views, BLOCK: tl.constexpr):
    """Flat index int64 of a block of pixels, which of them are there, and their view, row and column."""
    p = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return p, p < views * height * width, p // (height * width), p // width % height, p % width


@triton.jit
def _channels(PADDED: tl.constexpr):
    """[1,PADDED] the channels of this program."""
    return (tl.program_id(1) * PADDED + tl.arange(0, PADDED))[None, :]


@triton.jit
def _corners(faces, barycentric, f, at, drawn):
    """Corners of faces f and the weights of sample `at` in them, 0 where nothing is drawn."""
    v0, v1 = tl.load(faces + 3 * f, drawn, 0), tl.load(faces + 3 * f + 1, drawn, 0)
    w0, w1 = tl.load(barycentric + 3 * at, drawn, 0.0), tl.load(barycentric + 3 * at + 1, drawn, 0.0)
    return v0, v1, tl.load(faces + 3 * f + 2, drawn, 0), w0, w1, tl.load(barycentric + 3 * at + 2, drawn, 0.0)


@triton.jit(do_not_specialize=["views", "height", "width", "fine_height", "fine_width", "side"])
def interpolate(
    attributes, faces, face, barycentric, views, height, width, fine_height, fine_width, side, out,
    CHANNELS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill out [B,H,W,C] with the sums over the samples face [B,h,w] of attributes [A,C], blended at each."""
    p, here, b, y, x = _pixel(height, width, views, BLOCK)
    c = _channels(PADDED)
    total = tl.zeros([BLOCK, PADDED], attributes.dtype.element_ty)
    for s in range(side * side):
        at = (b * fine_height + y * side + s // side) * fine_width + x * side + s % side
        f = tl.load(face + at, here, -1)
        drawn = f >= 0
        v0, v1, v2, w0, w1, w2 = _corners(faces, barycentric, f, at, drawn)
        mask = drawn[:, None] & (c < CHANNELS)
        a0 = tl.load(attributes + v0[:, None] * CHANNELS + c, mask, 0.0)
        a1 = tl.load(attributes + v1[:, None] * CHANNELS + c, mask, 0.0)
        a2 = tl.load(attributes + v2[:, None] * CHANNELS + c, mask, 0.0)
        w0, w1, w2 = w0.to(total.dtype), w1.to(total.dtype), w2.to(total.dtype)
        total += w0[:, None] * a0 + w1[:, None] * a1 + w2[:, None] * a2
    tl.store(out + p[:, None] * CHANNELS + c, total, here[:, None] & (c < CHANNELS))


@triton.jit
def _component(normals, channel, v0, v1, v2, w0, w1, w2, drawn):
    n0, n1 = tl.load(normals + 3 * v0 + channel, drawn, 0.0), tl.load(normals + 3 * v1 + channel, drawn, 0.0)
    return w0 * n0 + w1 * n1 + w2 * tl.load(normals + 3 * v2 + channel, drawn, 0.0)


@triton.jit
def _along(rays, channel, px, py):
    """One world component of the viewing directions of samples at (px, py)."""
    r = rays + 3 * channel
    return tl.load(r) * px + tl.load(r + 1) * py + tl.load(r + 2)


@triton.jit(do_not_specialize=["height", "width", "fine_width", "side"])
def geometry(
    normals, faces, face, barycentric, depth, rays, height, width, fine_width, side, count, mean, normal,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill count [H,W] of covered samples, their mean depth [H,W] and their unit mean normal [H,W,3], of one view.

    Normals are turned against the viewing direction, which rays [3,3] float64 makes of a sample's (x, y, 1).
    """
    p, here, _, y, x = _pixel(height, width, 1, BLOCK)
    number, far = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    sum0, sum1, sum2 = number, number, number
    for s in range(side * side):
        i, j = y * side + s // side, x * side + s % side
        at = i * fine_width + j
        f = tl.load(face + at, here, -1)
        drawn = f >= 0
        v0, v1, v2, w0, w1, w2 = _corners(faces, barycentric, f, at, drawn)
        n0 = _component(normals, 0, v0, v1, v2, w0, w1, w2, drawn)
        n1 = _component(normals, 1, v0, v1, v2, w0, w1, w2, drawn)
        n2 = _component(normals, 2, v0, v1, v2, w0, w1, w2, drawn)
        px, py = j.to(tl.float64) + 0.5, i.to(tl.float64) + 0.5
        towards = n0 * _along(rays, 0, px, py) + n1 * _along(rays, 1, px, py) + n2 * _along(rays, 2, px, py)
        length = tl.sqrt_rn(n0 * n0 + n1 * n1 + n2 * n2)
        scale = tl.div_rn(tl.where(towards > 0, -1.0, 1.0), tl.maximum(length, 1e-12))
        sum0, sum1, sum2 = sum0 + n0 * scale, sum1 + n1 * scale, sum2 + n2 * scale
        number += tl.where(drawn, 1.0, 0.0)
        far += tl.load(depth + at, drawn, 0.0)
    length = tl.maximum(tl.sqrt_rn(sum0 * sum0 + sum1 * sum1 + sum2 * sum2), 1e-12)
    tl.store(count + p, number, here)
    tl.store(mean + p, tl.div_rn(far, tl.maximum(number, 1.0)), here)
    tl.store(normal + 3 * p, tl.div_rn(sum0, length), here)
    tl.store(normal + 3 * p + 1, tl.div_rn(sum1, length), here)
    tl.store(normal + 3 * p + 2, tl.div_rn(sum2, length), here)


@triton.jit
def _texel(position, size):
    """First of the two texels around a texture coordinate, its neighbour, and that one's weight; clamped at the border.

    In float64, since float32 would place it only to 1/4000 of a texel in a texture of 4096.
    """
    last = size.to(tl.float64) - 1.0
    place = tl.minimum(tl.maximum(position.to(tl.float64) * size.to(tl.float64) - 0.5, 0.0), last)
    first = tl.minimum(place.to(tl.int32), tl.maximum(size - 2, 0))
    return first.to(tl.int64), tl.minimum(first + 1, size - 1).to(tl.int64), place - first.to(tl.float64)


@triton.jit
def _texels(uv, at, drawn, rows, columns):
    """Flat indices [BLOCK,1] of the four texels around samples, and the weights of the right and the lower ones."""
    left, right, s = _texel(tl.load(uv + 2 * at, drawn, 0.0), columns)
    top, below, t = _texel(tl.load(uv + 2 * at + 1, drawn, 0.0), rows)
    a, b, c, d = top * columns + left, top * columns + right, below * columns + left, below * columns + right
    return a[:, None], b[:, None], c[:, None], d[:, None], s[:, None], t[:, None]


@triton.jit(do_not_specialize=["rows", "columns", "views", "height", "width", "fine_height", "fine_width", "side"])
def lookup(
    texture, uv, drawn, rows, columns, views, height, width, fine_height, fine_width, side, out,
    CHANNELS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill out [B,H,W,C] with the sums over the samples drawn uint8 [B,h,w] of texture [rows,columns,C] at uv."""
    p, here, b, y, x = _pixel(height, width, views, BLOCK)
    channel = _channels(PADDED)
    total = tl.zeros([BLOCK, PADDED], texture.dtype.element_ty)
    for n in range(side * side):
        at = (b * fine_height + y * side + n // side) * fine_width + x * side + n % side
        seen = tl.load(drawn + at, here, 0) != 0
        i, j, k, m, s, t = _texels(uv, at, seen, rows, columns)
        mask = seen[:, None] & (channel < CHANNELS)
        c0 = tl.load(texture + i * CHANNELS + channel, mask, 0.0)
        c1 = tl.load(texture + j * CHANNELS + channel, mask, 0.0)
        c2 = tl.load(texture + k * CHANNELS + channel, mask, 0.0)
        c3 = tl.load(texture + m * CHANNELS + channel, mask, 0.0)
        s, t = s.to(total.dtype), t.to(total.dtype)
        upper, lower = c0 + s * (c1 - c0), c2 + s * (c3 - c2)
        total += upper + t * (lower - upper)
    tl.store(out + p[:, None] * CHANNELS + channel, total, here[:, None] & (channel < CHANNELS))


@triton.jit
def _add_whole(pointer, value, mask):
    tl.atomic_add(pointer, value.to(tl.int64), mask, sem="relaxed")


@triton.jit(do_not_specialize=["rows", "columns", "views", "height", "width", "fine_height", "fine_width", "side"])
def lookup_backward(
    gradient, uv, drawn, scale, rows, columns, views, height, width, fine_height, fine_width, side, out,
    CHANNELS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add the gradient of the texture, times scale float64 [1], to out int64 [rows,columns,C], from that of the pixels.

    Sums of whole numbers do not depend on their order.
    """
    p, here, b, y, x = _pixel(height, width, views, BLOCK)
    channel = _channels(PADDED)
    g = tl.load(gradient + p[:, None] * CHANNELS + channel, here[:, None] & (channel < CHANNELS), 0.0)
    g = g.to(tl.float64) * tl.load(scale)
    for n in range(side * side):
        at = (b * fine_height + y * side + n // side) * fine_width + x * side + n % side
        seen = tl.load(drawn + at, here, 0) != 0
        i, j, k, m, s, t = _texels(uv, at, seen, rows, columns)
        mask = seen[:, None] & (channel < CHANNELS)
        _add_whole(out + i * CHANNELS + channel, g * ((1 - t) * (1 - s)), mask)
        _add_whole(out + j * CHANNELS + channel, g * ((1 - t) * s), mask)
        _add_whole(out + k * CHANNELS + channel, g * (t * (1 - s)), mask)
        _add_whole(out + m * CHANNELS + channel, g * (t * s), mask)
