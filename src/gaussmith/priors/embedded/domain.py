"""How far a picture lies from those that the embedded prior learned from.

What tells a photograph, a page of text, noise or a line drawing from the renders of the training world is their texture
and the thinness of their parts, not the prior's own tokens: those follow the silhouette and hardly change when an
object is filled with noise. So seven statistics of the 64-pixel picture are kept for a sample of the training
references, and a picture's novelty is the distance to its fifth nearest among them (Loftsgaarden & Quesenberry 1965;
for outliers Ramaswamy et al. 2000), told as a percentile of the novelties of held-out renders.
`benchmarks/domain.py` measures what it finds and what it misses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FAR_PERCENTILE = 98.0  # so that two held-out renders in a hundred are called far
NEIGHBOUR = 5  # a single neighbour may be an odd one itself
SIDE = 64  # pixels: the prior's own
NAMES = ("thin", "detail 3", "detail 7", "detail 15", "flat", "median detail", "colours")
_LEAST_SPREAD = 0.01  # of a statistic, so that rounding does not count where all training pictures agree
_SOLID = 0.95  # alpha from which a pixel belongs to the object alone
_FLAT = 0.006  # a colour change that 8 bits and three samples a pixel and axis make by themselves


@dataclass(frozen=True)
class Domain:
    """The training domain in numbers; travels in the weights file.

    Attributes:
        known: [N,7] `statistics` of training references.
        held_out: [H] novelties of held-out references, ascending.
    """

    known: Tensor
    held_out: Tensor

    def __post_init__(self) -> None:
        shapes = tuple(self.known.shape), tuple(self.held_out.shape)
        rows, count = len(shapes[0]) == 2 and shapes[0][1] == len(NAMES), len(shapes[1]) == 1
        if not (rows and count and shapes[0][0] >= NEIGHBOUR and shapes[1][0] > 0):
            raise ValueError(f"a domain is [N,{len(NAMES)}] with N of {NEIGHBOUR} or more and [H], not {shapes}")


@dataclass(frozen=True)
class Distance:
    """percentile: share in percent of held-out renders that are nearer to the training pictures; far: the picture is
    unlike them, and what the prior imagines is to be doubted."""

    percentile: float
    far: bool


def domain_distance(prior: Any, picture: Tensor) -> Distance | None:
    """How far a picture is from the training domain of `prior`; None if the prior does not know its domain.

    Args:
        prior: any prior. Only an embedded one whose weights hold their domain knows it.
        picture: [4,H,W] premultiplied RGBA in [0,1], prior frame, as for `Prior.condition`.
    """
    domain = getattr(prior, "domain", None)
    if domain is None:
        return None
    small = F.interpolate(picture[None].float().cpu(), size=(SIDE, SIDE), mode="area")
    novelty = _novelty(domain.known, statistics(small))
    percentile = 100 * float((domain.held_out < novelty).float().mean())
    return Distance(round(percentile, 1), percentile > FAR_PERCENTILE)


def measure_domain(training: Tensor, held_out: Tensor) -> Domain:
    """The domain of training references [N,4,64,64], calibrated by references [H,4,64,64] of objects held out;
    premultiplied RGBA in [0,1]. ValueError for fewer than NEIGHBOUR of the first or none of the second."""
    known = statistics(training)
    if len(known) < NEIGHBOUR:
        raise ValueError(f"a domain needs {NEIGHBOUR} training pictures, not {len(known)}")
    return Domain(known, _novelty(known, statistics(held_out)).sort().values)


def statistics(pictures: Tensor) -> Tensor:
    """[B,7] of pictures [B,4,64,64], premultiplied RGBA in [0,1].

    Thinness (rim over area); detail at 3, 7 and 15 pixels (mean difference to the object's own neighbourhood); share
    of flat pixels; median detail; entropy of the colours in nats. The lengths of a scale are told as logarithms.
    """
    rgb, alpha = pictures[:, :3], pictures[:, 3:]
    solid = alpha[:, 0] > _SOLID
    area, count = alpha.mean(dim=(1, 2, 3)).clamp_min(1e-3), solid.sum(dim=(1, 2)).clamp_min(1)
    color = rgb / alpha.clamp_min(1e-2)
    rim = (alpha - _blur(alpha, 3)).abs().mean(dim=(1, 2, 3))
    detail = {
        k: (color - _blur(rgb, k) / _blur(alpha, k).clamp_min(1e-3)).abs().mean(dim=1) * solid for k in (3, 7, 15)
    }
    scales = [(d.sum(dim=(1, 2)) / count + 2e-3).log() for d in detail.values()]
    flat = ((detail[3] < _FLAT) & solid).sum(dim=(1, 2)) / count
    median = torch.stack([d[s].median() if s.any() else d.new_zeros(()) for d, s in zip(detail[3], solid)])
    entropy = torch.stack([_entropy(c[:, s]) for c, s in zip(color, solid)])
    thin = (rim / area).clamp_min(1e-3).log()
    return torch.stack([thin, *scales, flat, (median + 1e-3).log(), entropy], dim=1)


def _blur(x: Tensor, size: int) -> Tensor:
    """Mean of the size x size neighbours inside the picture, along one axis after the other."""
    across = F.avg_pool2d(x, (1, size), 1, (0, size // 2), count_include_pad=False)
    return F.avg_pool2d(across, (size, 1), 1, (size // 2, 0), count_include_pad=False)


def _entropy(colors: Tensor) -> Tensor:
    """Entropy in nats of the colours [3,N] in [0,1], told apart in 16 steps a channel; 0 for fewer than four."""
    if colors.shape[1] < 4:
        return colors.new_zeros(())
    steps = (colors.clamp(0, 1) * 15).round().long()
    _, counts = (steps * torch.tensor([[256], [16], [1]])).sum(dim=0).unique(return_counts=True)
    share = counts / counts.sum()
    return -(share * share.log()).sum()


def _novelty(known: Tensor, found: Tensor) -> Tensor:
    """[B] distance of each row of `found` to its NEIGHBOUR-th nearest row of `known`, in standard deviations."""
    mean, spread = known.mean(dim=0), known.std(dim=0).clamp_min(_LEAST_SPREAD)
    distances = torch.cdist(
        (found - mean) / spread, (known - mean) / spread, compute_mode="donot_use_mm_for_euclid_dist"
    )
    return distances.topk(NEIGHBOUR, largest=False).values[:, -1]
