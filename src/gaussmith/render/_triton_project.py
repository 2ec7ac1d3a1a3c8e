"""GPU kernels: EWA projection of 3D Gaussians to screen splats, and its gradient; one program takes BLOCK Gaussians.

The quantities and their names are those of `_numba_project`, in float32 throughout: the determinant is a sum of
squares there too, and a point is taken relative to the camera before it is turned, so nothing large cancels.
A splat's row has one unused column at its end, so that the blend may read it as pairs of floats.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gaussmith.render import _splat_rules as rules
from gaussmith.render._triton_sh import basis, basis_gradient

SPLAT, DEPTH = 12, 7
"""Columns of a splat's row, and the one that holds its depth."""
BLOCK = 128

NEAR = tl.constexpr(rules.NEAR)
LIMIT = tl.constexpr(rules.LIMIT)
LOW_PASS = tl.constexpr(rules.LOW_PASS)
INV_ALPHA_MIN = tl.constexpr(1 / rules.ALPHA_MIN)
MARGIN = tl.constexpr(0.5 * rules.FRUSTUM_MARGIN)
HUGE = tl.constexpr(3e38)
COLUMNS = tl.constexpr(SPLAT)


@triton.jit
def _finite(x):
    return tl.abs(x) < float("inf")


@triton.jit
def _load3(pointer, index, mask):
    """Row `index` of a [.,3] tensor; zeros where masked."""
    at = pointer + 3 * index
    return tl.load(at, mask, 0.0), tl.load(at + 1, mask, 0.0), tl.load(at + 2, mask, 0.0)


@triton.jit
def _camera_axis(c2w, b, j: tl.constexpr):
    """World direction of the camera's axis j (3: its centre)."""
    at = c2w + 16 * b + j
    return tl.load(at), tl.load(at + 4), tl.load(at + 8)


@triton.jit
def _dot(ax, ay, az, bx, by, bz):
    return ax * bx + ay * by + az * bz


@triton.jit
def _unit_quat(quats, g, mask):
    """The unit quaternion and the factor that made it one; scaled first, so that no square leaves float32."""
    at = quats + 4 * g
    w, x = tl.load(at, mask, 1.0), tl.load(at + 1, mask, 0.0)
    y, z = tl.load(at + 2, mask, 0.0), tl.load(at + 3, mask, 0.0)
    big = tl.maximum(tl.maximum(tl.abs(w), tl.abs(x)), tl.maximum(tl.abs(y), tl.abs(z)))
    big = tl.maximum(big, 1e-30)
    a, b, c, d = w / big, x / big, y / big, z / big
    inv = tl.minimum(1 / tl.sqrt(a * a + b * b + c * c + d * d) / big, 1e12)
    return w * inv, x * inv, y * inv, z * inv, inv


@triton.jit
def _rotation(w, x, y, z):
    """The rotation matrix, column by column."""
    return (
        1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y),
        2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x),
        2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip


@triton.jit
def _local(c2w, b, means, g, mask):
    """Offset of the point from the camera, along the world's axes and along the camera's."""
    mx, my, mz = _load3(means, g, mask)
    px, py, pz = _camera_axis(c2w, b, 3)
    ox, oy, oz = mx - px, my - py, mz - pz
    ax, ay, az = _camera_axis(c2w, b, 0)
    bx, by, bz = _camera_axis(c2w, b, 1)
    cx, cy, cz = _camera_axis(c2w, b, 2)
    return ox, oy, oz, _dot(ax, ay, az, ox, oy, oz), _dot(bx, by, bz, ox, oy, oz), _dot(cx, cy, cz, ox, oy, oz)


