"""3D Gaussian splatting as Markov chain Monte Carlo (Kheradmand et al., NeurIPS 2024, arXiv 2404.09591).

The Gaussians are samples of a distribution: noise on their centres lets the faint ones explore, and a dead one is moved
to a live one such that the picture stays as it was. No gradient is looked at and no threshold is set for a scene.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from gaussmith.density.base import Change
from gaussmith.density.ops import USUAL_EXTENT, follow, near, normal, repair, sample, trim
from gaussmith.density.timing import timing
from gaussmith.gaussians import Gaussians, concat, logit
from gaussmith.rotation import quat_rotate

# Coincident Gaussians that the correction of eq. 9 is computed for; more are treated as that many (public code).
MAX_PARTS = 51
# Steps 500, 600, ... 24,900 of the public run of 30,000.
_TIMES = 245
# Steepness of the noise's gate (public code).
_GATE = 100.0
# Above this opacity the gate is below 1e-4: at the public strength a Gaussian with a scale of a fortieth of the extent
# would move by less than a thousandth of that scale, which is not worth drawing.
_QUIET = 0.1
# A float32 opacity closer to 1 has a logit that training cannot move.
_MAX_OPACITY = 1 - 1e-6


@dataclass(frozen=True)
class Config:
    """Numbers of the control; those of the paper and its public code unless a line says otherwise.

    Attributes:
        max_count: bound on the number of Gaussians.
        start, stop, every: relocate and grow from step `start` to the share `stop` of the run, `every` so many steps;
            `timing` says what becomes of them in short runs.
        dead_opacity: Gaussians of at most this opacity are relocated.
        growth: share of Gaussians that are added each time, in a run of 30,000 steps. Shorter runs, which have fewer
            times, add more each time: the same share of the run brings the same growth (ours).
        noise: strength of the noise on the centres, times the positions' rate; 0 for none.
        opacity_weight, scale_weight: of the mean opacity and the mean scale in the loss.
        spread: parts of a divided Gaussian are drawn from it, at this many times its scales (ours; 0 is the paper's).
            Coincident ones get equal gradients: only noise, which opaque ones hardly get, would ever part them.
        near_share: Gaussians nearer to a camera than this share of the extent count as dead (ours).
    """

    max_count: int = 1_000_000
    start: int = 500
    stop: float = 25 / 30
    every: int = 100
    dead_opacity: float = 0.005
    growth: float = 0.05
    noise: float = 5e5
    opacity_weight: float = 0.01
    scale_weight: float = 0.01
    spread: float = 1.0
    near_share: float = 0.05


class MCMC:
    """The strategy as a `DensityControl`. It remembers nothing: all that happens follows from the Gaussians and the
    generator.

    Args:
        config: its numbers.
        extent: of the scene, world units.
        steps: of the run.
        cameras: [C,3] positions that no Gaussian may come near to; None for no such bound.
    """

    uses_absolute = False

    def __init__(self, config: Config, extent: float, steps: int, cameras: Tensor | None = None) -> None:
        if config.max_count < 1 or not extent > 0:
            raise ValueError(f"max_count and extent must be positive, got {config.max_count} and {extent}")
        self.config, self.extent, self.steps, self.cameras = config, extent, steps, cameras
        self.timing = timing(steps, config.start, config.stop, config.every)
        times = (self.timing.last - self.timing.start) // self.timing.every + 1
        self._growth = min((1 + config.growth) ** max(_TIMES / max(times, 1), 1) - 1, 1.0)
        # The public noise and regulariser depend on the unit of the world; here they are those of a usual scene.
        self._unit = extent / USUAL_EXTENT

    def observe(self, step: int, gradient: Tensor, radii: Tensor, width: int, height: int) -> None:
        """Nothing: the method does not look at gradients."""

    def penalty(self, gaussians: Gaussians) -> Tensor:
        """The regularisers of eq. 10: opacities and scales as small as the photos allow."""
        count = max(len(gaussians), 1)
        opacity = self.config.opacity_weight / count * gaussians.opacities.sum()
        return opacity + self.config.scale_weight / (3 * count * self._unit) * gaussians.scales.sum()

    def after(
        self, step: int, gaussians: Gaussians, rates: Mapping[str, float], generator: torch.Generator
    ) -> Change | None:
        """See `DensityControl`."""
        config, source, counts = self.config, None, {}
        current = gaussians
        if len(current) > config.max_count:
            current, source = trim(current, config.max_count, generator)
            counts = {"trimmed": len(gaussians) - len(current)}
        if self.timing.due(step):
            current, moved, done = self._moved(current, generator)
            source, counts = moved if source is None else follow(source, moved), {**counts, **done}
        # Not after the last step: no training would follow.
        shaken = self._shaken(current, rates["means"], generator) if config.noise and step < self.steps else None
        if shaken is None and source is None:
            return None
        return Change(current if shaken is None else shaken, source, counts=counts)

    def chosen(self) -> dict[str, float]:
        """Nothing is chosen."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Empty."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to take up."""

    def _moved(self, gaussians: Gaussians, generator: torch.Generator) -> tuple[Gaussians, Tensor, dict[str, int]]:
        """Section 3.3: the dead relocated to live ones, and some more live ones divided, up to `max_count`."""
        config, fixed = self.config, repair(gaussians, self._unit)
        current, source = fixed.gaussians, fixed.source
        dead = current.opacities <= config.dead_opacity
        if self.cameras is not None:
            dead |= near(current.means, self.cameras.to(current.means), config.near_share * self.extent)
        alive = (~dead).nonzero()[:, 0]
        lost = dead.nonzero()[:, 0] if len(alive) else alive
        parted = torch.zeros_like(dead)
        if len(lost):
            hosts = alive[sample(current.opacities[alive], len(lost), generator)]
            current = divided(current, hosts, config.dead_opacity)
            row = torch.arange(len(current), device=hosts.device)
            row[lost] = hosts
            current = current.select(row)
            parted[lost] = parted[hosts] = True
        more = max(0, min(config.max_count, math.ceil((1 + self._growth) * len(current))) - len(current))
        if len(alive) and more:
            hosts = sample(current.opacities, more, generator)
            current = divided(current, hosts, config.dead_opacity)
            current = concat([current, current.select(hosts)])
            parted[hosts] = True
            parted = torch.cat([parted, torch.ones_like(hosts, dtype=torch.bool)])
        added = len(current) - len(source)
        source = torch.where(parted, -1, torch.nn.functional.pad(source, (0, added), value=-1))
        current = apart(current, parted.nonzero()[:, 0], config.spread, generator)
        counts = {"relocated": len(lost), "added": added, "mended": fixed.mended, "removed": fixed.removed}
        return current, source, counts

    def _shaken(self, gaussians: Gaussians, rate: float, generator: torch.Generator) -> Gaussians | None:
        """Section 3.2 and eq. 8: noise on the centres, shaped by each covariance, for the faint; None if none is.

        With z standard normal, Sigma z and R diag(s^2) z have the same distribution.
        """
        if gaussians.means.device.type == "cpu":
            faint = (gaussians.opacity_logits < logit(_QUIET)).nonzero()[:, 0]
        else:  # to find the faint would take a GPU longer than to draw for all
            faint = torch.arange(len(gaussians), device=gaussians.means.device)
        if len(faint) == 0:
            return None
        opacity = gaussians.opacity_logits[faint].sigmoid()
        gate = torch.sigmoid(-_GATE * (opacity - self.config.dead_opacity))
        strength = self.config.noise * rate / self._unit**2 * gate
        along = (2 * gaussians.log_scales[faint]).exp() * normal(len(faint), gaussians.means, generator)
        offset = quat_rotate(gaussians.quats[faint], strength[:, None] * along)
        offset = torch.where(offset.isfinite(), offset, 0.0)
        return Gaussians(**{**gaussians.tensors(), "means": gaussians.means.index_add(0, faint, offset)})


def relocated(opacity: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity [M] of each of N coincident Gaussians that look like one, and the factor [M] of its scales (eq. 9).

    The transmittance at the centre stays, (1 - o_new)^N = 1 - o; and so does what a ray across the centre absorbs,
    the integral of 1 - (1 - o_new g)^N = sum_j (-1)^(j+1) C(N,j) o_new^j g^j with g a unit Gaussian. (The paper's
    double sum over i and k is this one: sum_i C(i-1,k) = C(N,k+1).)

    Args:
        opacity: [M] in (0,1).
        parts: [M] integers, N >= 1, clamped to MAX_PARTS.
    """
    parts = parts.clamp(1, MAX_PARTS)
    old = opacity.double()
    # 1 - (1-o)^(1/N), without cancelling for small o.
    new = -torch.expm1(torch.log1p(-old) / parts)
    powers = new[:, None] ** torch.arange(1, MAX_PARTS + 1, device=old.device)
    absorbed = (_terms().to(old.device)[parts] * powers).sum(dim=1)
    return new.to(opacity), (old / absorbed).to(opacity)


def divided(gaussians: Gaussians, hosts: Tensor, least_opacity: float) -> Gaussians:
    """The same rows, in which every Gaussian is what one of its parts will be when each of `hosts` [M] rows is copied
    once for each time that it stands there."""
    parts = torch.bincount(hosts, minlength=len(gaussians)) + 1
    rows = (parts > 1).nonzero()[:, 0]
    opacity, factor = relocated(gaussians.opacities[rows].clamp_max(_MAX_OPACITY), parts[rows])
    logits, log_scales = gaussians.opacity_logits.clone(), gaussians.log_scales.clone()
    logits[rows] = opacity.clamp(least_opacity, _MAX_OPACITY).logit()
    log_scales[rows] += factor.log()[:, None]
    return Gaussians(**{**gaussians.tensors(), "opacity_logits": logits, "log_scales": log_scales})


def apart(gaussians: Gaussians, rows: Tensor, spread: float, generator: torch.Generator) -> Gaussians:
    """The centres of `rows` [M] moved to points drawn from each Gaussian with `spread` times its scales."""
    if spread == 0 or len(rows) == 0:
        return gaussians
    drawn = spread * gaussians.scales[rows] * normal(len(rows), gaussians.means, generator)
    offset = quat_rotate(gaussians.quats[rows], drawn)
    return Gaussians(**{**gaussians.tensors(), "means": gaussians.means.index_add(0, rows, offset)})


@cache
def _terms() -> Tensor:
    """[MAX_PARTS+1, MAX_PARTS] float64 (-1)^(j+1) C(N,j) / sqrt(j) at row N and column j-1."""
    rows = [
        [(-1) ** (j + 1) * math.comb(n, j) / math.sqrt(j) for j in range(1, MAX_PARTS + 1)]
        for n in range(MAX_PARTS + 1)
    ]
    return torch.tensor(rows, dtype=torch.float64)
