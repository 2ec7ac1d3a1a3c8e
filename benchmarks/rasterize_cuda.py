"""The GPU tables of `benchmarks/rasterize.py --device cuda`: speed, memory, each kernel's share, and gsplat beside it.

gsplat is measured in the same run where it can be imported (its build takes minutes: import it once before). Both
sides start from the same tensors before their activations, draw the same picture and move with Adam.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from gaussmith.camera import Camera, orbit
from gaussmith.gaussians import Gaussians
from gaussmith.render._splat_rules import LOW_PASS, NEAR, TILE
from gaussmith.render.splat import rasterize
from gaussmith.train.adam import Adam

CASES = [(n, s) for n in (10_000, 100_000, 1_000_000) for s in ((256, 256), (512, 512), (1920, 1080))]
RATES = {"means": 1e-6, "log_scales": 1e-6, "quats": 1e-6, "opacity_logits": 1e-6, "sh": 1e-6}
LANES = 128
"""float32 lanes of a multiprocessor (NVIDIA since Ampere GA10x and Hopper)."""
FORWARD_STEPS, BACKWARD_STEPS = 18, 36
"""Arithmetic instructions that a pixel cannot do without per listed Gaussian, counted by hand, no geometry."""


@dataclass
class Figures:
    """Best seconds of the phases, peak bytes of a step beyond the scene, seconds by kernel (profiled step)."""

    forward: float
    backward: float
    step: float
    memory: int
    kernels: dict[str, float] = field(default_factory=dict)


def _best(run: Callable[[], object], runs: int, cuda: bool) -> float:
    """Best seconds of `run`, the device's own clock where there is one."""
    best = float("inf")
    for _ in range(runs):
        if not cuda:
            start = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - start)
            continue
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        first.record()
        run()
        last.record()
        last.synchronize()
        best = min(best, first.elapsed_time(last) / 1e3)
    return best


def _kernels(step: Callable[[], object]) -> dict[str, float]:
    """Seconds on the device by kernel of one step."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    return {e.key: e.self_device_time_total / 1e6 for e in profile.key_averages() if e.self_device_time_total > 0}


def _measure(draw: Callable[[], Tensor], leaves: list[Tensor], move: Callable[[], object], runs: int) -> Figures:
    cuda = leaves[0].is_cuda
    weight = torch.ones_like(draw())

    def step() -> None:
        torch.autograd.backward(draw(), weight)
        move()

    for _ in range(3):
        step()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    step()
    memory = torch.cuda.max_memory_allocated() - before if cuda else 0
    forward = _best(draw, runs, cuda)
    picture = draw()
    backward = _best(lambda: torch.autograd.grad(picture, leaves, weight, retain_graph=True), runs, cuda)
    return Figures(forward, backward, _best(step, runs, cuda), memory, _kernels(step) if cuda else {})


def ours(scene: Gaussians, camera: Camera, runs: int, deterministic: bool) -> Figures:
    optimizer, tensors = Adam(dict(RATES)), scene.tensors()

    def draw() -> Tensor:
        return rasterize(scene, camera, geometry=False, backend="triton", deterministic=deterministic).rgb

    return _measure(draw, list(tensors.values()), lambda: optimizer.step(tensors), runs)


def gsplat(scene: Gaussians, camera: Camera, runs: int) -> Figures | None:
    """The same by gsplat, or None where it is not installed."""
    try:
        from gsplat import rasterization
    except ImportError:
        return None
    leaves = [t.detach().clone().requires_grad_() for t in scene.tensors().values()]
    means, log_scales, quats, logits, sh = leaves
    optimizer = torch.optim.Adam(leaves, lr=1e-6, eps=1e-15, fused=True)
    viewmats, K = camera.w2c.to(means), camera.K.to(means)

    def draw() -> Tensor:
        return rasterization(
            means, quats, log_scales.exp(), logits.sigmoid(), sh, viewmats, K, camera.width, camera.height,
            near_plane=NEAR, eps2d=LOW_PASS, sh_degree=int(sh.shape[1] ** 0.5) - 1, packed=False,
        )[0]  # fmt: skip

    def move() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return _measure(draw, leaves, move, runs)


def _pairs(scene: Gaussians, camera: Camera) -> int:
    """How many (Gaussian, tile) pairs the picture lists."""
    from gaussmith.render import _triton, _triton_bin

    parameters = [t.detach().contiguous() for t in scene.tensors().values()]
    c2w, K = (t.to(parameters[0]).contiguous() for t in (camera.c2w, camera.K))
    means2d, splats, reach, _ = _triton._Project.apply(*parameters, c2w, K, camera.width, camera.height)
    return len(_triton_bin.bin_splats(means2d, splats, reach, camera.width, camera.height).entry_splat)


def bounds(n: int, bands: int, pairs: int, bandwidth: float, lanes: float) -> dict[str, float]:
    """Least seconds of each kernel: the bytes it must move at `bandwidth`, or its arithmetic at `lanes` a second."""
    parameters, splat, pixels = 4 * (11 + 3 * bands), 4 * 16, TILE * TILE * pairs
    return {
        "project": n * (parameters + splat) / bandwidth,
        "walk_tiles": (2 * n * splat + 12 * pairs) / bandwidth,
        "blend": pixels * FORWARD_STEPS / lanes,
        "blend_backward": pixels * BACKWARD_STEPS / lanes,
        "gather": (36 * pairs + 64 * n) / bandwidth,
        "project_backward": n * (2 * parameters + splat) / bandwidth,
    }


def _device_limits() -> tuple[float, float]:
    """Bytes a second of a large copy, measured, and float32 lanes a second, from the data sheet's clock."""
    source = torch.empty(2**28, device="cuda", dtype=torch.float32)
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / _best(lambda: target.copy_(source), 10, True)
    properties = torch.cuda.get_device_properties(0)
    clock = getattr(properties, "clock_rate", 1_700_000) * 1e3
    return bandwidth, properties.multi_processor_count * LANES * clock


