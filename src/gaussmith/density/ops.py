"""The moves of density control as pure functions on Gaussians.

A move that changes the rows returns the new set and its `source` [M] int64: row i of the result continues row source[i]
of the input, or is new where source[i] is -1. An optimiser follows with `rows(source)`. Results carry no gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gaussmith.gaussians import Gaussians, concat, logit
from gaussmith.rotation import quat_to_matrix

# Standard deviations outside these bounds (world units; objects are about 1 wide) are invisible or cover everything,
# and their squares and products leave the range in which float32 covariances can be inverted.
MIN_SCALE, MAX_SCALE = 1e-6, 1e2
# Where the sigmoid's gradient has vanished in float32: an opacity there can never come back by training.
_MAX_LOGIT = 15.0


@dataclass(frozen=True)
class Repaired:
    """Result of `repair`: the mended set, its source rows, and how many were mended in place or removed."""

    gaussians: Gaussians
    source: Tensor
    mended: int
    removed: int


def _rows(gaussians: Gaussians) -> Tensor:
    return torch.arange(len(gaussians), device=gaussians.means.device)


def _fresh(count: int, like: Tensor) -> Tensor:
    return torch.full((count,), -1, dtype=torch.int64, device=like.device)


def clone(gaussians: Gaussians, mask: Tensor) -> tuple[Gaussians, Tensor]:
    """Append a copy of every Gaussian in mask [N]; training pulls the two apart (Kerbl et al. 2023, section 5.2)."""
    gaussians = gaussians.detach()
    copies = gaussians.select(mask)
    return concat([gaussians, copies]), torch.cat([_rows(gaussians), _fresh(len(copies), mask)])


def split(
    gaussians: Gaussians, mask: Tensor, generator: torch.Generator, parts: int = 2, shrink: float = 1.6
) -> tuple[Gaussians, Tensor]:
    """Replace every Gaussian in mask [N] by `parts` smaller ones (scales / shrink) at points drawn from it
    (Kerbl et al. 2023, section 5.2). The kept ones come first, in order, then the parts."""
    gaussians = gaussians.detach()
    parents = gaussians.select(mask.nonzero()[:, 0].repeat(parts))
    noise = torch.randn(parents.means.shape, generator=generator, device=generator.device).to(parents.means)
    offset = (quat_to_matrix(parents.quats) @ (parents.scales * noise)[..., None])[..., 0]
    children = Gaussians(
        means=parents.means + offset,
        log_scales=parents.log_scales - math.log(shrink),
        quats=parents.quats,
        opacity_logits=parents.opacity_logits,
        sh=parents.sh,
    )
    return concat([gaussians.select(~mask), children]), torch.cat(
        [_rows(gaussians)[~mask], _fresh(len(children), mask)]
    )


def prune(gaussians: Gaussians, keep: Tensor) -> tuple[Gaussians, Tensor]:
    """Only the Gaussians in keep [N] bool, in order."""
    return gaussians.detach().select(keep), _rows(gaussians)[keep]


def reset_opacity(gaussians: Gaussians, ceiling: float = 0.01) -> Gaussians:
    """Opacities above `ceiling` in (0,1) lowered to it; `forget` them in the optimiser too (Kerbl et al. 2023, 5.2)."""
    fresh = gaussians.detach()
    return Gaussians(**{**fresh.tensors(), "opacity_logits": fresh.opacity_logits.clamp(max=logit(ceiling))})


def top(score: Tensor, count: int) -> Tensor:
    """Mask [N] of the `count` highest scores; of equal ones the earlier, so that the choice is the same everywhere."""
    mask = torch.zeros_like(score, dtype=torch.bool)
    mask[score.argsort(descending=True, stable=True)[: max(count, 0)]] = True
    return mask


def repair(gaussians: Gaussians) -> Repaired:
    """Make every parameter finite and usable, and say how many Gaussians that took.

    A Gaussian with a non-finite centre is removed: there is no telling where it was. Any other non-finite parameter is
    reset to that of a small, faint, unrotated, grey Gaussian; scales are brought within [MIN_SCALE, MAX_SCALE], opacity
    logits within +-15, zero quaternions to the identity. A mended row is new to the optimiser (source -1), whose state
    for it is as bad as the row was.
    """
    old = gaussians.detach()
    source = _rows(old)
    placed = old.means.isfinite().all(dim=1)
    old, source = old.select(placed), source[placed]

    good = old.log_scales.isfinite().all(dim=1)
    typical = old.log_scales[good].median() if bool(good.any()) else old.log_scales.new_tensor(math.log(0.01))
    log_scales = torch.where(old.log_scales.isfinite(), old.log_scales, typical)
    log_scales = log_scales.clamp(math.log(MIN_SCALE), math.log(MAX_SCALE))
    logits = torch.where(old.opacity_logits.isfinite(), old.opacity_logits, logit(0.1)).clamp(-_MAX_LOGIT, _MAX_LOGIT)
    length = old.quats.norm(dim=1, keepdim=True)
    turned = length.isfinite() & (length > 1e-12)
    quats = torch.where(turned, old.quats, old.quats.new_tensor([1.0, 0, 0, 0]))
    new = Gaussians(old.means, log_scales, quats, logits, torch.where(old.sh.isfinite(), old.sh, 0.0))

    changed = torch.zeros_like(placed[placed])
    for before, after in zip(old.tensors().values(), new.tensors().values()):
        changed |= (before != after)[:, None].flatten(1).any(dim=1)  # NaN differs from everything, itself included.
    source = torch.where(changed, -1, source)
    return Repaired(new, source, mended=int(changed.sum()), removed=int((~placed).sum()))


def follow(first: Tensor, second: Tensor) -> Tensor:
    """The source of two moves in a row: `first` maps the input to the middle, `second` the middle to the result."""
    if len(first) == 0:
        return torch.full_like(second, -1)
    return torch.where(second < 0, second, first[second.clamp_min(0)])
