"""The volume renderer: kernels against torch operations, and against what can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gaussmith.camera import PRIOR_FOVY, orbit
from gaussmith.priors.embedded.volume import (
    BACKGROUND,
    EMPTY,
    carved,
    frustum_coordinates,
    pictured,
    render_volume,
    render_volume_reference,
)


def scene(seed: int = 0, references: int = 2, side: int = 6, channels: int = 5):
    random = torch.Generator().manual_seed(seed)
    volume = torch.randn(references, 7, side, side + 1, channels, generator=random)
    azimuth, elevation = torch.tensor([0.0, 75.0, 200.0]), torch.tensor([0.0, 30.0, -20.0])
    coordinates = frustum_coordinates(azimuth, torch.tensor([10.0, 10.0, -5.0]), elevation, side, 9)
    return volume, coordinates, torch.tensor([0, 1, 0]), random


def test_kernels_equal_torch_in_value_and_gradient():
    volume, coordinates, owner, random = scene()
    fast, slow = volume.clone().requires_grad_(), volume.double().requires_grad_()
    out = render_volume(fast, coordinates, owner)
    expected = render_volume_reference(slow, coordinates.double(), owner)
    assert torch.allclose(out.double(), expected, atol=2e-6)
    weights = torch.randn(out.shape, generator=random)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    assert slow.grad.abs().max() > 0.1
    assert torch.allclose(fast.grad.double(), slow.grad, atol=1e-5)


def test_reference_gradient_is_right():
    volume, coordinates, owner, _ = scene(side=3, channels=2)
    volume = volume.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: render_volume_reference(v, coordinates.double(), owner), volume)


def test_same_bits_for_any_thread_count():
    volume, coordinates, owner, _ = scene(side=8)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaf = volume.clone().requires_grad_()
            out = render_volume(leaf, coordinates, owner)
            out.square().sum().backward()
            results.append((out.detach(), leaf.grad))
    finally:
        torch.set_num_threads(before)
    for out, grad in results[1:]:
        assert torch.equal(results[0][0], out)
        assert torch.equal(results[0][1], grad)


def test_reference_camera_sees_its_own_columns():
    """From the reference itself, ray (i, j) stays in column (i, j) and depth runs from -1 to 1."""
    zero = torch.zeros(1)
    coordinates = frustum_coordinates(zero, zero + 20, zero + 20, 8, 16)[0]
    centres = (torch.arange(8) + 0.5) / 4 - 1
    assert torch.allclose(coordinates[..., 0], centres[None, :, None].expand(8, 8, 16), atol=1e-5)
    assert torch.allclose(coordinates[..., 1], centres[:, None, None].expand(8, 8, 16), atol=1e-5)
    assert torch.allclose(coordinates[0, 0, :, 2], (torch.arange(16) + 0.5) / 8 - 1, atol=1e-5)


def test_coordinates_agree_with_the_camera():
    """A point on a target ray projects, by the project's own camera, where the coordinates say."""
    azimuth, low, high = torch.tensor([130.0]), torch.tensor([-10.0]), torch.tensor([35.0])
    coordinates = frustum_coordinates(azimuth, low, high, 5, 7)
    origin, direction = orbit(azimuth, high, fovy=PRIOR_FOVY, width=5).rays()
    depth = 2 + 0.65 * ((3 + 0.5) / 7 * 2 - 1)
    point = origin[0] + depth * direction[0, 1, 4]
    pixel = orbit(torch.zeros(1), low, fovy=PRIOR_FOVY, width=2).project(point[None])[0, 0]
    expected = torch.tensor([pixel[0] - 1, pixel[1] - 1, (pixel[2] - 2) / 0.65])
    assert torch.allclose(coordinates[0, 1, 4, 3], expected, atol=1e-5)


def test_opaque_volume_shows_its_front():
    """A dense volume whose feature is its depth index shows the first layer, with opacity one."""
    volume = torch.full((1, 4, 4, 4, 2), 1000.0)
    volume[..., 1] = torch.arange(4.0)[:, None, None]
    zero = torch.zeros(1)
    out = render_volume(volume, frustum_coordinates(zero, zero, zero, 4, 16), torch.zeros(1, dtype=torch.int64))
    centre = out[0, 1:3, 1:3]
    assert torch.allclose(centre[..., 0], torch.ones(2, 2), atol=1e-6)
    assert (centre[..., 1].abs() < 0.2).all()


