"""CPU kernel: 0.8 L1 + 0.2 D-SSIM with its gradient in one walk down the picture, for `gaussmith.losses.photometric`.

Per window, with mx, my the blurred pictures, s = blur(x^2 + y^2) and c = blur(x y), the similarity of `ssim_map` is
S = A1 A2 / (D1 D2), A1 = 2 mx my + C1, A2 = 2 (c - mx my) + C2, D1 = mx^2 + my^2 + C1, D2 = s - mx^2 - my^2 + C2: four
blurs, not five. Its gradient reaches the pixels through mx, s and c, blurred backwards: dS/dx = B'(dS/dmx)
+ 2 x B'(dS/ds) + y B'(dS/dc).

Rows are walked once; the last 11 blurred rows and the last 11 rows of gradients stay in rings that fit a processor's
second cache. Channels lie side by side, so a tap is C numbers further along the row and all loops are vector code.
Every row is computed by the same operations whichever worker does it: the bits never depend on their number.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gaussmith.metrics.pictures import C1, C2, WINDOW, taps

f4 = np.float32
TAPS = WINDOW
ONE, TWO, ZERO, STABLE1, STABLE2 = f4(1), f4(2), f4(0), f4(C1), f4(C2)
HALF = tuple(f4(w) for w in (*taps().tolist()[: TAPS // 2], 0.5 * float(taps()[TAPS // 2])))
"""The window is a sum over pairs of pixels with equal weights; the centre is paired with itself."""


@njit(inline="always", error_model="numpy", fastmath=True)
def _add(out, weight1, a, b, weight2, c, d):
    """Two pairs of taps. LLVM makes vector code of loops over up to five rows; with more it fears that they overlap."""
    for j in range(out.shape[0]):
        out[j] += weight1 * (a[j] + b[j]) + weight2 * (c[j] + d[j])


@njit(inline="always", error_model="numpy", fastmath=True)
def _along(row, step, out):
    """out[j] = the window over row[j], row[j + step], ..."""
    out[:] = ZERO
    for t in range(0, 6, 2):
        a, b, c, d = row[t * step :], row[(10 - t) * step :], row[(t + 1) * step :], row[(9 - t) * step :]
        _add(out, HALF[t], a, b, HALF[t + 1], c, d)


@njit(inline="always", error_model="numpy", fastmath=True)
def _down(ring, k, r, out):
    """out[j] = the window over the rows r, r + 1, ... of plane k of a ring."""
    out[:] = ZERO
    for t in range(0, 6, 2):
        a, b = ring[(r + t) % TAPS, k], ring[(r + 10 - t) % TAPS, k]
        _add(out, HALF[t], a, b, HALF[t + 1], ring[(r + t + 1) % TAPS, k], ring[(r + 9 - t) % TAPS, k])


@njit(inline="always", error_model="numpy", fastmath=True)
def _similarity(mx, my, s, c):
    """Sum of S over a row of windows; mx, s and c become dS/dmx, dS/ds and dS/dc."""
    total = ZERO
    for j in range(mx.shape[0]):
        square, product = mx[j] * mx[j] + my[j] * my[j], mx[j] * my[j]
        a1, a2 = TWO * product + STABLE1, TWO * (c[j] - product) + STABLE2
        inv1, inv2 = ONE / (square + STABLE1), ONE / (s[j] - square + STABLE2)
        inv = inv1 * inv2
        similarity = a1 * a2 * inv
        total += similarity
        mx[j] = TWO * (my[j] * (a2 - a1) * inv + mx[j] * similarity * (inv2 - inv1))
        s[j] = -similarity * inv2
        c[j] = TWO * a1 * inv
    return total


@njit(inline="always", error_model="numpy", fastmath=True)
def _finish(x, y, blurred, l1_scale, ssim_scale, gradient):
    """Sum of |x - y| over a row of pixels, and the gradient of the whole loss there."""
    total, slope, squares, products = ZERO, blurred[0], blurred[1], blurred[2]
    for j in range(x.shape[0]):
        p, q = x[j], y[j]
        total += abs(p - q)
        sign = (ONE if p > q else ZERO) - (ONE if p < q else ZERO)
        gradient[j] = l1_scale * sign + ssim_scale * (slope[j] + TWO * p * squares[j] + q * products[j])
    return total


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def photometric_rows(worker, workers, x, y, channels, l1_scale, ssim_scale, differences, similarities, gradient):
    """Pictures x, y [B,H,W*C]: fill the sums of |x - y| per row, differences [B,H], those of S per row of windows,
    similarities [B,H-10], and gradient [B,H,W*C] of l1_scale sum |x - y| + ssim_scale sum S with respect to x.
    """
    height, length = x.shape[1:]
    pad = (TAPS - 1) * channels
    products, rows = np.empty((2, length), np.float32), np.empty((TAPS, 4, length - pad), np.float32)
    window, slopes = np.empty((4, length - pad), np.float32), np.zeros((TAPS, 3, length - pad), np.float32)
    back, blurred = np.zeros((3, length + pad), np.float32), np.empty((3, length), np.float32)
    first, last = height * worker // workers, height * (worker + 1) // workers
    for b in range(x.shape[0]):
        fed = max(first - TAPS + 1, 0)
        for r in range(first - TAPS + 1, last):
            slot = slopes[(r + TAPS) % TAPS]
            if r < 0 or r > height - TAPS:
                slot[:] = ZERO
            else:
                while fed < r + TAPS:
                    p, q = x[b, fed], y[b, fed]
                    for j in range(length):
                        products[0, j], products[1, j] = p[j] * p[j] + q[j] * q[j], p[j] * q[j]
                    for k, row in enumerate((p, q, products[0], products[1])):
                        _along(row, channels, rows[fed % TAPS, k])
                    fed += 1
                for k in range(4):
                    _down(rows, k, r, window[k])
                similarities[b, r] = _similarity(window[0], window[1], window[2], window[3])
                slot[0], slot[1], slot[2] = window[0], window[2], window[3]
            if r >= first:
                for k in range(3):
                    _down(slopes, k, r + 1, back[k, pad:length])
                    _along(back[k], channels, blurred[k])
                differences[b, r] = _finish(x[b, r], y[b, r], blurred, l1_scale, ssim_scale, gradient[b, r])
