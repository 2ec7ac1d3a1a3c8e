"""The ceiling of the picture-to-mesh pipeline: everything as in `gaussmith image`, with an oracle for a prior.

    python benchmarks/ceiling.py --objects PATH/objects.npz [--preset standard] [--only chest,...] [--out DIR]

Prints, for each example object, PSNR and IoU of the final textured mesh over 24 unseen views at 192 px on white, the
reference view's, and the worst view. The input picture is the example as framed (`--keep-framing`).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from gaussmith.io.image import save_image
from gaussmith.picture import prepare
from gaussmith.priors.base import Prior
from gaussmith.recipes import dreamgaussian
from gaussmith.synth.objects import EXAMPLES as OBJECTS
from gaussmith.synth.objects import example_mesh, load_objects
from oracle import OraclePrior, compare, rgba, unseen_cameras

EXAMPLES = Path(__file__).parent.parent / "examples"


def elevations() -> dict[str, float]:
    """Example picture -> elevation of its camera, degrees."""
    rows = (line.split() for line in (EXAMPLES / "elevations.txt").read_text().splitlines() if line.strip())
    return {name: float(value) for name, value in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=Path, required=True)
    parser.add_argument("--preset", default="standard", choices=dreamgaussian.PRESETS)
    parser.add_argument("--only", default="")
    parser.add_argument("--size", type=int, default=128, help="side of the oracle's pictures")
    parser.add_argument("--prior", default="oracle", choices=["oracle", "embedded"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    objects = load_objects(args.objects)
    heights = elevations()
    rows = []
    titles = ("PSNR", "IoU", "worst", "ref", "refIoU", "copy", "cIoU", "white", "s")
    print(f"{'object':>14} " + " ".join(f"{title:>6}" for title in titles))
    for name in OBJECTS:
        if args.only and Path(name).stem not in args.only.split(","):
            continue
        mesh = example_mesh(objects, name)
        if args.prior == "oracle":
            prior: Prior = OraclePrior(mesh, args.size)
        else:
            from gaussmith.priors.embedded.prior import load_weights

            prior = load_weights()
        prepared = prepare(EXAMPLES / name, keep_framing=True)
        start = time.perf_counter()
        result = dreamgaussian.run(dreamgaussian.PRESETS[args.preset], prepared, prior, heights[name])
        seconds = time.perf_counter() - start
        cameras = unseen_cameras()
        truth, made = rgba(mesh, cameras), rgba(result.mesh, cameras)
        quality, overlap = compare(made, truth)
        picture = torch.as_tensor(prepared.rgba).clone()
        picture[..., :3] *= picture[..., 3:]
        small = torch.nn.functional.interpolate(picture.permute(2, 0, 1)[None], size=(192, 192), mode="area")
        copied, copied_overlap = compare(small.permute(0, 2, 3, 1).expand_as(truth), truth)
        white, _ = compare(torch.zeros_like(truth), truth)
        reference = result.report["reference"]
        row = [
            float(quality.mean()), float(overlap.mean()), float(quality.min()), reference["psnr"], reference["iou"],
            float(copied.mean()), float(copied_overlap.mean()), float(white.mean()), seconds,
        ]  # fmt: skip
        rows.append(row)
        print(f"{Path(name).stem:>14} " + _figures(row), flush=True)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            pairs = [
                torch.cat([x[i, ..., :3] + 1 - x[i, ..., 3:] for i in range(0, 24, 4)], dim=1) for x in (truth, made)
            ]
            save_image(args.out / f"{Path(name).stem}.png", torch.cat(pairs).clamp(0, 1))
    print(f"{'mean':>14} " + _figures(torch.tensor(rows).mean(dim=0).tolist()))


def _figures(row: list[float]) -> str:
    widths = ("6.2f", "6.3f", "6.2f", "6.2f", "6.3f", "6.2f", "6.3f", "6.2f", "6.1f")
    return " ".join(f"{value:{width}}" for value, width in zip(row, widths))


if __name__ == "__main__":
    main()
