"""The score distillations that a user can name, each a small frozen dataclass of its paper's numbers over the pure
gradients of `distill`, all asked in the same way (`distillation_gradient`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gaussmith.diffusion.distill import (
    WEIGHTS,
    WeightName,
    bsd_gradient,
    clip_norm,
    csd_gradient,
    dsd_gradient,
    ism_gradient,
    normal_like,
    sds_gradient,
    vsd_gradient,
)
from gaussmith.diffusion.guidance import Guidance, Predictions
from gaussmith.diffusion.schedule import Schedule, add_noise, x0_from_eps

PredictEps = Callable[[Tensor, Tensor], Tensor]  # (noisy [B,...], t [B]) -> eps [B,...]
PredictParts = Callable[[Tensor, Tensor], Predictions]  # the same, by condition


def ddim_invert(predict_eps: PredictEps, x: Tensor, times: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Follow DDIM upwards (Song et al. 2021, eq. 12 with the times swapped): from x [B,...] at times[0] to times[-1].

    Args:
        predict_eps: eps(x, t), usually of the null condition.
        times: [K+1,B] in (0,1], K >= 1, rising with the row.

    Returns:
        x at times[-1], and the eps at times[-2] that made the last step. First order in the largest step.
    """
    for now, then in pairwise(times):
        eps = predict_eps(x, now)
        x = add_noise(x0_from_eps(x, eps, schedule.level(now)), eps, schedule.level(then))
    return x, eps


def ism_times(t: Tensor, interval: float, stride: float, start: float) -> Tensor:
    """Times [K+1,B] of the inversion that ISM asks for: from `start` in steps of at most `stride` to s = t - interval,
    then t itself. s and start stay above 0 for any t [B] in (0,1]: s is at least t / 2, start at most s."""
    s = torch.maximum(t - interval, t / 2)
    first = s.clamp_max(start)
    steps = max(1, int(((s - first) / stride).ceil().max()))
    rise = torch.arange(steps + 1, dtype=t.dtype, device=t.device)[:, None] / steps
    way = first + rise * (s - first)
    # A sample whose s is its start stands still; DDIM over no time changes nothing.
    return torch.cat([way, t[None]])


@dataclass(frozen=True)
class Sources:
    """Whom a distillation asks, closed over views and condition (`train.variational.sources` makes it).

    Times reach the functions where the schedule of the run made them, usually on the CPU, so that a loop never waits
    for an accelerator; they move them to their network.

    Attributes:
        predict: the frozen prior. variational: the network trained on the renders (VSD, BSD, DSD), unguided.
        expert: the prior trained on mended renders (BSD).
        null: the null prediction of `predict` alone, where that is cheaper; ISM's inversion asks for nothing else.
    """

    predict: PredictParts
    variational: PredictEps | None = None
    expert: PredictParts | None = None
    null: PredictEps | None = None


