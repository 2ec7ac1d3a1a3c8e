"""Quaternions, wxyz."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def quat_to_matrix(quats: Tensor) -> Tensor:
    """Rotation matrices [...,3,3] of quaternions [...,4] (wxyz, normalised here)."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*quats.shape[:-1], 3, 3)


def quat_rotate(quats: Tensor, vectors: Tensor) -> Tensor:
    """Vectors [...,3] turned by quaternions [...,4] (wxyz, normalised here): v + 2 w (r x v) + 2 r x (r x v)."""
    unit = torch.nn.functional.normalize(quats, dim=-1)
    w, r = unit[..., :1], unit[..., 1:]
    across = torch.linalg.cross(r, vectors)
    return vectors + 2 * (w * across + torch.linalg.cross(r, across))


def turned(vectors: Tensor, azimuth: float) -> Tensor:
    """Vectors [N,3] turned about the vertical axis by degrees: what was seen from azimuth 0 is seen from `azimuth`."""
    half = math.radians(azimuth) / 2
    quat = torch.tensor([math.cos(half), 0.0, math.sin(half), 0.0])
    return quat_rotate(quat.expand(len(vectors), 4), vectors)


def matrix_to_quat(matrices: Tensor) -> Tensor:
    """Unit quaternions [...,4] (wxyz, w >= 0) of rotation matrices [...,3,3].

    Takes, per matrix, the largest of the four squared components as pivot, so it is exact near every half turn
    (Shepperd 1978).
    """
    m = matrices
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Each row of `candidates` is q times four times the component on its diagonal.
    diagonal = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], dim=-1)
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    candidates = torch.stack(
        [
            torch.stack([diagonal[..., 0], a, b, c], dim=-1),
            torch.stack([a, diagonal[..., 1], d, e], dim=-1),
            torch.stack([b, d, diagonal[..., 2], f], dim=-1),
            torch.stack([c, e, f, diagonal[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    pivot = diagonal.argmax(dim=-1)[..., None, None].expand(*diagonal.shape[:-1], 1, 4)
    quats = torch.nn.functional.normalize(torch.gather(candidates, -2, pivot)[..., 0, :], dim=-1)
    return torch.where(quats[..., :1] < 0, -quats, quats)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of quaternions [...,4]: the rotation b followed by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )
