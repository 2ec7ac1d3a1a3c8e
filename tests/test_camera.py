"""Cameras against slow loops and hand-computed places; off-origin cameras throughout."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.camera import (
    Camera,
    concat,
    frame_half_extent,
    intrinsics,
    look_at,
    opengl_to_opencv,
    orbit,
)

angle = st.floats(-180, 180, allow_nan=False)
elevation = st.floats(-90, 90, allow_nan=False)


def wandering_camera(seed: int, count: int = 3, width: int = 13, height: int = 9) -> Camera:
    """Cameras at random places that look at random points, with an off-centre principal point."""
    g = torch.Generator().manual_seed(seed)
    eye = 3 * torch.randn(count, 3, generator=g, dtype=torch.float64)
    c2w = look_at(eye, torch.randn(count, 3, generator=g, dtype=torch.float64))
    K = intrinsics(torch.tensor([30.0, 49.1, 80.0])[:count], width, height).double()
    K[:, 0, 2] += 1.7
    K[:, 0, 0] *= 1.3
    return Camera(c2w, K, width, height)


def test_azimuth_zero_is_the_front_and_positive_turns_to_plus_x():
    camera = orbit(torch.tensor([0.0, 90.0, 0.0]), torch.tensor([0.0, 0.0, 90.0]), 2.0)
    expected = torch.tensor([[0.0, 0, 2], [2, 0, 0], [0, 2, 0]])
    torch.testing.assert_close(camera.position, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(camera.forward, -expected / 2, atol=1e-6, rtol=0)


def test_image_axes_seen_from_the_front():
    """From the front, +X is to the right of the picture and +Y is up, that is towards smaller rows."""
    camera = orbit(0.0, 0.0, 2.0, 49.1, 100)
    pixels = camera.project(torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.5]]))[0]
    torch.testing.assert_close(pixels[0], torch.tensor([50.0, 50, 2]))
    assert pixels[1, 0] > 50 and abs(pixels[1, 1] - 50) < 1e-4
    assert pixels[2, 1] < 50 and abs(pixels[2, 0] - 50) < 1e-4
    torch.testing.assert_close(pixels[3, 2], torch.tensor(1.5))


def test_field_of_view_spans_the_picture_height():
    camera = orbit(0.0, 0.0, 2.0, 49.1, 64, 48)
    top = torch.tensor([[0.0, frame_half_extent(49.1, 2.0), 0.0]])
    torch.testing.assert_close(camera.project(top)[0, 0, :2], torch.tensor([32.0, 0.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_project_against_a_slow_loop(seed):
    camera = wandering_camera(seed)
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    got = camera.project(points)
    for b in range(len(camera)):
        for n, point in enumerate(points.tolist()):
            moved = [point[i] - float(camera.c2w[b, i, 3]) for i in range(3)]
            x, y, z = (sum(float(camera.c2w[b, i, axis]) * moved[i] for i in range(3)) for axis in range(3))
            u = float(camera.K[b, 0, 0]) * x / z + float(camera.K[b, 0, 2])
            v = float(camera.K[b, 1, 1]) * y / z + float(camera.K[b, 1, 2])
            assert got[b, n].tolist() == pytest.approx([u, v, z], rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_rays_are_the_inverse_of_project(seed):
    camera = wandering_camera(seed)
    origins, directions = camera.rays()
    assert directions.shape == (3, 9, 13, 3)
    for b in range(len(camera)):
        pixels = camera.project((origins[b] + 2.5 * directions[b]).reshape(-1, 3))[b].reshape(9, 13, 3)
        rows, columns = torch.meshgrid(torch.arange(9.0) + 0.5, torch.arange(13.0) + 0.5, indexing="ij")
        expected = torch.stack([columns, rows, torch.full_like(rows, 2.5)], dim=-1).double()
        torch.testing.assert_close(pixels, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_w2c_is_the_inverse_of_c2w(seed):
    camera = wandering_camera(seed)
    torch.testing.assert_close(camera.w2c, torch.linalg.inv(camera.c2w), atol=1e-12, rtol=0)


@settings(deadline=None, max_examples=60)
@given(angle, st.floats(-89.9, 89.9), st.floats(0.1, 10))
def test_orbit_equals_look_at(az, el, radius):
    target = torch.tensor([0.3, -0.2, 0.7])
    camera = orbit(az, el, radius, target=target)
    other = look_at(camera.position.double(), target.double())
    # Close to a pole the float32 position says little about the azimuth, so the bound widens with 1/cos.
    bound = 3e-6 / math.cos(math.radians(el)) * max(1, 1 / radius)
    assert (camera.c2w.double() - other).abs().max() < bound


@settings(deadline=None, max_examples=60)
@given(angle, elevation, st.floats(0.1, 10))
def test_orbit_is_a_rigid_right_handed_frame(az, el, radius):
    camera = orbit(az, el, radius)
    rotation = camera.c2w[0, :3, :3].double()
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3).double(), atol=1e-6, rtol=0)
    assert torch.linalg.det(rotation) > 0.999
    assert abs(float(rotation[1, 0])) < 1e-7  # The horizon stays level.
    torch.testing.assert_close(camera.position.norm(), torch.tensor(radius), rtol=1e-5, atol=0)


@pytest.mark.parametrize("el", [-90.0, 90.0])
def test_poles(el):
    top = orbit(0.0, el, 2.0)
    torch.testing.assert_close(look_at(top.position, torch.zeros(3)), top.c2w, atol=1e-6, rtol=0)
    turned = orbit(90.0, el, 2.0)
    torch.testing.assert_close(turned.c2w[0, :3, 0], torch.tensor([0.0, 0, -1]), atol=1e-6, rtol=0)
    # No jump on the way to the pole.
    torch.testing.assert_close(orbit(30.0, el * 0.99999, 2.0).c2w, orbit(30.0, el, 2.0).c2w, atol=1e-4, rtol=0)


@pytest.mark.parametrize("up", [[0.0, 0, 1], [1.0, 0, 0], [0.0, 2, 0], [1.0, 1, 1]])
@pytest.mark.parametrize("sign", [-1, 1])
def test_look_at_along_any_up_is_still_a_rotation(up, sign):
    up = torch.tensor(up, dtype=torch.float64)
    rotation = look_at(sign * up[None], torch.zeros(3, dtype=torch.float64), up)[0, :3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.tensor(1.0).double())


def test_resized_keeps_the_frame():
    camera = wandering_camera(0)
    points = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    small, large = camera.project(points), camera.resized(26, 27).project(points)
    factor = torch.tensor([2.0, 3.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(large, small * factor)


def test_opengl_conversion():
    camera = orbit(25.0, 10.0)
    gl = opengl_to_opencv(camera.c2w)
    torch.testing.assert_close(gl[:, :3, 2], -camera.forward)
    assert float(gl[0, 1, 1]) > 0  # OpenGL's y axis is up.
    torch.testing.assert_close(gl[:, :3, 3], camera.position)
    torch.testing.assert_close(opengl_to_opencv(gl), camera.c2w)


def test_selection_and_concat():
    camera = orbit(torch.arange(5.0), 0.0, width=8)
    assert len(camera[2]) == 1 and len(camera[1:4]) == 3
    assert torch.equal(concat([camera[:2], camera[2:]]).c2w, camera.c2w)
    with pytest.raises(ValueError, match="different picture sizes"):
        concat([camera, orbit(0.0, 0.0, width=9)])


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="c2w"):
        Camera(torch.eye(4), torch.eye(3)[None], 4, 4)
    with pytest.raises(ValueError, match="K must be"):
        Camera(torch.eye(4)[None], torch.eye(3)[None].repeat(2, 1, 1), 4, 4)
    with pytest.raises(ValueError, match="positive"):
        Camera(torch.eye(4)[None], torch.eye(3)[None], 0, 4)