@pytest.mark.parametrize("raw", [-2.0, 0.0, 1.5])
def test_uniform_fog_has_the_textbook_opacity(raw):
    """From the reference every sample lies inside: alpha = 1 - exp(-8 softplus(raw - 1))."""
    volume = torch.full((1, 6, 6, 6, 2), raw)
    zero = torch.zeros(1)
    coordinates = frustum_coordinates(zero, zero, zero, 2, 24)
    # Keep to the middle, where no interpolation with the outside takes part.
    coordinates = coordinates.clamp(-0.8, 0.8)
    alpha = render_volume(volume, coordinates, torch.zeros(1, dtype=torch.int64))[0, 0, 0, 0]
    expected = 1 - math.exp(-8 * math.log1p(math.exp(raw - 1)))
    assert float(alpha) == pytest.approx(expected, abs=1e-5)


def picture(seed: int = 0, side: int = 16) -> torch.Tensor:
    """[1,4,side,side] premultiplied: a disc of random colours on nothing."""
    at = (torch.arange(side) + 0.5) / side * 2 - 1
    alpha = ((at[:, None] ** 2 + at**2).sqrt() < 0.7).float()
    color = torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed))
    return torch.cat([color * alpha, alpha[None]])[None]


def test_what_is_pictured_is_given_back_by_the_camera_that_took_it():
    """Whatever colours the volume has and however coarse it is, from the reference's camera it shows the reference."""
    known = picture()
    volume = torch.randn(1, 8, 8, 8, 5, generator=torch.Generator().manual_seed(1))
    volume[..., 0] = EMPTY
    volume[:, 3:, ..., 0] = 60.0
    seen, zero = pictured(volume, known), torch.zeros(1)
    assert seen.shape == (1, 8, 16, 16, 4)
    out = render_volume(
        seen, frustum_coordinates(zero, zero + 20, zero + 20, 16, 64), torch.zeros(1, dtype=torch.int64)
    )
    out = out.permute(0, 3, 1, 2)
    assert torch.allclose(out[:, 0], known[:, 3], atol=8e-3)
    assert torch.allclose(out[:, 1:], known[:, :3], atol=0.03)
    plain = render_volume(
        volume[..., :4].contiguous(), frustum_coordinates(zero, zero + 20, zero + 20, 16, 64), zero.long()
    )
    assert (plain.permute(0, 3, 1, 2)[:, 1:] - known[:, :3]).abs().mean() > 0.2


def test_nothing_stands_before_the_background_and_what_is_hidden_keeps_its_own_colours():
    known = picture()
    volume = torch.full((1, 8, 8, 8, 4), 60.0)
    volume[..., 1:] = torch.tensor([2.0, 3.0, 4.0])
    seen = pictured(volume, known)
    outside = known[0, 3] <= BACKGROUND
    assert bool((seen[0, :, outside][..., 0] == EMPTY).all()) and bool((seen[0, :, ~outside][..., 0] == 60).all())
    assert torch.allclose(seen[0, 0, ~outside][:, 1:], known[0, :3, ~outside].T)  # light comes to the first layer
    assert torch.allclose(
        seen[0, 1:, ~outside][..., 1:], torch.tensor([2.0, 3.0, 4.0]).expand(7, int((~outside).sum()), 3)
    )


def test_light_falls_off_through_fog_as_it_should():
    """The share of the picture's colour in a layer is exp(-depth of what lies before it)."""
    known = torch.ones(1, 4, 4, 4)
    volume = torch.zeros(1, 6, 2, 2, 4)
    seen = pictured(volume, known)[0, :, 1, 1, 1]
    layer = math.log1p(math.exp(-1)) * 8 / 6
    assert torch.allclose(seen, torch.exp(-layer * torch.arange(6.0)), atol=1e-6)


def test_the_gradient_of_what_is_pictured_is_right():
    random = torch.Generator().manual_seed(0)
    volume = torch.randn(1, 3, 3, 3, 5, generator=random).double().requires_grad_()
    known = picture(side=6).double()
    assert torch.autograd.gradcheck(lambda v: pictured(v, known), volume)


def test_a_volume_is_carved_a_cell_around_the_outline():
    known = torch.zeros(1, 4, 16, 16)
    known[..., 8:10, 6:8] = 1  # one cell of eight by eight: row 4, column 3
    volume = torch.randn(1, 5, 8, 8, 6, generator=torch.Generator().manual_seed(0))
    found = carved(volume, known)
    kept = torch.zeros(8, 8, dtype=torch.bool)
    kept[3:6, 2:5] = True
    assert torch.equal(found[:, :, kept], volume[:, :, kept]) and torch.equal(found[..., 1:], volume[..., 1:])
    assert bool((found[:, :, ~kept][..., 0] == EMPTY).all())
