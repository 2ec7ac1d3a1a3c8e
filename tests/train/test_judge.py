"""Figures of a splat against photos."""

from __future__ import annotations

import torch

from gaussmith.camera import orbit
from gaussmith.gaussians import from_points
from gaussmith.photos import View
from gaussmith.train.judge import figures, picture, some

SPLAT = from_points(torch.zeros(1, 3), torch.tensor([[0.9, 0.2, 0.1]]), 0.9)
SPLAT.log_scales.fill_(-1.5)
CAMERA = orbit(0.0, 0.0, width=32)


def photo(of: torch.Tensor, alpha: torch.Tensor | None = None) -> View:
    return View("a", CAMERA, (of * 255).round().to(torch.uint8), alpha)


def test_a_splat_agrees_with_its_own_picture_on_the_ground_of_the_photo():
    on_black = figures(SPLAT, [photo(picture(SPLAT, CAMERA, torch.zeros(3), False))], False, None)
    assert on_black["psnr"] > 50 and on_black["ssim"] > 0.99 and on_black["views"] == 1
    # With an alpha of 255 everywhere the photo is compared over white, where the splat's rim differs.
    on_white = photo(picture(SPLAT, CAMERA, torch.ones(3), False), torch.full((32, 32), 255, dtype=torch.uint8))
    assert figures(SPLAT, [on_white], False, None)["psnr"] > 50
    assert figures(SPLAT, [photo(picture(SPLAT, CAMERA, torch.ones(3), False))], False, None)["psnr"] < 20


def test_means_are_over_views_and_lpips_only_where_all_are_large_enough():
    exact, black = photo(picture(SPLAT, CAMERA, torch.zeros(3), False)), photo(torch.zeros(32, 32, 3))
    both = figures(SPLAT, [exact, View("b", black.camera, black.rgb)], False, lambda a, b: torch.tensor(0.25))
    assert both["lpips"] == 0.25 and set(both["each"]) == {"a", "b"}
    mean = sum(row["psnr"] for row in both["each"].values()) / 2
    assert abs(both["psnr"] - mean) < 1e-3
    small = View("s", orbit(0.0, 0.0, width=16), torch.zeros(16, 16, 3, dtype=torch.uint8))
    assert "lpips" not in figures(SPLAT, [exact, small], False, lambda a, b: torch.tensor(0.25))
    assert figures(SPLAT, [], False, None) == {"views": 0}


def test_some_views_are_chosen_evenly():
    views = [View(str(i), CAMERA, torch.zeros(32, 32, 3, dtype=torch.uint8)) for i in range(10)]
    assert [v.name for v in some(views, 4)] == ["0", "2", "5", "7"]
    assert some(views, 10) == views
