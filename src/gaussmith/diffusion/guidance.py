"""From the parts of a prediction to the one that is followed.

All predictions are eps (added noise), [B,...] of any trailing shape: latents or pixels alike; `schedule` converts from
x0 and v. The guidance scale has one meaning everywhere, that of `schedule.cfg`: eps_null + s (eps_cond - eps_null).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gaussmith.accelerator import onto
from gaussmith.diffusion.schedule import Level, cfg, eps_from_x0, x0_from_eps

# Where pictures are drawn or mended, the largest scale: Stable Diffusion's own. Score distillation asks for up to 100
# (DreamFusion), at which a picture saturates.
PICTURE_SCALE = 7.5


@dataclass(frozen=True)
class Predictions:
    """What a prior sees in a noisy picture, by condition.

    Attributes:
        null: [B,...] eps without the condition (for text: the empty prompt, or the negative prompt if there is one).
        cond: [B,...] eps with it.
        negatives: [K,B,...] eps for K prompts to keep away from (Perp-Neg: the other views' words), or None.
        negative_weights: [K,B] >= 0, how strongly each is avoided in each view; None exactly when negatives is.
    """

    null: Tensor
    cond: Tensor
    negatives: Tensor | None = None
    negative_weights: Tensor | None = None

    def __post_init__(self) -> None:
        if self.null.shape != self.cond.shape:
            raise ValueError(f"null {tuple(self.null.shape)} and cond {tuple(self.cond.shape)} differ in shape")
        if (self.negatives is None) != (self.negative_weights is None):
            raise ValueError("negatives and their weights come together")
        if self.negatives is not None and self.negative_weights is not None:
            if self.negatives.shape[1:] != self.cond.shape:
                raise ValueError(f"negatives must be [K,{tuple(self.cond.shape)}], got {tuple(self.negatives.shape)}")
            if self.negative_weights.shape != self.negatives.shape[:2]:
                raise ValueError(f"negative_weights must be [K,B], got {tuple(self.negative_weights.shape)}")


def perpendicular(x: Tensor, axis: Tensor) -> Tensor:
    """The part of x [B,...] that is orthogonal to axis [B,...], sample by sample; x itself where the axis is zero."""
    dims = tuple(range(1, x.ndim))
    along, length = (x * axis).sum(dims, keepdim=True), axis.square().sum(dims, keepdim=True)
    return x - torch.where(length > 0, along / length.clamp_min(torch.finfo(x.dtype).tiny), 0.0) * axis


def direction(parts: Predictions) -> Tensor:
    """Where the condition pulls: d = eps_cond - eps_null, less sum_k w_k perp(eps_k - eps_null, d) if there are
    negatives (Perp-Neg: Armandpour et al. 2023, algorithm 1), so that what is avoided never undoes the condition."""
    pull = parts.cond - parts.null
    if parts.negatives is None or parts.negative_weights is None:
        return pull
    avoided = torch.zeros_like(pull)
    for negative, weight in zip(parts.negatives, parts.negative_weights):
        avoided = avoided + per_sample(weight, pull) * perpendicular(negative - parts.null, pull)
    return pull - avoided


def guide(parts: Predictions, scale: float) -> Tensor:
    """Classifier-free guidance with Perp-Neg: eps_null + s direction, [B,...]; without negatives, `schedule.cfg`."""
    return cfg(parts.null, parts.null + direction(parts), scale)


def rescale(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    """Move the standard deviation of `guided` [B,...] towards that of `cond` by the share phi in [0,1], sample by
    sample, against the saturation of large scales (Lin et al. 2023, section 3.4, eqs. 15 and 16; they use 0.7)."""
    dims = tuple(range(1, guided.ndim))
    wanted, found = (x.std(dims, keepdim=True) for x in (cond, guided))
    ratio = torch.where(found > 0, wanted / found.clamp_min(torch.finfo(guided.dtype).tiny), 1.0)
    return guided * (phi * ratio + (1 - phi))


def dynamic_threshold(x0: Tensor, quantile: float, bound: float = 1.0) -> Tensor:
    """Clip each sample of x0 [B,...] at the quantile of its own magnitudes and shrink it to +-bound, where that
    quantile exceeds the bound; else clip at the bound (Imagen: Saharia et al. 2022, section 2.3; they use 0.995).
    quantile = 1 only shrinks; quantile = 0 only clips."""
    limit = torch.quantile(x0.abs().flatten(1).float(), quantile, dim=1).to(x0).clamp_min(bound)
    limit = per_sample(limit, x0)
    return x0.clamp(-limit, limit) * (bound / limit)


@dataclass(frozen=True)
class Guidance:
    """How the parts become the one prediction, and what is done against saturation.

    Attributes:
        scale: s in null + s (cond - null).
        rescale: phi of `rescale` on the clean pictures that the predictions imply (as MVDream: Shi et al. 2023); 0 off.
        quantile, bound: of `dynamic_threshold` on the clean picture; None is off. Only for spaces with known bounds:
            pixels in [-1,1], not latents.
    """

    scale: float
    rescale: float = 0.0
    quantile: float | None = None
    bound: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.rescale <= 1 or not 0 <= (self.quantile or 0.0) <= 1 or self.bound <= 0:
            raise ValueError(f"rescale and quantile must lie in [0,1] and bound above 0, got {self}")

    def __call__(self, parts: Predictions, noisy: Tensor, level: Level) -> Tensor:
        """The eps [B,...] to follow, from the parts of the prediction for noisy [B,...] at `level`."""
        eps = guide(parts, self.scale)
        if self.rescale == 0 and self.quantile is None:
            return eps
        x0 = x0_from_eps(noisy, eps, level)
        if self.rescale > 0:
            x0 = rescale(x0, x0_from_eps(noisy, parts.cond, level), self.rescale)
        if self.quantile is not None:
            x0 = dynamic_threshold(x0, self.quantile, self.bound)
        return eps_from_x0(noisy, x0, level)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """values, scalar or [B], in the type of like [B,...] and shaped to multiply it."""
    return onto(values.to(like.dtype), like.device).reshape((-1,) + (1,) * (like.ndim - 1))
