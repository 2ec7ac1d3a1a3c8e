"""Where the time of a training step of the reconstruction goes: `python benchmarks/step.py`.

A step: one view of N Gaussians, forward, 0.8 L1 + 0.2 D-SSIM, backward, Adam. Every row is the fastest of several
steps, taken apart, in milliseconds. --plot draws the time against Gaussians and against pixels (needs matplotlib). On a
busy machine --cpu-time, one thread and its CPU seconds, gives figures that can be compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from gaussmith.camera import Camera, orbit
from gaussmith.gaussians import Gaussians, from_points
from gaussmith.losses import photometric
from gaussmith.render.splat import rasterize
from gaussmith.train.adam import Adam
from stopwatch import CLOCK, Stopwatch, use_cpu_time  # they stand beside this file
from tables import heading, markdown

PARTS = ("project", "bin", "blend", "loss", "blend_backward", "gather", "project_backward", "Adam")
RATES = {"means": 1e-5, "log_scales": 1e-3, "quats": 1e-3, "opacity_logits": 1e-2, "sh": 1e-3}
WIDTH, HEIGHT = 500, 375


def scene(count: int, degree: int, seed: int = 0) -> Gaussians:
    """Gaussians on a rough sphere of radius 1: what a photographed surface looks like to the rasteriser."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    shell = torch.nn.functional.normalize(normal(count, 3), dim=-1) * (1 + 0.03 * normal(count, 1))
    some = from_points(shell, torch.rand(count, 3, generator=generator), sh_degree=degree)
    some.opacity_logits.copy_(normal(count) * 1.5)
    some.log_scales.add_(normal(count, 3) * 0.3)
    some.quats.copy_(normal(count, 4))
    some.sh[:, 1:] = normal(count, some.sh.shape[1] - 1, 3) * 0.1
    return some


def step(gaussians: Gaussians, camera: Camera, target: torch.Tensor, optimizer: Adam) -> dict[str, float]:
    """One step; seconds by part, with the whole as "total" and what no part accounts for as "rest"."""
    with Stopwatch() as watch:
        start = CLOCK["now"]()
        for tensor in gaussians.tensors().values():
            tensor.requires_grad_()
        render = rasterize(gaussians, camera, geometry=False)
        loss = watch.time("loss", photometric, render.rgb, target)
        loss.backward()
        watch.time("Adam", optimizer.step, gaussians.tensors())
        total = CLOCK["now"]() - start
    parts = {name: sum(watch.seconds[name]) for name in PARTS}
    return {**parts, "rest": total - sum(parts.values()), "total": total}


def fastest(count: int, degree: int, width: int, height: int, runs: int) -> dict[str, float]:
    """The fastest of `runs` steps, over a ring of eight cameras."""
    gaussians, optimizer, best = scene(count, degree), Adam(dict(RATES)), {"total": np.inf}
    for i in range(runs + 1):  # the first compiles, and fills the optimiser
        camera = orbit(45.0 * (i % 8), 10.0, radius=2.7, width=width, height=height)
        with torch.no_grad():
            target = rasterize(scene(count, degree, seed=1), camera, geometry=False).rgb
        done = step(gaussians, camera, target, optimizer)
        gaussians = gaussians.detach()
        best = min(best, done, key=lambda parts: parts["total"]) if i else best
    return best


def plot(path: Path, runs: int) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    counts, sides = [2_000, 10_000, 20_000, 35_000, 50_000], [0.25, 0.5, 0.75, 1.0]
    by_count = [fastest(n, 1, WIDTH, HEIGHT, runs)["total"] for n in counts]
    by_size = [fastest(20_000, 1, int(s * WIDTH), int(s * HEIGHT), runs)["total"] for s in sides]
    lines = {
        f"Gaussians at {WIDTH}x{HEIGHT}": (counts, by_count),
        "pixels with 20,000 Gaussians": ([int(s * WIDTH) * int(s * HEIGHT) for s in sides], by_size),
    }
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, (name, (x, y)) in zip(axes, lines.items()):
        slope, fixed = np.polyfit(x, y, 1)
        axis.plot(x, [v * 1e3 for v in y], "o")
        axis.plot([0, max(x)], [fixed * 1e3, (fixed + slope * max(x)) * 1e3], label=f"{fixed * 1e3:.0f} ms + a line")
        axis.set(xlabel=name, ylabel="training step, ms", xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=16, help="steps of which the fastest counts")
    parser.add_argument("--plot", type=Path, help="picture file of time against Gaussians and pixels")
    parser.add_argument("--cpu-time", action="store_true", help="one thread, CPU seconds")
    args = parser.parse_args()
    if args.cpu_time:
        use_cpu_time()
    rows = []
    for count, degree, share in (
        (5_000, 0, 0.25), (5_000, 1, 0.5), (5_000, 1, 1.0), (20_000, 0, 1.0), (20_000, 3, 1.0), (50_000, 0, 1.0),
        (50_000, 3, 1.0),
    ):  # fmt: skip
        width, height = int(share * WIDTH), int(share * HEIGHT)
        parts = fastest(count, degree, width, height, args.runs)
        times = [f"{parts[name] * 1e3:.1f}" for name in (*PARTS, "rest", "total")]
        rows.append([f"{count:,}", str(degree), f"{width}x{height}", *times, f"{1 / parts['total']:.0f}"])
    titles = ["Gaussians", "SH degree", "pixels", *(n.replace("_", " ") for n in PARTS), "rest", "total", "steps/s"]
    Console(width=200, highlight=False).print(heading() + "\n" + markdown(titles, rows))
    if args.plot:
        plot(args.plot, args.runs)


if __name__ == "__main__":
    main()
