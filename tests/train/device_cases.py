"""The training loops on a pretended accelerator, with the GPU's kernels in Triton's interpreter; see `test_device`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from pretend import DEVICE, Accelerator, here
from triton.runtime import interpreter

from gaussmith import accelerator
from gaussmith.camera import orbit
from gaussmith.density import adc, mcmc
from gaussmith.density import dreamgaussian as density
from gaussmith.events import Step
from gaussmith.gaussians import Gaussians, in_ball
from gaussmith.losses import photometric
from gaussmith.metrics import _photometric_triton
from gaussmith.photos import Scene, Similarity, View
from gaussmith.picture import Prepared
from gaussmith.priors.embedded.network import NetworkConfig, PriorNetwork
from gaussmith.priors.embedded.prior import EmbeddedPrior
from gaussmith.recipes import dreamgaussian, reconstruct
from gaussmith.train.adam import Adam
from gaussmith.train.judge import figures
from gaussmith.train.subject import KnownView, Subject


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Accelerator]:
    """The accelerator, which Triton's kernels run on too."""
    launch = interpreter.GridExecutor.__call__

    def launched(self: Any, *args: Any, **kwargs: Any) -> None:
        launch(self, *map(here, args), **{name: here(value) for name, value in kwargs.items()})

    monkeypatch.setattr(interpreter.GridExecutor, "__call__", launched)
    monkeypatch.setattr(accelerator, "compiles", lambda where: where == DEVICE)
    accelerator._constant.cache_clear()
    with Accelerator() as mode:
        yield mode
    accelerator._constant.cache_clear()


def photos(count: int = 4, side: int = 12, masked: bool = True) -> Scene:
    g = torch.Generator().manual_seed(3)
    views = []
    for i in range(count):
        camera = orbit(360 * i / count, 10.0, fovy=36.0, width=side)
        rgb = torch.randint(0, 255, (side, side, 3), generator=g, dtype=torch.uint8)
        views.append(View(f"{i}", camera, rgb, torch.full((side, side), 255, dtype=torch.uint8) if masked else None))
    similarity = Similarity(torch.eye(3).double(), torch.zeros(3).double(), 1.0)
    return Scene(views, torch.zeros(0, 3), torch.zeros(0, 3), similarity, 2.2, True, "test")


def watched(mode: Accelerator, found: dict[int, list[str]], losses: dict[int, float] | None = None) -> Any:
    """An event consumer that keeps each step's waits, and its loss."""

    def on_event(event: Any) -> None:
        if isinstance(event, Step):
            found[event.step] = list(mode.waits)
            mode.waits.clear()
            if losses is not None:
                losses[event.step] = event.values["loss"]

    return on_event


def reconstructed(on_event: Any, where: torch.device | str, steps: int, **changes: Any) -> Gaussians:
    """Eight Gaussians or so, trained for a few steps; density control works after step 2 of 5."""
    config = replace(
        reconstruct.with_steps(reconstruct.Config(), steps), points=8, max_gaussians=12, pixels_per_gaussian=1,
        save_every=100, warmup=((0, 1),), sh_every=2, eval_every=0, **changes,
    )  # fmt: skip
    scene = photos(masked=changes.get("strategy") != "mcmc")
    scene = replace(scene, points=scene.points.to(where), colors=scene.colors.to(where))
    facts: dict[str, Any] = {"seconds": {}, "density": {}, "bad_gradients": 0}
    job = reconstruct._Job(config, scene, list(scene.views), on_event, None, lambda *a, **k: None, facts)
    return reconstruct.train(job)


# One for the number of pairs, which the sort of the splats needs; one more where the loss is looked at.
STEADY, LOOK = ["number"], ["number", "number"]


def test_a_step_of_reconstruction_waits_once(device: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "LOOK_EVERY", 4)
    found: dict[int, list[str]] = {}
    here: dict[int, float] = {}
    there: dict[int, float] = {}
    times = adc.Config(start=2800, stop=0.5, min_count=4)
    reconstructed(watched(device, {}, here), "cpu", 5, adc=times)
    result = reconstructed(watched(device, found, there), DEVICE, 5, adc=times)
    assert result.means.device == DEVICE and len(result)
    # The first step has the start in it, the second controls the density, the last is saved.
    assert found[3] == STEADY and found[4] == LOOK and "size" in found[2], found
    # Looked at in steps 1 and 4, and the same as on the CPU.
    assert there[1] == pytest.approx(here[1], rel=1e-5) and there[4] == pytest.approx(here[4], rel=1e-3)
    assert there[3] == there[1] != there[4] == there[5]


