"""Reconstruction from photos: `python benchmarks/reconstruct.py --truth --photos --speed --sweep --seeds 5`.

--truth   objects of objects.npz on 100 known views (every eighth held out) rendered by the mesh rasteriser, over white
--photos  every photo set of --data, from plain photos on: registration, and held-out figures of every eighth photo
--speed   11 photos at 500x375 and 5,000 starting points: steps a second, time of the whole run, peak memory
--sweep   time of a step against the number of Gaussians and of pixels
--seeds N spread of the held-out PSNR over N seeds, on the first photo set

Each alone gives the memory that it takes by itself. Structure from motion is kept in --work and not repeated.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from cases import example_cases
from gaussmith import api
from gaussmith.camera import orbit
from gaussmith.events import Event, OnEvent, Step, ignore
from gaussmith.io.image import to_uint8
from gaussmith.mesh import Mesh
from gaussmith.photos import Scene, Similarity, View
from gaussmith.photos.frame import scene_extent
from gaussmith.recipes import reconstruct as recipe
from gaussmith.synth.objects import load_objects
from gaussmith.train.reconstruction import peak_memory
from oracle import rgba
from rasterize import slope, straightness
from tables import heading, markdown, stop_on_user_error

GOLDEN = 360 * (1 - 2 / (1 + 5**0.5))  # degrees: azimuths of a spiral that covers the sphere evenly
FOVY = 36.0


def truth(mesh: Mesh, name: str, count: int, size: int) -> Scene:
    """`count` views evenly over the sphere, nearly from pole to pole, of an object at the origin."""
    place = (np.arange(count) + 0.5) / count
    elevation, azimuth = 0.9 * np.degrees(np.arcsin(1 - 2 * place)), GOLDEN * np.arange(count)
    views = []
    for i in range(count):
        camera = orbit(float(azimuth[i]), float(elevation[i]), fovy=FOVY, width=size)
        seen = rgba(mesh, camera, supersample=3)[0]
        colors = seen[..., :3] / seen[..., 3:].clamp_min(1e-6)
        pixels = torch.from_numpy(to_uint8(torch.cat([colors, seen[..., 3:]], dim=-1)))
        views.append(View(f"{i:03d}", camera, pixels[..., :3].contiguous(), pixels[..., 3].contiguous()))
    extent = scene_extent(torch.cat([view.camera.position for view in views]))
    same = Similarity(torch.eye(3).double(), torch.zeros(3).double(), 1.0)
    return Scene(tuple(views), torch.zeros(0, 3), torch.zeros(0, 3), same, extent, True, name)


def on(scene: Scene, device: str) -> Scene:
    return replace(scene, points=scene.points.to(device), colors=scene.colors.to(device))


def settings(args: argparse.Namespace, strategy: str) -> recipe.Config:
    config = recipe.with_steps(recipe.Config(), args.steps)
    most = config.max_gaussians if args.max_gaussians is None else args.max_gaussians
    return replace(config, strategy=strategy, max_gaussians=most, antialiased=args.antialiased, storage=args.storage)


def told(steps: int) -> OnEvent:
    """A consumer that prints a line of a long run, with its seconds, every 500 steps; none for no steps."""
    started = time.monotonic()

    def on_event(event: Event) -> None:
        if isinstance(event, Step) and event.stage == "train" and event.step % 500 == 0:
            print(event.step, f"{time.monotonic() - started:.1f} s", event.values, file=sys.stderr, flush=True)

    return on_event if steps else ignore


TITLES = ["scene", "strategy", "steps", "Gaussians", "train PSNR", "PSNR", "SSIM", "LPIPS", "train s", "s in all"]


def row(name: str, result: recipe.Result, seconds: float) -> list[str]:
    report = result.report
    kept = report["held_out"]
    return [
        name, report["settings"]["strategy"], f"{report['settings']['steps']:,}", f"{len(result.gaussians):,}",
        f"{report['train']['psnr']:.2f}", f"{kept['psnr']:.2f}", f"{kept['ssim']:.4f}",
        f"{kept['lpips']:.3f}" if "lpips" in kept else "not installed",
        f"{report['seconds']['train']:.0f}", f"{seconds:.0f}",
    ]  # fmt: skip


def timed(work: Callable[[], recipe.Result]) -> tuple[recipe.Result, float]:
    started = time.monotonic()
    return work(), time.monotonic() - started


def print_truth(args: argparse.Namespace) -> None:
    rows = []
    for case in example_cases(load_objects(args.data / "objects.npz"), args.objects):
        scene = on(truth(case.mesh, case.name, 100, args.size), args.device)
        for strategy in args.strategies:
            job = settings(args, strategy)
            result, seconds = timed(lambda: recipe.run(job, scene, told(args.steps * args.watch)))  # noqa: B023
            rows.append(row(case.name, result, seconds))
            if args.output:
                result.save(args.output / f"{case.name}-{strategy}")
    print(f"\n100 known views at {args.size} pixels, every eighth held out, over white:\n")
    print(markdown(TITLES, rows))


def photo_sets(args: argparse.Namespace) -> Iterator[tuple[str, Scene]]:
    """Name and scene of every folder of photos, at most `--side` pixels wide."""
    for folder in sorted(p for p in (args.data / "photos").iterdir() if p.is_dir()):
        work = args.work / folder.name
        yield folder.name, on(api.load_photos(folder, max_side=args.side, work=work), args.device)


def print_photos(args: argparse.Namespace) -> None:
    rows = []
    for name, scene in photo_sets(args):
        sides = f"{scene.views[0].camera.width}x{scene.views[0].camera.height}"
        label = f"{name}, {len(scene.views)} photos, {sides}, {len(scene.points):,} points"
        for strategy in args.strategies:
            job = settings(args, strategy)
            result, seconds = timed(lambda: recipe.run(job, scene, told(args.steps * args.watch)))  # noqa: B023
            rows.append(row(label, result, seconds))
            if args.output:
                result.save(args.output / f"{name}-{strategy}")
    print("\nPhotos, every eighth held out:\n")
    print(markdown(TITLES, rows))


def few(scene: Scene, photos: int, points: int) -> Scene:
    """`photos` of the scene's views, evenly chosen, and exactly that many points: its own and, if they do not suffice,
    copies of them a little aside."""
    views = tuple(scene.views[i * len(scene.views) // photos] for i in range(photos))
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(points) % len(scene.points)
    aside = 0.02 * torch.randn(points, 3, generator=generator) * (torch.arange(points) >= len(scene.points))[:, None]
    return replace(scene, views=views, points=scene.points[index] + aside.to(scene.points), colors=scene.colors[index])


class Clock:
    """Seconds at which each training step ended, and the Gaussians there were."""

    def __init__(self, on_event: OnEvent = ignore) -> None:
        self.ends: list[float] = []
        self.counts: list[float] = []
        self.on_event = on_event

    def __call__(self, event: Event) -> None:
        if isinstance(event, Step) and event.stage == "train":
            self.ends.append(time.perf_counter())
            self.counts.append(event.values["gaussians"])
        self.on_event(event)

    def seconds(self, first: int, last: int) -> float:
        """From the end of step `first` to that of step `last`."""
        return self.ends[last - 1] - self.ends[first - 1]


def print_speed(args: argparse.Namespace) -> None:
    _, scene = next(photo_sets(args))
    scene = few(scene, 11, 5000)
    recipe.run(replace(settings(args, "adc"), steps=5), scene)  # kernels compile, or come from the cache
    rows = []
    for strategy in args.strategies:
        clock, job = Clock(told(args.steps * args.watch)), settings(args, strategy)
        result = recipe.run(replace(job, eval_every=0), scene, clock)
        head, steps = min(1000, job.steps), job.steps
        rows.append([
            strategy, f"{scene.views[0].camera.width}x{scene.views[0].camera.height}",
            f"{(head - 1) / clock.seconds(1, head):.1f}", f"{clock.counts[head - 1]:,.0f}",
            f"{(steps - 1) / clock.seconds(1, steps):.1f}", f"{clock.seconds(1, steps):.0f}", f"{steps:,}",
            f"{clock.counts[-1]:,.0f}", f"{result.report['train']['psnr']:.2f}",
        ])  # fmt: skip
    print("\n11 photos, 5,000 starting points:\n")
    titles = ["strategy", "pixels", "steps/s, first 1,000", "Gaussians then", "steps/s, all", "seconds", "steps"]
    print(markdown([*titles, "Gaussians", "train PSNR"], rows))
    print(f"\npeak memory, MB: {peak_memory(torch.device(args.device))}")


def step_seconds(scene: Scene, gaussians: int, steps: int = 13) -> float:
    """Median time of a training step at full size and all bands, nothing added nor removed; the first three of warming
    up are left out."""
    config = replace(recipe.Config(), steps=steps, max_gaussians=gaussians, pixels_per_gaussian=1, eval_every=0)
    config = replace(config, warmup=((0, 1),), sh_every=1, adc=replace(config.adc, start=10**9))
    clock = Clock()
    recipe.run(config, few(scene, 11, gaussians), clock)
    return median(np.diff(clock.ends)[3:].tolist())


def print_sweep(args: argparse.Namespace) -> None:
    lines = {}
    _, scene = next(photo_sets(args))
    counts = [5_000, 10_000, 20_000, 40_000, 80_000, 160_000]
    width, height = scene.views[0].camera.width, scene.views[0].camera.height
    lines[f"Gaussians at {width}x{height}"] = counts, [step_seconds(scene, n) for n in counts]
    pixels, seconds = [], []
    for factor in (4, 2, 1):
        small = replace(scene, views=tuple(reduced(view, factor) for view in scene.views))
        pixels.append(small.views[0].camera.width * small.views[0].camera.height)
        seconds.append(step_seconds(small, 20_000))
    lines["pixels with 20,000 Gaussians"] = pixels, seconds
    for name, (x, y) in lines.items():
        print(f"\nmilliseconds of a training step against {name}:\n")
        figures = [f"{1e3 * v:.1f}" for v in y]
        titles = [*(f"{v:,}" for v in x), "log slope", "R² of a line"]
        print(markdown(titles, [[*figures, f"{slope(x, y):.2f}", f"{straightness(x, y):.4f}"]]))
    if args.plot:
        plot(lines, args.plot)


def reduced(view: View, factor: int) -> View:
    """The view with every factor x factor pixels averaged."""
    from gaussmith.train.pictures import target

    photo = target(view, factor)
    return View(view.name, photo.camera, (photo.rgb[0] * 255).round().to(torch.uint8))


def plot(lines: dict[str, tuple[list[int], list[float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(lines), figsize=(10, 4), layout="constrained")
    for axis, (name, (x, y)) in zip(axes, lines.items()):
        axis.plot(x, [v * 1e3 for v in y], "o-")
        axis.set(xlabel=name, ylabel="training step, ms", xlim=(0, None), ylim=(0, None))
        axis.locator_params(axis="x", nbins=5)
        axis.grid(alpha=0.3)
    figure.savefig(path)


def print_seeds(args: argparse.Namespace) -> None:
    name, scene = next(photo_sets(args))
    rows = []
    for strategy in args.strategies:
        found = []
        for seed in range(args.seeds):
            result = recipe.run(replace(settings(args, strategy), seed=seed), scene)
            found.append(result.report["held_out"]["psnr"])
        values: Tensor = torch.tensor(found)
        rows.append([
            strategy, " ".join(f"{v:.2f}" for v in found), f"{float(values.mean()):.2f}",
            f"{float(values.std()):.3f}", f"{float(values.max() - values.min()):.2f}",
        ])  # fmt: skip
    print(f"\nHeld-out PSNR of {name} over {args.seeds} seeds, {args.steps:,} steps:\n")
    print(markdown(["strategy", "each", "mean", "standard deviation", "largest difference"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", action="store_true", help="objects on known views")
    parser.add_argument("--photos", action="store_true", help="real photo sets")
    parser.add_argument("--speed", action="store_true", help="steps a second on 11 photos")
    parser.add_argument("--sweep", action="store_true", help="time of a step against Gaussians and pixels")
    parser.add_argument("--seeds", type=int, default=0, help="spread over so many seeds")
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--max-gaussians", type=int, default=None)
    parser.add_argument("--strategies", nargs="+", default=["adc"], choices=recipe.STRATEGIES)
    parser.add_argument("--antialiased", action="store_true")
    parser.add_argument("--storage", default="float32", choices=recipe.STORAGES, help="of Adam's running means")
    parser.add_argument("--objects", nargs="+", default=["chest"], help="example objects of --truth")
    parser.add_argument("--size", type=int, default=400, help="side of the views of --truth, pixels")
    parser.add_argument("--side", type=int, default=500, help="longer side of the photos, pixels")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/reconstruct"), help="keeps structure from motion")
    parser.add_argument("--output", type=Path, help="folder for the splats, previews and films")
    parser.add_argument("--plot", type=Path, help="picture file of the sweep")
    parser.add_argument("--watch", action="store_true", help="a line on stderr every 500 steps")
    args = parser.parse_args()
    if not (args.truth or args.photos or args.speed or args.sweep or args.seeds):
        parser.error("choose at least one of --truth, --photos, --speed, --sweep and --seeds")
    print(heading())
    for wanted, work in (
        (args.truth, print_truth), (args.photos, print_photos), (args.speed, print_speed), (args.sweep, print_sweep),
        (args.seeds, print_seeds),
    ):  # fmt: skip
        if wanted:
            work(args)


if __name__ == "__main__":
    stop_on_user_error(main)
