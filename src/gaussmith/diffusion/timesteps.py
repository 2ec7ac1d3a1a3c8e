"""At which noise times a run asks its prior: typed schedules over the steps of the run.

`step` counts from 1 to `steps`. Times are [B] float32 in (0,1]; where a schedule promises one time, all B are alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gaussmith.diffusion.distill import annealed_timestep


class Timesteps(Protocol):
    """A schedule of noise times."""

    def at(self, step: int, steps: int, generator: torch.Generator, batch: int) -> Tensor:
        """Times [batch] in (0,1] for `step` of 1..`steps`; only random schedules draw from the generator."""
        ...


@dataclass(frozen=True)
class Annealed:
    """t = 1 - step/steps, clipped to [t_min, t_max] (DreamGaussian, section 3.1): never rises."""

    t_max: float = 0.98
    t_min: float = 0.02

    def __post_init__(self) -> None:
        _check_range(self.t_min, self.t_max)

    def at(self, step: int, steps: int, generator: torch.Generator, batch: int) -> Tensor:
        return torch.full((batch,), annealed_timestep(step, steps, self.t_max, self.t_min))


@dataclass(frozen=True)
class SquareRoot:
    """t = t_max - (t_max - t_min) sqrt(step/steps): quick to leave the high noise, slow at the end (HiFA, Zhu, Zhuang
    & Koyejo 2023): never rises."""

    t_max: float = 0.98
    t_min: float = 0.02

    def __post_init__(self) -> None:
        _check_range(self.t_min, self.t_max)

    def at(self, step: int, steps: int, generator: torch.Generator, batch: int) -> Tensor:
        t = self.t_max - (self.t_max - self.t_min) * math.sqrt(_share(step, steps))
        return torch.full((batch,), max(t, self.t_min))


@dataclass(frozen=True)
class Uniform:
    """t uniform in [t_min, t_max] (DreamFusion, section 3).

    `shared`: one draw for the whole batch, for priors that denoise several views together.
    """

    t_max: float = 0.98
    t_min: float = 0.02
    shared: bool = False

    def __post_init__(self) -> None:
        _check_range(self.t_min, self.t_max)

    def at(self, step: int, steps: int, generator: torch.Generator, batch: int) -> Tensor:
        return _draw(self.t_min, self.t_max, generator, batch, self.shared)


@dataclass(frozen=True)
class Narrowing:
    """t uniform in a range that moves linearly from its first to its last bounds while the step goes from `begin` to
    `end`; begin = end is a sudden change after that step.

    The defaults are GSGen's: 0.98 falls to 0.5 at step 2,000. DreamCraft3D's NeRF stage is t_max (0.85, 0.5), t_min
    (0.7, 0.2) over steps 0 to 200; ProlificDreamer's is the default with 5,000.
    """

    t_max: tuple[float, float] = (0.98, 0.5)
    t_min: tuple[float, float] = (0.02, 0.02)
    begin: int = 2000
    end: int = 2000
    shared: bool = False

    def __post_init__(self) -> None:
        for low, high in zip(self.t_min, self.t_max):
            _check_range(low, high)
        if self.begin > self.end:
            raise ValueError(f"begin {self.begin} must not come after end {self.end}")

    def bounds(self, step: int) -> tuple[float, float]:
        """(lowest, highest) time at this step."""
        span = self.end - self.begin
        done = min(max((step - self.begin) / span, 0.0), 1.0) if span else float(step > self.begin)
        low, high = (first + (last - first) * done for first, last in (self.t_min, self.t_max))
        return low, high

    def at(self, step: int, steps: int, generator: torch.Generator, batch: int) -> Tensor:
        return _draw(*self.bounds(step), generator, batch, self.shared)


@dataclass(frozen=True)
class DreamTime:
    """t(i) such that the share i/N of the weight W lies above it, so that times pass slowly where W is large
    (DreamTime, Huang et al. 2023): never rises.

    W(t) is 1 between `low` and `high` and falls off like a Gaussian beyond them, with standard deviations `low_spread`
    and `high_spread`; the defaults are the paper's m1 = 800, m2 = 500, s1 = 300, s2 = 100 of 1,000.
    """

    t_max: float = 0.98
    t_min: float = 0.02
    high: float = 0.8
    low: float = 0.5
    high_spread: float = 0.3
    low_spread: float = 0.1

    def __post_init__(self) -> None:
        _check_range(self.t_min, self.t_max)
        if self.low > self.high or min(self.low_spread, self.high_spread) <= 0:
            raise ValueError(f"low must not exceed high and the spreads must be positive, got {self}")

    def at(self, step: int, steps: int, generator: torch.Generator, batch: int) -> Tensor:
        share = _share(step, steps)
        times = torch.linspace(self.t_max, self.t_min, 1001, dtype=torch.float64)  # downwards; the paper has 1,000
        over, under = (times - self.high).clamp_min(0), (self.low - times).clamp_min(0)
        weight = (-0.5 * ((over / self.high_spread).square() + (under / self.low_spread).square())).exp()
        above = torch.cat([weight.new_zeros(1), (0.5 * (weight[1:] + weight[:-1])).cumsum(0)])
        place = int(torch.searchsorted(above, share * above[-1]).clamp_max(len(times) - 1))
        return torch.full((batch,), float(times[place]))


TIMESTEPS: dict[str, type[Annealed] | type[SquareRoot] | type[Uniform] | type[Narrowing] | type[DreamTime]] = {
    "annealed": Annealed,
    "sqrt": SquareRoot,
    "uniform": Uniform,
    "narrowing": Narrowing,
    "dreamtime": DreamTime,
}


def _check_range(low: float, high: float) -> None:
    if not 0 < low <= high <= 1:
        raise ValueError(f"times must satisfy 0 < t_min <= t_max <= 1, got {low} and {high}")


def _share(step: int, steps: int) -> float:
    if not 0 <= step <= steps or steps < 1:
        raise ValueError(f"step must lie between 0 and {steps}, got {step}")
    return step / steps


def _draw(low: float, high: float, generator: torch.Generator, batch: int, shared: bool) -> Tensor:
    u = torch.rand(1 if shared else batch, generator=generator, dtype=torch.float64, device=generator.device)
    return (low + (high - low) * u).float().expand(batch)
