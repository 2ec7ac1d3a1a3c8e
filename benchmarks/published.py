"""Published priors at full size through whole jobs: what text -> GLB and image -> GLB cost, and where the time goes.

    python benchmarks/published.py [--size full|tiny] [--device auto|cpu|cuda] [--dtype float16|bfloat16|float32]
                                   [--jobs text,image] [--preset standard] [--max-memory GB] [--out runs/published]

Pipelines of the published shapes are written with random weights (`random_pipelines.py`): Stable Diffusion 2.1-base
for words, Zero-1-to-3 XL for a picture. Each job runs twice as `gaussmith text` and `gaussmith image` run it, in one
process: the first time kernels are compiled, the second is reported. For each: seconds by stage ("job" is all of them;
"all files" adds the splat, the turntable and the report to the GLB), steps a second, peak memory, and the share of the
denoiser, the VAE and the rasteriser, each with its backward pass; the denoiser's time over what its floating-point
operations (torch's own count) would take at the rate of a large matrix product on this device.
The aims, picture to GLB in 10 s and words to GLB in 20 s within 8 GB, are for an H200 in half precision and judged
there only; reading the prior ("load") is not counted.

Random weights imagine no object: the assets are worth nothing. `--size tiny --device cpu` rehearses it in a minute.
Prints Markdown, and writes it and the figures to --out as published.md and published.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from gaussmith import api
from gaussmith.accelerator import choose, limit
from gaussmith.density import dreamgaussian as density
from gaussmith.priors.published import load_published
from gaussmith.recipes import dreamgaussian
from gaussmith.train.texture import RefineConfig
from random_pipelines import Kind, Size, unet, write
from tables import heading, markdown, stop_on_user_error

PICTURE = Path(__file__).parent.parent / "examples" / "chest.png"
JOBS: dict[str, Kind] = {"text": "sd21", "image": "zero123-xl"}
AIMS = {"text": 20.0, "image": 10.0}  # seconds to the GLB on an H200
PEAK = 8e9  # bytes
# What the tiny pipelines are put through: every stage, little of each.
REHEARSAL = dreamgaussian.Config(
    steps=6, views=2, points=150, max_gaussians=300, sizes=((0.0, 1),), reference_size=48, resolution=24,
    max_faces=300, texture_size=64, refine=RefineConfig(steps=2, size=2, denoise=(2, 2)),
    densify=density.Config(start=4, every=4),
)  # fmt: skip


@dataclass
class Clock:
    """Seconds of the device by name: what lies between marks, added up when all is done, so that nothing waits."""

    cuda: bool
    spans: dict[str, list[tuple[Any, Any]]] = field(default_factory=dict)

    def mark(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        start = self.mark()
        yield
        self.spans.setdefault(name, []).append((start, self.mark()))

    def backward(self, name: str, outputs: list[Tensor], until: list[Tensor]) -> None:
        """Count the backward pass from `outputs` to the functions that made `until`, or to leaves, under the name."""
        stop = {x.grad_fn for x in until}
        todo, seen = [x.grad_fn for x in outputs if x.grad_fn is not None], set(stop)
        while todo:
            node = todo.pop()
            if node is None or node in seen or node.name().endswith("AccumulateGrad"):
                continue
            seen.add(node)
            todo += [after for after, _ in node.next_functions]
            self._watch(name, node)

    def _watch(self, name: str, node: Any) -> None:
        began: list[Any] = []
        node.register_prehook(lambda *_: began.append(self.mark()))
        node.register_hook(lambda *_: self.spans.setdefault(name, []).append((began.pop(), self.mark())))

    def seconds(self) -> dict[str, float]:
        if self.cuda:
            torch.cuda.synchronize()
            return {n: sum(a.elapsed_time(b) for a, b in spans) / 1e3 for n, spans in self.spans.items()}
        return {name: sum(b - a for a, b in spans) for name, spans in self.spans.items()}


@dataclass
class Watched:
    """A prior whose calls are timed, and how many pictures went through its denoiser."""

    prior: Any
    clock: Clock
    pictures: int = 0

    @contextmanager
    def watch(self) -> Iterator[None]:
        eps, encode, decode, draw = self.prior.eps, self.prior.encode, self.prior.decode, dreamgaussian.rasterize

        def told(noisy: Tensor, t: Tensor, views: Any, condition: Any) -> Any:
            avoided = getattr(condition, "avoided", None)
            self.pictures += len(noisy) * (2 + (0 if avoided is None else len(avoided)))
            with self.clock.span("denoiser"):
                return eps(noisy, t, views, condition)

        def encoded(pictures: Tensor, *rest: Any) -> Tensor:
            with self.clock.span("VAE"):
                latents: Tensor = encode(pictures, *rest)
            self.clock.backward("VAE", [latents], [pictures])
            return latents

        def decoded(clean: Tensor) -> Any:
            with self.clock.span("VAE"):
                return decode(clean)

        def drawn(*given: Any, **options: Any) -> Any:
            with self.clock.span("rasteriser"):
                render = draw(*given, **options)
            self.clock.backward("rasteriser", [render.rgb, render.alpha], [])
            return render

        methods = {"eps": told, "encode": encoded, "decode": decoded}
        with patch.multiple(self.prior, **methods), patch.object(dreamgaussian, "rasterize", drawn):
            yield


def operations(kind: Kind, size: Size) -> int:
    """Floating-point operations of one picture's way through the denoiser, counted on shapes alone."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = unet(kind, size).eval()
        side, config = network.config.sample_size, network.config
        if kind == "zero123-xl" and size == "full":
            side = 32  # 256 pixels, whatever the configuration says
        x = torch.empty(1, config.in_channels, side, side)
        tokens = torch.empty(1, 77 if kind == "sd21" else 1, config.cross_attention_dim)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(x, torch.zeros(1), encoder_hidden_states=tokens)
    return counter.get_total_flops()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the best of ten large matrix products."""
    side = 8192 if device.type == "cuda" else 768
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    clock, best = Clock(device.type == "cuda"), float("inf")
    for _ in range(10):
        clock.spans.clear()
        with clock.span("product"):
            a @ b
        best = min(best, clock.seconds()["product"])
    return 2 * side**3 / best


def peak(device: torch.device) -> int:
    """Bytes: what the device's allocator held at most since it was reset; on the CPU, the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(job: str, watched: Watched, preset: str) -> tuple[Any, dict[str, Any]]:
    """One job from the loaded prior to the textured mesh, and its figures."""
    device, prior = watched.prior.device, watched.prior
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    watched.pictures = 0
    watched.clock.spans.clear()
    start = time.perf_counter()
    with watched.watch():
        if job == "text":
            result = api.text_to_3d("a wooden chair", prior=prior, preset=preset)
        else:
            result = api.image_to_3d(PICTURE, elevation=15.0, prior=prior, preset=preset)
    seconds = {"job": time.perf_counter() - start}
    stages = result.report["seconds"]
    seconds["prompt or picture"] = seconds["job"] - sum(stages.values())
    return result, {
        "seconds": seconds | stages,
        "shares": watched.clock.seconds(),
        "pictures": watched.pictures,
        "peak": peak(device),
        "gaussians": result.report["gaussians"]["count"],
        "steps": result.report["settings"]["steps"],
    }


