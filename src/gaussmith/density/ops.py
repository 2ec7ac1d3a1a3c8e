"""The moves of density control as pure functions on Gaussians.

A move that changes the rows returns the new set and its `source` [M] int64: row i of the result continues row source[i]
of the input, or is new where source[i] is -1. An optimiser follows with `rows(source)`. Results carry no gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gaussmith.accelerator import constant, onto
from gaussmith.gaussians import Gaussians, concat, logit
from gaussmith.rotation import quat_to_matrix

# Standard deviations outside these bounds (world units; objects are about 1 wide) are invisible or cover everything,
# and their squares and products leave the range in which float32 covariances can be inverted.
MIN_SCALE, MAX_SCALE = 1e-6, 1e2
# Extent (1.1 times the cameras' distance from their centre) of a ring of cameras at the distance 2 that scenes are
# normalised to: what is stated in world units is meant for such a scene, and scales with the extent of others.
USUAL_EXTENT = 2.2
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
    noise = torch.randn(parents.means.shape, generator=generator, device=generator.device)
    noise = onto(noise.to(parents.means.dtype), parents.means.device)
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


def trim(gaussians: Gaussians, count: int, generator: torch.Generator) -> tuple[Gaussians, Tensor]:
    """Only the `count` most opaque, in order; of equal ones a random choice, for neighbours in a file are neighbours in
    space."""
    order = torch.randperm(len(gaussians), generator=generator, device=generator.device)
    order = onto(order, gaussians.means.device)
    keep = torch.empty_like(order, dtype=torch.bool)
    keep[order] = top(gaussians.opacity_logits.detach()[order].nan_to_num(-math.inf), count)
    return prune(gaussians, keep)


def sample(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """[count] int64 rows drawn with replacement, row i as often as weights[i] >= 0 says; their sum must be positive.

    The sums are taken in float64 on the CPU, where they do not depend on the order of parallel work.
    """
    edges = weights.detach().cpu().double().cumsum(0)
    at = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64).cpu() * edges[-1]
    # Rounding can take the highest draw to the end of the line, where only rows of weight zero may follow.
    found = torch.searchsorted(edges, at, right=True).clamp_max(int(torch.searchsorted(edges, edges[-1])))
    return found.to(weights.device)


def normal(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """[count,3] standard normal numbers of the type and on the device of `like`.

    Where the generator is of another device, one of that device is seeded by it: millions of numbers a step are better
    drawn where they are used.
    """
    if generator.device != like.device:
        seed = int(torch.randint(1 << 62, (), generator=generator, device=generator.device))
        generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(count, 3, generator=generator, device=like.device, dtype=like.dtype)


def near(points: Tensor, places: Tensor, distance: float) -> Tensor:
    """[N] whether a point [N,3] lies nearer than `distance` to any of `places` [C,3]."""
    # Blocks bound the memory for the distances at 64 MB.
    rows = max(1, (1 << 24) // max(len(places), 1))
    found = [(torch.cdist(block, places, compute_mode="donot_use_mm_for_euclid_dist") < distance).any(dim=1)
             for block in points.detach().split(rows)]  # fmt: skip
    return torch.cat(found) if found else points.new_zeros(0, dtype=torch.bool)


def screen_gradient(
    means2d_grad: Tensor, radii: Tensor, width: int, height: int, factor: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Norms [B,N] of view-space position gradients in normalised device units, and whether each counts.

    Args:
        means2d_grad: [B,N,2] gradient of the loss with respect to pixel positions. A pixel is 2/width of normalised
            device space, so the gradient there, in which 3DGS states its thresholds, is (width/2, height/2) times it.
        radii: [B,N] screen radii in pixels, 0 where not drawn.
        width, height: picture size in pixels.
        factor: what one view's share of the loss was divided by, such as B when the loss is a mean over the batch: the
            thresholds are meant for the loss of one view.

    Returns:
        Zero and False where a Gaussian was not drawn or its gradient is not finite.
    """
    norms = (means2d_grad.detach() * (constant((width / 2, height / 2), means2d_grad) * factor)).norm(dim=-1)
    drawn = (radii > 0) & norms.isfinite()
    return torch.where(drawn, norms, 0.0), drawn


def bounded(gaussians: Gaussians, unit: float = 1.0) -> Gaussians:
    """Finite scales and opacities within the bounds of `repair`.

    Long training takes many a thin or opaque Gaussian there in good health: it is brought back, not mended.
    """

    def within(values: Tensor, least: float, most: float) -> Tensor:
        return torch.where(values.isfinite(), values.clamp(least, most), values)

    old = gaussians.detach()
    log_scales = within(old.log_scales, math.log(MIN_SCALE * unit), math.log(MAX_SCALE * unit))
    logits = within(old.opacity_logits, -_MAX_LOGIT, _MAX_LOGIT)
    return Gaussians(**{**old.tensors(), "log_scales": log_scales, "opacity_logits": logits})


def repair(gaussians: Gaussians, unit: float = 1.0) -> Repaired:
    """Make every parameter finite and usable, and say how many Gaussians that took.

    A Gaussian with a non-finite centre is removed: there is no telling where it was. Any other non-finite parameter is
    reset to that of a small, faint, unrotated, grey Gaussian, a zero quaternion to the identity; such a row is mended,
    and new to the optimiser (source -1), whose state for it is as bad as the row was. Finite scales are brought within
    [MIN_SCALE, MAX_SCALE] times `unit` (world units), opacity logits within +-15: a healthy row keeps its source.
    """
    old = bounded(gaussians, unit)
    source = _rows(old)
    placed = old.means.isfinite().all(dim=1)
    old, source = old.select(placed), source[placed]

    good = old.log_scales.isfinite().all(dim=1)
    typical = old.log_scales[good].median() if bool(good.any()) else math.log(0.01 * unit)
    log_scales = torch.where(old.log_scales.isfinite(), old.log_scales, typical)
    logits = torch.where(old.opacity_logits.isfinite(), old.opacity_logits, logit(0.1))
    length = old.quats.norm(dim=1, keepdim=True)
    turned = length.isfinite() & (length > 1e-12)
    quats = torch.where(turned, old.quats, constant((1.0, 0.0, 0.0, 0.0), old.quats))
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
