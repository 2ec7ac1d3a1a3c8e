"""What the Triton backend of the mesh rasteriser has to do, on a GPU or in Triton's interpreter; `test_mesh_triton.py`
runs this file, in a process of its own as `test_splat_triton.py` does.

The oracle is the Numba backend. What is seen is the same to the last bit: both do the same float64 arithmetic.
"""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_scenes import soup, two_cameras
from torch import Tensor

from gaussmith.camera import Camera, orbit
from gaussmith.events import UserError
from gaussmith.mesh import Mesh
from gaussmith.render import _mesh_triton
from gaussmith.render.antialias import antialias
from gaussmith.render.mesh import Fragments, interpolate, rasterize_mesh, render_mesh, sample_texture
from gaussmith.render.mesh_gradients import with_gradients

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
FIELDS = ("face", "barycentric", "depth")
# On a GPU a division by zero is silent; in the interpreter numpy warns.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(autouse=True)
def _large_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer, larger operations for the interpreter; one parity test runs with the sizes that are shipped."""
    if DEVICE == "cpu" and "shipped" not in request.keywords:
        for name, size in (("TILE", 32), ("CHUNK", 32), ("BLOCK", 1024)):
            monkeypatch.setattr(_mesh_triton, name, size)


def flat_camera(size: int) -> Camera:
    """Looks down +z from the origin; the plane z = 1 maps to pixels as (x, y) -> (x, y) exactly."""
    return Camera(torch.eye(4)[None], torch.eye(3)[None], size, size)


def drawn(vertices: Tensor, faces: Tensor, camera: Camera) -> Fragments:
    found = rasterize_mesh(vertices.to(DEVICE), faces.to(DEVICE), camera, backend="triton")
    return Fragments(*(getattr(found, name).cpu() for name in FIELDS))


def assert_parity(vertices: Tensor, faces: Tensor, camera: Camera) -> Fragments:
    expected, got = rasterize_mesh(vertices, faces, camera, backend="numba"), drawn(vertices, faces, camera)
    for name in FIELDS:
        assert torch.equal(getattr(expected, name), getattr(got, name)), name
    return got


@pytest.mark.parametrize(
    ("count", "width", "height"),
    [pytest.param(7, 13, 9, marks=pytest.mark.shipped, id="as shipped"), (40, 37, 26), (15, 32, 32), (40, 1, 3)],
)
def test_sees_what_the_cpu_sees(count: int, width: int, height: int) -> None:
    assert (assert_parity(*soup(count), two_cameras(width, height)).face >= 0).any()


def test_faces_behind_before_and_through_the_near_plane() -> None:
    camera = two_cameras(21, 18)[0]
    eye, forward = camera.position[0], camera.forward[0]
    beside, down = torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0])), torch.tensor([0.0, -0.4, 0.0])
    behind = eye - forward + down
    through = torch.stack([behind - 1.5 * beside, behind + 1.8 * beside, eye + 3 * forward + 0.1 * beside])
    away = torch.stack([behind - beside, behind + beside, behind + down])
    close = eye + 0.005 * forward + 0.001 * torch.stack([beside, -beside, down])
    found = assert_parity(torch.cat([through, away, close]), torch.arange(9).reshape(3, 3), camera)
    assert set(found.face.unique().tolist()) == {-1, 0}


def test_one_face_covers_the_screen_and_hides_the_rest() -> None:
    vertices, faces = soup(6)
    wide = torch.tensor([[-90.0, -80.0, 1.2], [90.0, -80.0, 1.2], [0.0, 90.0, 1.2]])
    camera = orbit(0.0, 0.0, width=35, height=21)
    found = assert_parity(torch.cat([vertices, wide]), torch.cat([faces, torch.tensor([[18, 19, 20]])]), camera)
    assert (found.face == 6).all()


@pytest.mark.parametrize("centre", [(8.5, 8.5), (7.3, 9.1)])
def test_every_pixel_centre_belongs_to_exactly_one_face(centre: tuple[float, float]) -> None:
    """Vertices and edges on pixel centres: (8.5, 8.5) puts the hub and whole diagonals and axes exactly on them."""
    rim = [(0.5, 0.5), (8.5, 0.5), (16.5, 0.5), (16.5, 8.5), (16.5, 16.5), (8.5, 16.5), (0.5, 16.5), (0.5, 8.5)]
    vertices = torch.tensor([[*centre, 1.0], *([x, y, 1.0] for x, y in rim)])
    times = torch.zeros(17, 17, dtype=torch.int64)
    for i in range(8):
        times += drawn(vertices, torch.tensor([[0, 1 + i, 1 + (i + 1) % 8]]), flat_camera(17)).face[0] >= 0
    assert (times[:16, :16] == 1).all() and times[16].sum() == times[:, 16].sum() == 0


def test_of_equal_depths_the_first_face_wins() -> None:
    vertices, _ = soup(1)
    found = drawn(vertices, torch.tensor([[0, 1, 2]] * 3), orbit(0.0, 10.0, 2.0, 30.0, 20))
    assert set(found.face.unique().tolist()) == {-1, 0}


@pytest.mark.parametrize("faces", [torch.zeros(0, 3, dtype=torch.int64), torch.tensor([[0, 0, 1], [2, 2, 2]])])
def test_nothing_to_draw(faces: Tensor) -> None:
    mesh = Mesh(torch.rand(3, 3).to(DEVICE), faces.to(DEVICE))
    picture = render_mesh(mesh, two_cameras(9, 7), torch.tensor([0.2, 0.4, 0.6]), backend="triton")
    assert not picture.alpha.any() and not picture.depth.any() and not picture.normal.any()
    assert torch.allclose(picture.rgb.cpu(), torch.tensor([0.2, 0.4, 0.6]).expand(2, 7, 9, 3))


def test_views_drawn_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = soup(10)
    monkeypatch.setattr(_mesh_triton, "SETUP_FACES", 10)
    assert_parity(vertices, faces, two_cameras(20, 17))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("side", "channels"), [(1, 1), (2, 3), (3, 11)])
def test_interpolation_and_its_gradients(side: int, channels: int, dtype: torch.dtype) -> None:
    vertices, faces = soup(15)
    fragments = rasterize_mesh(vertices, faces, two_cameras(20, 13), backend="numba")
    attributes = torch.rand(len(vertices), channels, generator=torch.Generator().manual_seed(1), dtype=dtype)
    results = []
    for backend, device in (("numba", "cpu"), ("triton", DEVICE)):
        leaf = attributes.to(device).requires_grad_()
        weights = fragments.barycentric.to(device).clone().requires_grad_()
        there = Fragments(fragments.face.to(device), weights, fragments.depth.to(device))
        values = interpolate(leaf, faces.to(device), there, side, backend=backend)
        values.square().sum().backward()
        results.append((values.detach().cpu(), leaf.grad.cpu(), weights.grad.cpu()))
    assert results[0][0].shape == (2, 13 // side, 20 // side, channels) and results[0][0].dtype == dtype
    for expected, got in zip(*results):
        assert torch.equal(expected, got) if DEVICE == "cpu" else torch.allclose(expected, got, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("shaded", "normals"), [(False, False), (True, True)])
def test_pictures_and_texture_gradients(shaded: bool, normals: bool) -> None:
    vertices, faces = soup(15, seed=2)
    generator = torch.Generator().manual_seed(3)
    uv, texture = torch.rand(len(vertices), 2, generator=generator), torch.rand(9, 13, 3, generator=generator)
    unit = torch.nn.functional.normalize(torch.randn(vertices.shape, generator=generator), dim=1)
    mesh = Mesh(vertices, faces, normals=unit if normals else None, uv=uv, uv_faces=faces.flip(1))
    ground, weights = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.5, 0.7]]), torch.rand(2, 12, 15, 3, generator=generator)
    results = []
    for backend, device in (("numba", "cpu"), ("triton", DEVICE)):
        parts = {name: getattr(mesh, name).to(device) for name in ("vertices", "faces", "uv", "uv_faces")}
        there = Mesh(**parts, normals=unit.to(device) if normals else None)
        leaf = texture.to(device).requires_grad_()
        picture = render_mesh(there, two_cameras(15, 12), ground, shaded=shaded, texture=leaf, backend=backend)
        assert picture.rgb.device.type == device
        (picture.rgb * weights.to(device)).sum().backward() if not shaded else None
        pictures = [getattr(picture, name).detach().cpu() for name in ("rgb", "alpha", "depth", "normal")]
        results.append([*pictures, torch.zeros(1) if shaded else leaf.grad.cpu()])
    assert results[0][1].any() and (shaded or results[0][4].any())
    for expected, got in zip(*results):
        assert torch.allclose(expected, got, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (7, 3)])
def test_texture_samples_and_gradients(size: tuple[int, int], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(*size, 2, generator=generator, dtype=dtype)
    uv = torch.rand(3, 20, 2, generator=generator) * 1.4 - 0.2
    weights = torch.rand(3, 20, 2, generator=generator, dtype=dtype) * 1e-4
    results = []
    for backend, device in (("numba", "cpu"), ("triton", DEVICE), ("triton", DEVICE)):
        leaf = texture.to(device).requires_grad_()
        samples = sample_texture(leaf, uv.to(device), backend=backend)
        (samples * weights.to(device)).sum().backward()
        results.append((samples.detach().cpu(), leaf.grad.cpu()))
    for expected, got, again in zip(*results):
        assert torch.allclose(expected, got, rtol=2e-6, atol=1e-7 * float(expected.abs().max()))
        assert torch.equal(got, again)


def test_a_gradient_that_is_not_finite_does_not_pass_for_one() -> None:
    texture = torch.rand(4, 4, 3, device=DEVICE, requires_grad=True)
    (sample_texture(texture, torch.rand(6, 2, device=DEVICE), backend="triton") * torch.inf).sum().backward()
    assert not texture.grad.isfinite().any()


def test_outlines_and_their_gradients() -> None:
    vertices, faces = soup(12, seed=4)
    colours = torch.rand(len(vertices), 3, generator=torch.Generator().manual_seed(1))
    results, camera = [], two_cameras(24, 17)
    for backend, device in (("numba", "cpu"), ("triton", DEVICE)):
        leaf, corners = vertices.to(device).requires_grad_(), faces.to(device)
        fragments = with_gradients(rasterize_mesh(leaf, corners, camera, backend=backend), leaf, corners, camera)
        picture = interpolate(colours.to(device), corners, fragments, backend=backend)
        picture = antialias(picture, fragments, leaf, corners, camera)
        (picture.square().sum() + fragments.depth.sum()).backward()
        results.append((picture.detach().cpu(), leaf.grad.cpu()))
    assert results[0][1].any()
    for expected, got in zip(*results):
        assert torch.allclose(expected, got, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_too_many_tiles_and_too_little_memory_say_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = soup(10)
    monkeypatch.setattr(_mesh_triton, "MAX_PAIRS", 5)
    with pytest.raises(UserError, match="fewer or smaller faces"):
        drawn(vertices, faces, two_cameras(70, 70))

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(_mesh_triton, "_bin", full)
    with pytest.raises(UserError, match="lower the number of faces"):
        drawn(vertices, faces, two_cameras(20, 20))


any_float = st.floats(allow_nan=False, allow_infinity=False, width=32)
some_float = st.one_of(any_float, st.floats(-4, 4, width=32))


@settings(max_examples=4 if DEVICE == "cpu" else 200, deadline=None)
@given(st.lists(st.lists(some_float, min_size=9, max_size=9), min_size=4, max_size=8))
def test_finite_input_gives_what_the_cpu_gives(rows: list[list[float]]) -> None:
    vertices = torch.tensor(rows, dtype=torch.float32).reshape(-1, 3)
    found = assert_parity(vertices, torch.arange(len(vertices)).reshape(-1, 3), two_cameras(16, 12))
    assert found.barycentric.isfinite().all() and not found.depth.isnan().any()


@pytest.mark.skipif(DEVICE == "cpu", reason="too large for the interpreter")
def test_a_real_picture_equals_the_cpu_kernels() -> None:
    v, u = torch.meshgrid(torch.linspace(0, 3.14159, 151), torch.linspace(0, 6.28318, 301), indexing="ij")
    points = torch.stack([v.sin() * u.sin(), v.cos(), v.sin() * u.cos()], dim=-1).reshape(-1, 3)
    first = (torch.arange(150)[:, None] * 301 + torch.arange(300)).reshape(-1)
    lower = torch.stack([first, first + 301, first + 1], 1)
    faces = torch.cat([lower, torch.stack([first + 1, first + 301, first + 302], 1)])
    bumps = 0.6 + 0.06 * torch.sin(8 * u) * torch.sin(6 * v)
    assert_parity(points * bumps.reshape(-1, 1), faces, two_cameras(517, 389))
