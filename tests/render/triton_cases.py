"""What the Triton backend has to do, on a GPU or in Triton's interpreter; `test_splat_triton.py` runs this file.

In a process of its own: whether the interpreter stands in is settled when triton is first imported. Scenes are tiny,
since the interpreter takes some 50 us for every operation of every program.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from triton.runtime import interpreter

from gaussmith.camera import Camera, orbit
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians, concat, from_points
from gaussmith.render import _triton, _triton_bin
from gaussmith.render._splat_rules import TILE
from gaussmith.render._triton_project import DEPTH, SPLAT
from gaussmith.render.splat import Render, rasterize
from gaussmith.rotation import quat_to_matrix

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
PICTURES = ("rgb", "alpha", "depth", "normal")
# On a GPU a division by zero is silent; in the interpreter numpy warns.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
TOLERANCE = {"rgb": 1e-5, "alpha": 1e-5, "normal": 1e-5, "depth": 5e-5, "means2d": 5e-4, "radii": 5e-4}


if DEVICE == "cpu":
    # A device function called within a kernel makes the interpreter adapt triton.language once more, which takes half
    # of its time: once a launch and module is enough.
    _adapt, _launch, _adapted = interpreter._patch_lang, interpreter.GridExecutor.__call__, set()

    def _adapt_once(fn: Callable) -> object:
        seen = frozenset(id(v) for v in fn.__globals__.values() if v is interpreter.tl or v is interpreter.tl.core)
        if seen in _adapted:
            return None
        _adapted.add(seen)
        return _adapt(fn)

    def _launch_afresh(self: interpreter.GridExecutor, *args: object, **options: object) -> None:
        _adapted.clear()
        _launch(self, *args, **options)

    interpreter._patch_lang, interpreter.GridExecutor.__call__ = _adapt_once, _launch_afresh


@pytest.fixture(autouse=True)
def _long_chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer, larger operations for the interpreter; the parity of values is tested with the sizes that are shipped."""
    if DEVICE == "cpu" and "shipped" not in request.keywords:
        monkeypatch.setattr(_triton, "CHUNK", 16)
        monkeypatch.setattr(_triton, "CHUNK_BACKWARD", 16)


def scene(count: int, seed: int, bands: int = 1, size: float = -2.5) -> Gaussians:
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
    """Another focal length in x, a principal point off the centre, and half the extent in the last camera."""
    K = camera.K.clone()
    K[:, 0, 0] *= 1.3
    K[:, 0, 2] += 5
    K[:, 1, 2] -= 3
    K[-1, :2, :2] *= 2
    return replace(camera, K=K)


def pulled(
    gaussians: Gaussians,
    camera: Camera,
    background: Tensor | None = None,
    *,
    backend: str = "triton",
    names: Sequence[str] = PICTURES,
    **options: bool,
) -> tuple[Render, dict[str, Tensor]]:
    """Draw, pull a fixed random gradient of the named pictures back; the render and every gradient, on the CPU."""
    kind = {"device": DEVICE, "dtype": torch.float32} if backend == "triton" else {"dtype": torch.float64}
    leaves = gaussians.detach().to(**kind).map(lambda t: t.clone().requires_grad_())
    background = torch.zeros(3) if background is None else background
    background = background.detach().to(**kind).clone().requires_grad_()
    render = rasterize(leaves, camera.to(dtype=kind["dtype"]), background, backend=backend, **options)
    generator = torch.Generator().manual_seed(5)
    pictures = [getattr(render, name) for name in names]
    sum((p * torch.randn(p.shape, generator=generator).to(p)).sum() for p in pictures).backward()
    grads = {name: t.grad.cpu() for name, t in leaves.tensors().items()}
    grads |= {"means2d": render.means2d.grad.cpu(), "background": background.grad.cpu()}
    if render.absolute2d is not None:
        grads["absolute2d"] = render.absolute2d.grad.cpu()
    return Render(*(getattr(render, n).detach().cpu() for n in (*PICTURES, "means2d", "radii"))), grads


