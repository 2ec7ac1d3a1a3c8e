"""Noise levels, the three ways to state a prediction, the sampler and the one guidance convention.

A noisy picture is x = alpha x0 + sigma eps with alpha^2 + sigma^2 = 1 (variance preserving). Time t runs from 0 (clean)
to 1 (most noise) for every schedule, so samplers and distillation need not know which schedule they follow. Pictures
are [B,...] of any trailing shape; levels are [B] or scalars.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gaussmith.accelerator import onto

# Below this, alpha or sigma counts as zero: dividing a float32 rounding error by less would give noise, not a signal.
_ZERO = 1e-6


@dataclass(frozen=True)
class Level:
    """A noise level: signal alpha and noise sigma, both [B] or scalar tensors, alpha^2 + sigma^2 = 1."""

    alpha: Tensor
    sigma: Tensor

    def like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma in the type of x [B,...], shaped to broadcast against it."""
        shape = (-1,) + (1,) * (x.ndim - 1)
        alpha, sigma = (onto(part.to(x.dtype), x.device).reshape(shape) for part in (self.alpha, self.sigma))
        return alpha, sigma


class Schedule(Protocol):
    """What maps time t in [0,1] to noise levels."""

    def level(self, t: Tensor | float) -> Level: ...


@dataclass(frozen=True)
class NoiseSchedule:
    """A discrete schedule of T steps.

    The network's step i = 0..T-1 sits at t = (i + 1) / T, and t = 0 is the clean picture itself, so a sampler that ends
    at t = 0 ends without noise.

    Attributes:
        alphas_bar: [T] float64, the products of 1 - beta (Ho et al. 2020), never increasing, in [0,1].
    """

    alphas_bar: Tensor

    def __post_init__(self) -> None:
        a = self.alphas_bar
        if a.ndim != 1 or a.numel() < 1 or a.dtype != torch.float64:
            raise ValueError(f"alphas_bar must be [T] float64, got {tuple(a.shape)} {a.dtype}")
        if bool((a < 0).any()) or bool((a > 1).any()) or bool((a[1:] > a[:-1]).any()):
            raise ValueError("alphas_bar must never increase and stay in [0,1]")

    def __len__(self) -> int:
        return self.alphas_bar.shape[0]

    def index(self, t: Tensor | float) -> Tensor:
        """The network's step 0..T-1 nearest to time t (int64); the clean t = 0 is answered with step 0."""
        t = torch.as_tensor(t, dtype=torch.float64)
        return (t * len(self)).round().long().clamp(1, len(self)) - 1

    def level(self, t: Tensor | float) -> Level:
        """Noise level of the step nearest to t in [0,1]."""
        t = _checked(t)
        padded = torch.cat([self.alphas_bar.new_ones(1), self.alphas_bar]).to(t.device)
        a = padded[(t * len(self)).round().long()]
        return Level(a.sqrt(), (1 - a).sqrt())


@dataclass(frozen=True)
class CosineTime:
    """The continuous schedule alpha = cos(pi t / 2), sigma = sin(pi t / 2): clean at 0, pure noise at 1."""

    def level(self, t: Tensor | float) -> Level:
        """Noise level at t in [0,1]."""
        angle = _checked(t) * (math.pi / 2)
        return Level(angle.cos().clamp_min(0), angle.sin())


def _checked(t: Tensor | float) -> Tensor:
    """t as float64. Looks at it: a GPU would be waited for, so loops keep their times on the CPU."""
    t = torch.as_tensor(t).double()
    if bool((t < 0).any()) or bool((t > 1).any()) or bool(t.isnan().any()):
        raise ValueError(f"time must lie in [0,1], got {t.tolist()}")
    return t


