"""The GPU tables of `benchmarks/rasterize.py --device cuda`: speed, memory, each kernel's share, and gsplat beside it.

Both sides start from the same tensors before their activations, draw the same picture and move with Adam, gsplat with
torch's fused one. gsplat is measured packed and unpacked, and an aim is met only against the better of the two.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

import gsplat_build  # it stands beside this file
from gaussmith.camera import Camera, orbit
from gaussmith.gaussians import Gaussians
from gaussmith.io.atomic import write_bytes
from gaussmith.render import _triton, _triton_bin
from gaussmith.render._splat_rules import LOW_PASS, NEAR, TILE
from gaussmith.render.splat import rasterize
from gaussmith.train.adam import Adam
from tables import heading, markdown

CASES = [(n, s) for n in (10_000, 100_000, 1_000_000) for s in ((256, 256), (512, 512), (1920, 1080))]
REHEARSAL = [(20, (24, 16)), (40, (19, 33))]
LAUNCH_BOUND = 10_000
"""Up to so many Gaussians the aim is twice gsplat's speed, beyond it once."""
RATES = {"means": 1e-6, "log_scales": 1e-6, "quats": 1e-6, "opacity_logits": 1e-6, "sh": 1e-6}
LANES = 128
"""float32 lanes of a multiprocessor (NVIDIA since Ampere GA10x and Hopper)."""
FORWARD_STEPS, BACKWARD_STEPS = 18, 36
"""Arithmetic instructions that a pixel cannot do without per listed Gaussian, counted by hand, no geometry."""
SORTS = ("RadixSort", "bitonicSort", "radixSort")
OURS, LOOSE, THEIRS = "deterministic", "atomics", ("gsplat", "gsplat packed")


@dataclass
class Figures:
    """Best seconds of the phases, peak bytes of a step beyond the scene, seconds by kernel (profiled step)."""

    forward: float
    backward: float
    step: float
    memory: int
    kernels: dict[str, float] = field(default_factory=dict)