@triton.jit
def _linearise(c2w, K, b, width, height, x, y, z):
    """Rows of M = J W, the projection linearised at the point, and the clamped slopes x/z and y/z where it is taken."""
    fx, cx, fy, cy = tl.load(K + 9 * b), tl.load(K + 9 * b + 2), tl.load(K + 9 * b + 4), tl.load(K + 9 * b + 5)
    mx, my = MARGIN * width / fx, MARGIN * height / fy
    u = tl.minimum(tl.maximum(x / z, -cx / fx - mx), (width - cx) / fx + mx)
    v = tl.minimum(tl.maximum(y / z, -cy / fy - my), (height - cy) / fy + my)
    sx, sy = fx / z, fy / z
    ax, ay, az = _camera_axis(c2w, b, 0)
    bx, by, bz = _camera_axis(c2w, b, 1)
    dx, dy, dz = _camera_axis(c2w, b, 2)
    return (
        sx * (ax - u * dx), sx * (ay - u * dy), sx * (az - u * dz),
        sy * (bx - v * dx), sy * (by - v * dy), sy * (bz - v * dz), u, v,
    )  # fmt: skip


@triton.jit
def _covariance(a0, a1, b0, b1, c0, c1):
    """Low-passed screen covariance and its determinant from the columns of A = M R diag(scale)."""
    xx = a0 * a0 + b0 * b0 + c0 * c0 + LOW_PASS
    xy = a0 * a1 + b0 * b1 + c0 * c1
    yy = a1 * a1 + b1 * b1 + c1 * c1 + LOW_PASS
    ab, bc, ca = a0 * b1 - b0 * a1, b0 * c1 - c0 * b1, c0 * a1 - a0 * c1
    plain = ab * ab + bc * bc + ca * ca
    return xx, xy, yy, plain + LOW_PASS * (xx + yy - LOW_PASS), plain


@triton.jit
def _shortest(s0, s1, s2, o0, o1, o2):
    """Per axis, 0 or the sign that turns it towards the camera; only the first shortest one is not 0.

    o0, o1, o2 are the products of the axes with the offset from the camera.
    """
    second = s1 < s0
    third = s2 < tl.minimum(s0, s1)
    z0 = tl.where(second | third, 0.0, tl.where(o0 <= 0, 1.0, -1.0))
    z1 = tl.where(second & (s2 >= s1), tl.where(o1 <= 0, 1.0, -1.0), 0.0)
    return z0, z1, tl.where(third, tl.where(o2 <= 0, 1.0, -1.0), 0.0)


@triton.jit
def _color(sh, g, c: tl.constexpr, x, y, z, mask, BANDS: tl.constexpr):
    """Channel c before the clamp."""
    value = 0.5 + 0 * x
    for k in tl.static_range(BANDS):
        value += basis(k, x, y, z) * tl.load(sh + (g * BANDS + k) * 3 + c, mask, 0.0)
    return value