def assert_parity(
    gaussians: Gaussians, camera: Camera, background: Tensor | None = None, gradient: float = 2e-4, **options: bool
) -> Render:
    """Pictures, positions, radii and all gradients against the float64 reference."""
    expected, expected_grads = pulled(gaussians, camera, background, backend="reference", **options)
    got, got_grads = pulled(gaussians, camera, background, **options)
    assert torch.equal(expected.radii > 0, got.radii > 0)
    drawn = got.radii > 0
    for render in (expected, got):
        render.means2d = render.means2d[drawn]  # where nothing is drawn it means nothing
    for name, tolerance in TOLERANCE.items():
        assert torch.allclose(getattr(expected, name).float(), getattr(got, name), rtol=1e-5, atol=tolerance), name
    for name, grad in expected_grads.items():
        assert (grad - got_grads[name]).abs().max() <= gradient * grad.abs().max() + 1e-6, name
    return got


@pytest.mark.parametrize(
    ("bands", "size", "width", "height"),
    [
        pytest.param(4, -2.5, 33, 17, marks=pytest.mark.shipped, id="degree 1, mixed sizes"),
        pytest.param(1, -4.0, 19, 31, id="degree 0, specks"),
        pytest.param(9, -1.0, 16, 16, id="degree 2, large, one tile"),
        pytest.param(16, -2.5, 17, 9, id="degree 3"),
    ],
)
def test_equals_the_reference(bands: int, size: float, width: int, height: int) -> None:
    camera = lopsided(orbit(torch.tensor([20.0, 130.0]), torch.tensor([10.0, -30.0]), width=width, height=height))
    background = torch.tensor([[0.2, 0.5, 0.9], [1.0, 1.0, 1.0]])
    assert_parity(scene(20, bands, bands, size), camera, background)


def test_antialiased_and_absolute_equal_the_reference() -> None:
    some = concat([scene(8, 3, size=-4.0), scene(8, 4, size=-2.5)])
    camera = lopsided(orbit(torch.tensor([20.0, 130.0]), 10.0, width=17, height=12))
    assert_parity(some, camera, antialiased=True, absolute=True)
    got = [pulled(some, camera, geometry=False, absolute=True, deterministic=d)[1]["absolute2d"] for d in (True, False)]
    _, expected = pulled(some, camera, backend="reference", geometry=False, absolute=True)
    for grad in got:
        assert (expected["absolute2d"] - grad).abs().max() <= 2e-4 * grad.max()


def test_behind_the_camera_faint_and_off_screen() -> None:
    some = scene(12, 7)
    some.means[:3] = torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64)  # behind
    some.means[3] = torch.tensor([0.0, 0.0, 1.9], dtype=torch.float64)  # nearer than the near clip
    some.means[4:6, 0] += 20  # beside the picture
    some.opacity_logits[6:9] = torch.tensor([-5.0, -5.6, -9.0], dtype=torch.float64)  # 1/255 is at -5.54
    render = assert_parity(some, orbit(0.0, 0.0, width=20, height=20))
    assert (render.radii[0, :6] == 0).all() and not render.radii[0, 7:9].any() and render.radii[0, 6] > 0


def test_one_gaussian_covers_the_screen_and_most_tiles_are_empty() -> None:
    camera = orbit(0.0, 0.0, width=40, height=23)
    wide = from_points(torch.tensor([[0.1, 0.0, 0.0]]), torch.tensor([[0.3, 0.6, 0.9]]), 0.6)
    wide = replace(wide, log_scales=torch.full((1, 3), math.log(50.0)))
    assert torch.allclose(assert_parity(wide, camera).alpha, torch.tensor(0.6), atol=1e-3)
    speck = replace(wide, log_scales=torch.full((1, 3), -4.0))
    assert int((assert_parity(speck, camera).alpha > 0).sum()) < TILE