def test_the_judge_sees_the_same_there(device: Accelerator) -> None:
    gaussians = in_ball(8, 0.5, torch.Generator().manual_seed(0))
    here, there = (figures(gaussians.to(where), photos(1).views, False, None) for where in ("cpu", DEVICE))
    assert there["psnr"] == pytest.approx(here["psnr"], abs=1e-3)
    assert there["ssim"] == pytest.approx(here["ssim"], abs=1e-4)


def test_mcmc_waits_as_often(device: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    monkeypatch.setattr(mcmc, "normal", lambda n, like, _: torch.randn(n, 3, generator=g).to(DEVICE, non_blocking=True))
    found: dict[int, list[str]] = {}
    reconstructed(watched(device, found), DEVICE, 3, strategy="mcmc", mcmc=mcmc.Config(start=10**7))
    assert found[2] == STEADY, found


def test_a_step_of_distillation_waits_once_a_picture(device: Accelerator) -> None:
    sizes = NetworkConfig(
        encoder_widths=(8, 8, 64), denoiser_widths=(8, 8, 64), encoder_blocks=1, denoiser_blocks=1, volume_channels=8,
        volume_depth=5, refiner_widths=(8,), ray_steps=4, embedding=16,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PriorNetwork(sizes)
    prior = EmbeddedPrior(network.requires_grad_(False).to(DEVICE))
    assert prior.device == DEVICE
    rgba = torch.ones(16, 16, 4)
    subject = Subject((KnownView(Prepared(rgba, 49.1, 1.0, (0.0, 0.0), (16, 16), True, "alpha")),), None)
    found: dict[int, list[str]] = {}
    config = dreamgaussian.Config(
        steps=3, views=1, points=8, sizes=((0.0, 0.25),), reference_size=16, densify=density.Config(start=90)
    )
    on_event = watched(device, found)
    facts: dict[str, Any] = {"density": dict.fromkeys(dreamgaussian._COUNTED, 0)}
    condition = prior.condition(torch.ones(4, 64, 64), 0.0)
    job = dreamgaussian._Job(config, subject, prior, condition, on_event, lambda *a, **k: None, facts)
    result = dreamgaussian.distill(job)
    assert result.means.device.type == "cpu"
    # The novel views and the known one, and every second step the known one's depth.
    assert found[2] == 3 * STEADY, found
    assert found[3] == 2 * STEADY, found


@pytest.mark.parametrize("shape", [(2, 11, 11, 1), (1, 12, 16, 3)])
def test_the_photometric_loss(device: Accelerator, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_photometric_triton, "BLOCK", 16)
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(shape, generator=g), torch.rand(shape, generator=g)
    b[:, :5] = a[:, :5]
    found = []
    for where in ("cpu", DEVICE):
        x = a.clone().to(where).requires_grad_()
        loss = photometric(x, b.to(where), 0.3)
        (2 * loss).backward()
        found.append((loss.detach().cpu(), x.grad.cpu()))
    torch.testing.assert_close(*(loss for loss, _ in found), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(*(grad for _, grad in found), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_adam(device: Accelerator, storage: Any) -> None:
    shares = {"sh": torch.tensor([[1.0], [0.05], [0.05]])}
    found = []
    for where in ("cpu", DEVICE):
        g = torch.Generator().manual_seed(1)
        tensors = {"a": torch.randn(700, generator=g).to(where), "sh": torch.randn(70, 3, 3, generator=g).to(where)}
        optim = Adam({"a": 0.01, "sh": 0.1}, shares={k: v.to(where) for k, v in shares.items()}, storage=storage)
        for step in range(3):
            for tensor in tensors.values():
                slope = torch.randn(tensor.shape, generator=g)
                slope[step * 10 : step * 10 + 2].view(2, -1)[:, 0] = math.nan
                tensor.grad = slope.to(where)
            device.waits.clear()
            optim.step(tensors)
            assert device.waits == []
        assert optim.bad_rows() == 12
        found.append({name: t.cpu() for name, t in (tensors | optim.state()).items()})
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name], expected, rtol=1e-2 if storage == "bfloat16" else 1e-5, atol=1e-6)
