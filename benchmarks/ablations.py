"""What parts of the recipe bring: the supervision of alpha by the prior, and the number of steps.

    python benchmarks/ablations.py [--objects PATH/objects.npz] [--validation 6] [--weights FILE] [--out DIR] [--resume]

Draft preset on validation objects, 24 unseen views at 192 px on white, the measures of `benchmarks/assets.py`:

    rgba      as shipped: the prior's error of alpha pulls at the Gaussians as its errors of colour do
    rgb       the gradient of alpha is cut, as if the prior had three channels; the silhouette is left to the colours
    N steps   stage 1 with N steps instead of the draft's (rgba); learning rates anneal over the N

Prints means over the objects; writes ablations.json, from which --resume goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from assets import figures, stored
from cases import Case, validation_cases
from gaussmith.api import known_views
from gaussmith.io.atomic import write_bytes
from gaussmith.priors.embedded.prior import WEIGHTS, EmbeddedPrior, load_weights
from gaussmith.recipes import dreamgaussian
from gaussmith.synth.objects import load_objects
from gaussmith.train.subject import Subject
from tables import heading, markdown, stop_on_user_error

STEPS = (30, 60, 120, 240, 480)
COLUMNS = (
    ("PSNR", "psnr", ".2f"), ("SSIM", "ssim", ".3f"), ("IoU", "iou", ".3f"), ("Chamfer", "chamfer", ".4f"),
    ("F-score", "f_score", ".3f"), ("Janus", "janus", "+.3f"), ("s", "seconds", ".1f"),
)  # fmt: skip


class ColourOnly(EmbeddedPrior):
    """The same prior, but no gradient of its error of alpha reaches the Gaussians."""

    def encode(self, pictures: Tensor, background: float = 1.0) -> Tensor:
        return super().encode(torch.cat([pictures[:, :3], pictures[:, 3:].detach()], dim=1), background)


def measure(case: Case, prior: EmbeddedPrior, steps: int) -> dict[str, float]:
    """The figures of one object made with so many steps of stage 1."""
    config = replace(dreamgaussian.PRESETS["draft"], steps=steps)
    subject = Subject(known_views([case.prepared], 0.0, case.elevation))
    start = time.perf_counter()
    made = dreamgaussian.run(config, subject, prior).mesh
    return {**figures(case, made, None), "seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=Path, default=Path("../shared/data/objects.npz"))
    parser.add_argument("--validation", type=int, default=6, help="number of validation objects")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--out", type=Path, default=Path("out/ablations"))
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    shipped = load_weights(args.weights)
    blind = ColourOnly(shipped.network, shipped.vocabulary, shipped.domain)
    usual = dreamgaussian.PRESETS["draft"].steps
    variants = {"rgba": (shipped, usual), "rgb": (blind, usual)}
    variants |= {f"{n} steps": (shipped, n) for n in STEPS if n != usual}
    settings, record = {"weights": args.weights.name}, args.out / "ablations.json"
    done = stored(record, settings, args.resume)
    args.out.mkdir(parents=True, exist_ok=True)
    cases = list(validation_cases(load_objects(args.objects), args.validation))
    for name, (prior, steps) in variants.items():
        for case in cases:
            row = done.setdefault(name, {})
            if case.name not in row:
                row[case.name] = measure(case, prior, steps)
                write_bytes(record, json.dumps({"settings": settings, "objects": done}, indent=1).encode())
    print(heading())
    means = {
        name: [float(np.mean([done[name][case.name][key] for case in cases])) for _, key, _ in COLUMNS]
        for name in variants
    }
    rows = [[name, *(f"{v:{style}}" for v, (_, _, style) in zip(values, COLUMNS))] for name, values in means.items()]
    print(f"Means over {len(cases)} validation objects, draft ({usual} steps)\n")
    print(markdown(["variant", *(title for title, _, _ in COLUMNS)], rows))


if __name__ == "__main__":
    stop_on_user_error(main)
