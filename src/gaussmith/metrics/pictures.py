"""How alike two pictures are. Pictures are [H,W,C] or [B,H,W,C] in [0,1]; results are one scalar per call."""

from __future__ import annotations

import torch
from torch import Tensor

# Wang et al. 2004: an 11-tap Gaussian window of 1.5 pixels and the two stabilisers (0.01, 0.03 of the range), squared.
WINDOW, _SIGMA, C1, C2 = 11, 1.5, 0.01**2, 0.03**2


def composite(rgb_premultiplied: Tensor, alpha: Tensor, background: Tensor | float = 1.0) -> Tensor:
    """Premultiplied rgb [...,3] with alpha [...,1] over a background (white by default; broadcastable to [...,3])."""
    return rgb_premultiplied + (1 - alpha) * background


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all pixels given, for a peak of 1; infinite for equal pictures."""
    return -10 * (_same(a, b) - b).square().mean().log10()


def iou(alpha_a: Tensor, alpha_b: Tensor, threshold: float = 0.5) -> Tensor:
    """Intersection over union of alpha > threshold; 1 when both are empty."""
    a, b = _same(alpha_a, alpha_b) > threshold, alpha_b > threshold
    union = (a | b).sum()
    return torch.where(union > 0, (a & b).sum() / union.clamp_min(1), 1.0)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of pictures of at least 11x11 pixels (Wang et al. 2004), differentiable.

    Only windows wholly inside the picture count, so no padding enters the figure (as in scikit-image).
    """
    return ssim_map(a, b).mean()


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """[B,H-10,W-10,C] structural similarity in [-1,1] of each window; entry (i, j) is centred on pixel (i+5, j+5)."""
    x, y = (t if t.ndim == 4 else t[None] for t in (_same(a, b), b))
    if min(x.shape[1:3]) < WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {WINDOW}x{WINDOW} pixels, got {tuple(x.shape)}")
    x, y = x.permute(0, 3, 1, 2), y.permute(0, 3, 1, 2)
    mx, my, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    vx, vy, cov = xx - mx * mx, yy - my * my, xy - mx * my
    similarity = (2 * mx * my + C1) * (2 * cov + C2) / ((mx * mx + my * my + C1) * (vx + vy + C2))
    return similarity.permute(0, 2, 3, 1)


def _blur(x: Tensor) -> Tensor:
    """Gaussian window over x [N,C,H,W] -> [N,C,H-10,W-10].

    As two products with band matrices, which a CPU does 6 (forward) to 20 times (backward) faster than the convolution
    of one-channel pictures, up to 512 pixels and more.
    """
    return _band(x.shape[-2], x) @ x @ _band(x.shape[-1], x).T


def _band(size: int, like: Tensor) -> Tensor:
    """[size-10, size] matrix whose row i holds the window that starts at i."""
    band = like.new_zeros(size - WINDOW + 1, size)
    for i, weight in enumerate(taps(like)):
        band.diagonal(i).copy_(weight)
    return band


def taps(like: Tensor | None = None) -> Tensor:
    """[11] weights of the window, of the dtype and device of `like` (double on the CPU)."""
    like = torch.zeros(0, dtype=torch.float64) if like is None else like
    offset = torch.arange(WINDOW, dtype=like.dtype, device=like.device) - WINDOW // 2
    kernel = (-0.5 * (offset / _SIGMA) ** 2).exp()
    return kernel / kernel.sum()


def _same(a: Tensor, b: Tensor) -> Tensor:
    """a, once its shape is known to be b's: broadcasting two pictures would give a figure that means nothing."""
    if a.shape != b.shape:
        raise ValueError(f"pictures differ in shape: {tuple(a.shape)} and {tuple(b.shape)}")
    return a
