"""Score distillation: how a diffusion prior's opinion of a rendered picture becomes a gradient.

Every gradient is w(t) (what the picture should look like - what it looks like now), as noise predictions. The members
of the family differ in who says what:

    sds   guided prior           - the noise that was added
    vsd   guided prior           - a network trained on the renders ("variational")
    bsd   guided expert          - variational; the expert is the prior trained on mended renders
    dsd   w_c (cond - null) + w_v (cond - variational)
    csd   cond - null
    ism   guided prior at t      - null prior at s < t, on one DDIM trajectory from the render

Batch convention, the same for every prior: a loss is summed over the pixels and channels of a picture and averaged over
the batch, so that neither the batch size nor the adapter changes the meaning of a loss weight. Pictures are latents or
pixels [B,...]; all predictions are eps (`schedule` converts), all guidance is that of `guidance.guide`. What users
choose from, with the numbers of the papers, is in `family`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gaussmith.accelerator import onto
from gaussmith.diffusion.guidance import Predictions, direction, guide, per_sample
from gaussmith.diffusion.schedule import Denoise, Level, Schedule, add_noise, ddim, even_times

# --- Weights w(t) ---


def sds_weight(level: Level) -> Tensor:
    """w(t) = sigma^2 = 1 - alpha_bar (DreamFusion, Poole et al. 2022; DreamGaussian)."""
    return level.sigma.square()


def uniform_x0_weight(level: Level) -> Tensor:
    """w(t) = sigma / alpha, with which w (eps_pred - eps) = x0 - x0_pred: every time pulls the picture alike.

    Grows without bound as alpha falls to 0: keep t below 1.
    """
    return level.sigma / level.alpha


def unit_weight(level: Level) -> Tensor:
    """w(t) = 1 (the simple loss of Ho et al. 2020)."""
    return torch.ones_like(level.sigma)


def fantasia3d_weight(level: Level) -> Tensor:
    """w(t) = alpha sigma^2: nothing at either end (Fantasia3D, Chen et al. 2023, for textures)."""
    return level.alpha * level.sigma.square()


WeightName = Literal["sds", "uniform_x0", "unit", "fantasia3d"]
WEIGHTS: dict[str, Callable[[Level], Tensor]] = {
    "sds": sds_weight,
    "uniform_x0": uniform_x0_weight,
    "unit": unit_weight,
    "fantasia3d": fantasia3d_weight,
}

# --- Gradients with respect to the picture, as pure functions of predictions [B,...]; weight is a scalar or [B] ---


def sds_gradient(eps_pred: Tensor, eps: Tensor, weight: Tensor | float) -> Tensor:
    """w(t) (eps_pred - eps), detached: the SDS gradient with respect to the picture (Poole et al. 2022, eq. 3).

    eps_pred, eps: [B,...], the guided prediction and the noise that was added; weight: scalar or [B].
    """
    return _weighted(eps_pred - eps, weight)


def vsd_gradient(eps_pred: Tensor, eps_variational: Tensor, weight: Tensor | float) -> Tensor:
    """w(t) (eps_pretrained(x_t; y) - eps_phi(x_t; y, c)): variational score distillation (ProlificDreamer, Wang et al.
    2023, eq. 9), whose fixed point has the renders distributed as the prior says, where SDS seeks a mode.

    eps_pred: guided (7.5 in the paper); eps_variational: unguided, of the network trained on the renders.
    """
    return _weighted(eps_pred - eps_variational, weight)


def bsd_gradient(eps_expert: Tensor, eps_variational: Tensor, weight: Tensor | float) -> Tensor:
    """w(t) (eps_DreamBooth(x_t; y, r_t'(x)) - eps_phi(x_t; y, c)): bootstrapped score distillation (DreamCraft3D, Sun
    et al. 2023). With an expert that is the untrained prior, it is `vsd_gradient`.

    eps_expert: guided, of the prior trained on the asset's own renders after they were noised and denoised.
    """
    return _weighted(eps_expert - eps_variational, weight)


def csd_gradient(parts: Predictions, weight: Tensor | float) -> Tensor:
    """w(t) (eps(x_t; y) - eps(x_t; null)): the classifier score alone (CSD, Yu et al. 2023), which is
    -sigma w times the gradient of log p(y | x_t). With a negative prompt in the place of the null, it is
    their negative-prompt form at equal weights."""
    return _weighted(direction(parts), weight)


def dsd_gradient(
    parts: Predictions, eps_variational: Tensor, classifier: float, variational: float, weight: Tensor | float
) -> Tensor:
    """w(t) [w_c (eps_y - eps_null) + w_v (eps_y - eps_phi)]: domain score distillation (DreamPolish, Cheng et al. 2024,
    texture phase).

    w_v = 0 is CSD; w_c = s - 1 and w_v = 1 is VSD at scale s; with the added noise for eps_phi too, SDS at scale s.
    """
    return _weighted(classifier * direction(parts) + variational * (guide(parts, 1.0) - eps_variational), weight)


def ism_gradient(eps_later: Tensor, eps_earlier: Tensor, weight: Tensor | float) -> Tensor:
    """w(t) (eps(x_t; y, t) - eps(x_s; null, s)): interval score matching (LucidDreamer, Liang et al. 2023, sec. 3.2).

    x_s and x_t lie on one DDIM inversion of the render (`family.ddim_invert`): no fresh noise blurs what is asked.
    """
    return _weighted(eps_later - eps_earlier, weight)


def _weighted(difference: Tensor, weight: Tensor | float) -> Tensor:
    return (per_sample(torch.as_tensor(weight), difference) * difference).detach()


def clip_norm(gradient: Tensor, limit: float) -> Tensor:
    """Shorten each sample of gradient [B,...] to the Euclidean norm `limit`; shorter ones stay as they are. A sample
    that is not finite (a half-precision overflow) becomes zero rather than spoil the whole batch."""
    finite = gradient.isfinite().flatten(1).all(dim=1).reshape((-1,) + (1,) * (gradient.ndim - 1))
    gradient = torch.where(finite, gradient, 0.0)
    # Half precision would overflow at norms that the gradient itself can hold.
    norm = torch.linalg.vector_norm(
        gradient.flatten(1), dim=1, dtype=torch.promote_types(gradient.dtype, torch.float32)
    )
    shrink = torch.where(norm > limit, limit / norm.clamp_min(torch.finfo(norm.dtype).tiny), 1.0)
    return per_sample(shrink, gradient) * gradient


def normal_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers shaped as x, of its type and on its device, drawn where the generator is: the same
    numbers on every device."""
    noise = torch.randn(x.shape, generator=generator, device=generator.device)
    return onto(noise.to(x.dtype), x.device)


def sds_loss(images: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient with respect to images [B,...] is exactly gradient [B,...] / B, through `backward`.

    Any member of the family may have made the gradient.
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
    gradient: the target of DreamGaussian's UV-space refinement (section 3.3; SDEdit, Meng et al. 2022), and the mended
    renders r_t'(x) that BSD's expert learns from."""
    with torch.no_grad():
        clean = images.detach()
        noise = normal_like(clean, generator)
        return ddim(denoise, add_noise(clean, noise, schedule.level(strength)), even_times(strength, steps), schedule)
