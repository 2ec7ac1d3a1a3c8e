"""Points on the draft: where they lie, in what colours, and that the reference's camera is obeyed."""

from __future__ import annotations

import pytest
import torch

from gaussmith.camera import DEFAULT_RADIUS, PRIOR_FOVY, orbit
from gaussmith.priors.embedded import draft
from gaussmith.priors.embedded.volume import HALF_DEPTH

CENTRE, SIZE = torch.tensor([0.2, 0.1, 0.1]), 0.3
SIDE = 32


def ball(elevation: float) -> torch.Tensor:
    """[D,H,W,4]: an opaque ball in the volume of a reference at that elevation, red where x is above its centre's."""
    z = DEFAULT_RADIUS + HALF_DEPTH * ((torch.arange(SIDE) + 0.5) / SIDE * 2 - 1)
    camera = orbit(0.0, elevation, fovy=PRIOR_FOVY, width=SIDE)
    origin, direction = camera.rays()
    point = origin[0] + direction[0] * z[:, None, None, None]
    dense = ((point - CENTRE).norm(dim=-1) < SIZE) * 40.0 - 10.0
    red = (point[..., 0] > CENTRE[0]).float()
    return torch.stack([dense, red, 0.5 * torch.ones_like(red), 1 - red], dim=-1)


@pytest.mark.parametrize("elevation", [0.0, 40.0])
def test_most_lie_on_what_is_seen_and_some_within(elevation):
    points, colors = draft.points(ball(elevation), elevation, 1000, torch.Generator().manual_seed(0))
    assert points.shape == colors.shape == (1000, 3)
    distance = (points - CENTRE).norm(dim=1)
    assert float((distance < SIZE + 0.12).float().mean()) > 0.99  # outlines are as coarse as the rays, the haze is thin
    most = round((1 - draft.SHARE) * 1000)
    shell, filling = distance[:most], distance[most:]
    assert float((shell > 0.7 * SIZE).float().mean()) > 0.95 and float((shell - SIZE).abs().mean()) < 0.05
    assert float((filling < 0.7 * SIZE).float().mean()) > 0.15  # of a ball's volume, 0.34 is that deep
    assert bool((colors[most:] == 0.5).all())
    clear = (points[:most, 0] - CENTRE[0]).abs() > 0.1
    right = points[:most][clear][:, 0] > CENTRE[0]
    assert torch.equal(colors[:most][clear][:, 0] > 0.5, right) and 0.1 < float(right.float().mean()) < 0.9
    for axis in range(3):  # all around, not on the reference's side alone
        side = (points[:most] - CENTRE)[:, axis] > 0
        assert 0.25 < float(side.float().mean()) < 0.75


def test_the_generator_decides():
    one, same, other = (draft.points(ball(10.0), 10.0, 50, torch.Generator().manual_seed(s))[0] for s in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_thin_object_is_begun_on_its_surface():
    volume = ball(0.0)
    volume[..., 0] = torch.where(
        torch.rand(volume.shape[:3], generator=torch.Generator().manual_seed(0)) < 0.01, 3.0, -9
    )
    points, colors = draft.points(volume, 0.0, 400, torch.Generator().manual_seed(0))
    assert points.shape == colors.shape == (400, 3) and bool(points.isfinite().all())
    assert (
        int((colors != 0.5).any(dim=1).sum()) > 200
    )  # the outlines hold few points or none: the surface gives the rest
