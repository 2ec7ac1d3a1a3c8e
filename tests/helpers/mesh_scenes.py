"""Scenes for the tests of the mesh rasteriser."""

from __future__ import annotations

import torch
from torch import Tensor

from gaussmith.camera import Camera, concat, intrinsics, look_at, orbit


def soup(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 1, 3, generator=generator) - 0.5
    corners = centres + 0.9 * (torch.rand(count, 3, 3, generator=generator) - 0.5)
    return corners.reshape(-1, 3), torch.arange(3 * count).reshape(count, 3)


def two_cameras(width: int, height: int) -> Camera:
    """One past the origin with an off-centre principal point and unequal focal lengths, and one from behind."""
    K = intrinsics(50.0, width, height)
    K[:, 0, 0] *= 1.2
    K[:, 0, 2] += 2.3
    askew = Camera(look_at(torch.tensor([[0.9, 0.7, 1.8]]), torch.tensor([0.15, -0.1, 0.05])), K, width, height)
    return concat([askew, orbit(170.0, -20.0, width=width, height=height)])
