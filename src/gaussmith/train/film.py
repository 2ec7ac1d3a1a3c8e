"""The cameras of the short film that shows a reconstructed scene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gaussmith.camera import Camera, look_at, orbit
from gaussmith.photos import View

SIDE = 480  # pixels along the longer side
_WIDEST_GAP = 120.0  # degrees between neighbouring cameras: a side that nobody looked at is not shown


def goes_around(views: Sequence[View], inward: bool) -> bool:
    """Whether the cameras stand around what they look at, with no wide gap."""
    positions = torch.cat([view.camera.position for view in views]).cpu()
    angles = torch.atan2(positions[:, 0], positions[:, 2]).rad2deg().sort().values
    gaps = torch.cat([angles.diff(), angles[:1] + 360 - angles[-1:]])
    return inward and float(gaps.max()) <= _WIDEST_GAP


def turntable(views: Sequence[View], frames: int) -> list[Camera]:
    """Cameras around the origin at the photos' usual distance and height, with the lens of the first."""
    positions = torch.cat([view.camera.position for view in views]).cpu()
    radius = float(positions.norm(dim=1).median())
    elevation = math.degrees(float((positions[:, 1] / positions.norm(dim=1).clamp_min(1e-6)).asin().median()))
    lens = _lens(views[0].camera)
    angles = torch.arange(frames) * 360 / frames
    ring = orbit(angles, torch.full((frames,), elevation), radius, width=lens.width, height=lens.height)
    return [replace(lens, c2w=ring.c2w[i : i + 1]) for i in range(frames)]


def fly_through(views: Sequence[View], frames: int) -> list[Camera]:
    """Cameras along the smoothed way of the photos, evenly spaced, with the lens of the first."""
    order = _tour(torch.cat([view.camera.position for view in views]).cpu().double())
    c2w = torch.cat([view.camera.c2w for view in views]).cpu().double()[order]
    count = len(c2w)
    # A Gaussian window of two photos: hand-held steps go, the way stays.
    index = torch.arange(count, dtype=torch.float64)
    window = (-0.5 * ((index[:, None] - index) / min(2.0, count / 6)).square()).exp()
    window /= window.sum(dim=1, keepdim=True)
    position, forward = window @ c2w[:, :3, 3], window @ c2w[:, :3, 2]
    way = torch.cat([torch.zeros(1).double(), position.diff(dim=0).norm(dim=1).cumsum(0)])
    places = torch.linspace(0, float(way[-1]), frames, dtype=torch.float64)
    after = torch.searchsorted(way, places).clamp(1, max(count - 1, 1)) if count > 1 else torch.zeros(frames).long()
    before = (after - 1).clamp_min(0)
    share = ((places - way[before]) / (way[after] - way[before]).clamp_min(1e-9)).clamp(0, 1)[:, None]
    eye, ahead = (a[before] + share * (a[after] - a[before]) for a in (position, forward))
    poses = look_at(eye, eye + ahead).float()
    lens = _lens(views[0].camera)
    return [replace(lens, c2w=poses[i : i + 1]) for i in range(frames)]


def _lens(camera: Camera) -> Camera:
    """The camera at the film's size, both sides even."""
    scale = min(1.0, SIDE / max(camera.width, camera.height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (camera.width, camera.height))
    return camera.to("cpu").resized(width, height)


def _tour(positions: Tensor) -> list[int]:
    """The photos' own order if neighbours in it are neighbours in space, else from the first always to the nearest."""
    distance = torch.cdist(positions, positions)
    if len(positions) < 3:
        return list(range(len(positions)))
    nearest = (distance + torch.diag(torch.full((len(positions),), torch.inf).double())).amin(dim=1).mean()
    if float(distance.diagonal(1).mean()) <= 3 * float(nearest):
        return list(range(len(positions)))
    order, left = [0], list(range(1, len(positions)))
    while left:
        order.append(min(left, key=lambda i: float(distance[order[-1], i])))
        left.remove(order[-1])
    return order