@dataclass(frozen=True)
class SDS:
    """Score distillation sampling; see `sds_gradient`. Scale 100: DreamFusion, section 3."""

    learns: ClassVar[tuple[str, ...]] = ()
    guidance: Guidance = field(default_factory=lambda: Guidance(100.0))
    weight: WeightName = "sds"

    def gradient(self, ask: Sources, clean: Tensor, t: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
        level = schedule.level(t)
        noisy = add_noise(clean, noise, level)
        return sds_gradient(self.guidance(ask.predict(noisy, t), noisy, level), noise, WEIGHTS[self.weight](level))


@dataclass(frozen=True)
class VSD:
    """Variational score distillation; see `vsd_gradient`. Scale 7.5: ProlificDreamer."""

    learns: ClassVar[tuple[str, ...]] = ("variational",)
    guidance: Guidance = field(default_factory=lambda: Guidance(7.5))
    weight: WeightName = "sds"

    def gradient(self, ask: Sources, clean: Tensor, t: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
        level = schedule.level(t)
        noisy = add_noise(clean, noise, level)
        wanted = self.guidance(ask.predict(noisy, t), noisy, level)
        return vsd_gradient(wanted, _learned(ask.variational)(noisy, t), WEIGHTS[self.weight](level))


@dataclass(frozen=True)
class BSD:
    """Bootstrapped score distillation; see `bsd_gradient`. Scale 2: DreamCraft3D's public settings."""

    learns: ClassVar[tuple[str, ...]] = ("variational", "expert")
    guidance: Guidance = field(default_factory=lambda: Guidance(2.0))
    weight: WeightName = "sds"

    def gradient(self, ask: Sources, clean: Tensor, t: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
        level = schedule.level(t)
        noisy = add_noise(clean, noise, level)
        wanted = self.guidance(_learned(ask.expert)(noisy, t), noisy, level)
        return bsd_gradient(wanted, _learned(ask.variational)(noisy, t), WEIGHTS[self.weight](level))


@dataclass(frozen=True)
class DSD:
    """Domain score distillation; see `dsd_gradient`. DreamPolish does not publish its weights: these make it start as
    VSD at that paper's scale, 7.5."""

    learns: ClassVar[tuple[str, ...]] = ("variational",)
    classifier: float = 6.5
    variational: float = 1.0
    weight: WeightName = "sds"

    def gradient(self, ask: Sources, clean: Tensor, t: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
        level = schedule.level(t)
        noisy = add_noise(clean, noise, level)
        parts, learned = ask.predict(noisy, t), _learned(ask.variational)(noisy, t)
        return dsd_gradient(parts, learned, self.classifier, self.variational, WEIGHTS[self.weight](level))


@dataclass(frozen=True)
class CSD:
    """Classifier score distillation; see `csd_gradient`. `classifier` only scales the gradient."""

    learns: ClassVar[tuple[str, ...]] = ()
    classifier: float = 1.0
    weight: WeightName = "sds"

    def gradient(self, ask: Sources, clean: Tensor, t: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
        level = schedule.level(t)
        parts = ask.predict(add_noise(clean, noise, level), t)
        return csd_gradient(parts, self.classifier * WEIGHTS[self.weight](level))


@dataclass(frozen=True)
class ISM:
    """Interval score matching; see `ism_gradient`.

    Attributes:
        guidance: of the later prediction (7.5: LucidDreamer).
        interval: t - s. stride: longest step of the inversion below s (50 and 200 of 1,000: LucidDreamer).
        start: where the inversion begins, on the render with a little noise, because a network knows no t = 0 (ours:
            the first of 50 steps).
    """

    learns: ClassVar[tuple[str, ...]] = ()
    guidance: Guidance = field(default_factory=lambda: Guidance(7.5))
    weight: WeightName = "sds"
    interval: float = 0.05
    stride: float = 0.2
    start: float = 0.02

    def gradient(self, ask: Sources, clean: Tensor, t: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
        times = ism_times(t, self.interval, self.stride, self.start)
        x = add_noise(clean, noise, schedule.level(times[0]))
        null = ask.null or (lambda y, at: ask.predict(y, at).null)
        later, earlier_eps = ddim_invert(null, x, times, schedule)
        level = schedule.level(t)
        wanted = self.guidance(ask.predict(later, t), later, level)
        return ism_gradient(wanted, earlier_eps, WEIGHTS[self.weight](level))


Distillation = SDS | VSD | BSD | DSD | CSD | ISM
DistillationName = Literal["sds", "vsd", "bsd", "dsd", "csd", "ism"]
DISTILLATIONS: dict[str, type[Distillation]] = {
    "sds": SDS, "vsd": VSD, "bsd": BSD, "dsd": DSD, "csd": CSD, "ism": ISM,
}  # fmt: skip


def with_scale(method: Distillation, scale: float) -> Distillation:
    """The method at guidance scale s, null + s (cond - null), whatever it calls that: DSD's w_c is s - 1, at which it
    is VSD; CSD's direction is multiplied by s."""
    if isinstance(method, DSD):
        return replace(method, classifier=scale - 1)
    if isinstance(method, CSD):
        return replace(method, classifier=scale)
    return replace(method, guidance=replace(method.guidance, scale=scale))


def own_scale(method: Distillation) -> float:
    """The guidance scale of its paper; infinite for CSD, whose scale is only a factor."""
    if isinstance(method, DSD):
        return method.classifier + 1
    return float("inf") if isinstance(method, CSD) else method.guidance.scale


def distillation_gradient(
    method: Distillation,
    sources: Sources,
    clean: Tensor,
    t: Tensor,
    schedule: Schedule,
    generator: torch.Generator,
    max_norm: float = float("inf"),
) -> Tensor:
    """One call of any member: the gradient [B,...] with respect to clean [B,...] at times t [B] in (0,1].

    `sources` has the networks that `method.learns` names; `max_norm` as in `clip_norm`. No gradient flows into any
    network. Hand the result to `sds_loss`.
    """
    with torch.no_grad():
        clean = clean.detach()
        noise = normal_like(clean, generator)
        return clip_norm(method.gradient(sources, clean, t, noise, schedule), max_norm)


def _learned(source: Callable | None) -> Callable:
    if source is None:
        raise ValueError("this distillation needs a trained network beside the prior; see its `learns`")
    return source
