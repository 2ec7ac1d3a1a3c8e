"""DreamGaussian's density control (Tang et al. 2023, section 3.1 and public settings), over explicit state.

Unlike the public code it gathers its statistics from every view of a batch, bounds the number of Gaussians, never
prunes by a screen radius left over from an unfinished interval, and makes no clones on a step that no training follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gaussmith.density.ops import clone, follow, prune, repair, screen_gradient, split, top
from gaussmith.gaussians import Gaussians


@dataclass(frozen=True)
class Config:
    """Numbers of the control; the defaults are the paper's for a picture as input unless a line says otherwise.

    Attributes:
        start, stop, every: densify at steps start, start + every, ... up to stop (see `due`).
        gradient: mean view-space gradient, in normalised device units, above which a Gaussian is under-reconstructed.
        extent: nominal size of the scene, world units.
        dense_share: Gaussians whose largest scale is at most this share of the extent are cloned, larger ones split.
        min_opacity: fainter Gaussians are dropped.
        max_count: bound on the number of Gaussians, for memory (ours; the paper has none).
        min_count: the most opaque ones that no pruning removes, so that a bad phase can be trained out of (ours).
    """

    start: int = 100
    stop: int = 500
    every: int = 100
    gradient: float = 0.01
    extent: float = 4.0
    dense_share: float = 0.01
    min_opacity: float = 0.01
    max_count: int = 50_000
    min_count: int = 100


@dataclass(frozen=True)
class Statistics:
    """Since the last densification, for each Gaussian: `gradient` [N], summed norms of the view-space position gradient
    in normalised device units, and `views` [N], in how many views it was drawn (both float32)."""

    gradient: Tensor
    views: Tensor

    @classmethod
    def zeros(cls, gaussians: Gaussians) -> Statistics:
        return cls(torch.zeros_like(gaussians.opacity_logits), torch.zeros_like(gaussians.opacity_logits))


@dataclass(frozen=True)
class Densified:
    """Result of `densify_and_prune`: the new set, its source rows (see ops.py) for the optimiser, and what was done."""

    gaussians: Gaussians
    source: Tensor
    cloned: int
    split: int
    pruned: int
    mended: int
    removed: int


def due(step: int, steps: int, config: Config) -> bool:
    """Whether to densify after step 1..steps. Never on the last step: its clones would not be trained."""
    return config.start <= step <= min(config.stop, steps - 1) and (step - config.start) % config.every == 0


def accumulate(
    statistics: Statistics, means2d_grad: Tensor, radii: Tensor, width: int, height: int, factor: float = 1.0
) -> Statistics:
    """Add every view of a batch; the arguments are those of `screen_gradient`."""
    norms, drawn = screen_gradient(means2d_grad, radii, width, height, factor)
    return Statistics(statistics.gradient + norms.sum(dim=0), statistics.views + drawn.sum(dim=0))


def densify_and_prune(
    gaussians: Gaussians, statistics: Statistics, generator: torch.Generator, config: Config
) -> Densified:
    """Mend non-finite Gaussians, clone small and split large ones that pull hard, drop faint ones.

    At most `max_count` Gaussians result; when there is no room for all, those with the highest gradient grow, and when
    there were more to begin with, the most opaque stay. The caller starts new `Statistics` afterwards.
    """
    fixed = repair(gaussians)
    current, source = fixed.gaussians, fixed.source
    kept_rows = gaussians.means.detach().isfinite().all(dim=1)
    mean = (statistics.gradient / statistics.views.clamp_min(1))[kept_rows]

    # Drop before growing: a faint Gaussian is not worth a clone, and what it leaves is room for others.
    faint = current.opacities < config.min_opacity
    keep = (~faint | top(current.opacities, config.min_count)) & top(current.opacities, config.max_count)
    mean = mean[keep]
    pruned = int((~keep).sum())
    current, step = prune(current, keep)
    source = follow(source, step)

    # Cloning and splitting in two each add one Gaussian to the count.
    grow = (mean > config.gradient) & top(mean, config.max_count - len(current))
    small = current.scales.amax(dim=1) <= config.dense_share * config.extent
    to_split = grow & ~small
    cloned, divided = int((grow & small).sum()), int(to_split.sum())
    current, step = clone(current, grow & small)
    source = follow(source, step)
    current, step = split(current, torch.nn.functional.pad(to_split, (0, cloned)), generator)
    return Densified(current, follow(source, step), cloned, divided, pruned, fixed.mended, fixed.removed)


def prune_faint(gaussians: Gaussians, config: Config) -> tuple[Gaussians, Tensor]:
    """The last prune of a run: drop opacity below `min_opacity`, but keep the `min_count` most opaque ones."""
    opacities = gaussians.detach().opacities
    return prune(gaussians, (opacities >= config.min_opacity) | top(opacities, config.min_count))