@triton.jit(do_not_specialize=["n", "width", "height"])
def project(
    means, log_scales, quats, logits, sh, c2w, K, n, width, height,
    means2d, splats, reach, radii, BANDS: tl.constexpr, BLOCK: tl.constexpr, ANTIALIASED: tl.constexpr,
):  # fmt: skip
    """Program (i, b): the i-th block of Gaussians in camera b. Fills what `_numba_project.project` fills."""
    b = tl.program_id(1)
    g = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = g < n
    ox, oy, oz, x, y, z = _local(c2w, b, means, g, mask)
    s0, s1, s2 = _load3(log_scales, g, mask)
    logit = tl.load(logits + g, mask, 0.0)
    placed = mask & (z > NEAR) & (z < LIMIT)
    z = tl.where(placed, z, 1.0)
    opacity = 1 / (1 + tl.exp(-logit))
    r2 = 2 * tl.log(tl.maximum(opacity * INV_ALPHA_MIN, 1.0))
    px = tl.load(K + 9 * b) * x / z + tl.load(K + 9 * b + 2)
    py = tl.load(K + 9 * b + 4) * y / z + tl.load(K + 9 * b + 5)
    placed &= (tl.abs(px) < LIMIT) & (tl.abs(py) < LIMIT)
    drawn = placed & (r2 > 0) & _finite(s0) & _finite(s1) & _finite(s2) & _finite(logit)

    m00, m01, m02, m10, m11, m12, _, _ = _linearise(c2w, K, b, width, height, x, y, z)
    qw, qx, qy, qz, _ = _unit_quat(quats, g, mask)
    r00, r10, r20, r01, r11, r21, r02, r12, r22 = _rotation(qw, qx, qy, qz)
    e0, e1, e2 = tl.exp(s0), tl.exp(s1), tl.exp(s2)
    a0, a1 = _dot(m00, m01, m02, r00, r10, r20) * e0, _dot(m10, m11, m12, r00, r10, r20) * e0
    b0, b1 = _dot(m00, m01, m02, r01, r11, r21) * e1, _dot(m10, m11, m12, r01, r11, r21) * e1
    c0, c1 = _dot(m00, m01, m02, r02, r12, r22) * e2, _dot(m10, m11, m12, r02, r12, r22) * e2
    xx, xy, yy, det, plain = _covariance(a0, a1, b0, b1, c0, c1)
    drawn &= xx + yy < LIMIT
    if ANTIALIASED:
        opacity *= tl.sqrt(plain / det)
        r2 = 2 * tl.log(tl.maximum(opacity * INV_ALPHA_MIN, 1.0))
        drawn &= r2 > 0
    hx, hy = tl.sqrt(r2 * xx), tl.sqrt(r2 * yy)
    drawn &= (px + hx >= 0.5) & (px - hx <= width - 0.5) & (py + hy >= 0.5) & (py - hy <= height - 0.5)

    inv = 1 / tl.maximum(tl.sqrt(ox * ox + oy * oy + oz * oz), 1e-12)
    red = _color(sh, g, 0, ox * inv, oy * inv, oz * inv, mask, BANDS)
    green = _color(sh, g, 1, ox * inv, oy * inv, oz * inv, mask, BANDS)
    blue = _color(sh, g, 2, ox * inv, oy * inv, oz * inv, mask, BANDS)
    drawn &= (tl.abs(red) < LIMIT) & (tl.abs(green) < LIMIT) & (tl.abs(blue) < LIMIT)
    z0, z1, z2 = _shortest(
        s0, s1, s2, _dot(r00, r10, r20, ox, oy, oz), _dot(r01, r11, r21, ox, oy, oz), _dot(r02, r12, r22, ox, oy, oz)
    )

    i = b.to(tl.int64) * n + g
    at = splats + COLUMNS * i
    tl.store(means2d + 2 * i, tl.where(placed, px, 0.0), mask)
    tl.store(means2d + 2 * i + 1, tl.where(placed, py, 0.0), mask)
    tl.store(at, tl.where(drawn, tl.sqrt(yy / det), 0.0), mask)
    tl.store(at + 1, tl.where(drawn, -xy / (tl.sqrt(yy) * tl.sqrt(det)), 0.0), mask)
    tl.store(at + 2, tl.where(drawn, 1 / tl.sqrt(yy), 0.0), mask)
    tl.store(at + 3, tl.where(drawn, opacity, 0.0), mask)
    tl.store(at + 4, tl.where(drawn, tl.maximum(red, 0.0), 0.0), mask)
    tl.store(at + 5, tl.where(drawn, tl.maximum(green, 0.0), 0.0), mask)
    tl.store(at + 6, tl.where(drawn, tl.maximum(blue, 0.0), 0.0), mask)
    tl.store(at + 7, tl.where(drawn, z, 0.0), mask)
    tl.store(at + 8, tl.where(drawn, z0 * r00 + z1 * r01 + z2 * r02, 0.0), mask)
    tl.store(at + 9, tl.where(drawn, z0 * r10 + z1 * r11 + z2 * r12, 0.0), mask)
    tl.store(at + 10, tl.where(drawn, z0 * r20 + z1 * r21 + z2 * r22, 0.0), mask)
    tl.store(at + 11, 0 * z, mask)
    tl.store(reach + i, tl.where(drawn, r2, 0.0), mask)
    apart = 0.5 * (xx - yy)
    radius = tl.sqrt(r2 * (0.5 * (xx + yy) + tl.sqrt(apart * apart + xy * xy)))
    tl.store(radii + i, tl.where(drawn, radius, 0.0), mask)


