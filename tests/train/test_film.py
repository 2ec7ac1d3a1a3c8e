"""Cameras of films: around what was photographed from around, else along the way of the photos."""

from __future__ import annotations

import torch

from gaussmith.camera import Camera, look_at, orbit
from gaussmith.photos import View
from gaussmith.train.film import SIDE, fly_through, goes_around, turntable


def views(cameras: list[Camera]) -> list[View]:
    picture = torch.zeros(cameras[0].height, cameras[0].width, 3, dtype=torch.uint8)
    return [View(str(i), camera, picture) for i, camera in enumerate(cameras)]


def ring(angles: list[float], elevation: float = 30.0, radius: float = 2.5) -> list[View]:
    return views([orbit(angle, elevation, radius, 40.0, 1000, 750) for angle in angles])


def test_only_captures_from_all_around_are_turned():
    assert goes_around(ring([0, 90, 180, 270]), inward=True)
    assert not goes_around(ring([0, 90, 180, 270]), inward=False)
    assert not goes_around(ring([0, 40, 80, 120, 160]), inward=True)


def test_turntable_keeps_distance_height_and_lens():
    cameras = turntable(ring([0, 90, 180, 270]), 8)
    assert {(c.width, c.height) for c in cameras} == {(SIDE, 360)}
    places = torch.cat([c.position for c in cameras])
    torch.testing.assert_close(places.norm(dim=1), torch.full((8,), 2.5))
    torch.testing.assert_close(places[:, 1], torch.full((8,), 1.25))
    middle = torch.cat([c.project(torch.zeros(1, 3))[0] for c in cameras])
    torch.testing.assert_close(middle[:, :2], torch.tensor([[240.0, 180.0]]).expand(8, 2), atol=1e-2, rtol=0)
    photo = ring([0])[0].camera
    torch.testing.assert_close(cameras[0].K[0, 0, 0] / cameras[0].width, photo.K[0, 0, 0] / photo.width)


def walk(order: list[int]) -> list[View]:
    """Steps along x with a shake, all looking along -Z."""
    generator = torch.Generator().manual_seed(0)
    eye = torch.stack([torch.arange(12.0), torch.zeros(12), torch.zeros(12)], dim=1)
    eye += 0.1 * torch.randn(12, 3, generator=generator)
    lens = orbit(0.0, 0.0, width=64, height=48)
    return views([Camera(look_at(eye[i], eye[i] - torch.tensor([0.0, 0, 1])), lens.K, 64, 48) for i in order])


def test_fly_through_is_smooth_and_even():
    for order in (list(range(12)), [0, 7, 3, 11, 5, 1, 9, 2, 10, 4, 8, 6]):
        places = torch.cat([c.position for c in fly_through(walk(order), 50)])
        pace = places.diff(dim=0).norm(dim=1)
        assert float(pace.max() / pace.mean()) < 1.2 and float(pace.min() / pace.mean()) > 0.8
        assert bool((places[:, 0].diff() > 0).all()) and float(places[-1, 0] - places[0, 0]) > 7
        assert float(places[:, 1].diff().diff().abs().max()) < 0.02


def test_two_cameras_at_one_place_make_a_film_too():
    cameras = fly_through(ring([0, 0]), 5)
    assert len(cameras) == 5 and all(bool(c.c2w.isfinite().all()) for c in cameras)
