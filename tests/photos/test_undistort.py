import math

import pytest
import torch

from gaussmith.capture import Lens
from gaussmith.events import UserError
from gaussmith.lens import pinhole_matrix, project, scaled
from gaussmith.photos.undistort import WIDEST_HALF_ANGLE, pinhole_of, undistort

PINHOLE = Lens("PINHOLE", (200.0, 190.0, 130.0, 99.0), 256, 192)
LENSES = [
    Lens("SIMPLE_RADIAL", (220.0, 128.0, 96.0, -0.15), 256, 192),
    Lens("SIMPLE_RADIAL", (220.0, 120.0, 100.0, 0.2), 256, 192),
    Lens("RADIAL", (220.0, 128.0, 96.0, -0.2, 0.05), 256, 192),
    Lens("OPENCV", (220.0, 215.0, 130.0, 97.0, -0.2, 0.04, 0.004, -0.003), 256, 192),
    Lens("FULL_OPENCV", (220.0, 215.0, 130.0, 97.0, 0.2, 0.04, 0.001, 0.002, 0.01, 0.3, 0.02, 0.0), 256, 192),
    Lens("OPENCV_FISHEYE", (130.0, 130.0, 128.0, 96.0, 0.02, -0.01, 0.002, 0.0), 256, 192),
    Lens("SIMPLE_RADIAL_FISHEYE", (90.0, 128.0, 96.0, 0.01), 256, 192),
    Lens("FOV", (150.0, 150.0, 128.0, 96.0, 0.9), 256, 192),
    Lens("THIN_PRISM_FISHEYE", (130.0, 130.0, 126.0, 97.0, 0.02, -0.01, 1e-3, 1e-3, 0.0, 0.0, 1e-3, 1e-3), 256, 192),
]


def ids(lens: Lens) -> str:
    return lens.model


def grid(width: int, height: int) -> torch.Tensor:
    """[H,W,2] pixel centres."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5, torch.arange(width, dtype=torch.float64) + 0.5, indexing="ij"
    )
    return torch.stack([x, y], dim=-1)


def rays(target: Lens) -> torch.Tensor:
    fx, fy, cx, cy = target.params
    return (grid(target.width, target.height) - torch.tensor([cx, cy])) / torch.tensor([fx, fy], dtype=torch.float64)


def unproject(lens: Lens, pixels: torch.Tensor) -> torch.Tensor:
    """The rays that `project` takes to the pixels, by Newton's method; anything where there is none."""
    K = pinhole_matrix(lens)
    xy = (pixels - K[:2, 2]) / K[[0, 1], [0, 1]]
    dx, dy = torch.tensor([1e-6, 0], dtype=torch.float64), torch.tensor([0, 1e-6], dtype=torch.float64)
    for _ in range(12):
        here = project(lens, xy)
        (a, c), (b, d) = ((project(lens, xy + step) - here).div(1e-6).unbind(-1) for step in (dx, dy))
        x, y = (here - pixels).unbind(-1)
        step = torch.stack([d * x - b * y, a * y - c * x], dim=-1) / (a * d - b * c)[..., None]
        xy = xy - step.nan_to_num().clamp(-0.3, 0.3)
    return xy


def checker(xy: torch.Tensor) -> torch.Tensor:
    """[...,3] a checker of soft edges on the plane z = 1: its lines are straight there."""
    board = torch.sigmoid(6 * torch.sin(9 * xy[..., 0]) * torch.sin(9 * xy[..., 1]))
    return torch.stack([board, 0.5 + 0.4 * torch.sin(5 * xy[..., 0]), 1 - board], dim=-1).float()


@pytest.mark.parametrize("lens", LENSES, ids=ids)
def test_checker_comes_back_straight(lens):
    photo = checker(unproject(lens, grid(lens.width, lens.height)))
    target = pinhole_of(lens)
    expected = checker(rays(target))
    difference = (undistort(photo, lens, target) - expected).abs()
    assert difference.mean() < 0.01
    assert difference.max() < 0.25  # the borders too: no pixel is made up
    small = scaled(target, target.width // 2, target.height // 2)
    half = torch.nn.functional.avg_pool2d(expected.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0)
    reduced = undistort(photo, lens, small, samples=2)
    assert (reduced - half[: small.height, : small.width]).abs().mean() < 0.02


@pytest.mark.parametrize("lens", LENSES, ids=ids)
def test_picture_lies_inside_the_photo_and_fills_it(lens):
    target = pinhole_of(lens)
    fx, fy, cx, cy = target.params
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    x, y = (target.width * t - cx) / fx, (target.height * t - cy) / fy
    sides = [(x, y[0].expand(101)), (x, y[-1].expand(101)), (x[0].expand(101), y), (x[-1].expand(101), y)]
    pixels = torch.stack([project(lens, torch.stack(side, dim=-1)) for side in sides])
    room = torch.stack([pixels[..., 0], pixels[..., 1], lens.width - pixels[..., 0], lens.height - pixels[..., 1]])
    assert room.min() > -0.01
    bounded = max(x.abs().max(), y.abs().max()) > 0.98 * math.tan(math.radians(WIDEST_HALF_ANGLE))
    assert bounded or room.min() < 1.5  # touches the photo's border
    assert target.width <= lens.width
    assert target.height <= lens.height


def test_wide_fisheye_is_bounded():
    target = pinhole_of(Lens("OPENCV_FISHEYE", (60.0, 60.0, 128.0, 96.0, 0.0, 0.0, 0.0, 0.0), 256, 192))  # 240 degrees
    half_angle = math.degrees(math.atan(target.width / 2 / target.params[0]))
    assert half_angle == pytest.approx(WIDEST_HALF_ANGLE, abs=0.5)


def test_pinholes_stay():
    assert pinhole_of(PINHOLE) == PINHOLE
    assert pinhole_of(Lens("SIMPLE_RADIAL", (200.0, 128.0, 96.0, 0.0), 256, 192)).params == (200.0, 200.0, 128.0, 96.0)
    photo = checker(rays(PINHOLE))
    torch.testing.assert_close(undistort(photo, PINHOLE, PINHOLE), photo, atol=1e-4, rtol=0)


@pytest.mark.parametrize("params", [(200.0, -40.0, 96.0, 0.1), (200.0, 128.0, 96.0, -1e9)])
def test_hopeless_lens_is_refused(params):
    with pytest.raises(UserError, match="around its axis"):
        pinhole_of(Lens("SIMPLE_RADIAL", params, 256, 192))


def test_lens_of_another_size_is_a_mistake():
    with pytest.raises(ValueError, match="256x192"):
        undistort(torch.zeros(10, 10, 3), PINHOLE, PINHOLE)
