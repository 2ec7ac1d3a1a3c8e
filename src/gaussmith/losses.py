"""Picture losses. Pictures are [B,H,W,C] in [0,1] unless said otherwise; every loss is a scalar mean, 0 when equal."""

from __future__ import annotations

import torch
from torch import Tensor

from gaussmith.metrics import ssim


def mse(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared difference; with `weight` (non-negative, broadcastable) the weighted mean, 0 if all weights are."""
    return _mean((a - b).square(), weight)


def l1(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean absolute difference, weighted as in `mse`."""
    return _mean((a - b).abs(), weight)


def dssim(a: Tensor, b: Tensor) -> Tensor:
    """1 - SSIM with the 11-tap Gaussian window, in [0,2] (as the public code of Kerbl et al. 2023 computes it)."""
    return 1 - ssim(a, b)


def photometric(a: Tensor, b: Tensor, dssim_share: float = 0.2) -> Tensor:
    """0.8 L1 + 0.2 D-SSIM, the loss of 3D Gaussian splatting (Kerbl et al. 2023, eq. 7)."""
    return (1 - dssim_share) * l1(a, b) + dssim_share * dssim(a, b)


def alpha_cross_entropy(alpha: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy between two alphas in [0,1], less the target's own entropy, so that equal alphas give 0.

    Its gradient does not fade where an opaque pixel should be empty, as that of the MSE through a sigmoid does.
    """
    # 1e-4 bounds the gradient at 1e4, and is far below the 1/255 that a picture can show.
    p, q = alpha.clamp(1e-4, 1 - 1e-4), target.clamp(1e-4, 1 - 1e-4)
    return (q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()).mean()


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, down plus across, of images [B,H,W,C] or [H,W,C]."""
    down = images.diff(dim=-3).abs().mean()
    across = images.diff(dim=-2).abs().mean()
    return down + across


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return values.mean()
    weight = weight.expand_as(values)
    total = weight.sum()
    return (values * weight).sum() / torch.where(total > 0, total, 1.0)
