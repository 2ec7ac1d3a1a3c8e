"""Adaptive density control of 3D Gaussian splatting (Kerbl et al. 2023, section 5.2), to a planned number.

Where the screen pulls hard at a Gaussian, it is cloned if small and split if large; what is faint, or covers too much,
is dropped; now and then all opacities are lowered, and what the photos do not need stays faint.

Ours: the gradient above which a Gaussian grows is not set but found. The number of Gaussians is to rise along a planned
curve to `max_count`, so each time as many grow as the plan has room for, those with the highest gradients first. That
needs no setting for a scene, and neither the unit of the world nor the number of pixels changes who is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from gaussmith.density.base import Change
from gaussmith.density.ops import (
    USUAL_EXTENT,
    clone,
    follow,
    near,
    prune,
    repair,
    reset_opacity,
    screen_gradient,
    split,
    top,
    trim,
)  # fmt: skip
from gaussmith.density.timing import timing
from gaussmith.gaussians import Gaussians


@dataclass(frozen=True)
class Config:
    """Numbers of the control; the paper's unless a line says otherwise. docs/density.md gives the reasons.

    Attributes:
        max_count: bound on the number of Gaussians, and what the plan aims at (ours; the paper has none).
        start, stop, every: densify from step `start` to the share `stop` of the run, `every` so many steps; `timing`
            says what becomes of them in short runs.
        gradient: mean view-space gradient, in normalised device units, above which a Gaussian grows; None finds it by
            the plan (ours). The paper's is 2e-4; with `absolute`, 4e-4 (Ye et al. 2024) to 8e-4 (gsplat).
        least_gradient: what the plan never goes below (ours): a tenth of the paper's.
        absolute: judge by the sum of absolute gradients of the pixels, which do not cancel (AbsGS, Ye et al. 2024; the
            paper's is False).
        dense_share: Gaussians whose largest scale is at most this share of the extent are cloned, larger ones split.
        min_opacity: fainter Gaussians are dropped.
        max_share: Gaussians with a larger scale than this share of the extent are dropped, once `reset_every` is over;
        max_radius: so are those whose radius on the screen was more than this share of the picture's longer side. (The
            paper's 20 pixels are about 0.02 of its pictures; ours only takes what is absurd.)
        reset_every: steps from one lowering of the opacities to the next, 0 for none; at most a fifth of the run.
        reset_opacity: what they are lowered to.
        recovery: steps of density control that follow every lowering, or it is left out (ours).
        pause: steps after a lowering in which nothing grows, for all gradients are of the dark picture (ours).
        near_share: Gaussians nearer to a camera than this share of the extent are dropped (ours).
        min_count: the most opaque ones that are never dropped, so that a bad phase can be trained out of (ours).
    """

    max_count: int = 1_000_000
    start: int = 500
    stop: float = 0.5
    every: int = 100
    gradient: float | None = None
    least_gradient: float = 2e-5
    absolute: bool = True
    dense_share: float = 0.01
    min_opacity: float = 0.005
    max_share: float = 0.1
    max_radius: float = 0.5
    reset_every: int = 3000
    reset_opacity: float = 0.01
    recovery: int = 1000
    pause: int = 300
    near_share: float = 0.05
    min_count: int = 100


@dataclass
class _Statistics:
    """Since the last time, [N] each: summed gradient norms, views that drew it, largest radius (share of the side)."""

    gradient: Tensor
    views: Tensor
    radius: Tensor

    def select(self, mask: Tensor) -> _Statistics:
        return _Statistics(self.gradient[mask], self.views[mask], self.radius[mask])


@dataclass
class _Work:
    """The set at a step while moves are made on it, with its source, its statistics and what was done."""

    step: int
    gaussians: Gaussians
    source: Tensor
    seen: _Statistics
    counts: dict[str, int]

    def follow(self, gaussians: Gaussians, source: Tensor) -> None:
        """Take the result of a move."""
        self.gaussians, self.source = gaussians, follow(self.source, source)


class ADC:
    """The strategy as a `DensityControl`.

    Args:
        config: its numbers.
        extent: of the scene, world units.
        steps: of the run.
        cameras: [C,3] positions that no Gaussian may come near to; None for no such bound.
    """

    def __init__(self, config: Config, extent: float, steps: int, cameras: Tensor | None = None) -> None:
        if config.max_count < 1 or not extent > 0:
            raise ValueError(f"max_count and extent must be positive, got {config.max_count} and {extent}")
        self.config, self.extent, self.cameras = config, extent, cameras
        self.timing = timing(steps, config.start, config.stop, config.every)
        self.uses_absolute = config.absolute and self.timing.last >= self.timing.start
        # A fifth: the paper's 3,000 in its own run of 30,000, and still one lowering in the shortest runs.
        self._reset_every = min(config.reset_every, steps // 5)
        self.resets = self._planned_resets()
        self._seen: _Statistics | None = None
        self._first_count, self._chosen = 0, 0.0

    def observe(self, step: int, gradient: Tensor, radii: Tensor, width: int, height: int) -> None:
        """See `DensityControl`. The loss is taken to be a mean over the views of the batch."""
        if step > self.timing.last:
            return
        norms, drawn = screen_gradient(gradient, radii, width, height, factor=len(gradient))
        shares = torch.where(radii > 0, radii, 0).amax(dim=0).to(norms.dtype) / max(width, height)
        if self._seen is None:
            self._seen = _Statistics(norms.sum(dim=0), drawn.sum(dim=0).to(norms.dtype), shares)
        elif len(self._seen.views) != gradient.shape[1]:
            raise ValueError(f"{gradient.shape[1]} Gaussians observed where there were {len(self._seen.views)}")
        else:
            self._seen.gradient += norms.sum(dim=0)
            self._seen.views += drawn.sum(dim=0)
            torch.maximum(self._seen.radius, shares, out=self._seen.radius)

    def penalty(self, gaussians: Gaussians) -> None:
        """None: the method adds nothing to the loss."""
        return None

    def after(
        self, step: int, gaussians: Gaussians, rates: Mapping[str, float], generator: torch.Generator
    ) -> Change | None:
        """See `DensityControl`."""
        # They cost a tenth of a step, and after the last time nobody looks at them.
        self.uses_absolute = self.config.absolute and step < self.timing.last
        if not self.timing.due(step):
            if len(gaussians) <= self.config.max_count:
                return None
            self._seen = None
            kept, source = trim(gaussians, self.config.max_count, generator)
            return Change(kept, source, counts={"trimmed": len(gaussians) - len(kept)})
        zero = torch.zeros_like(gaussians.opacity_logits)
        seen, self._seen = self._seen or _Statistics(zero, zero, zero), None
        if len(seen.views) != len(gaussians):
            raise ValueError(f"{len(gaussians)} Gaussians where {len(seen.views)} were observed")
        work = _Work(step, gaussians, torch.arange(len(gaussians), device=zero.device), seen, {})
        self._prune(work)
        self._first_count = self._first_count or len(work.gaussians)
        if not self._recovering(step):
            self._grow(work, generator)
        if len(work.gaussians) > self.config.max_count:
            work.counts["trimmed"] = len(work.gaussians) - self.config.max_count
            work.follow(*trim(work.gaussians, self.config.max_count, generator))
        if step not in self.resets:
            return Change(work.gaussians, work.source, counts=work.counts)
        lowered = reset_opacity(work.gaussians, self.config.reset_opacity)
        return Change(lowered, work.source, ("opacity_logits",), {**work.counts, "opacity_resets": 1})

    def chosen(self) -> dict[str, float]:
        """For the report: the gradient that was needed to grow, the last time that any did."""
        return {"gradient": self._chosen}

    def planned(self, step: int) -> int:
        """How many Gaussians there should be after `step`, which is to follow the first time.

        A straight line from what there was to `max_count`: as many more each time.
        """
        first, most = self._first_count, self.config.max_count
        return most if first >= most else round(first + (most - first) * self.timing.progress(step))

    def state(self) -> dict[str, Tensor]:
        """See `DensityControl`."""
        kept = {
            "first_count": torch.tensor(self._first_count), "chosen": torch.tensor(self._chosen, dtype=torch.float64),
            "uses_absolute": torch.tensor(self.uses_absolute),
        }  # fmt: skip
        return kept if self._seen is None else kept | {name: t.clone() for name, t in vars(self._seen).items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `DensityControl`."""
        self._first_count, self._chosen = int(state["first_count"]), float(state["chosen"])
        self.uses_absolute = bool(state["uses_absolute"])
        names = ("gradient", "views", "radius")
        self._seen = _Statistics(*(state[name].clone() for name in names)) if "views" in state else None

    def _planned_resets(self) -> frozenset[int]:
        """The times of the lowerings: each leaves `recovery` steps to the next and to the end of density control."""
        found: list[int] = []
        for number in range(1, 1 + self.timing.last // self._reset_every if self._reset_every else 0):
            step = self.timing.first_from(number * self._reset_every)
            after_last = not found or step - found[-1] >= self.config.recovery
            if after_last and step + self.config.recovery <= self.timing.last:
                found.append(step)
        return frozenset(found)

    def _recovering(self, step: int) -> bool:
        return any(reset < step < reset + self.config.pause for reset in self.resets)

    def _prune(self, work: _Work) -> None:
        """Mend the set; drop what is faint, at a camera or too large."""
        config, unit = self.config, self.extent / USUAL_EXTENT
        placed = work.gaussians.means.detach().isfinite().all(dim=1)
        fixed = repair(work.gaussians, unit)
        work.gaussians, work.source, work.seen = fixed.gaussians, fixed.source, work.seen.select(placed)
        faint = fixed.gaussians.opacities < config.min_opacity
        large = self._large(work)
        at_camera = torch.zeros_like(faint)
        if self.cameras is not None:
            places = self.cameras.to(fixed.gaussians.means)
            at_camera = near(fixed.gaussians.means, places, config.near_share * self.extent)
        gone = (faint | large | at_camera) & ~top(fixed.gaussians.opacities, config.min_count)
        work.counts |= {
            "mended": fixed.mended, "removed": fixed.removed, "pruned_faint": int((gone & faint).sum()),
            "pruned_large": int((gone & large & ~faint).sum()),
            "pruned_at_camera": int((gone & at_camera & ~faint & ~large).sum()),
        }  # fmt: skip
        work.follow(*prune(work.gaussians, ~gone))
        work.seen = work.seen.select(~gone)

    def _grow(self, work: _Work, generator: torch.Generator) -> None:
        """Clone or split those that pull hardest."""
        config, mean = self.config, work.seen.gradient / work.seen.views.clamp_min(1)
        if config.gradient is None:
            least, most = config.least_gradient, self.planned(work.step)
        else:
            least, most = config.gradient, config.max_count
        # Cloning and splitting in two each add one Gaussian.
        grow = (mean > least) & top(mean, most - len(mean))
        if bool(grow.any()):
            self._chosen = float(mean[grow].min())
        small = work.gaussians.scales.amax(dim=1) <= config.dense_share * self.extent
        cloned = int((grow & small).sum())
        work.counts |= {"cloned": cloned, "split": int((grow & ~small).sum())}
        work.follow(*clone(work.gaussians, grow & small))
        work.follow(*split(work.gaussians, pad(grow & ~small, (0, cloned)), generator))

    def _large(self, work: _Work) -> Tensor:
        """[N] who covers too much of the world or of a picture, once the first lowering is due."""
        if not work.step > self._reset_every > 0:
            return torch.zeros_like(work.seen.radius, dtype=torch.bool)
        in_world = work.gaussians.scales.amax(dim=1) > self.config.max_share * self.extent
        return in_world | (work.seen.radius > self.config.max_radius)
