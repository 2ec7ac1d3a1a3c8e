"""What more compute would give: the draft's error on held-out objects by the arithmetic spent on training it.

    python benchmarks/compute.py --shards DIR [--runs small:16000,small:64000,medium:64000,...] [--out DIR]

`--shards` is the folder `views` that `gaussmith train-prior` rendered. Networks of several sizes are trained from
random weights for several lengths, each cooled down to its end, by the draft alone (the part that decides what assets
look like). The arithmetic is counted: multiplications and additions of the encoder, thrice those of its forward pass
for each reference. Prints a table and the power law that the best of each compute follow, with the PSNR that it
promises; writes compute.png. A finished training in --out is not repeated.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))
from ablate_prior import SMALL, gates
from gaussmith.events import ignore
from gaussmith.io.atomic import write_bytes
from gaussmith.priors.embedded.network import NetworkConfig, PriorNetwork
from gaussmith.recipes import train_prior
from tables import heading, markdown, stop_on_user_error

SIZES: dict[str, NetworkConfig] = {
    "small": SMALL,
    "medium": NetworkConfig(encoder_widths=(48, 96, 160), denoiser_widths=(32, 64, 64), encoder_blocks=1),
    "shipped": NetworkConfig(),
}


RUNS = ",".join(f"{size}:{views}" for size in SIZES for views in (16_000, 64_000, 256_000))


def flops(size: NetworkConfig) -> float:
    """Of training the encoder on one reference."""
    network = PriorNetwork(size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.encode(torch.zeros(1, 4, 64, 64), torch.zeros(1))
    return 3.0 * counter.get_total_flops()


def train(name: str, views: int, shards: Path, out: Path) -> dict[str, float]:
    """The last gates of a training, from its log if it is done already."""
    config = train_prior.Config(
        samples=views, draft_share=1.0, cooldown=0.5, evaluate_every=10**9, save_every=10**9, ema=0.99
    )
    folder = out / f"{name}-{views}"
    if not any(found["samples"] >= config.samples_by(config.steps) for found in gates(folder)):
        train_prior.run(config, shards, folder, ignore, network=SIZES[name])
    return list(gates(folder))[-1] | {"pflop": flops(SIZES[name]) * views / config.draft_targets / 1e15}


def law(runs: list[dict[str, float]]) -> tuple[float, float]:
    """(a, b) of mse = a compute^-b, by least squares on logarithms over the runs that no cheaper one beats."""
    best = [r for r in runs if all(r["draft_psnr"] > o["draft_psnr"] for o in runs if o["pflop"] < r["pflop"])]
    x, y = (np.log([f(r) for r in best]) for f in (lambda r: r["pflop"], lambda r: 10 ** (-r["draft_psnr"] / 10)))
    slope, start = np.polyfit(x, y, 1)
    return math.exp(start), -float(slope)


def plot(runs: list[dict], fitted: tuple[float, float]) -> bytes:
    from matplotlib.figure import Figure

    axis = (figure := Figure(figsize=(7, 4.5), layout="constrained")).subplots()
    for name in dict.fromkeys(r["size"] for r in runs):
        points = [(r["pflop"], r["draft_psnr"]) for r in runs if r["size"] == name]
        axis.plot(*zip(*points), marker="o", label=name)
    a, b = fitted
    x = np.geomspace(min(r["pflop"] for r in runs), 100 * max(r["pflop"] for r in runs))
    axis.plot(x, -10 * np.log10(a * x**-b), "k:", label=f"mse = {a:.4f} C^-{b:.3f}")
    axis.set(xscale="log", xlabel="training compute, 10^15 operations", ylabel="draft, held-out objects, dB")
    axis.grid(alpha=0.3)
    axis.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--runs", default=RUNS, help="SIZE:VIEWS of each training; sizes: small, medium, shipped")
    parser.add_argument("--out", type=Path, default=Path("out/compute"))
    args = parser.parse_args()
    runs = []
    for name, views in (run.split(":") for run in args.runs.split(",")):
        runs.append({"size": name, "views": int(views), **train(name, int(views), args.shards, args.out)})
        print(json.dumps(runs[-1]), file=sys.stderr)
    print(heading())
    rows = [
        [r["size"], f"{r['views']:,}", f"{r['pflop']:.3f}", f"{r['draft_psnr']:.2f}", f"{r['draft_iou']:.3f}"]
        for r in runs
    ]
    print(markdown(["network", "target views", "10^15 operations", "draft, dB", "IoU"], rows))
    a, b = fitted = law(runs)
    most = max(r["pflop"] for r in runs)
    promised = [f"{-10 * math.log10(a * (k * most) ** -b):.1f} dB with {k} times the most" for k in (1, 10, 100)]
    print(f"\nmse = {a:.4f} C^-{b:.3f}: {', '.join(promised)}")
    write_bytes(args.out / "compute.png", plot(runs, fitted))


if __name__ == "__main__":
    stop_on_user_error(main)
