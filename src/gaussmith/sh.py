"""Real spherical harmonics of degree 0 to 3, in the sign and order convention of every 3DGS file.

Source: Kerbl et al. 2023 (the basis of Sloan 2008 with the Condon-Shortley signs folded in).
"""

from __future__ import annotations

import torch
from torch import Tensor

C0 = 0.28209479177387814
C1 = 0.4886025119029199
C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
C3 = (
    -0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154,
    -0.4570457994644658, 1.445305721320277, -0.5900435899266435,
)  # fmt: skip


def degree_of(bands: int) -> int:
    """SH degree of a coefficient count 1, 4, 9 or 16; ValueError otherwise."""
    counts = {1: 0, 4: 1, 9: 2, 16: 3}
    if bands not in counts:
        raise ValueError(f"SH coefficients per colour must be 1, 4, 9 or 16, got {bands}")
    return counts[bands]


def basis(directions: Tensor, degree: int) -> Tensor:
    """SH basis values [...,(degree+1)^2] at unit directions [...,3]."""
    x, y, z = directions.unbind(-1)
    terms = [torch.full_like(x, C0)]
    if degree >= 1:
        terms += [-C1 * y, C1 * z, -C1 * x]
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        terms += [C2[0] * x * y, C2[1] * y * z, C2[2] * (2 * zz - xx - yy), C2[3] * x * z, C2[4] * (xx - yy)]
    if degree >= 3:
        terms += [
            C3[0] * y * (3 * xx - yy), C3[1] * x * y * z, C3[2] * y * (4 * zz - xx - yy),
            C3[3] * z * (2 * zz - 3 * xx - 3 * yy), C3[4] * x * (4 * zz - xx - yy),
            C3[5] * z * (xx - yy), C3[6] * x * (xx - 3 * yy),
        ]  # fmt: skip
    return torch.stack(terms, dim=-1)


def evaluate(sh: Tensor, directions: Tensor) -> Tensor:
    """Colours [N,3] = max(0, 0.5 + SH(direction)) of coefficients sh [N,K,3] at unit directions [N,3] (sRGB)."""
    values = basis(directions, degree_of(sh.shape[1]))
    return (0.5 + torch.einsum("nk,nkc->nc", values, sh)).clamp_min(0)


def rotate(sh: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients [N,K,3] of the same colours turned by rotation [3,3]: evaluate(out, R d) = evaluate(sh, d).

    Each band is closed under rotation, so the K basis functions at rotated directions are linear in those at the
    directions themselves; the matrix is found from more directions than unknowns, in float64.
    """
    degree = degree_of(sh.shape[1])
    if degree == 0:
        return sh
    # 32 directions along a spiral, close to evenly spread, so that the system is well conditioned up to degree 3.
    i = torch.arange(32, dtype=torch.float64)
    z, turn = 1 - (2 * i + 1) / 32, i * 2.399963229728653
    flat = (1 - z * z).sqrt()
    directions = torch.stack([flat * turn.cos(), flat * turn.sin(), z], dim=-1)
    turned = directions @ rotation.double().cpu()  # rows: R^T d
    matrix = torch.linalg.lstsq(basis(directions, degree), basis(turned, degree)).solution
    return torch.einsum("jk,nkc->njc", matrix.to(sh), sh)


def rgb_to_dc(rgb: Tensor) -> Tensor:
    """The degree-0 coefficient [...,3] that shows the colour rgb [...,3] from everywhere."""
    return (rgb - 0.5) / C0


def dc_to_rgb(dc: Tensor) -> Tensor:
    """Inverse of `rgb_to_dc` (not clamped)."""
    return 0.5 + C0 * dc