@dataclass
class Case:
    """What was measured of `count` Gaussians in a picture: figures by side, how far gsplat's picture is from ours, and
    what went wrong with gsplat."""

    count: int
    width: int
    height: int
    pairs: int
    figures: dict[str, Figures]
    bounds: dict[str, tuple[float, str]]
    difference: dict[str, float] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> list[str]:
        return [f"{self.count:,}", f"{self.width}x{self.height}"]

    def best(self, read: Callable[[Figures], float]) -> float | None:
        """The better of gsplat's two ways; None without gsplat."""
        found = [read(self.figures[name]) for name in THEIRS if name in self.figures]
        return min(found) if found else None


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
    """Seconds on the device by kernel of one step; what torch.sort launches counts as "sort"."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    seconds: dict[str, float] = {}
    for event in profile.key_averages():
        name = "sort" if any(s in event.key for s in SORTS) else event.key
        if event.self_device_time_total > 0:
            seconds[name] = seconds.get(name, 0.0) + event.self_device_time_total / 1e6
    return seconds


def _measure(draw: Callable[[], Tensor], leaves: list[Tensor], move: Callable[[], object], runs: int) -> Figures:
    cuda = leaves[0].is_cuda
    weight = torch.ones_like(draw())

    def step() -> None:
        torch.autograd.backward(draw(), weight)
        move()

    for _ in range(3 if cuda else 1):
        step()
    if cuda:
        torch.cuda.empty_cache()
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


def gsplat(scene: Gaussians, camera: Camera, runs: int, packed: bool) -> tuple[Figures, Tensor]:
    """The same by gsplat, with its conventions as near ours as they can be; and its picture. ImportError without it."""
    from gsplat import rasterization

    leaves = [t.detach().clone().requires_grad_() for t in scene.tensors().values()]
    means, log_scales, quats, logits, sh = leaves
    optimizer = torch.optim.Adam(leaves, lr=1e-6, eps=1e-15, fused=True)
    viewmats, K = camera.w2c.to(means), camera.K.to(means)

    def draw() -> Tensor:
        return rasterization(
            means, quats, log_scales.exp(), logits.sigmoid(), sh, viewmats, K, camera.width, camera.height,
            near_plane=NEAR, eps2d=LOW_PASS, sh_degree=int(sh.shape[1] ** 0.5) - 1, packed=packed,
        )[0]  # fmt: skip

    def move() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    picture = draw().detach().clone()
    return _measure(draw, leaves, move, runs), picture


def count_pairs(scene: Gaussians, camera: Camera) -> int:
    """How many (Gaussian, tile) pairs the picture lists."""
    found: list[int] = []
    bin_splats = _triton_bin.bin_splats

    def counted(*args: object) -> _triton_bin.TileLists:
        lists = bin_splats(*args)
        found.append(len(lists.entry_splat))
        return lists

    with mock.patch.object(_triton_bin, "bin_splats", counted):
        rasterize(scene, camera, geometry=False, backend="triton")
    return found[0]


def bounds(n: int, bands: int, pairs: int, bandwidth: float, lanes: float) -> dict[str, tuple[float, str]]:
    """Least seconds of each kernel, one camera, and why: the bytes it must move at `bandwidth` a second (a sort: each
    digit of 8 bits reads and writes all keys and indices), or its arithmetic instructions at `lanes` a second."""
    parameters, splat, pixels = 4 * (11 + 3 * bands), 4 * 16, TILE * TILE * pairs
    moved = {
        "project": n * (parameters + splat),
        "sort": 2 * (4 * 12 * n + 2 * 10 * pairs),
        "walk_tiles": 2 * n * (splat + 8) + 6 * pairs,
        "list_tiles": 18 * pairs,
        "gather": 36 * pairs + 80 * n,
        "project_backward": n * (2 * parameters + splat),
        "_adam_rows": 7 * n * parameters,
    }
    steps = {"blend": pixels * FORWARD_STEPS, "blend_backward": pixels * BACKWARD_STEPS}
    return {k: (v / bandwidth, "bytes") for k, v in moved.items()} | {
        k: (v / lanes, "arithmetic") for k, v in steps.items()
    }


def _device_limits(cuda: bool) -> tuple[float, float]:
    """Bytes a second of a large copy, measured, and float32 lanes a second, from the data sheet's clock."""
    if not cuda:
        return 1e10, 1e10
    source = torch.empty(2**28, device="cuda", dtype=torch.float32)
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / _best(lambda: target.copy_(source), 10, True)
    properties = torch.cuda.get_device_properties(0)
    clock = getattr(properties, "clock_rate", 1_700_000) * 1e3
    return bandwidth, properties.multi_processor_count * LANES * clock


def measure(scene: Gaussians, width: int, height: int, runs: int, limits: tuple[float, float], beside: bool) -> Case:
    """One row of the tables; `beside`: gsplat's too."""
    camera = orbit(30.0, 10.0, width=width, height=height)
    pairs, n = count_pairs(scene, camera), len(scene)
    case = Case(n, width, height, pairs, {}, bounds(n, scene.sh.shape[1], pairs, *limits))
    with torch.no_grad():
        picture = rasterize(scene, camera, geometry=False, backend="triton").rgb
    if beside:
        for name in THEIRS:
            try:
                case.figures[name], other = gsplat(scene, camera, runs, packed=name != THEIRS[0])
            except Exception as error:  # whatever foreign code brings about, our table stands
                case.trouble[name] = f"{type(error).__name__}: {str(error).strip()[:200]}"
                continue
            gap = (picture - other).abs()
            case.difference[name] = float(gap.mean())
            case.difference[f"{name}, largest"] = float(gap.max())
    case.figures |= {OURS: ours(scene, camera, runs, True), LOOSE: ours(scene, camera, runs, False)}
    return case