def print_tables(make_scene: Callable[[int], Gaussians], runs: int, cases: list = CASES) -> None:
    """Both tables; `make_scene` gives n Gaussians on the device to be measured."""
    console = Console(width=150)
    cuda = make_scene(1).means.is_cuda
    bandwidth, lanes = _device_limits() if cuda else (1e10, 1e10)
    console.print(
        f"{torch.cuda.get_device_name() if cuda else 'interpreter'}, torch {torch.__version__}, copy "
        f"{bandwidth / 1e12:.2f} TB/s, {lanes / 1e12:.1f} T float32 instructions/s"
    )
    head = ("Gaussians", "pixels", "pairs", "", "forward ms", "backward ms", "step ms", "x gsplat's step", "peak MiB")
    table, shares = Table(*head), Table("Gaussians", "pixels", "kernel", "us", "% of device time", "x bound")
    for n, (width, height) in cases:
        scene, camera = make_scene(n), orbit(30.0, 10.0, width=width, height=height)
        pairs, other = _pairs(scene, camera), gsplat(scene, camera, runs)
        rows = {"deterministic": ours(scene, camera, runs, True), "atomics": ours(scene, camera, runs, False)}
        rows |= {"gsplat": other} if other else {}
        for name, f in rows.items():
            table.add_row(
                f"{n:,}", f"{width}x{height}", f"{pairs:,}", name, f"{f.forward * 1e3:.3f}", f"{f.backward * 1e3:.3f}",
                f"{f.step * 1e3:.3f}", f"{other.step / f.step:.2f}" if other else "-", f"{f.memory / 2**20:.0f}",
            )  # fmt: skip
        least = bounds(n, scene.sh.shape[1], pairs, bandwidth, lanes)
        kernels = rows["deterministic"].kernels
        for name, seconds in sorted(kernels.items(), key=lambda item: -item[1]):
            share = seconds / sum(kernels.values())
            if share > 0.02:
                ratio = f"{seconds / least[name]:.1f}" if name in least else "-"
                shares.add_row(
                    f"{n:,}", f"{width}x{height}", name[:60], f"{seconds * 1e6:.0f}", f"{100 * share:.0f}", ratio
                )
    console.print(table)
    console.print(shares)