def linear(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> NoiseSchedule:
    """Betas evenly spaced (DDPM: Ho et al. 2020, section 4)."""
    betas = torch.linspace(first, last, steps, dtype=torch.float64)
    return NoiseSchedule((1 - betas).cumprod(0))


def scaled_linear(steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> NoiseSchedule:
    """Square roots of the betas evenly spaced (latent diffusion: Rombach et al. 2022; Stable Diffusion's values)."""
    betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square()
    return NoiseSchedule((1 - betas).cumprod(0))


def cosine(steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> NoiseSchedule:
    """Squared-cosine alphas_bar with betas clipped at `max_beta` (Nichol & Dhariwal 2021, eq. 17)."""
    time = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    curve = ((time + offset) / (1 + offset) * (math.pi / 2)).cos().square()
    betas = (1 - curve[1:] / curve[:-1]).clamp(max=max_beta)
    return NoiseSchedule((1 - betas).cumprod(0))


def zero_terminal_snr(schedule: NoiseSchedule) -> NoiseSchedule:
    """Stretched so that the last step is pure noise and the first is unchanged (Lin et al. 2023, algorithm 1)."""
    root = schedule.alphas_bar.sqrt()
    if len(schedule) < 2 or root[0] == root[-1]:
        raise ValueError("a schedule without two different levels cannot be stretched")
    return NoiseSchedule(((root - root[-1]) * (root[0] / (root[0] - root[-1]))).square())


def add_noise(x0: Tensor, noise: Tensor, level: Level) -> Tensor:
    """x = alpha x0 + sigma noise."""
    alpha, sigma = level.like(x0)
    return alpha * x0 + sigma * noise


def x0_from_eps(x: Tensor, eps: Tensor, level: Level) -> Tensor:
    """The clean picture that noise `eps` implies. Pure noise says nothing about it: 0 where alpha is 0."""
    alpha, sigma = level.like(x)
    return _divide(x - sigma * eps, alpha)


def eps_from_x0(x: Tensor, x0: Tensor, level: Level) -> Tensor:
    """The noise that the clean picture `x0` implies. A clean picture says nothing about it: 0 where sigma is 0."""
    alpha, sigma = level.like(x)
    return _divide(x - alpha * x0, sigma)


def x0_from_v(x: Tensor, v: Tensor, level: Level) -> Tensor:
    """The clean picture that the velocity v = alpha eps - sigma x0 implies (Salimans & Ho 2022); defined everywhere."""
    alpha, sigma = level.like(x)
    return alpha * x - sigma * v


def eps_from_v(x: Tensor, v: Tensor, level: Level) -> Tensor:
    """The noise that the velocity v implies; defined everywhere."""
    alpha, sigma = level.like(x)
    return sigma * x + alpha * v


def v_from_x0(x: Tensor, x0: Tensor, level: Level) -> Tensor:
    """The velocity that the clean picture `x0` implies; exact inverse of `x0_from_v` where sigma is not 0."""
    alpha, sigma = level.like(x)
    return alpha * eps_from_x0(x, x0, level) - sigma * x0


def v_from_eps(x: Tensor, eps: Tensor, level: Level) -> Tensor:
    """The velocity that the noise `eps` implies; exact inverse of `eps_from_v` where alpha is not 0."""
    alpha, sigma = level.like(x)
    return alpha * eps - sigma * x0_from_eps(x, eps, level)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b > _ZERO, a / b.clamp_min(_ZERO), 0.0)


def cfg(uncond: Tensor, cond: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance, the one convention: eps = eps_null + s (eps_cond - eps_null) (Ho & Salimans 2022).

    s = 0 ignores the condition, s = 1 is the plain conditional model. Equally right for eps, x0 and v.
    """
    return uncond + scale * (cond - uncond)


def ddim_step(x: Tensor, x0: Tensor, now: Level, then: Level) -> Tensor:
    """One deterministic step from level `now` to level `then` along the predicted x0 (Song et al. 2021, eq. 12)."""
    return add_noise(x0, eps_from_x0(x, x0, now), then)


Denoise = Callable[[Tensor, Tensor], Tensor]


def ddim(denoise: Denoise, x: Tensor, times: Sequence[float] | Tensor, schedule: Schedule) -> Tensor:
    """Deterministic DDIM (Song et al. 2021): follow `times` from x [B,...] at times[0] to the picture at times[-1].

    `denoise(x [B,...], t [B] float32 on the CPU) -> x0 [B,...]` predicts the clean picture (wrap an eps or v network
    with `x0_from_eps` or `x0_from_v`). First order in the largest step; exact when x0 does not depend on x.
    """
    levels = [schedule.level(t) for t in times]
    for t, now, then in zip(times, levels, levels[1:]):
        at = torch.full((x.shape[0],), float(t), dtype=torch.float32)  # not on x's device: see `_checked`
        x = ddim_step(x, denoise(x, at), now, then)
    return x


def even_times(strength: float, steps: int, least: float = 0.0) -> list[float]:
    """steps + 1 times from `strength` down to exactly 0, evenly spaced. With a `least` under `strength` all but the
    last are evenly spaced down to it, and the last step goes from there straight to the clean picture: for a network
    that only leaves noise of its own below."""
    if steps < 1 or not 0 <= strength <= 1:
        raise ValueError(f"need at least one step and a strength in [0,1], got {steps} and {strength}")
    if 0 < least < strength and steps > 1:
        return [strength + (least - strength) * i / (steps - 1) for i in range(steps)] + [0.0]
    return [strength * (steps - i) / steps for i in range(steps + 1)]
