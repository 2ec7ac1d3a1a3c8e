"""GPU kernels: the spherical-harmonic basis of `gaussmith.sh`, one function at a time, and its gradient."""

from __future__ import annotations

import triton
import triton.language as tl

from gaussmith import sh as spherical

C0, C1 = tl.constexpr(spherical.C0), tl.constexpr(spherical.C1)
C20, C22, C24 = (tl.constexpr(spherical.C2[i]) for i in (0, 2, 4))
C30, C31, C32, C33, C35 = (tl.constexpr(spherical.C3[i]) for i in (0, 1, 2, 3, 5))


@triton.jit
def basis(k: tl.constexpr, x, y, z):
    """Function k of the basis of gaussmith.sh at the unit direction (x, y, z)."""
    xx, yy, zz = x * x, y * y, z * z
    if k == 0:
        value = C0 + 0 * x
    elif k == 1:
        value = -C1 * y
    elif k == 2:
        value = C1 * z
    elif k == 3:
        value = -C1 * x
    elif k == 4:
        value = C20 * x * y
    elif k == 5:
        value = -C20 * y * z
    elif k == 6:
        value = C22 * (2 * zz - xx - yy)
    elif k == 7:
        value = -C20 * x * z
    elif k == 8:
        value = C24 * (xx - yy)
    elif k == 9:
        value = C30 * y * (3 * xx - yy)
    elif k == 10:
        value = C31 * x * y * z
    elif k == 11:
        value = C32 * y * (4 * zz - xx - yy)
    elif k == 12:
        value = C33 * z * (2 * zz - 3 * xx - 3 * yy)
    elif k == 13:
        value = C32 * x * (4 * zz - xx - yy)
    elif k == 14:
        value = C35 * z * (xx - yy)
    else:
        value = C30 * x * (xx - 3 * yy)
    return value


@triton.jit
def basis_gradient(k: tl.constexpr, x, y, z):
    """Derivatives of `basis` by x, y and z."""
    xx, yy, zz, zero = x * x, y * y, z * z, 0 * x
    if k == 0:
        dx, dy, dz = zero, zero, zero
    elif k == 1:
        dx, dy, dz = zero, zero - C1, zero
    elif k == 2:
        dx, dy, dz = zero, zero, zero + C1
    elif k == 3:
        dx, dy, dz = zero - C1, zero, zero
    elif k == 4:
        dx, dy, dz = C20 * y, C20 * x, zero
    elif k == 5:
        dx, dy, dz = zero, -C20 * z, -C20 * y
    elif k == 6:
        dx, dy, dz = -2 * C22 * x, -2 * C22 * y, 4 * C22 * z
    elif k == 7:
        dx, dy, dz = -C20 * z, zero, -C20 * x
    elif k == 8:
        dx, dy, dz = 2 * C24 * x, -2 * C24 * y, zero
    elif k == 9:
        dx, dy, dz = 6 * C30 * x * y, 3 * C30 * (xx - yy), zero
    elif k == 10:
        dx, dy, dz = C31 * y * z, C31 * x * z, C31 * x * y
    elif k == 11:
        dx, dy, dz = -2 * C32 * x * y, C32 * (4 * zz - xx - 3 * yy), 8 * C32 * y * z
    elif k == 12:
        dx, dy, dz = -6 * C33 * x * z, -6 * C33 * y * z, C33 * (6 * zz - 3 * xx - 3 * yy)
    elif k == 13:
        dx, dy, dz = C32 * (4 * zz - 3 * xx - yy), -2 * C32 * x * y, 8 * C32 * x * z
    elif k == 14:
        dx, dy, dz = 2 * C35 * x * z, -2 * C35 * y * z, C35 * (xx - yy)
    else:
        dx, dy, dz = 3 * C30 * (xx - yy), -6 * C30 * x * y, zero
    return dx, dy, dz