def measure(job: str, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """The second of two runs, and what it is held against."""
    dtype = getattr(torch, args.dtype or ("float16" if device.type == "cuda" else "float32"))
    folder = write(args.out / f"{JOBS[job]}-{args.size}", JOBS[job], args.size)
    memory = None if args.max_memory is None else int(args.max_memory * 1e9)
    limit(device, memory)
    start = time.perf_counter()
    prior = load_published(folder, device, dtype, memory)
    loaded = time.perf_counter() - start
    watched = Watched(prior, Clock(device.type == "cuda"))
    preset = args.preset if args.size == "full" else "rehearsal"
    with patch.dict(dreamgaussian.PRESETS, rehearsal=REHEARSAL):
        _, first = run(job, watched, preset)
        result, figures = run(job, watched, preset)
    start = time.perf_counter()
    api.save(result.mesh, args.out / f"{job}.glb")
    figures["seconds"]["glb"] = time.perf_counter() - start
    if args.size == "full":
        result.save(args.out, job)
        figures["seconds"]["all files"] = time.perf_counter() - start - figures["seconds"]["glb"]
    needed = figures["pictures"] * operations(JOBS[job], args.size)
    rate = matrix_rate(device, dtype)
    return figures | {
        "dtype": str(dtype).removeprefix("torch."),
        "load": loaded,
        "first": first["seconds"]["job"],
        "operations": needed,
        "rate": rate,
        "bound": needed / rate,
    }


def verdict(job: str, figures: dict[str, Any], device: torch.device, full: bool) -> str:
    """PASS or FAIL against the aims, where they hold."""
    seconds, held = figures["seconds"]["job"] + figures["seconds"]["glb"], figures["peak"]
    said = f"{job} -> GLB {seconds:.1f} s (aim {AIMS[job]:g}), peak {held / 1e9:.1f} GB (aim {PEAK / 1e9:g})"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
    if not full or "H200" not in name:
        return f"not judged (on {name}{'' if full else ', tiny'}): {said}"
    return f"{'PASS' if seconds <= AIMS[job] and held <= PEAK else 'FAIL'}: {said}"


def report(results: dict[str, dict[str, Any]], verdicts: list[str]) -> str:
    """The tables."""
    stages = ("prompt or picture", "gaussians", "mesh", "texture", "refine", "job", "glb", "all files")
    titles = ("job", "type", *(f"{s}, s" for s in stages), "steps/s", "peak GB", "load, s", "first run, s")
    rows = [
        (
            job, f["dtype"], *(f"{f['seconds'][s]:.2f}" if s in f["seconds"] else "-" for s in stages),
            f"{f['steps'] / f['seconds']['gaussians']:.1f}", f"{f['peak'] / 1e9:.2f}", f"{f['load']:.1f}",
            f"{f['first']:.1f}",
        ) for job, f in results.items()
    ]  # fmt: skip
    kinds = ("denoiser", "VAE", "rasteriser")
    split = ("job", *kinds, "rest", "pictures denoised", "Tflop", "bound, s", "denoiser over bound", "Tflop/s")
    shares = []
    for job, f in results.items():
        both = f["seconds"]["gaussians"] + f["seconds"]["refine"]
        parts = [f["shares"][kind] for kind in kinds]
        named = [f"{x:.2f} s ({x / both:.0%})" for x in (*parts, both - sum(parts))]
        over = f["shares"]["denoiser"] / f["bound"]
        counts = (f"{f['pictures']}", f"{f['operations'] / 1e12:.4g}", f"{f['bound']:.3g}", f"{over:.2f}")
        shares.append((job, *named, *counts, f"{f['rate'] / 1e12:.3g}"))
    told = "\n".join(f"- {line}" for line in verdicts)
    what = "Of both stages' seconds, backward passes counted in:"
    return f"{heading()}\n{markdown(titles, rows)}\n\n{what}\n\n{markdown(split, shares)}\n\n{told}\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"))
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--preset", choices=("draft", "standard", "fine"), default="standard")
    parser.add_argument("--max-memory", type=float)
    parser.add_argument("--out", type=Path, default=Path("runs/published"))
    args = parser.parse_args(argv)
    device = choose(args.device)
    chosen = [job for job in JOBS if job in args.jobs.split(",")]
    results = {job: measure(job, args, device) for job in chosen}
    verdicts = [verdict(job, figures, device, args.size == "full") for job, figures in results.items()]
    text = report(results, verdicts)
    print(text)
    (args.out / "published.md").write_text(text)
    (args.out / "published.json").write_text(json.dumps({"jobs": results, "verdicts": verdicts}, indent=2) + "\n")


if __name__ == "__main__":
    stop_on_user_error(main)