@triton.jit
def _put(pointer, value, drawn, mask, add):
    """Store (where `add`, add) a gradient within the range of float32; one that is lost to overflow counts as zero."""
    value = tl.where(drawn & (value == value), value, 0.0) + tl.load(pointer, mask & add, 0.0)
    tl.store(pointer, tl.minimum(tl.maximum(value, -HUGE), HUGE), mask)


@triton.jit
def _column_gradient(m00, m01, m02, m10, m11, m12, r0, r1, r2, scale, ga0, ga1):
    """From the gradient of a column of A = M R diag(scale): of that column of R scaled, of log scale and of M."""
    g0, g1, g2 = m00 * ga0 + m10 * ga1, m01 * ga0 + m11 * ga1, m02 * ga0 + m12 * ga1
    g0, g1, g2 = g0 * scale, g1 * scale, g2 * scale
    ga0, ga1 = ga0 * scale, ga1 * scale
    return g0, g1, g2, _dot(g0, g1, g2, r0, r1, r2), ga0 * r0, ga0 * r1, ga0 * r2, ga1 * r0, ga1 * r1, ga1 * r2


@triton.jit
def _channel_gradient(sh, g_sh, g, c: tl.constexpr, up, x, y, z, drawn, mask, add, BANDS: tl.constexpr):
    """Store the gradient of the coefficients of channel c from `up`; returns that of the direction."""
    up = tl.where(_color(sh, g, c, x, y, z, mask, BANDS) >= 0, up, 0.0)
    gx, gy, gz = 0 * x, 0 * x, 0 * x
    for k in tl.static_range(BANDS):
        at = (g * BANDS + k) * 3 + c
        _put(g_sh + at, basis(k, x, y, z) * up, drawn, mask, add)
        if k > 0:
            weight = tl.load(sh + at, mask, 0.0) * up
            dx, dy, dz = basis_gradient(k, x, y, z)
            gx += weight * dx
            gy += weight * dy
            gz += weight * dz
    return gx, gy, gz


