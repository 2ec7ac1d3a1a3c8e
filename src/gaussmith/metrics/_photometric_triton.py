"""GPU kernels: 0.8 L1 + 0.2 D-SSIM with its gradient, for `losses.photometric`; the formulas of `_photometric`.

Four walks over the pictures, each thread one number of a row: the window across, the window down with the similarity
and its slopes, the slopes back down, and back across with the rest. Taps are read from the cache. All sums are taken in
a fixed order. Rows hold the channels side by side, so a tap is C numbers further along.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gaussmith.accelerator import constant
from gaussmith.metrics.pictures import C1, C2, WINDOW, taps

TAPS = tl.constexpr(WINDOW)
STABLE1, STABLE2 = tl.constexpr(C1), tl.constexpr(C2)
BLOCK = 256


@triton.jit
def _place(length, BLOCK: tl.constexpr):
    """This program's row, as int64 for what is counted from it, its columns, and which of them there are."""
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    return tl.program_id(0).to(tl.int64), j, j < length


@triton.jit(do_not_specialize=["length", "inner", "plane"])
def _across(x, y, window, length, inner, plane, out, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """The window over rows of x, y, x^2 + y^2 and x y: out [4,B*H,inner]."""
    row, j, here = _place(inner, BLOCK)
    mx, my = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    squares, products = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for t in tl.static_range(TAPS):
        weight = tl.load(window + t)
        p = tl.load(x + row * length + j + t * CHANNELS, here, 0.0)
        q = tl.load(y + row * length + j + t * CHANNELS, here, 0.0)
        mx += weight * p
        my += weight * q
        squares += weight * (p * p + q * q)
        products += weight * (p * q)
    at = out + row * inner + j
    tl.store(at, mx, here)
    tl.store(at + plane.to(tl.int64), my, here)
    tl.store(at + 2 * plane.to(tl.int64), squares, here)
    tl.store(at + 3 * plane.to(tl.int64), products, here)


@triton.jit(do_not_specialize=["height", "inner", "plane", "slope_plane"])
def _similarity(rows, window, height, inner, plane, slope_plane, slopes, sums, BLOCK: tl.constexpr):
    """S of each window, summed per program, and its slopes dS/dmx, dS/ds, dS/dc: slopes [3,B*(H-10),inner]."""
    row, j, here = _place(inner, BLOCK)
    windows = height - (TAPS - 1)
    first = (row // windows * height + row % windows) * inner + j
    mx, my = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    s, c = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for t in tl.static_range(TAPS):
        weight, at = tl.load(window + t), rows + first + t * inner
        mx += weight * tl.load(at, here, 0.0)
        my += weight * tl.load(at + plane.to(tl.int64), here, 0.0)
        s += weight * tl.load(at + 2 * plane.to(tl.int64), here, 0.0)
        c += weight * tl.load(at + 3 * plane.to(tl.int64), here, 0.0)
    square, product = mx * mx + my * my, mx * my
    a1, a2 = 2 * product + STABLE1, 2 * (c - product) + STABLE2
    inv1, inv2 = 1 / (square + STABLE1), 1 / (s - square + STABLE2)
    similarity = a1 * a2 * inv1 * inv2
    tl.store(sums + row * tl.num_programs(1) + tl.program_id(1), tl.sum(tl.where(here, similarity, 0.0), axis=0))
    at = slopes + row * inner + j
    tl.store(at, 2 * (my * (a2 - a1) * inv1 * inv2 + mx * similarity * (inv2 - inv1)), here)
    tl.store(at + slope_plane.to(tl.int64), -similarity * inv2, here)
    tl.store(at + 2 * slope_plane.to(tl.int64), 2 * a1 * inv1 * inv2, here)


@triton.jit(do_not_specialize=["height", "inner", "plane", "slope_plane"])
def _down(slopes, window, height, inner, plane, slope_plane, out, BLOCK: tl.constexpr):
    """The window down the slopes, back from windows to pixels: out [3,B*H,inner]; program 2 tells the plane."""
    row, j, here = _place(inner, BLOCK)
    k, windows = tl.program_id(2).to(tl.int64), height - (TAPS - 1)
    picture, r = row // height, row % height
    total = tl.zeros([BLOCK], tl.float32)
    for t in tl.static_range(TAPS):
        w = r - t
        at = slopes + k * slope_plane + (picture * windows + w) * inner + j
        total += tl.load(window + t) * tl.load(at, here & (w >= 0) & (w < windows), 0.0)
    tl.store(out + k * plane + row * inner + j, total, here)


@triton.jit(do_not_specialize=["length", "inner", "plane", "l1_scale", "ssim_scale"])
def _finish(
    x, y, back, window, length, inner, plane, l1_scale, ssim_scale, gradient, sums,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums of |x - y| per program, and the gradient of the whole loss with respect to x."""
    row, j, here = _place(length, BLOCK)
    slope, squares = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    products = tl.zeros([BLOCK], tl.float32)
    for t in tl.static_range(TAPS):
        w = j - t * CHANNELS
        weight, at, there = tl.load(window + t), back + row * inner + w, here & (w >= 0) & (w < inner)
        slope += weight * tl.load(at, there, 0.0)
        squares += weight * tl.load(at + plane.to(tl.int64), there, 0.0)
        products += weight * tl.load(at + 2 * plane.to(tl.int64), there, 0.0)
    p, q = tl.load(x + row * length + j, here, 0.0), tl.load(y + row * length + j, here, 0.0)
    sign = (p > q).to(tl.float32) - (p < q).to(tl.float32)
    tl.store(gradient + row * length + j, l1_scale * sign + ssim_scale * (slope + 2 * p * squares + q * products), here)
    tl.store(sums + row * tl.num_programs(1) + tl.program_id(1), tl.sum(tl.abs(p - q), axis=0))


def photometric_sums(
    x: Tensor, y: Tensor, channels: int, l1_scale: float, ssim_scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As `_photometric.photometric_rows`, for x, y [B,H,W*C] on a GPU: partial sums of |x - y| and of S, and the
    gradient [B,H,W*C] of l1_scale sum |x - y| + ssim_scale sum S with respect to x."""
    batch, height, length = x.shape
    inner, windows = length - (WINDOW - 1) * channels, height - WINDOW + 1
    plane, slope_plane = batch * height * inner, batch * windows * inner
    window = constant(tuple(taps().tolist()), x)
    across, along = triton.cdiv(inner, BLOCK), triton.cdiv(length, BLOCK)
    rows, slopes = x.new_empty(4, plane), x.new_empty(3, slope_plane)
    similarities, differences = x.new_empty(batch * windows, across), x.new_empty(batch * height, along)
    gradient = torch.empty_like(x)
    options = {"CHANNELS": channels, "BLOCK": BLOCK}
    _across[(batch * height, across)](x, y, window, length, inner, plane, rows, **options)
    _similarity[(batch * windows, across)](
        rows, window, height, inner, plane, slope_plane, slopes, similarities, BLOCK=BLOCK
    )
    # The blurred rows have done their work; three of their planes take the slopes.
    _down[(batch * height, across, 3)](slopes, window, height, inner, plane, slope_plane, rows, BLOCK=BLOCK)
    _finish[(batch * height, along)](
        x, y, rows, window, length, inner, plane, l1_scale, ssim_scale, gradient, differences, **options
    )
    return differences, similarities, gradient
