"""Score distillation: how a diffusion prior's opinion of a rendered picture becomes a gradient.

Batch convention, the same for every prior: a loss is summed over the pixels and channels of a picture and averaged over
the batch, so that neither the batch size nor the adapter changes the meaning of a loss weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gaussmith.diffusion.schedule import Denoise, Level, Schedule, add_noise, ddim, even_times


def sds_weight(level: Level) -> Tensor:
    """w(t) = sigma^2 = 1 - alpha_bar (DreamFusion, Poole et al. 2022; DreamGaussian)."""
    return level.sigma.square()


def uniform_x0_weight(level: Level) -> Tensor:
    """w(t) = sigma / alpha, with which w (eps_pred - eps) = x0 - x0_pred: every time pulls the picture alike.

    Grows without bound as alpha falls to 0: keep t below 1.
    """
    return level.sigma / level.alpha


def sds_gradient(eps_pred: Tensor, eps: Tensor, weight: Tensor | float) -> Tensor:
    """w(t) (eps_pred - eps), detached: the SDS gradient with respect to the picture (Poole et al. 2022, eq. 3).

    eps_pred, eps: [B,...], the guided prediction and the noise that was added; weight: scalar or [B].
    """
    weight = torch.as_tensor(weight).to(eps_pred).reshape((-1,) + (1,) * (eps_pred.ndim - 1))
    return (weight * (eps_pred - eps)).detach()


def sds_loss(images: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient with respect to images [B,...] is exactly gradient [B,...] / B, through `backward`.

    It is the loss 1/2 |images - target|^2 (summed over pixels, mean over the batch) with the target images - gradient
    held fixed: same value, same gradient. Written as an inner product, because in float32 images - (images - gradient)
    would round small gradients away.
    """
    gradient = gradient.detach()
    if images.shape != gradient.shape:
        raise ValueError(f"images {tuple(images.shape)} and gradient {tuple(gradient.shape)} differ in shape")
    batch = images.shape[0]
    value = gradient.square().sum() / (2 * batch)
    carrier = (images * gradient).sum() / batch
    return value + (carrier - carrier.detach())


def annealed_timestep(step: int, steps: int, t_max: float = 0.98, t_min: float = 0.02) -> float:
    """Time that falls linearly with the step, t = 1 - step/steps, clipped to [t_min, t_max] (DreamGaussian, sec. 3.1).

    `step` counts from 1 to `steps`; the paper's 20 and 980 of 1,000 are the default bounds.
    """
    if not 0 <= step <= steps or steps < 1:
        raise ValueError(f"step must lie between 0 and {steps}, got {step}")
    return min(max(1 - step / steps, t_min), t_max)


def denoise_at_strength(
    images: Tensor, strength: float, steps: int, denoise: Denoise, schedule: Schedule, generator: torch.Generator
) -> Tensor:
    """Noise images [B,...] to time `strength` in (0,1] and denoise them in `steps` DDIM steps down to 0, without
    gradient: the target of DreamGaussian's UV-space refinement (section 3.3; SDEdit, Meng et al. 2022)."""
    with torch.no_grad():
        clean = images.detach()
        noise = torch.randn(clean.shape, generator=generator, device=generator.device).to(clean)
        return ddim(denoise, add_noise(clean, noise, schedule.level(strength)), even_times(strength, steps), schedule)
