"""The torch reference against finite differences, and the Numba kernels against the reference."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gaussmith import sh as spherical
from gaussmith.camera import Camera, orbit
from gaussmith.gaussians import Gaussians
from gaussmith.render._numba_bin import bin_splats
from gaussmith.render._splat_rules import ALPHA_MIN, TILE
from gaussmith.render.splat import rasterize

PICTURES = ("rgb", "alpha", "depth", "normal")


def scene(count: int, seed: int, bands: int, size: float = -2.5) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Gaussians(
        normal(count, 3) * 0.4,
        normal(count, 3) * 0.5 + size,
        normal(count, 4),
        normal(count),
        normal(count, bands, 3) * 0.3,
    )


def lopsided(camera: Camera) -> Camera:
    """Another focal length in x, and a principal point off the centre."""
    K = camera.K.clone()
    K[:, 0, 0] *= 1.3
    K[:, 0, 2] += 5
    K[:, 1, 2] -= 3
    return replace(camera, K=K)


@pytest.mark.parametrize(("bands", "antialiased"), [(1, False), (4, False), (9, False), (16, False), (1, True)])
def test_reference_gradcheck(bands: int, antialiased: bool) -> None:
    gaussians = scene(3, bands, bands, size=-1.2)
    camera = lopsided(orbit(torch.tensor([20.0, 130.0]), 10.0, width=8, height=6)).to(dtype=torch.float64)
    background = torch.rand(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (*gaussians.tensors().values(), background)]

    def draw(*tensors: Tensor) -> tuple[Tensor, ...]:
        render = rasterize(Gaussians(*tensors[:5]), camera, tensors[5], backend="reference", antialiased=antialiased)
        return render.rgb, render.alpha, render.depth, render.normal

    assert torch.autograd.gradcheck(draw, inputs, eps=1e-7, atol=1e-5, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("bands", [1, 4, 9, 16])
@pytest.mark.parametrize("size", [-4.0, -2.5, -1.0])
def test_kernels_equal_the_reference(bands: int, size: float) -> None:
    assert_parity(bands, size)


@pytest.mark.parametrize("size", [-5.0, -4.0, -2.5])
@pytest.mark.parametrize(("antialiased", "absolute"), [(True, False), (False, True), (True, True)])
def test_options_of_the_kernels_equal_the_reference(size: float, antialiased: bool, absolute: bool) -> None:
    assert_parity(4, size, antialiased=antialiased, absolute=absolute)


def assert_parity(bands: int, size: float, **options: bool) -> None:
    """Pictures and gradients of Numba against those of the float64 reference, two cameras."""
    gaussians = scene(60, bands, bands, size)
    camera = lopsided(orbit(torch.tensor([20.0, 130.0]), torch.tensor([10.0, -30.0]), width=50, height=41))
    results = {}
    for backend, dtype in (("reference", torch.float64), ("numba", torch.float32)):
        leaves = gaussians.map(lambda t, dtype=dtype: t.detach().to(dtype).requires_grad_())
        background = torch.tensor([[0.2, 0.5, 0.9], [1, 1, 1]], dtype=dtype, requires_grad=True)
        render = rasterize(leaves, camera.to(dtype=dtype), background, backend=backend, **options)
        generator = torch.Generator().manual_seed(5)
        pictures = [getattr(render, name) for name in PICTURES]
        sum((p * torch.randn(p.shape, generator=generator)).sum() for p in pictures).backward()
        grads = {**{k: t.grad for k, t in leaves.tensors().items()}, "means2d": render.means2d.grad}
        grads["background"] = background.grad
        if options.get("absolute"):
            grads["absolute2d"] = render.absolute2d.grad
        results[backend] = render, grads
    (expected, expected_grads), (got, got_grads) = results["reference"], results["numba"]
    for name, scale in (("rgb", 1), ("alpha", 1), ("normal", 1), ("depth", 3), ("means2d", 50), ("radii", 50)):
        assert (getattr(expected, name) - getattr(got, name)).abs().max() < 1e-5 * scale, name
    for name, grad in expected_grads.items():
        assert (grad - got_grads[name]).abs().max() < 1e-4 * grad.abs().max(), name


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_an_antialiased_speck_keeps_its_weight(backend: str) -> None:
    # A Gaussian far smaller than a pixel adds opacity * 2 pi sigma^2 to the sum of alphas, whatever the low-pass.
    dtype = torch.float64 if backend == "reference" else torch.float32
    camera, sigma = orbit(0.0, 0.0, width=33).to(dtype=dtype), 0.2
    speck = replace(scene(1, 3, 1).to(dtype=dtype), means=torch.zeros(1, 3, dtype=dtype))
    speck.log_scales.fill_(math.log(sigma * 2 / float(camera.K[0, 0, 0])))
    speck.opacity_logits.fill_(4)
    plain, filtered = (float(rasterize(speck, camera, backend=backend, antialiased=a).alpha.sum()) for a in (0, 1))
    assert filtered == pytest.approx(float(speck.opacities) * 2 * math.pi * sigma**2, rel=0.05)  # cut at 1/255
    assert plain > 5 * filtered


def test_absolute_gradients_do_not_cancel() -> None:
    # The two halves of a symmetric blob pull its centre apart: no gradient, but an absolute one.
    blob = replace(scene(1, 3, 1).to(dtype=torch.float32), means=torch.zeros(1, 3), quats=torch.eye(4)[:1])
    blob = replace(blob, log_scales=torch.full((1, 3), -1.5)).map(lambda t: t.requires_grad_())
    render = rasterize(blob, orbit(0.0, 0.0, width=32), absolute=True)
    assert not render.absolute2d.any()
    render.alpha.sum().backward()
    assert (render.absolute2d.grad > 1e4 * render.means2d.grad.abs()).all()
    assert rasterize(blob, orbit(0.0, 0.0, width=32)).absolute2d is None


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    gaussians = scene(10, 0, 1).to(dtype=torch.float32)
    gaussians.sh.requires_grad_()
    rasterize(gaussians, orbit(0.0, 0.0, width=16)).rgb.sum().backward()
    assert gaussians.sh.grad.any() and gaussians.means.grad is None


def test_colour_of_the_kernels_is_the_spherical_harmonic() -> None:
    # A speck at the centre of a pixel shows its colour times its alpha.
    camera = orbit(33.0, 21.0, width=33)
    gaussians = scene(1, 3, 16).to(dtype=torch.float32)
    gaussians = replace(gaussians, means=torch.zeros(1, 3), sh=gaussians.sh * 0.5)
    render = rasterize(gaussians, camera)
    direction = torch.nn.functional.normalize(-camera.position, dim=-1)
    expected = render.alpha[0, 16, 16] * spherical.evaluate(gaussians.sh, direction)[0]
    assert torch.allclose(render.rgb[0, 16, 16], expected, atol=1e-5)


def test_tile_lists_are_exact() -> None:
    """Against the alphas themselves: all pairs that are needed, the rows that are needed, and few more."""
    generator = torch.Generator().manual_seed(0)
    n, width, height = 300, 100, 75
    means2d = torch.rand(1, n, 2, generator=generator) * torch.tensor([140.0, 115.0]) - 20
    splats = torch.zeros(1, n, 11)
    splats[..., 0] = torch.rand(1, n, generator=generator) * 0.8 + 0.05
    splats[..., 1] = torch.randn(1, n, generator=generator) * 0.2
    splats[..., 2] = torch.rand(1, n, generator=generator) * 0.8 + 0.05
    splats[..., 3] = torch.rand(1, n, generator=generator) * 0.9 + 0.05
    splats[..., 7] = torch.randint(1, 50, (1, n), generator=generator).float()  # many ties
    reach = 2 * (splats[..., 3] / ALPHA_MIN).log()
    lists = bin_splats(means2d.numpy(), splats.numpy(), reach.numpy(), width, height)

    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    dx, dy = x - means2d[0, :, :1, None], y - means2d[0, :, 1:, None]
    l0, l1, l2, opacity = (splats[0, :, i, None, None] for i in range(4))
    seen = opacity * torch.exp(-0.5 * ((l0 * dx + l1 * dy) ** 2 + (l2 * dy) ** 2)) >= ALPHA_MIN
    columns = -(-width // TILE)
    listed = torch.zeros_like(seen)
    for tile in range(columns * -(-height // TILE)):
        entries = range(lists.tile_start[tile], lists.tile_start[tile + 1])
        keys = [(float(splats[0, lists.entry_splat[k], 7]), int(lists.entry_splat[k])) for k in entries]
        assert keys == sorted(keys)
        top, left = tile // columns * TILE, tile % columns * TILE
        for k in entries:
            first, last = lists.entry_rows[k] >> 4, lists.entry_rows[k] & 15
            listed[lists.entry_splat[k], top + first : top + last + 1, left : left + TILE] = True
    assert not (seen & ~listed).any()
    assert sorted(lists.order.tolist()) == list(range(n)) and lists.pair_start[-1] == len(lists.slots)
    for i, g in enumerate(lists.order):
        slots = lists.slots[lists.pair_start[i] : lists.pair_start[i + 1]]
        assert (lists.entry_splat[slots] == g).all()
    # An ellipse can slip between pixel centres, so a few entries see nothing; a box test would list many more.
    entries_needed = torch.nn.functional.max_pool2d(
        torch.nn.functional.pad(seen.float(), (0, -width % TILE, 0, -height % TILE)), TILE
    ).sum()
    assert entries_needed <= len(lists.slots) <= 1.02 * entries_needed