def test_an_opaque_stack_stops_early_and_hides_the_rest() -> None:
    sheets = from_points(torch.zeros(30, 3), torch.full((30, 3), 0.5), 0.95)
    sheets = replace(sheets, log_scales=torch.full((30, 3), math.log(5.0)))
    sheets.means[:, 2] = torch.linspace(0.6, -0.6, 30)
    render = assert_parity(sheets, orbit(0.0, 0.0, width=16), gradient=1e-3)  # what is seen nearly cancels
    assert 0 < float((1 - render.alpha).max()) < 1e-4
    _, grads = pulled(sheets, orbit(0.0, 0.0, width=16))
    assert grads["means2d"][0, :4].any() and not grads["means2d"][0, 5:].any()


def test_a_loss_of_screen_positions_alone_has_its_gradient() -> None:
    some = scene(5, 1).to(DEVICE, torch.float32).map(lambda t: t.requires_grad_())
    camera = orbit(0.0, 0.0, width=12)
    rasterize(some, camera, backend="triton").means2d[..., 0].sum().backward()
    got, some = some.means.grad.cpu(), some.detach().to("cpu", torch.float64).map(lambda t: t.requires_grad_())
    rasterize(some, camera.to(dtype=torch.float64), backend="reference").means2d[..., 0].sum().backward()
    assert got.any() and torch.allclose(got.double(), some.means.grad, rtol=1e-4)


@pytest.mark.parametrize("background", [None, "cpu", "with gradient"])
def test_a_background_may_lie_anywhere(background: str | None) -> None:
    some, camera = scene(2, 1).to(DEVICE, torch.float32), orbit(torch.tensor([0.0, 90.0]), 0.0, width=6)
    given = None if background is None else torch.tensor([0.2, 0.4, 0.6])
    if background == "with gradient":
        given.requires_grad_()
    rgb = rasterize(some, camera, given, backend="triton", geometry=False).rgb
    expected = rasterize(some.to("cpu"), camera, given, backend="numba", geometry=False).rgb
    assert torch.allclose(rgb.cpu(), expected, atol=1e-5)
    if background == "with gradient":
        rgb.sum().backward()
        first, given.grad = given.grad, None
        expected.sum().backward()
        assert first.all() and torch.allclose(first, given.grad, rtol=1e-4)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_draw(count: int) -> None:
    camera = orbit(torch.tensor([0.0, 90.0]), 0.0, width=33, height=17)
    background = torch.tensor([[0.2, 0.4, 0.6], [1.0, 1.0, 1.0]])
    behind = from_points(torch.tensor([[3.0, 0.0, 3.0]]), torch.ones(1, 3), 0.9).select(torch.arange(count))
    render, grads = pulled(behind, camera, background)
    assert torch.equal(render.rgb, background[:, None, None].expand(2, 17, 33, 3))
    assert not render.alpha.any() and not render.depth.any() and not render.radii.any()
    assert grads["means"].shape == (count, 3) and not any(grads[name].any() for name in behind.tensors())
    assert grads["background"].any()


