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
from cases import example_cases, repeated
from gaussmith.io.image import save_image
from gaussmith.metrics import compare_views
from gaussmith.metrics.novel_views import on_white
from gaussmith.priors.base import Prior
from gaussmith.recipes import dreamgaussian
from gaussmith.synth.objects import load_objects
from gaussmith.train.subject import KnownView, Subject
from oracle import OraclePrior, rgba, unseen_cameras


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
    rows = []
    titles = ("PSNR", "IoU", "worst", "ref", "refIoU", "copy", "cIoU", "white", "s")
    print(f"{'object':>14} " + " ".join(f"{title:>6}" for title in titles))
    for case in example_cases(objects, set(args.only.split(",")) - {""}):
        if args.prior == "oracle":
            prior: Prior = OraclePrior(case.mesh, args.size)
        else:
            from gaussmith.priors.embedded.prior import load_weights

            prior = load_weights()
        start = time.perf_counter()
        result = dreamgaussian.run(
            dreamgaussian.PRESETS[args.preset], Subject((KnownView(case.prepared, 0.0, case.elevation),)), prior
        )
        seconds = time.perf_counter() - start
        cameras = unseen_cameras()
        truth, made = rgba(case.mesh, cameras), rgba(result.mesh, cameras)
        ours, copies = compare_views(made, truth), compare_views(repeated(case, truth), truth)
        white = compare_views(torch.zeros_like(truth), truth).psnr
        reference = result.report["reference"]
        row = [
            float(ours.psnr.mean()), float(ours.iou.mean()), float(ours.psnr.min()), reference["psnr"],
            reference["iou"], float(copies.psnr.mean()), float(copies.iou.mean()), float(white.mean()), seconds,
        ]  # fmt: skip
        rows.append(row)
        print(f"{case.name:>14} " + _figures(row), flush=True)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            pairs = [torch.cat(list(on_white(x[::4])), dim=1) for x in (truth, made)]
            save_image(args.out / f"{case.name}.png", torch.cat(pairs).clamp(0, 1))
    print(f"{'mean':>14} " + _figures(torch.tensor(rows).mean(dim=0).tolist()))


def _figures(row: list[float]) -> str:
    widths = ("6.2f", "6.3f", "6.2f", "6.2f", "6.3f", "6.2f", "6.3f", "6.2f", "6.1f")
    return " ".join(f"{value:{width}}" for value, width in zip(row, widths))


if __name__ == "__main__":
    main()
