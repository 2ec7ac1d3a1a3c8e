"""The draft in three dimensions: points where the reference's volume has its object, to begin a search from."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.camera import DEFAULT_RADIUS, PRIOR_FOVY, Camera, orbit
from gaussmith.priors.embedded.volume import frustum_coordinates, march, sample_depths

# None of these is from a paper.
VIEWS = 14  # around the object, alternately from above and a little below; one more looks down
SIDE, STEPS = 64, 48  # rays a picture side, and samples a ray
SOLID = 0.4  # alpha from which a draft says that a ray hits the object; its outlines are soft
SHARE = 0.15  # of the points that fill the object: with half of them, its shape is that of its outlines
RADIUS = 0.62  # of the ball that holds every object, with a little margin
PIXEL = 2 * DEFAULT_RADIUS * math.tan(math.radians(PRIOR_FOVY) / 2) / SIDE  # world units, at the usual distance
TRIES = 40  # points drawn for each that is wanted within: where fewer than one in so many hits, there are fewer


@torch.no_grad()
def points(volume: Tensor, elevation: float, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points [count,3] and colours [count,3] in [0,1], on the CPU.

    Most are drawn from the surface that the volume shows to views all around, in its colours. They alone leave a cave
    where the volume is thin and a ray only ends on the inside of the far wall; the last SHARE of them, in grey, lie
    anywhere within the outlines of all the views, which makes it shallower.

    Args:
        volume: [D,H,W,4] of one reference: the raw density and the colour.
        elevation: of the reference, degrees; the points stand as it sees them from azimuth 0.
    """
    azimuth = torch.cat([torch.arange(VIEWS) * 360.0 / VIEWS, torch.zeros(1)])
    height = torch.cat([torch.tensor([30.0, -10.0]).repeat(VIEWS // 2), torch.tensor([85.0])])
    at = frustum_coordinates(azimuth, torch.full_like(azimuth, elevation), height, SIDE, STEPS)
    weight, samples = march(volume[None].cpu().float().expand(len(azimuth), -1, -1, -1, -1), at)
    cameras = orbit(azimuth, height, fovy=PRIOR_FOVY, width=SIDE)
    within = _within(cameras, weight.sum(dim=-1), round(SHARE * count), generator)
    seen, colors = _seen(cameras, weight, samples, count - len(within), generator)
    return torch.cat([seen, within]), torch.cat([colors, torch.full_like(within, 0.5)])


def _within(cameras: Camera, alpha: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` points, uniform in what the outlines alpha [B,rays] of all the cameras have in common."""
    tries = TRIES * count
    direction = F.normalize(torch.randn(tries, 3, generator=generator), dim=-1)
    drawn = RADIUS * direction * torch.rand(tries, 1, generator=generator) ** (1 / 3)
    place = cameras.project(drawn)[..., :2] / SIDE * 2 - 1
    alpha = F.grid_sample(alpha.reshape(-1, 1, SIDE, SIDE), place[:, None], align_corners=False)[:, 0, 0]
    return drawn[(alpha > SOLID).all(dim=0)][:count]


def _seen(
    cameras: Camera, weight: Tensor, samples: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Points [count,3], drawn as the samples [B,4,rays,S] weigh in the pictures [B,rays,S], and their colours."""
    index = torch.multinomial(weight.flatten(), count, generator=generator)
    ray = index // STEPS
    origin, direction = cameras.rays()
    depth = sample_depths(STEPS)[index % STEPS]
    found = origin.repeat_interleave(SIDE * SIDE, dim=0)[ray] + direction.reshape(-1, 3)[ray] * depth[:, None]
    # Anywhere within what the sample stands for: a pixel at the usual distance is about as wide as a step is long.
    found = found + (torch.rand(found.shape, generator=generator) - 0.5) * PIXEL
    return found, samples[:, 1:].permute(0, 2, 3, 1).reshape(-1, 3)[index].clamp(0, 1)