def test_order_of_the_gaussians_does_not_matter() -> None:
    some, camera = scene(12, 3), orbit(77.0, 15.0, width=20, height=12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    plain, grads = pulled(some, camera)
    mixed, mixed_grads = pulled(some.select(order), camera)
    for name in PICTURES:
        assert torch.equal(getattr(plain, name), getattr(mixed, name))
    for name in some.tensors():
        assert torch.equal(grads[name][order], mixed_grads[name])


def test_moving_scene_and_camera_together_changes_nothing() -> None:
    some, camera = scene(12, 4, bands=4).to(dtype=torch.float32), orbit(40.0, 10.0, width=20, height=14)
    motion = torch.eye(4)
    motion[:3, :3] = quat_to_matrix(torch.tensor([0.5, -0.3, 0.7, 0.2]))
    motion[:3, 3] = torch.tensor([3.0, -1.0, 2.0])
    scalars = ("rgb", "alpha", "depth")
    here, grads = pulled(some, camera, names=scalars)
    moved = some.transform(motion[:3, :3], motion[:3, 3])
    there, moved_grads = pulled(moved, replace(camera, c2w=motion @ camera.c2w), names=scalars)
    for name in scalars:
        assert (getattr(here, name) - getattr(there, name)).abs().max() < 5e-3  # a pixel at the 1/255 cut may flip
        assert (getattr(here, name) - getattr(there, name)).abs().mean() < 1e-5
    assert (here.normal @ motion[:3, :3].T - there.normal).abs().mean() < 1e-5
    for name in ("log_scales", "opacity_logits", "means2d"):
        assert (grads[name] - moved_grads[name]).abs().mean() < 1e-3 * grads[name].abs().mean()


def test_deterministic_gives_the_same_bits_and_atomics_the_same_sums() -> None:
    some, camera = scene(12, 6), orbit(torch.tensor([0.0, 120.0]), 20.0, width=18, height=12)
    (first, grads), (again, grads_again) = pulled(some, camera), pulled(some, camera)
    for name in (*PICTURES, "means2d", "radii"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    loose, loose_grads = pulled(some, camera, deterministic=False)
    assert torch.equal(first.rgb, loose.rgb)
    for name, grad in grads.items():
        assert torch.equal(grad, grads_again[name]), name
        assert (grad - loose_grads[name]).abs().max() <= 1e-5 * grad.abs().max(), name


def test_without_geometry_the_picture_is_the_same() -> None:
    some = scene(12, 7).to(DEVICE, torch.float32).map(lambda t: t.requires_grad_())
    camera = orbit(0.0, 0.0, width=20, height=14)
    full, lean = (rasterize(some, camera, geometry=g, backend="triton") for g in (True, False))
    assert torch.equal(full.rgb, lean.rgb) and full.depth.any() and not lean.depth.any() and not lean.normal.any()
    both = [torch.autograd.grad((r.rgb**2).sum() + r.alpha.sum(), list(some.tensors().values())) for r in (full, lean)]
    assert any(grad.any() for grad in both[0])
    for a, b in zip(*both):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(a.abs().max()))


def test_lists_are_those_of_the_cpu_kernels() -> None:
    from gaussmith.render import _numba_bin

    generator = torch.Generator().manual_seed(0)
    n, width, height = 40, 100, 75
    means2d = torch.rand(2, n, 2, generator=generator) * torch.tensor([100.0, 75.0])
    splats = torch.zeros(2, n, SPLAT)
    splats[..., 0] = torch.rand(2, n, generator=generator) * 0.8 + 0.05
    splats[..., 1] = torch.randn(2, n, generator=generator) * 0.2
    splats[..., 2] = torch.rand(2, n, generator=generator) * 0.8 + 0.05
    splats[..., 7] = torch.randint(1, 9, (2, n), generator=generator).float()  # many ties
    reach = torch.rand(2, n, generator=generator) * 11
    cpu = _numba_bin.bin_splats(means2d.numpy(), splats[..., :-1].contiguous().numpy(), reach.numpy(), width, height)
    gpu = _triton_bin.bin_splats(*(t.to(DEVICE) for t in (means2d, splats, reach)), width, height)
    tiles = [
        [owners[start[i] : start[i + 1]].tolist() for i in range(len(start) - 1)]
        for owners, start in ((cpu.entry_splat, cpu.tile_start), (gpu.entry_splat, gpu.tile_start))
    ]
    extra = sum(len(g) - len(c) for c, g in zip(*tiles))
    assert 0 <= extra <= 0.01 * len(cpu.slots)  # float32 needs some slack
    for c, g in zip(*tiles):
        assert [i for i in g if i in set(c)] == c
    owner_of_pair = torch.empty_like(gpu.entry_splat)
    owner_of_pair[gpu.entry_pair] = gpu.entry_splat
    assert torch.equal(owner_of_pair, gpu.order.repeat_interleave(gpu.ends.diff(prepend=gpu.ends.new_zeros(1))).int())
    assert torch.equal(gpu.order, torch.argsort(splats[..., DEPTH].flatten(), stable=True).to(DEVICE))


def test_too_many_pairs_and_too_little_memory_say_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    some, camera = scene(20, 1).to(DEVICE, torch.float32), orbit(0.0, 0.0, width=64)
    monkeypatch.setattr(_triton_bin, "MAX_PAIRS", 10)
    with pytest.raises(UserError, match="fewer or smaller Gaussians"):
        rasterize(some, camera, backend="triton")

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(_triton_bin, "bin_splats", full)
    with pytest.raises(UserError, match="lower the number of Gaussians, the picture size"):
        rasterize(some, camera, backend="triton")


def test_non_finite_gaussians_are_skipped_without_gradient() -> None:
    good, broken = scene(8, 1, bands=4), scene(10, 2, bands=4)
    broken.means[0, 1], broken.means[1, 2] = math.nan, math.inf
    broken.log_scales[2, 0], broken.log_scales[3, 0], broken.log_scales[4, 1] = math.nan, math.inf, -math.inf
    broken.quats[5, 0], broken.quats[6, 3] = math.nan, -math.inf
    broken.opacity_logits[7], broken.opacity_logits[8] = math.inf, math.nan
    broken.sh[9, 2, 1] = math.nan
    camera = orbit(10.0, 20.0, width=20)
    alone, _ = pulled(good, camera)
    both, grads = pulled(concat([good, broken]), camera)
    assert torch.equal(alone.rgb, both.rgb) and not both.radii[:, 8:].any()
    assert all(grad.isfinite().all() for grad in grads.values())
    assert not any(grads[name][8:].any() for name in good.tensors())


any_float = st.floats(allow_nan=False, allow_infinity=False, width=32)
some_float = st.one_of(any_float, st.floats(-4, 4, width=32))


@settings(max_examples=4 if DEVICE == "cpu" else 200, deadline=None)
@given(st.lists(st.lists(some_float, min_size=14, max_size=14), min_size=4, max_size=10))
def test_finite_input_gives_finite_pictures_and_gradients(rows: list[list[float]]) -> None:
    t = torch.tensor(rows, dtype=torch.float32)
    some = Gaussians(t[:, :3], t[:, 3:6], t[:, 6:10], t[:, 10], t[:, None, 11:14])
    some = concat([some, from_points(torch.zeros(1, 3), torch.full((1, 3), 0.5))])
    render, grads = pulled(some, orbit(35.0, 10.0, width=16, height=12))
    for name in (*PICTURES, "means2d", "radii"):
        assert getattr(render, name).isfinite().all(), name
    for name, grad in grads.items():
        assert grad.isfinite().all(), name


@pytest.mark.skipif(DEVICE == "cpu", reason="too large for the interpreter")
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_real_picture_equals_the_cpu_kernels(deterministic: bool) -> None:
    some = scene(20_000, 0, 16, -4.0).to(dtype=torch.float32)
    camera = lopsided(orbit(torch.tensor([20.0, 130.0]), 10.0, width=517, height=389))
    results = []
    for backend, device in (("numba", "cpu"), ("triton", DEVICE)):
        leaves = some.detach().to(device).map(lambda t: t.clone().requires_grad_())
        render = rasterize(leaves, camera, backend=backend, deterministic=deterministic)
        (render.rgb.square().sum() + render.alpha.sum() + render.normal.square().sum()).backward()
        results.append((render.rgb.detach().cpu(), {k: t.grad.cpu() for k, t in leaves.tensors().items()}))
    (expected, expected_grads), (got, got_grads) = results
    assert (expected - got).abs().mean() < 1e-6 and (expected - got).abs().max() < 2e-2
    for name, grad in expected_grads.items():
        assert (grad - got_grads[name]).abs().mean() < 1e-3 * grad.abs().mean(), name
