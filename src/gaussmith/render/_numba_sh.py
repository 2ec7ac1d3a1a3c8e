"""CPU kernels: the spherical-harmonic basis of `gaussmith.sh` and its gradient."""

from __future__ import annotations

from numba import njit

from gaussmith.sh import C0, C1, C2, C3


@njit(cache=True, error_model="numpy")
def sh_basis(bands, x, y, z, out):
    """Fill out[:bands] with the basis of gaussmith.sh at the unit direction (x, y, z)."""
    out[0] = C0
    if bands > 1:
        out[1], out[2], out[3] = -C1 * y, C1 * z, -C1 * x
    if bands > 4:
        xx, yy, zz = x * x, y * y, z * z
        out[4], out[5], out[6] = C2[0] * x * y, C2[1] * y * z, C2[2] * (2 * zz - xx - yy)
        out[7], out[8] = C2[3] * x * z, C2[4] * (xx - yy)
        if bands > 9:
            out[9], out[10] = C3[0] * y * (3 * xx - yy), C3[1] * x * y * z
            out[11], out[12] = C3[2] * y * (4 * zz - xx - yy), C3[3] * z * (2 * zz - 3 * xx - 3 * yy)
            out[13], out[14] = C3[4] * x * (4 * zz - xx - yy), C3[5] * z * (xx - yy)
            out[15] = C3[6] * x * (xx - 3 * yy)


@njit(cache=True, error_model="numpy")
def sh_direction_gradient(bands, x, y, z, w):
    """Gradient of sum_k w[k] basis_k with respect to the direction (x, y, z)."""
    gx, gy, gz = 0.0, 0.0, 0.0
    if bands > 1:
        gx, gy, gz = -C1 * w[3], -C1 * w[1], C1 * w[2]
    if bands > 4:
        gx += C2[0] * y * w[4] - 2 * C2[2] * x * w[6] + C2[3] * z * w[7] + 2 * C2[4] * x * w[8]
        gy += C2[0] * x * w[4] + C2[1] * z * w[5] - 2 * C2[2] * y * w[6] - 2 * C2[4] * y * w[8]
        gz += C2[1] * y * w[5] + 4 * C2[2] * z * w[6] + C2[3] * x * w[7]
    if bands > 9:
        xx, yy, zz = x * x, y * y, z * z
        a, b, c, d = C3[0] * w[9], C3[1] * w[10], C3[2] * w[11], C3[3] * w[12]
        e, f, g = C3[4] * w[13], C3[5] * w[14], C3[6] * w[15]
        gx += 6 * x * y * a + y * z * b - 2 * x * y * c - 6 * x * z * d + (4 * zz - 3 * xx - yy) * e
        gx += 2 * x * z * f + 3 * (xx - yy) * g
        gy += 3 * (xx - yy) * a + x * z * b + (4 * zz - xx - 3 * yy) * c - 6 * y * z * d - 2 * x * y * e
        gy += -2 * y * z * f - 6 * x * y * g
        gz += x * y * b + 8 * y * z * c + (6 * zz - 3 * xx - 3 * yy) * d + 8 * x * z * e + (xx - yy) * f
    return gx, gy, gz