@triton.jit
def _camera_backward(
    means, log_scales, quats, logits, sh, c2w, K, b, n, width, height, reach,
    g_means2d, stride2d, g_splats, stride, g_means, g_log_scales, g_quats, g_logits, g_sh,
    BANDS: tl.constexpr, BLOCK: tl.constexpr, ANTIALIASED: tl.constexpr,
):  # fmt: skip
    """The share of camera b, stored for the first and added for the others."""
    g = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = g < n
    i = n.to(tl.int64) * b + g
    add = tl.zeros([BLOCK], tl.int32) + b > 0
    drawn = mask & (tl.load(reach + i, mask, 0.0) > 0)
    ox, oy, oz, x, y, z = _local(c2w, b, means, g, drawn)
    z = tl.where(drawn, z, 1.0)
    s0, s1, s2 = _load3(log_scales, g, drawn)
    e0, e1, e2 = tl.exp(s0), tl.exp(s1), tl.exp(s2)
    m00, m01, m02, m10, m11, m12, u, v = _linearise(c2w, K, b, width, height, x, y, z)
    qw, qx, qy, qz, inv_quat = _unit_quat(quats, g, drawn)
    r00, r10, r20, r01, r11, r21, r02, r12, r22 = _rotation(qw, qx, qy, qz)
    a0, a1 = _dot(m00, m01, m02, r00, r10, r20) * e0, _dot(m10, m11, m12, r00, r10, r20) * e0
    b0, b1 = _dot(m00, m01, m02, r01, r11, r21) * e1, _dot(m10, m11, m12, r01, r11, r21) * e1
    c0, c1 = _dot(m00, m01, m02, r02, r12, r22) * e2, _dot(m10, m11, m12, r02, r12, r22) * e2
    xx, xy, yy, det, plain = _covariance(a0, a1, b0, b1, c0, c1)

    # l0 = sqrt(yy / det), l1 = -xy / sqrt(yy det), l2 = 1 / sqrt(yy), det = xx yy - xy^2.
    up = g_splats + i * stride
    g_l1 = tl.load(up + 1, drawn, 0.0) / (tl.sqrt(yy) * tl.sqrt(det))
    t0, t1, t2 = tl.sqrt(yy / det) * tl.load(up, drawn, 0.0), -xy * g_l1, tl.load(up + 2, drawn, 0.0) / tl.sqrt(yy)
    g_det = -(t0 + t1) / (2 * det)
    g_xx, g_xy, g_yy = 2 * g_det * yy, -g_l1 - 2 * xy * g_det, (t0 - t1 - t2) / yy + 2 * g_det * xx
    opacity = 1 / (1 + tl.exp(-tl.load(logits + g, drawn, 0.0)))
    g_opacity = tl.load(up + 3, drawn, 0.0)
    if ANTIALIASED:
        plain = tl.where(drawn, plain, 1.0)
        factor = tl.sqrt(plain / det)
        g_root = g_opacity * opacity * factor
        g_opacity *= factor
        g_xx += g_root * ((yy - LOW_PASS) / plain - yy / det)
        g_xy -= g_root * xy * (1 / plain - 1 / det)
        g_yy += g_root * ((xx - LOW_PASS) / plain - xx / det)

    # Gradient of A A^T (g_xx and g_yy are doubled), then of the columns of A.
    p0, p1, p2, ls0, n00, n01, n02, n10, n11, n12 = _column_gradient(
        m00, m01, m02, m10, m11, m12, r00, r10, r20, e0, g_xx * a0 + g_xy * a1, g_yy * a1 + g_xy * a0
    )
    q0, q1, q2, ls1, k00, k01, k02, k10, k11, k12 = _column_gradient(
        m00, m01, m02, m10, m11, m12, r01, r11, r21, e1, g_xx * b0 + g_xy * b1, g_yy * b1 + g_xy * b0
    )
    w0, w1, w2, ls2, h00, h01, h02, h10, h11, h12 = _column_gradient(
        m00, m01, m02, m10, m11, m12, r02, r12, r22, e2, g_xx * c0 + g_xy * c1, g_yy * c1 + g_xy * c0
    )
    n00, n01, n02 = n00 + k00 + h00, n01 + k01 + h01, n02 + k02 + h02
    n10, n11, n12 = n10 + k10 + h10, n11 + k11 + h11, n12 + k12 + h12

    # M0 = fx / z (W0 - u W2), M1 = fy / z (W1 - v W2); an unclamped slope follows the point.
    fx, fy = tl.load(K + 9 * b), tl.load(K + 9 * b + 4)
    dx, dy, dz = _camera_axis(c2w, b, 2)
    gz = tl.load(up + 7, drawn, 0.0) - (_dot(n00, n01, n02, m00, m01, m02) + _dot(n10, n11, n12, m10, m11, m12)) / z
    gu = fx * tl.load(g_means2d + i * stride2d, drawn, 0.0)
    gv = fy * tl.load(g_means2d + i * stride2d + 1, drawn, 0.0)
    gu -= tl.where(u == x / z, _dot(n00, n01, n02, dx, dy, dz) * fx / z, 0.0)
    gv -= tl.where(v == y / z, _dot(n10, n11, n12, dx, dy, dz) * fy / z, 0.0)
    gx, gy = gu / z, gv / z
    gz -= (gx * x + gy * y) / z
    ax, ay, az = _camera_axis(c2w, b, 0)
    bx, by, bz = _camera_axis(c2w, b, 1)

    inv = 1 / tl.maximum(tl.sqrt(ox * ox + oy * oy + oz * oz), 1e-12)
    ux, uy, uz = ox * inv, oy * inv, oz * inv
    i0, i1, i2 = _channel_gradient(sh, g_sh, g, 0, tl.load(up + 4, drawn, 0.0), ux, uy, uz, drawn, mask, add, BANDS)
    j0, j1, j2 = _channel_gradient(sh, g_sh, g, 1, tl.load(up + 5, drawn, 0.0), ux, uy, uz, drawn, mask, add, BANDS)
    k0, k1, k2 = _channel_gradient(sh, g_sh, g, 2, tl.load(up + 6, drawn, 0.0), ux, uy, uz, drawn, mask, add, BANDS)
    i0, i1, i2 = i0 + j0 + k0, i1 + j1 + k1, i2 + j2 + k2
    along = _dot(i0, i1, i2, ux, uy, uz)
    _put(g_means + 3 * g, _dot(ax, bx, dx, gx, gy, gz) + (i0 - along * ux) * inv, drawn, mask, add)
    _put(g_means + 3 * g + 1, _dot(ay, by, dy, gx, gy, gz) + (i1 - along * uy) * inv, drawn, mask, add)
    _put(g_means + 3 * g + 2, _dot(az, bz, dz, gx, gy, gz) + (i2 - along * uz) * inv, drawn, mask, add)
    _put(g_log_scales + 3 * g, ls0, drawn, mask, add)
    _put(g_log_scales + 3 * g + 1, ls1, drawn, mask, add)
    _put(g_log_scales + 3 * g + 2, ls2, drawn, mask, add)
    _put(g_logits + g, g_opacity * opacity * (1 - opacity), drawn, mask, add)

    # Gradient of R: through A, and of the axis that is the normal; then of the quaternion.
    z0, z1, z2 = _shortest(
        s0, s1, s2, _dot(r00, r10, r20, ox, oy, oz), _dot(r01, r11, r21, ox, oy, oz), _dot(r02, r12, r22, ox, oy, oz)
    )
    f0, f1, f2 = tl.load(up + 8, drawn, 0.0), tl.load(up + 9, drawn, 0.0), tl.load(up + 10, drawn, 0.0)
    p0, p1, p2 = p0 + z0 * f0, p1 + z0 * f1, p2 + z0 * f2
    q0, q1, q2 = q0 + z1 * f0, q1 + z1 * f1, q2 + z1 * f2
    w0, w1, w2 = w0 + z2 * f0, w1 + z2 * f1, w2 + z2 * f2
    gw = 2 * (qx * (q2 - w1) + qy * (w0 - p2) + qz * (p1 - q0))
    gi = 2 * (qy * (q0 + p1) + qz * (w0 + p2) + qw * (q2 - w1)) - 4 * qx * (q1 + w2)
    gj = 2 * (qx * (q0 + p1) + qz * (w1 + q2) + qw * (w0 - p2)) - 4 * qy * (p0 + w2)
    gk = 2 * (qx * (w0 + p2) + qy * (w1 + q2) + qw * (p1 - q0)) - 4 * qz * (p0 + q1)
    along = tl.where(inv_quat < 1e12, gw * qw + gi * qx + gj * qy + gk * qz, 0.0)
    _put(g_quats + 4 * g, (gw - along * qw) * inv_quat, drawn, mask, add)
    _put(g_quats + 4 * g + 1, (gi - along * qx) * inv_quat, drawn, mask, add)
    _put(g_quats + 4 * g + 2, (gj - along * qy) * inv_quat, drawn, mask, add)
    _put(g_quats + 4 * g + 3, (gk - along * qz) * inv_quat, drawn, mask, add)


@triton.jit(do_not_specialize=["batch", "n", "width", "height", "stride2d", "stride"])
def project_backward(
    means, log_scales, quats, logits, sh, c2w, K, batch, n, width, height, reach,
    g_means2d, stride2d, g_splats, stride, g_means, g_log_scales, g_quats, g_logits, g_sh,
    BANDS: tl.constexpr, BLOCK: tl.constexpr, ANTIALIASED: tl.constexpr,
):  # fmt: skip
    """Gradients g_* of a block of Gaussians, summed over the cameras in their order.

    reach is [B,N]; g_means2d [B,N,2] and g_splats [B,N,SPLAT] have rows that lie `stride2d` and `stride` apart.
    """
    for b in range(batch):
        tl.debug_barrier()  # the sums so far are in memory
        _camera_backward(
            means, log_scales, quats, logits, sh, c2w, K, b, n, width, height, reach,
            g_means2d, stride2d, g_splats, stride, g_means, g_log_scales, g_quats, g_logits, g_sh,
            BANDS, BLOCK, ANTIALIASED,
        )  # fmt: skip
