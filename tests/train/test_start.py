"""Where Gaussians start: at the points, in the visual hull, or along the rays of the photos."""

from __future__ import annotations

import math

import torch

from gaussmith.camera import Camera, orbit
from gaussmith.photos import Scene, Similarity, View
from gaussmith.train.start import FARTHEST, FEWEST_POINTS, NEAREST, initial_gaussians, random_points

CENTRE, RADIUS = torch.tensor([0.15, -0.1, 0.05]), 0.3


def disc(camera: Camera) -> torch.Tensor:
    """[H,W] whether the ray of a pixel meets the ball of `RADIUS` at `CENTRE`."""
    origin, direction = camera.rays()
    along = torch.nn.functional.normalize(direction[0], dim=-1)
    away = CENTRE - origin[0]
    return (torch.linalg.cross(along, away.expand_as(along)).norm(dim=-1) < RADIUS) & (along @ away > 0)


def scene(masked: bool, points: int = 0) -> Scene:
    views = []
    for i in range(8):
        camera = orbit(45.0 * i, 30.0 * (i % 3 - 1), fovy=40.0, width=64, height=48)
        picture = torch.zeros(48, 64, 3, dtype=torch.uint8)
        picture[..., 0] = 200
        views.append(View(str(i), camera, picture, disc(camera).to(torch.uint8) * 255 if masked else None))
    cloud = torch.rand(points, 3, generator=torch.Generator().manual_seed(1))
    same = Similarity(torch.eye(3).double(), torch.zeros(3).double(), 1.0)
    return Scene(tuple(views), cloud, cloud.clone(), same, 2.2, True, "test")


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_masks_carve_the_hull_and_photos_colour_it():
    points, colors = random_points(scene(masked=True), 3000, generator())
    away = (points - CENTRE).norm(dim=1)
    assert len(points) == 3000
    assert float((away < 1.15 * RADIUS).float().mean()) > 0.9 and float(away.max()) < 2 * RADIUS
    assert bool((away < 0.3 * RADIUS).any())  # filled, not a shell
    torch.testing.assert_close(colors, torch.tensor([[200 / 255, 0, 0]]).expand(3000, 3))


def test_masks_that_contradict_each_other_still_give_a_start():
    views = [View(v.name, v.camera, v.rgb, torch.zeros(48, 64, dtype=torch.uint8)) for v in scene(masked=True).views]
    given = scene(masked=True)
    empty = Scene(tuple(views), given.points, given.colors, given.to_input, 2.2, True, "test")
    assert len(random_points(empty, 200, generator())[0]) == 200


def test_without_masks_points_lie_in_the_pictures_at_all_depths():
    given = scene(masked=False)
    points, _ = random_points(given, 800, generator())
    own = points.view(8, 100, 3)
    for view, some in zip(given.views, own):
        x, y, depth = view.camera.project(some)[0].unbind(-1)
        assert bool(((x >= 0) & (x <= 64) & (y >= 0) & (y <= 48)).all())
        assert float(depth.min()) >= NEAREST * 0.999 and float(depth.max()) <= FARTHEST * 1.001
        assert float(depth.median()) < 8


def test_known_points_are_used_up_to_the_bound():
    given = scene(masked=False, points=500)
    start = initial_gaussians(given, 50, 400, generator())
    assert len(start) == 400 and start.sh.shape == (400, 1, 3)
    known = {tuple(p) for p in given.points.tolist()}
    assert all(tuple(p) in known for p in start.means.tolist())
    assert len(initial_gaussians(given, 50, 10_000, generator())) == 500
    assert len(initial_gaussians(scene(masked=False, points=FEWEST_POINTS - 1), 50, 400, generator())) == 50


def test_lonely_and_broken_points_do_no_harm():
    given = scene(masked=False, points=500)
    given.points[0] = torch.tensor([500.0, 0, 0])
    given.points[1] = torch.nan
    start = initial_gaussians(given, 50, 1000, generator())
    assert len(start) == 499 and bool(start.finite().all())
    assert float(start.log_scales.max()) <= math.log(0.1 * 2.2) + 1e-6
