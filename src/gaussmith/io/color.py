"""The sRGB transfer curve. The program itself computes in sRGB values; only some files want linear ones."""

from __future__ import annotations

import torch


def srgb_to_linear(color: torch.Tensor) -> torch.Tensor:
    """IEC 61966-2-1, for values in [0,1]: glTF keeps vertex colours and factors linear, but textures in sRGB."""
    return torch.where(color <= 0.04045, color / 12.92, ((color.clamp_min(0.04) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(color: torch.Tensor) -> torch.Tensor:
    """Inverse of `srgb_to_linear`."""
    return torch.where(color <= 0.0031308, color * 12.92, 1.055 * color.clamp_min(0.003) ** (1 / 2.4) - 0.055)
