"""Speed of the splat rasteriser: `python benchmarks/rasterize.py`.

Prints three tables. 1: typical training steps and the 20,000 x 512 px goal; blending rate = listed (Gaussian, tile)
pairs x 256 pixels / seconds in the blending kernel. 2: against the plain torch reference. 3 (--sweep): time against the
number of Gaussians and of pixels with the slope of a straight line through the logarithms; --plot draws it (needs
matplotlib). Every figure is the best of several runs. On a busy machine --cpu-time, one thread and its CPU seconds,
still gives figures that can be compared.

`python benchmarks/rasterize.py --device cuda --gsplat gsplat-1.5.3.tar.gz --save FOLDER` measures the GPU kernels
instead (`rasterize_cuda.py`): 10k, 100k and 1M Gaussians at 256², 512² and 1920x1080, beside gsplat, which is built
meanwhile (`gsplat_build.py` says where to get it; without the option an installed one is taken), with each kernel's
share and bound, and PASS or FAIL for each aim. --device cpu --rehearse walks through it in Triton's interpreter.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import gsplat_build  # it stands beside this file
from gaussmith.camera import orbit
from gaussmith.gaussians import Gaussians, in_ball
from gaussmith.render.splat import Backend, rasterize
from stopwatch import CLOCK, Stopwatch, use_cpu_time

CONSOLE = Console(width=110)


def scene(count: int, device: str, seed: int = 0) -> Gaussians:
    """A ball of coloured Gaussians of mixed opacity and shape, their size as in the start of DreamGaussian."""
    generator = torch.Generator().manual_seed(seed)
    gaussians = in_ball(count, 0.5, generator)
    gaussians.sh.copy_(torch.randn(gaussians.sh.shape, generator=generator) * 0.5)
    gaussians.quats.copy_(torch.randn(count, 4, generator=generator))
    gaussians.log_scales.add_(torch.randn(count, 3, generator=generator) * 0.3)
    gaussians.opacity_logits.copy_(torch.randn(count, generator=generator) * 1.5)
    return gaussians.to(device).map(lambda t: t.requires_grad_())


def measure(
    count: int, size: int, device: str, runs: int, backend: Backend = "auto", geometry: bool = False
) -> tuple[float, float]:
    """Best seconds of a forward and of a backward pass, one camera."""
    gaussians, camera = scene(count, device), orbit(30.0, 10.0, width=size)
    best = [np.inf, np.inf]
    for _ in range(runs):
        start = CLOCK["now"]()
        render = rasterize(gaussians, camera, geometry=geometry, backend=backend)
        middle = CLOCK["now"]()
        outputs = [render.rgb, render.alpha] + ([render.depth, render.normal] if geometry else [])
        gradients = [torch.ones_like(o) for o in outputs]
        ready = CLOCK["now"]()
        torch.autograd.grad(outputs, list(gaussians.tensors().values()), gradients)
        best = [min(best[0], middle - start), min(best[1], CLOCK["now"]() - ready)]
    return best[0], best[1]


def print_steps(device: str, runs: int) -> None:
    table = Table("Gaussians", "pixels", "forward ms", "backward ms", "(f+b)/f", "pairs", "blend G/s", "depth, normal")
    for count, size, geometry in (
        (5_000, 64, False), (5_000, 128, False), (10_000, 256, False), (20_000, 512, False), (20_000, 512, True),
    ):  # fmt: skip
        with Stopwatch() as watch:
            forward, backward = measure(count, size, device, runs, geometry=geometry)
        rate = watch.pairs * 256 / min(watch.seconds["blend"]) / 1e9
        table.add_row(
            f"{count:,}", f"{size}²", f"{forward * 1e3:.2f}", f"{backward * 1e3:.2f}", f"{1 + backward / forward:.2f}",
            f"{watch.pairs:,}", f"{rate:.2f}", "yes" if geometry else "no",
        )  # fmt: skip
    CONSOLE.print(table)


def print_reference(device: str, runs: int) -> None:
    table = Table("Gaussians", "pixels", "reference f+b ms", "kernels f+b ms", "times faster")
    for count, size in ((500, 64), (1_000, 64), (1_000, 128)):
        slow = sum(measure(count, size, device, 2, "reference"))
        fast = sum(measure(count, size, device, runs))
        table.add_row(f"{count:,}", f"{size}²", f"{slow * 1e3:.1f}", f"{fast * 1e3:.2f}", f"{slow / fast:.0f}")
    CONSOLE.print(table)


def slope(x: list[int], y: list[float]) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def sweep(device: str, runs: int, largest: int) -> dict[str, tuple[list[int], list[float]]]:
    """Forward and backward seconds against Gaussians (at 512 px) and against pixels (20,000 Gaussians)."""
    counts = [n for n in (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000) if n <= largest]
    sides = [128, 256, 512, 1024]
    by_count = [sum(measure(n, 512, device, runs if n <= 100_000 else 2)) for n in counts]
    by_side = [sum(measure(20_000, s, device, runs)) for s in sides]
    return {"Gaussians at 512²": (counts, by_count), "pixels with 20,000 Gaussians": ([s * s for s in sides], by_side)}


def straightness(x: list[int], y: list[float]) -> float:
    """R^2 of seconds = fixed + rate * x, every point weighted by its own size."""
    weights = 1 / np.asarray(y)
    fit = np.polyval(np.polyfit(x, y, 1, w=weights), x)
    return float(1 - np.sum(((fit - y) * weights) ** 2) / np.sum(((y - np.mean(y)) * weights) ** 2))


def print_sweep(lines: dict[str, tuple[list[int], list[float]]]) -> None:
    for name, (x, y) in lines.items():
        table = Table(name, *(f"{v:,}" for v in x), "log slope", "upper half", "R² of a line")
        half = len(x) // 2
        table.add_row(
            "f+b ms", *(f"{v * 1e3:.1f}" for v in y),
            f"{slope(x, y):.2f}", f"{slope(x[half:], y[half:]):.2f}", f"{straightness(x, y):.4f}",
        )  # fmt: skip
        CONSOLE.print(table)


def plot(lines: dict[str, tuple[list[int], list[float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(lines), figsize=(10, 4), layout="constrained")
    for axis, (name, (x, y)) in zip(axes, lines.items()):
        axis.loglog(x, [v * 1e3 for v in y], "o-", label=f"slope {slope(x, y):.2f}")
        axis.set(xlabel=name, ylabel="forward + backward, ms")
        axis.grid(which="both", alpha=0.3)
        axis.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--runs", type=int, default=20, help="runs of which the best counts")
    parser.add_argument("--sweep", action="store_true", help="also the table against Gaussians and pixels")
    parser.add_argument("--largest", type=int, default=1_000_000, help="most Gaussians in the sweep")
    parser.add_argument("--plot", type=Path, help="picture file of the sweep")
    parser.add_argument("--cpu-time", action="store_true", help="one thread, CPU seconds")
    parser.add_argument("--gsplat", type=Path, help="gsplat's sdist or source folder, to be built for the comparison")
    parser.add_argument("--patience", type=float, default=6.0, help="minutes to wait for that build")
    parser.add_argument("--save", type=Path, help="folder for rasterize.json and rasterize.md (GPU tables)")
    parser.add_argument("--rehearse", action="store_true", help="the GPU tables in Triton's interpreter, tiny")
    args = parser.parse_args()
    if args.device == "cuda" or args.rehearse:
        if args.rehearse:
            os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported
        import rasterize_cuda

        cases, runs = (rasterize_cuda.REHEARSAL, 1) if args.rehearse else (rasterize_cuda.CASES, args.runs)
        build = gsplat_build.start(args.gsplat) if args.gsplat else None
        rasterize_cuda.report(lambda n: scene(n, args.device), runs, cases, build, args.patience * 60, args.save)
        return
    if args.cpu_time:
        use_cpu_time()
    start = CLOCK["now"]()
    measure(100, 32, args.device, 1, geometry=True)
    CONSOLE.print(f"threads {torch.get_num_threads()}, first call {CLOCK['now']() - start:.1f} s")
    CONSOLE.print(f"load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "")
    print_steps(args.device, args.runs)
    print_reference(args.device, args.runs)
    if args.sweep or args.plot:
        lines = sweep(args.device, max(args.runs // 4, 3), args.largest)
        print_sweep(lines)
        if args.plot:
            plot(lines, args.plot)


if __name__ == "__main__":
    main()
