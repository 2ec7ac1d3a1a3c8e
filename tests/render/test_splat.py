"""The splat rasteriser: what it draws, its corner cases and its determinism."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gaussmith.camera import Camera, orbit
from gaussmith.gaussians import Gaussians, concat, from_points
from gaussmith.render._splat_rules import LOW_PASS, T_STOP
from gaussmith.render.splat import Backend, Render, rasterize
from gaussmith.rotation import quat_to_matrix
from gaussmith.sh import rgb_to_dc

BACKENDS: list[Backend] = ["reference", "numba"]
PICTURES = ("rgb", "alpha", "depth", "normal")


def random_scene(count: int, seed: int, bands: int = 1) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(
        normal(count, 3) * 0.4,
        normal(count, 3) * 0.5 - 2.5,
        normal(count, 4),
        normal(count),
        normal(count, bands, 3) * 0.3,
    )


def one(mean: list[float], scale: float, opacity: float, color: list[float]) -> Gaussians:
    gaussians = from_points(torch.tensor([mean]), torch.tensor([color]), opacity)
    return replace(gaussians, log_scales=torch.full((1, 3), math.log(scale)))


def gradients(scene: Gaussians, camera: Camera, seed: int = 0, **kwargs) -> tuple[Render, dict[str, Tensor]]:
    """Draw and pull a fixed random gradient back: the render and every gradient by name."""
    scene = scene.map(lambda t: t.detach().clone().requires_grad_())
    render = rasterize(scene, camera, **kwargs)
    generator = torch.Generator().manual_seed(seed)
    pictures = [getattr(render, name) for name in PICTURES]
    loss = sum((p * torch.randn(p.shape, generator=generator)).sum() for p in pictures)
    loss.backward()
    return render, {**{k: t.grad for k, t in scene.tensors().items()}, "means2d": render.means2d.grad}


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_gaussian_is_the_closed_form(backend: Backend) -> None:
    # Straight ahead of a camera at distance 2 an isotropic Gaussian stays isotropic: sigma^2 = (f s / z)^2 + low-pass.
    camera = orbit(0.0, 0.0, width=48, height=32)
    color, background = [0.9, 0.2, 0.4], torch.tensor([0.1, 0.5, 1.0])
    render = rasterize(one([0.0, 0.0, 0.0], 0.1, 0.7, color), camera, background, backend=backend)
    variance = (float(camera.K[0, 0, 0]) * 0.1 / 2) ** 2 + LOW_PASS
    y, x = torch.meshgrid(torch.arange(32) + 0.5 - 16, torch.arange(48) + 0.5 - 24, indexing="ij")
    alpha = 0.7 * torch.exp(-0.5 * (x**2 + y**2) / variance)
    alpha = torch.where(alpha >= 1 / 255, alpha, 0.0)[..., None]
    assert torch.allclose(render.alpha[0], alpha, atol=1e-5)
    assert torch.allclose(render.rgb[0], alpha * torch.tensor(color) + (1 - alpha) * background, atol=1e-5)
    assert torch.allclose(render.depth[0], torch.where(alpha > 0, 2.0, 0.0), atol=1e-4)
    assert torch.allclose(render.means2d[0, 0], torch.tensor([24.0, 16.0]), atol=1e-4)
    assert float(render.radii) == pytest.approx(math.sqrt(2 * math.log(0.7 * 255) * variance), rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_off_centre_principal_point_and_unequal_focal_lengths(backend: Backend) -> None:
    camera = orbit(25.0, -10.0, width=40, height=30)
    camera = replace(camera, K=torch.tensor([[[35.0, 0, 13.5], [0, 50.0, 19.0], [0, 0, 1]]]))
    point = [0.1, -0.2, 0.15]
    render = rasterize(one(point, 1e-4, 0.9, [1.0, 1.0, 1.0]), camera, backend=backend)
    expected = camera.project(torch.tensor([point]))[0, 0]
    assert torch.allclose(render.means2d[0, 0], expected[:2], atol=1e-3)
    brightest = int(render.alpha[0, ..., 0].argmax())
    assert (brightest % 40, brightest // 40) == (int(expected[0]), int(expected[1]))
    assert torch.allclose(render.depth[render.alpha > 0], expected[2], atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_normal_is_the_shortest_axis_turned_to_the_camera(backend: Backend) -> None:
    disc = replace(one([0.0, 0.0, 0.0], 0.2, 0.99, [0.5] * 3), log_scales=torch.tensor([[-1.5, -1.5, -6.0]]))
    disc = replace(disc, quats=torch.tensor([[0.9, 0.2, 0.3, 0.1]]))
    axis = quat_to_matrix(disc.quats)[0, :, 2]
    for azimuth in (0.0, 180.0):
        camera = orbit(azimuth, 0.0, width=16)
        render = rasterize(disc, camera, backend=backend)
        sign = torch.sign(camera.position[0] @ axis)
        assert torch.allclose(render.normal[0], render.alpha[0] * axis * sign, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_opaque_stack_stops_early(backend: Backend) -> None:
    # Three sheets leave 1.25e-4 of the light, four 6e-6: whatever comes later must not be seen at all.
    sheets = [one([0.0, 0.0, 0.6 - 0.1 * i], 5.0, 0.95, [0.5, 0.5, 0.5]) for i in range(4)]
    hidden = [one([0.0, 0.0, -0.2 - 0.01 * i], 0.3, 0.9, [50.0, 0.0, 0.0]) for i in range(30)]
    camera = orbit(0.0, 0.0, width=24)
    alone, both = (rasterize(concat(parts), camera, backend=backend) for parts in (sheets, sheets + hidden))
    assert 0 < float(1 - alone.alpha.min()) < T_STOP
    assert torch.equal(alone.rgb, both.rgb)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_gaussians_and_none_in_front(backend: Backend) -> None:
    camera = orbit(torch.tensor([0.0, 90.0]), 0.0, width=33, height=17)
    background = torch.tensor([[0.2, 0.4, 0.6], [1.0, 1.0, 1.0]])
    behind = one([0.0, 0.0, 0.0], 0.1, 0.9, [1.0, 0.0, 0.0])
    behind.means.copy_(torch.tensor([[3.0, 0.0, 3.0]]))
    for scene in (random_scene(0, 0), behind):
        scene = scene.map(lambda t: t.requires_grad_())
        render = rasterize(scene, camera, background, backend=backend)
        assert torch.equal(render.rgb, background[:, None, None].expand(2, 17, 33, 3))
        assert not render.alpha.any() and not render.depth.any() and not render.radii.any()
        (render.rgb.sum() + render.depth.sum() + render.normal.sum()).backward()
        assert not any(t.grad.any() for t in scene.tensors().values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_gaussian_covers_everything(backend: Backend) -> None:
    camera = orbit(0.0, 0.0, width=70, height=50)
    render = rasterize(one([0.1, 0.0, 0.0], 50.0, 0.6, [0.3, 0.6, 0.9]), camera, backend=backend)
    assert torch.allclose(render.alpha, torch.full_like(render.alpha, 0.6), atol=1e-3)


def test_non_finite_gaussians_are_skipped_without_gradient() -> None:
    camera = orbit(10.0, 20.0, width=32)
    good = random_scene(20, 1, bands=4)
    broken = random_scene(10, 2, bands=4)
    broken.means[0, 1], broken.means[1, 2] = math.nan, math.inf
    broken.log_scales[2, 0], broken.log_scales[3, 0], broken.log_scales[4, 1] = math.nan, math.inf, -math.inf
    broken.quats[5, 0], broken.quats[6, 3] = math.nan, -math.inf
    broken.opacity_logits[7], broken.opacity_logits[8] = math.inf, math.nan
    broken.sh[9, 2, 1] = math.nan
    for backend in BACKENDS:
        alone, _ = gradients(good, camera, backend=backend)
        both, grads = gradients(concat([good, broken]), camera, backend=backend)
        assert torch.equal(alone.rgb, both.rgb)
        assert not both.radii[:, 20:].any()
        for grad in grads.values():
            assert grad.isfinite().all()
        assert not any(grads[name][20:].any() for name in good.tensors())


def test_order_of_the_gaussians_does_not_matter() -> None:
    scene, camera = random_scene(300, 3), orbit(torch.tensor([0.0, 77.0]), 15.0, width=50, height=35)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    plain, grads = gradients(scene, camera)
    mixed, mixed_grads = gradients(scene.select(order), camera)
    for name in PICTURES:
        assert torch.equal(getattr(plain, name), getattr(mixed, name))
    assert torch.equal(plain.radii[:, order], mixed.radii)
    for name in scene.tensors():
        assert torch.equal(grads[name][order], mixed_grads[name])


def test_moving_scene_and_camera_together_changes_nothing() -> None:
    # Degree 0, since `transform` does not turn higher bands.
    scene, camera = random_scene(100, 4), orbit(40.0, 10.0, width=48)
    rotation = quat_to_matrix(torch.tensor([0.5, -0.3, 0.7, 0.2]))
    shift = torch.tensor([3.0, -1.0, 2.0])
    motion = torch.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation, shift
    here = rasterize(scene, camera)
    there = rasterize(scene.transform(rotation, shift), replace(camera, c2w=motion @ camera.c2w))
    for name in ("rgb", "alpha", "depth"):
        assert (getattr(here, name) - getattr(there, name)).abs().max() < 2e-3  # a pixel at the 1/255 cut may flip
        assert (getattr(here, name) - getattr(there, name)).abs().mean() < 1e-5
    turned = here.normal @ rotation.T
    assert (turned - there.normal).abs().mean() < 1e-5


def test_a_batch_is_its_cameras() -> None:
    scene, camera = random_scene(200, 5, bands=9), orbit(torch.tensor([0.0, 50.0, 200.0]), 5.0, width=40)
    background = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    batch = rasterize(scene, camera, background)
    for b in range(3):
        alone = rasterize(scene, camera[b], background[b])
        for name in (*PICTURES, "means2d", "radii"):
            assert torch.equal(getattr(batch, name)[b], getattr(alone, name)[0])


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    scene, camera = random_scene(500, 6, bands=4), orbit(torch.tensor([0.0, 120.0]), 20.0, width=75, height=60)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            results.append(gradients(scene, camera))
    finally:
        torch.set_num_threads(before)
    for render, grads in results[1:]:
        for name in (*PICTURES, "means2d", "radii"):
            assert torch.equal(getattr(render, name), getattr(results[0][0], name)), name
        for name, grad in grads.items():
            assert torch.equal(grad, results[0][1][name]), name


def test_without_geometry_the_picture_is_the_same() -> None:
    scene, camera = random_scene(200, 7).map(lambda t: t.requires_grad_()), orbit(0.0, 0.0, width=40)
    full, lean = rasterize(scene, camera), rasterize(scene, camera, geometry=False)
    assert torch.equal(full.rgb, lean.rgb) and torch.equal(full.alpha, lean.alpha)
    assert full.depth.any() and not lean.depth.any() and not lean.normal.any()
    grads = [
        torch.autograd.grad((r.rgb**2).sum() + r.alpha.sum(), list(scene.tensors().values())) for r in (full, lean)
    ]
    for a, b in zip(*grads):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))


def test_shifting_on_screen_is_the_gradient_of_means2d() -> None:
    # A camera whose principal point moves shifts every splat by as much: the sum of the screen gradients.
    scene, camera = random_scene(30, 8).to(dtype=torch.float64), orbit(0.0, 0.0, width=32).to(dtype=torch.float64)

    def loss(shift: float) -> tuple[Tensor, Render]:
        K = camera.K.clone()
        K[:, 0, 2] += shift
        leaves = scene.map(lambda t: t.requires_grad_())
        render = rasterize(leaves, replace(camera, K=K), backend="reference")
        return (render.rgb**2).sum(), render

    value, render = loss(0.0)
    value.backward()
    numeric = (loss(1e-6)[0] - loss(-1e-6)[0]).detach() / 2e-6
    assert float(render.means2d.grad[..., 0].sum()) == pytest.approx(float(numeric), rel=1e-2)
    _, grads = gradients(scene.to(dtype=torch.float32), camera.to(dtype=torch.float32))
    assert grads["means2d"].shape == (1, 30, 2) and grads["means2d"].any()


def test_wrong_arguments() -> None:
    scene, camera = random_scene(3, 0), orbit(0.0, 0.0, width=16)
    with pytest.raises(ValueError, match="background"):
        rasterize(scene, camera, torch.zeros(4))
    with pytest.raises(ValueError, match="backend"):
        rasterize(scene, camera, backend="magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1, 4, 9 or 16"):
        rasterize(random_scene(3, 0, bands=2), camera)
    skewed = replace(camera, K=camera.K + torch.tensor([[0, 1.0, 0], [0, 0, 0], [0, 0, 0]]))
    with pytest.raises(ValueError, match="skew"):
        rasterize(scene, skewed)


any_float = st.floats(allow_nan=False, allow_infinity=False, width=32)
some_float = st.one_of(any_float, st.floats(-4, 4, width=32))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(some_float, min_size=14, max_size=14), min_size=1, max_size=6))
def test_finite_input_gives_finite_pictures_and_gradients(rows: list[list[float]]) -> None:
    t = torch.tensor(rows, dtype=torch.float32)
    scene = Gaussians(
        t[:, :3].clone(), t[:, 3:6].clone(), t[:, 6:10].clone(), t[:, 10].clone(), t[:, None, 11:14].clone()
    )
    scene = concat([scene, from_points(torch.zeros(1, 3), torch.full((1, 3), 0.5))])
    render, grads = gradients(scene, orbit(torch.tensor([0.0, 35.0]), 10.0, width=20, height=18))
    for name in (*PICTURES, "means2d", "radii"):
        assert getattr(render, name).isfinite().all(), name
    for name, grad in grads.items():
        assert grad.isfinite().all(), name


def test_black_stays_trainable() -> None:
    # A colour of exactly zero stands on the clamp; its gradient must pass or black could never become brighter.
    scene = one([0.0, 0.0, 0.0], 0.1, 0.8, [0.0, 0.0, 0.0])
    scene = replace(scene, sh=rgb_to_dc(torch.zeros(1, 1, 3)).requires_grad_())
    rasterize(scene, orbit(0.0, 0.0, width=16)).rgb.sum().backward()
    assert (scene.sh.grad > 0).all()
