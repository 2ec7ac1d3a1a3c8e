"""Training pictures: sizes, composites, and which views are held out."""

from __future__ import annotations

import torch

from gaussmith.camera import orbit
from gaussmith.photos import View
from gaussmith.train.pictures import allowed, background, held_out, target


def view(width: int = 8, height: int = 6, masked: bool = True) -> View:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    alpha = torch.randint(0, 256, (height, width), generator=generator, dtype=torch.uint8)
    return View("a", orbit(10.0, 5.0, width=width, height=height), rgb, alpha if masked else None)


def test_composites_are_straight_colours_over_the_background():
    given, behind = view(), torch.tensor([0.2, 0.5, 0.9])
    alpha = given.alpha.float()[..., None] / 255
    expected = given.rgb.float() / 255 * alpha + (1 - alpha) * behind
    torch.testing.assert_close(target(given).over(behind)[0], expected)
    opaque = view(masked=False)
    assert torch.equal(target(opaque).over(behind)[0], opaque.rgb.float() / 255)


def test_reduced_pictures_average_premultiplied_and_the_camera_follows():
    given = view(width=9, height=7)
    small = target(given, 2)
    assert (small.camera.width, small.camera.height) == (4, 3) and small.rgb.shape == (1, 3, 4, 3)
    alpha = given.alpha.float() / 255
    block = (given.rgb.float() / 255 * alpha[..., None])[2:4, 4:6]
    torch.testing.assert_close(small.rgb[0, 1, 2], block.mean(dim=(0, 1)))
    torch.testing.assert_close(small.alpha[0, 1, 2, 0], alpha[2:4, 4:6].mean())
    # A world point falls on half its pixel, although a row and a column were cut off.
    point = torch.tensor([[0.1, 0.2, -0.1]])
    torch.testing.assert_close(small.camera.project(point)[0, 0, :2] * 2, given.camera.project(point)[0, 0, :2])


def test_small_pictures_are_not_reduced_below_the_window_of_ssim():
    assert allowed(view(400, 300), 4) == 4
    assert allowed(view(80, 60), 4) == 2
    assert allowed(view(30, 24), 4) == 1


def test_masked_views_get_random_backgrounds_others_black():
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(background(view(), generator), background(view(), generator))
    assert torch.equal(background(view(masked=False), generator), torch.zeros(3))


def test_every_nth_view_is_held_out():
    views = [view() for _ in range(17)]
    train, kept = held_out(views, 8)
    assert len(train) == 14 and [id(v) for v in kept] == [id(views[i]) for i in (0, 8, 16)]
    assert held_out(views, 0) == (views, [])
    assert held_out(views[:7], 8) == (views[:7], [])
    assert held_out(views, 1) == (views, [])
