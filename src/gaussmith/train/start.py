"""Where the Gaussians of a reconstruction start: at the points that structure from motion saw, or at random."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gaussmith.gaussians import Gaussians, from_points
from gaussmith.photos import Scene

# Fewer known points than this say nothing about the scene: it is started at random.
FEWEST_POINTS = 100
# Depths of random points of an open scene, whose cameras stand a median distance of 2 from what they look at.
NEAREST, FARTHEST = 0.5, 20.0
# The share of the views which see a point that must see the object there; the rest is left to faulty masks.
_AGREEMENT = 0.95
_LOOKS = 0.5  # share of the views that must have the point in the picture: at the rims a few always agree
_LARGEST_SCALE = 0.1  # of the extent: a lonely point far away must not cover the whole scene


def initial_gaussians(scene: Scene, count: int, most: int, generator: torch.Generator) -> Gaussians:
    """Isotropic Gaussians, SH degree 0, opacity 0.1, as large as the way to their neighbours (Kerbl et al. 2023, 5.1).

    Args:
        scene: at whose points they start where there are `FEWEST_POINTS`, else at random points.
        count: of random points.
        most: bound on the number of Gaussians; of more points a random choice is taken.
    """
    points, colors = scene.points.cpu(), scene.colors.cpu()
    good = points.isfinite().all(dim=1) & colors.isfinite().all(dim=1)
    points, colors = points[good], colors[good]
    if len(points) < FEWEST_POINTS:
        points, colors = random_points(scene, min(count, most), generator)
    elif len(points) > most:
        chosen = torch.randperm(len(points), generator=generator)[:most].sort().values
        points, colors = points[chosen], colors[chosen]
    gaussians = from_points(points, colors.float().clamp(0, 1))
    gaussians.log_scales.clamp_(max=math.log(_LARGEST_SCALE * scene.extent))
    return gaussians


def random_points(scene: Scene, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points [P,3] and their colours as the views show them; P is `count`, or less where the object is very thin.

    With an alpha in every view: uniform in the visual hull, the part of the ball seen by all cameras that every view
    shows as object. Otherwise along the rays of random pixels, uniform in the logarithm of the depth.
    """
    if all(view.alpha is not None for view in scene.views):
        return _in_hull(scene, count, generator)
    points = _along_rays(scene, count, generator)
    return points, _seen(scene, points)[1]


def _in_hull(scene: Scene, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    radius = _common_ball(scene)
    points, colors = torch.zeros(0, 3), torch.zeros(0, 3)
    for _ in range(30):  # a stick fills a thousandth of its ball; what is found by then will do
        direction = torch.nn.functional.normalize(torch.randn(4 * count, 3, generator=generator), dim=-1)
        candidates = radius * direction * torch.rand(4 * count, 1, generator=generator) ** (1 / 3)
        inside, seen = _seen(scene, candidates)
        points, colors = torch.cat([points, candidates[inside]]), torch.cat([colors, seen[inside]])
        if len(points) >= count:
            break
    if len(points) < FEWEST_POINTS:  # masks that contradict each other
        points = candidates[:count]
        colors = torch.full_like(points, 0.5)
    return points[:count], colors[:count]


def _common_ball(scene: Scene) -> float:
    """Radius of the ball at the origin that the median camera sees whole, along its wider side."""
    radii = []
    for view in scene.views:
        camera = view.camera
        half = max(camera.width / float(camera.K[0, 0, 0]), camera.height / float(camera.K[0, 1, 1])) / 2
        radii.append(float(camera.position.norm()) * half / math.hypot(1, half))
    return sorted(radii)[len(radii) // 2]


def _along_rays(scene: Scene, count: int, generator: torch.Generator) -> Tensor:
    """[count,3] as many from each view."""
    each = -(-count // len(scene.views))
    parts = []
    for view in scene.views:
        camera = view.camera.to("cpu")
        u = torch.rand(each, 3, generator=generator)
        depth = NEAREST * (FARTHEST / NEAREST) ** u[:, 2:]
        x = (u[:, :1] * camera.width - camera.K[0, 0, 2]) / camera.K[0, 0, 0]
        y = (u[:, 1:2] * camera.height - camera.K[0, 1, 2]) / camera.K[0, 1, 1]
        local = torch.cat([x, y, torch.ones_like(x)], dim=1) * depth
        parts.append(local @ camera.c2w[0, :3, :3].T + camera.position[0])
    return torch.cat(parts)[:count]


def _seen(scene: Scene, points: Tensor) -> tuple[Tensor, Tensor]:
    """Of points [P,3]: whether most views have them in the picture and agree that they are object [P], and the mean
    colour [P,3] there; grey where no view looks."""
    looked, hits, total = torch.zeros(len(points)), torch.zeros(len(points)), torch.zeros(len(points), 3)
    for view in scene.views:
        x, y, z = view.camera.to("cpu").project(points)[0].unbind(-1)
        inside = (z > 0.01) & (x >= 0) & (x < view.camera.width) & (y >= 0) & (y < view.camera.height)
        column, row = x[inside].long(), y[inside].long()
        solid = torch.ones(len(row)) if view.alpha is None else (view.alpha.cpu()[row, column] > 127).float()
        looked[inside] += 1
        hits[inside] += solid
        total[inside] += solid[:, None] * view.rgb.cpu()[row, column].float() / 255
    color = torch.where(hits[:, None] > 0, total / hits[:, None].clamp_min(1), 0.5)
    return (looked >= _LOOKS * len(scene.views)) & (hits >= _AGREEMENT * looked), color
