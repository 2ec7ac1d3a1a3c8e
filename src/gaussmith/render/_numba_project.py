"""CPU kernels: EWA projection of 3D Gaussians to screen splats, and its gradient.

Axes: N Gaussians, B cameras, K spherical-harmonic coefficients. Inputs and outputs are float32, the arithmetic between
is float64: it costs little here and keeps slender covariances invertible.

A splat is the row (l0, l1, l2, opacity, red, green, blue, depth, normal x, y, z). Its alpha at the offset (dx, dy) px
from its centre is opacity * exp(-(u^2 + v^2) / 2) with u = l0 dx + l1 dy and v = l2 dy. (l0, l1; 0, l2) is the Cholesky
factor of the inverse screen covariance, so the exponent cannot become positive by rounding.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from gaussmith.render._numba_sh import sh_basis, sh_direction_gradient
from gaussmith.render._splat_rules import ALPHA_MIN, FRUSTUM_MARGIN, LIMIT, LOW_PASS, NEAR

SPLAT = 11
RGB_COLUMNS = 7
"""How many of a splat's columns the picture without depth and normals depends on."""

# A camera row: rotation world -> camera (9), translation (3), fx, fy, cx, cy, centre in the world (3).
CAMERA = 19


@njit(cache=True, error_model="numpy")
def _rotation_and_axes(quats, log_scales, g, R, S):
    """Fill R with the rotation of quat and S = R diag(scale); returns the unit quaternion and 1 / its length."""
    w, x, y, z = float(quats[g, 0]), float(quats[g, 1]), float(quats[g, 2]), float(quats[g, 3])
    inv = 1 / max(math.sqrt(w * w + x * x + y * y + z * z), 1e-12)
    w, x, y, z = w * inv, x * inv, y * inv, z * inv
    R[0, 0], R[0, 1], R[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    R[1, 0], R[1, 1], R[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    R[2, 0], R[2, 1], R[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
    for j in range(3):
        scale = math.exp(float(log_scales[g, j]))
        for i in range(3):
            S[i, j] = R[i, j] * scale
    return w, x, y, z, inv


@njit(cache=True, error_model="numpy")
def _to_camera(cams, b, means, g):
    """Camera coordinates of a world point."""
    mx, my, mz = means[g, 0], means[g, 1], means[g, 2]
    x = cams[b, 0] * mx + cams[b, 1] * my + cams[b, 2] * mz + cams[b, 9]
    y = cams[b, 3] * mx + cams[b, 4] * my + cams[b, 5] * mz + cams[b, 10]
    z = cams[b, 6] * mx + cams[b, 7] * my + cams[b, 8] * mz + cams[b, 11]
    return x, y, z


@njit(cache=True, error_model="numpy")
def _linearise(cams, b, width, height, x, y, z, S, M, A):
    """Fill M = J W (2x3, camera projection linearised at the point) and A = M S, whose A A^T is the screen covariance.

    Returns the clamped slopes x/z and y/z at which J is taken.
    """
    fx, fy, cx, cy = cams[b, 12], cams[b, 13], cams[b, 14], cams[b, 15]
    mx, my = FRUSTUM_MARGIN * 0.5 * width / fx, FRUSTUM_MARGIN * 0.5 * height / fy
    u = min(max(x / z, -cx / fx - mx), (width - cx) / fx + mx)
    v = min(max(y / z, -cy / fy - my), (height - cy) / fy + my)
    for k in range(3):
        M[0, k] = fx / z * (cams[b, k] - u * cams[b, 6 + k])
        M[1, k] = fy / z * (cams[b, 3 + k] - v * cams[b, 6 + k])
    for i in range(2):
        for j in range(3):
            A[i, j] = M[i, 0] * S[0, j] + M[i, 1] * S[1, j] + M[i, 2] * S[2, j]
    return u, v


@njit(cache=True, error_model="numpy")
def _covariance(A):
    """Low-passed screen covariance (xx, xy, yy) and its determinant."""
    xx = A[0, 0] * A[0, 0] + A[0, 1] * A[0, 1] + A[0, 2] * A[0, 2] + LOW_PASS
    xy = A[0, 0] * A[1, 0] + A[0, 1] * A[1, 1] + A[0, 2] * A[1, 2]
    yy = A[1, 0] * A[1, 0] + A[1, 1] * A[1, 1] + A[1, 2] * A[1, 2] + LOW_PASS
    # The determinant of A A^T as a sum of squares (Cauchy-Binet): no cancellation for slender splats.
    det = 0.0
    for i in range(3):
        j = (i + 1) % 3
        det += (A[0, i] * A[1, j] - A[0, j] * A[1, i]) ** 2
    return xx, xy, yy, det + LOW_PASS * (xx + yy - LOW_PASS)


@njit(cache=True, error_model="numpy")
def _filter(xx, yy, det):
    """Factor of the opacity with antialiasing, sqrt(det S / det(S + LOW_PASS I)), and det S."""
    plain = max(det - LOW_PASS * (xx + yy - LOW_PASS), 0.0)
    return math.sqrt(plain / det), plain


@njit(cache=True, error_model="numpy")
def _shortest_axis(log_scales, g, R, cams, b, means):
    """Index of the smallest scale and the sign that turns that axis towards the camera."""
    k = 0
    if log_scales[g, 1] < log_scales[g, k]:
        k = 1
    if log_scales[g, 2] < log_scales[g, k]:
        k = 2
    facing = 0.0
    for i in range(3):
        facing += R[i, k] * (cams[b, 16 + i] - means[g, i])
    return k, (1.0 if facing >= 0 else -1.0)


@njit(cache=True, error_model="numpy")
def _direction(cams, b, means, g):
    """Unit vector from the camera to the point, and 1 / distance."""
    x, y, z = means[g, 0] - cams[b, 16], means[g, 1] - cams[b, 17], means[g, 2] - cams[b, 18]
    inv = 1 / max(math.sqrt(x * x + y * y + z * z), 1e-12)
    return x * inv, y * inv, z * inv, inv


@njit(cache=True, error_model="numpy")
def _colors(sh, g, basis, splats, b):
    """Fill the colour columns of a splat; returns whether they are below LIMIT."""
    fine = True
    for c in range(3):
        value = 0.5
        for k in range(sh.shape[1]):
            value += basis[k] * sh[g, k, c]
        fine = fine and abs(value) < LIMIT
        splats[b, g, 4 + c] = max(value, 0.0)
    return fine


@njit(cache=True, nogil=True, error_model="numpy")
def project(
    worker, workers, means, log_scales, quats, logits, sh, cams, width, height, antialiased,
    means2d, splats, reach, radii,
):  # fmt: skip
    """Project N Gaussians into B cameras (rows of cams as `CAMERA` says).

    Fills means2d [B,N,2], splats [B,N,SPLAT], reach [B,N] and radii [B,N]. The reach is the squared Mahalanobis
    distance 2 ln(opacity / ALPHA_MIN) within which alpha is at least ALPHA_MIN. Reach and radius are 0 where nothing
    is drawn.
    """
    n = means.shape[0]
    R, S, M, A, basis = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3)), np.empty((2, 3)), np.empty(16)
    for g in range(n * worker // workers, n * (worker + 1) // workers):
        _rotation_and_axes(quats, log_scales, g, R, S)
        whole = 1 / (1 + math.exp(-float(logits[g])))
        whole_r2 = 2 * math.log(max(whole / ALPHA_MIN, 1.0))
        if not abs(float(logits[g]) + log_scales[g, 0] + log_scales[g, 1] + log_scales[g, 2]) < np.inf:
            whole_r2 = 0.0
        for b in range(cams.shape[0]):
            reach[b, g], radii[b, g], means2d[b, g, 0], means2d[b, g, 1] = 0, 0, 0, 0
            for c in range(SPLAT):
                splats[b, g, c] = 0
            x, y, z = _to_camera(cams, b, means, g)
            if not z > NEAR:
                continue
            px, py = cams[b, 12] * x / z + cams[b, 14], cams[b, 13] * y / z + cams[b, 15]
            if not (abs(px) < LIMIT and abs(py) < LIMIT and z < LIMIT):
                continue
            means2d[b, g, 0], means2d[b, g, 1] = px, py
            _linearise(cams, b, width, height, x, y, z, S, M, A)
            xx, xy, yy, det = _covariance(A)
            if not (whole_r2 > 0 and xx + yy < LIMIT):
                continue
            opacity, r2 = whole, whole_r2
            if antialiased:
                opacity *= _filter(xx, yy, det)[0]
                r2 = 2 * math.log(max(opacity / ALPHA_MIN, 1.0))
                if not r2 > 0:
                    continue
            hx, hy = math.sqrt(r2 * xx), math.sqrt(r2 * yy)
            if px + hx < 0.5 or px - hx > width - 0.5 or py + hy < 0.5 or py - hy > height - 0.5:
                continue
            dx, dy, dz, _ = _direction(cams, b, means, g)
            sh_basis(sh.shape[1], dx, dy, dz, basis)
            if not _colors(sh, g, basis, splats, b):
                continue
            splats[b, g, 0], splats[b, g, 1] = math.sqrt(yy / det), -xy / math.sqrt(yy * det)
            splats[b, g, 2], splats[b, g, 3], splats[b, g, 7] = 1 / math.sqrt(yy), opacity, z
            k, sign = _shortest_axis(log_scales, g, R, cams, b, means)
            for i in range(3):
                splats[b, g, 8 + i] = sign * R[i, k]
            half = 0.5 * (xx + yy)
            reach[b, g] = r2
            radii[b, g] = math.sqrt(r2 * (half + math.sqrt(max(half * half - det, 0.0))))


@njit(cache=True, error_model="numpy")
def _color_gradient(cams, b, means, sh, g, g_splats, basis, weights, g_sh, g_mean):
    """Add to g_sh[g] and, through the viewing direction, to g_mean."""
    bands = sh.shape[1]
    dx, dy, dz, inv = _direction(cams, b, means, g)
    sh_basis(bands, dx, dy, dz, basis)
    for k in range(bands):
        weights[k] = 0.0
    for c in range(3):
        value = 0.5
        for k in range(bands):
            value += basis[k] * sh[g, k, c]
        if value >= 0:
            for k in range(bands):
                g_sh[g, k, c] += basis[k] * g_splats[b, g, 4 + c]
                weights[k] += sh[g, k, c] * g_splats[b, g, 4 + c]
    if bands > 1:
        gx, gy, gz = sh_direction_gradient(bands, dx, dy, dz, weights)
        along = gx * dx + gy * dy + gz * dz
        g_mean[0] += (gx - along * dx) * inv
        g_mean[1] += (gy - along * dy) * inv
        g_mean[2] += (gz - along * dz) * inv


@njit(cache=True, error_model="numpy")
def _screen_gradient(cams, b, width, height, antialiased, means, g, opacity, S, M, A, g_means2d, g_splats, g_S, g_mean):
    """Add the gradient through position, depth and covariance to g_S [3,3] and g_mean [3]; returns the opacity's."""
    x, y, z = _to_camera(cams, b, means, g)
    u, v = _linearise(cams, b, width, height, x, y, z, S, M, A)
    xx, xy, yy, det = _covariance(A)
    # l0 = sqrt(yy / det), l1 = -xy / sqrt(yy det), l2 = 1 / sqrt(yy), det = xx yy - xy^2.
    g_l1 = float(g_splats[b, g, 1]) / math.sqrt(yy * det)
    t0, t1, t2 = math.sqrt(yy / det) * g_splats[b, g, 0], -xy * g_l1, g_splats[b, g, 2] / math.sqrt(yy)
    g_det = -(t0 + t1) / (2 * det)
    g_xx = 2 * g_det * yy
    g_xy = -g_l1 - 2 * xy * g_det
    g_yy = (t0 - t1 - t2) / yy + 2 * g_det * xx
    g_opacity = float(g_splats[b, g, 3])
    if antialiased:
        factor, plain = _filter(xx, yy, det)
        g_root = g_opacity * opacity * factor
        g_opacity *= factor
        g_xx += g_root * ((yy - LOW_PASS) / plain - yy / det)
        g_xy -= g_root * xy * (1 / plain - 1 / det)
        g_yy += g_root * ((xx - LOW_PASS) / plain - xx / det)
    slope_x, slope_y = cams[b, 12] / z, cams[b, 13] / z
    gz, gu, gv = float(g_splats[b, g, 7]), 0.0, 0.0
    for k in range(3):
        # Gradient of A A^T (g_xx and g_yy are doubled), then of A = M S.
        g_M0, g_M1 = 0.0, 0.0
        for j in range(3):
            g_A0, g_A1 = g_xx * A[0, j] + g_xy * A[1, j], g_yy * A[1, j] + g_xy * A[0, j]
            g_M0 += g_A0 * S[k, j]
            g_M1 += g_A1 * S[k, j]
            g_S[k, j] += M[0, k] * g_A0 + M[1, k] * g_A1
        # M0 = fx / z (W0 - u W2), M1 = fy / z (W1 - v W2).
        gz -= (g_M0 * M[0, k] + g_M1 * M[1, k]) / z
        gu -= g_M0 * slope_x * cams[b, 6 + k]
        gv -= g_M1 * slope_y * cams[b, 6 + k]
    # Only an unclamped slope follows the point; the screen position always does.
    gu = cams[b, 12] * g_means2d[b, g, 0] + (gu if u == x / z else 0.0)
    gv = cams[b, 13] * g_means2d[b, g, 1] + (gv if v == y / z else 0.0)
    gx, gy = gu / z, gv / z
    gz -= (gx * x + gy * y) / z
    for k in range(3):
        g_mean[k] += cams[b, k] * gx + cams[b, 3 + k] * gy + cams[b, 6 + k] * gz
    return g_opacity


@njit(cache=True, error_model="numpy")
def _quat_gradient(w, x, y, z, inv, G):
    """Gradient of the unnormalised quaternion from the gradient G of its rotation matrix."""
    gw = 2 * (x * (G[2, 1] - G[1, 2]) + y * (G[0, 2] - G[2, 0]) + z * (G[1, 0] - G[0, 1]))
    gx = 2 * (y * (G[0, 1] + G[1, 0]) + z * (G[0, 2] + G[2, 0]) + w * (G[2, 1] - G[1, 2]))
    gy = 2 * (x * (G[0, 1] + G[1, 0]) + z * (G[1, 2] + G[2, 1]) + w * (G[0, 2] - G[2, 0]))
    gz = 2 * (x * (G[0, 2] + G[2, 0]) + y * (G[1, 2] + G[2, 1]) + w * (G[1, 0] - G[0, 1]))
    gx -= 4 * x * (G[1, 1] + G[2, 2])
    gy -= 4 * y * (G[0, 0] + G[2, 2])
    gz -= 4 * z * (G[0, 0] + G[1, 1])
    along = gw * w + gx * x + gy * y + gz * z if inv < 1e12 else 0.0
    return (gw - along * w) * inv, (gx - along * x) * inv, (gy - along * y) * inv, (gz - along * z) * inv


@njit(cache=True, error_model="numpy")
def _saturate(value):
    """Into the range of float32: a huge gradient stays finite."""
    return min(max(value, -3e38), 3e38)


@njit(cache=True, nogil=True, error_model="numpy")
def project_backward(
    worker, workers, means, log_scales, quats, logits, sh, cams, width, height, antialiased, reach, g_means2d,
    g_splats, g_means, g_log_scales, g_quats, g_logits, g_sh,
):  # fmt: skip
    """Fill g_* with the gradients of the Gaussians' parameters, summed over cameras in order.

    A Gaussian that no camera draws gets zero.
    """
    n = means.shape[0]
    R, S, M, A = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3)), np.empty((2, 3))
    basis, weights, g_R, g_S, g_mean = np.empty(16), np.empty(16), np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    for g in range(n * worker // workers, n * (worker + 1) // workers):
        g_logits[g] = 0
        for i in range(3):
            g_means[g, i], g_log_scales[g, i], g_mean[i] = 0, 0, 0
            for j in range(3):
                g_R[i, j], g_S[i, j] = 0, 0
        for i in range(4):
            g_quats[g, i] = 0
        for k in range(sh.shape[1]):
            for c in range(3):
                g_sh[g, k, c] = 0
        drawn = False
        for b in range(cams.shape[0]):
            drawn = drawn or reach[b, g] > 0
        if not drawn:
            continue
        w, x, y, z, inv = _rotation_and_axes(quats, log_scales, g, R, S)
        g_opacity, opacity = 0.0, 1 / (1 + math.exp(-float(logits[g])))
        for b in range(cams.shape[0]):
            if reach[b, g] > 0:
                g_opacity += _screen_gradient(
                    cams, b, width, height, antialiased, means, g, opacity, S, M, A, g_means2d, g_splats, g_S, g_mean
                )
                _color_gradient(cams, b, means, sh, g, g_splats, basis, weights, g_sh, g_mean)
                k, sign = _shortest_axis(log_scales, g, R, cams, b, means)
                for i in range(3):
                    g_R[i, k] += sign * g_splats[b, g, 8 + i]
        g_logits[g] = g_opacity * opacity * (1 - opacity)
        for j in range(3):
            scale, g_log_scale = math.exp(float(log_scales[g, j])), 0.0
            for i in range(3):
                g_log_scale += g_S[i, j] * S[i, j]
                g_R[i, j] += g_S[i, j] * scale
            g_log_scales[g, j], g_means[g, j] = _saturate(g_log_scale), _saturate(g_mean[j])
        gw, gx, gy, gz = _quat_gradient(w, x, y, z, inv, g_R)
        g_quats[g, 0], g_quats[g, 1] = _saturate(gw), _saturate(gx)
        g_quats[g, 2], g_quats[g, 3] = _saturate(gy), _saturate(gz)
