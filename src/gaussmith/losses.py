"""Picture losses. Pictures are [B,H,W,C] in [0,1] unless said otherwise; every loss is a scalar mean, 0 when equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gaussmith import accelerator
from gaussmith.metrics import ssim
from gaussmith.metrics.pictures import WINDOW
from gaussmith.threads import run


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
    """0.8 L1 + 0.2 D-SSIM, the loss of 3D Gaussian splatting (Kerbl et al. 2023, eq. 7), of pictures [B,H,W,C].

    In float32, with a target `b` that wants no gradient, one compiled kernel on the CPU, or four on a GPU, give it and
    its gradient; the bits do not depend on the number of threads.

    Raises ValueError for unequal shapes or sides of less than 11 pixels.
    """
    single = all(t.dtype == torch.float32 and t.ndim == 4 and t.device == a.device for t in (a, b))
    compiled = single and (a.device.type == "cpu" or accelerator.compiles(a.device))
    if not compiled or a.shape != b.shape or b.requires_grad or a.numel() == 0 or min(a.shape[1:3]) < WINDOW:
        return dssim_share * dssim(a, b) + (1 - dssim_share) * l1(a, b)
    loss: Tensor = _Photometric.apply(a, b, dssim_share)
    return loss


class _Photometric(torch.autograd.Function):
    """`photometric` by kernels, which find the gradient on the way: 15 times the speed of torch's on two cores."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, dssim_share: float) -> Tensor:
        batch, height, width, channels = a.shape
        x, y = (t.detach().contiguous().view(batch, height, -1) for t in (a, b))
        windows = batch * (height - WINDOW + 1) * (width - WINDOW + 1) * channels
        sums = _sums if a.device.type == "cpu" else _triton_sums
        scales = (1 - dssim_share) / a.numel(), -dssim_share / windows
        differences, similarities, gradient = sums(x, y, channels, *scales)
        ctx.save_for_backward(gradient.view_as(a))
        unlike = 1 - similarities.sum(dtype=torch.float64) / windows
        return ((1 - dssim_share) * differences.sum(dtype=torch.float64) / a.numel() + dssim_share * unlike).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None


def _sums(x: Tensor, y: Tensor, channels: int, *scales: float) -> tuple[Tensor, Tensor, Tensor]:
    """See `photometric_rows`."""
    from gaussmith.metrics._photometric import photometric_rows  # Numba takes its time to import

    batch, height = x.shape[:2]
    differences, similarities = torch.empty(batch, height), torch.empty(batch, height - WINDOW + 1)
    gradient = torch.empty_like(x)
    outputs = (t.numpy() for t in (differences, similarities, gradient))
    run(photometric_rows, x.numpy(), y.numpy(), channels, *map(np.float32, scales), *outputs)
    return differences, similarities, gradient


def _triton_sums(x: Tensor, y: Tensor, channels: int, *scales: float) -> tuple[Tensor, Tensor, Tensor]:
    from gaussmith.metrics._photometric_triton import photometric_sums  # so does Triton

    return photometric_sums(x, y, channels, *scales)


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


def bending(depth: Tensor, mask: Tensor, soft: float = 0.004) -> Tensor:
    """How much surfaces bend: the mean over the masked pixels of the absolute second differences, down plus across.

    A plane costs nothing, whatever its slope, and an edge or a step no more than in proportion to its size: the penalty
    takes the noise off surfaces and leaves their shape. The second-order prior of Woodford et al. 2009, robust, and
    blind to colour.

    Args:
        depth: [B,H,W], world units. mask: [B,H,W] bool; differences that touch a pixel outside do not count.
        soft: world units, below which differences cost by their square, so that there is no chatter about 0; ours.
    """
    total = depth.new_zeros(())
    for dim in (1, 2):
        n = depth.shape[dim] - 2
        before, here, after = (depth.narrow(dim, i, n) for i in range(3))
        counts = mask.narrow(dim, 0, n) & mask.narrow(dim, 1, n) & mask.narrow(dim, 2, n)
        size = ((before - 2 * here + after).square() + soft**2).sqrt() - soft
        total = total + (size * counts).sum()
    return total / mask.sum().clamp_min(1)


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return values.mean()
    weight = weight.expand_as(values)
    total = weight.sum()
    return (values * weight).sum() / torch.where(total > 0, total, 1.0)