def aims(cases: list[Case]) -> list[list[str]]:
    """Every aim with what was reached; none where gsplat is missing."""
    rows = []
    for case in cases:
        step, memory, mine = case.best(lambda f: f.step), case.best(lambda f: f.memory), case.figures[OURS]
        if step is None or memory is None:
            continue
        ratio, wanted = step / mine.step, 2.0 if case.count <= LAUNCH_BOUND else 1.0
        rows.append([*case.title, f"step {ratio:.2f}x gsplat's, aim {wanted}x", "PASS" if ratio >= wanted else "FAIL"])
        reached = f"{mine.memory / 2**20:.0f} MiB, gsplat {memory / 2**20:.0f} MiB"
        rows.append([*case.title, reached, "PASS" if mine.memory <= memory else "FAIL"])
    return rows


def tables(cases: list[Case], note: str) -> str:
    """All tables as Markdown."""
    speed, shares, gaps = [], [], []
    for case in cases:
        reference = case.best(lambda f: f.step)
        for name, f in case.figures.items():
            times = [f"{s * 1e3:.3f}" for s in (f.forward, f.backward, f.step)]
            ratio = f"{reference / f.step:.2f}" if reference else "-"
            speed.append([*case.title, f"{case.pairs:,}", name, *times, ratio, f"{f.memory / 2**20:.0f}"])
        speed += [[*case.title, "", f"{name}: {why}", *["-"] * 5] for name, why in case.trouble.items()]
        gaps += [[*case.title, name, f"{gap:.2e}"] for name, gap in case.difference.items()]
        kernels = case.figures[OURS].kernels
        for name, seconds in sorted(kernels.items(), key=lambda item: -item[1]):
            share = seconds / sum(kernels.values())
            least, why = case.bounds.get(name, (0.0, "-"))
            if share > 0.02:
                ratio = f"{seconds / least:.1f}" if least else "-"
                shares.append([*case.title, name[:60], f"{seconds * 1e6:.0f}", f"{100 * share:.0f}", ratio, why])
    where = ["Gaussians", "pixels"]
    parts = [heading(), note]
    parts.append(markdown([*where, "pairs", "", "forward ms", "backward ms", "step ms", "x gsplat", "peak MiB"], speed))
    parts.append(markdown([*where, "kernel", "us", "% of device time", "x bound", "bound"], shares) if shares else "")
    parts.append(markdown([*where, "picture against ours, mean difference", ""], gaps) if gaps else "")
    parts.append(markdown([*where, "aim", ""], aims(cases)) if gaps else "")
    return "\n\n".join(part for part in parts if part)


def save(folder: Path | None, cases: list[Case], text: str) -> None:
    """rasterize.json and rasterize.md, whole at every moment."""
    if folder is not None:
        write_bytes(folder / "rasterize.json", json.dumps([asdict(case) for case in cases], indent=1).encode())
        write_bytes(folder / "rasterize.md", text.encode())


def report(
    make_scene: Callable[[int], Gaussians], runs: int, shapes: list, build: gsplat_build.Build | None, patience: float,
    folder: Path | None,
) -> None:  # fmt: skip
    """Measure and print everything; `make_scene` gives n Gaussians on the device to be measured.

    While gsplat is being built, our rows are drawn once already: that compiles the kernels, and leaves a table if
    nothing else comes about. What counts is then measured beside gsplat, on a machine that does nothing else.
    """
    cuda, began = make_scene(1).means.is_cuda, time.monotonic()
    limits = _device_limits(cuda)
    note = f"Copy {limits[0] / 1e12:.2f} TB/s, {limits[1] / 1e12:.1f} T float32 instructions/s."
    if not cuda:
        note = f"A rehearsal: {'the interpreter' if _triton.INTERPRETED else 'no GPU'}; the figures mean nothing."

    def walk(beside: bool, remark: str) -> str:
        cases = []
        for n, (width, height) in shapes:
            cases.append(measure(make_scene(n), width, height, runs, limits, beside))
            save(folder, cases, tables(cases, f"{note} {remark}"))
        return tables(cases, f"{note} {remark}")

    reason = None
    if build is not None:
        text = walk(False, "Measured while gsplat was being built, which slows it.")
        print(text, flush=True)
        reason = build.wait(patience - (time.monotonic() - began))
    reason = reason or gsplat_build.missing()
    remark = f"No gsplat: {reason}." if reason else "x gsplat: against the faster of packed and not."
    print(walk(not reason, remark), flush=True)
