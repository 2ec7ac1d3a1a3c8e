"""Are mirrored pictures further views? What the embedded prior takes for a plane of symmetry, against the truth.

    python benchmarks/symmetry.py [--objects PATH/objects.npz] [--validation 60] [--weights FILE]

For each object: the planes that are taken (azimuths from the camera) and what they promise, and how much nearer to the
true view from there (PSNR at 32 px: colours on white, alpha half as much) each mirrored picture is than the prior's
draft; beside them the plane that would have been best. The last lines: how many are taken, mean and worst tenth.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from cases import Case, example_cases, validation_cases
from gaussmith.camera import PRIOR_FOVY, orbit
from gaussmith.events import UserError
from gaussmith.priors.base import crop_to_prior
from gaussmith.priors.embedded.prior import WEIGHTS, EmbeddedPrior, load_weights
from gaussmith.priors.embedded.symmetry import AZIMUTHS, agreement, usable
from gaussmith.synth.objects import load_objects
from gaussmith.train.symmetry import nearness
from oracle import rgba
from tables import heading, markdown, stop_on_user_error

COLUMNS = ["object", "planes, °", "promised, dB", "worth, dB", "best plane, °", "its worth, dB"]


@torch.no_grad()
def worth(case: Case, prior: EmbeddedPrior, azimuths: Tensor) -> Tensor:
    """[A] dB by which the mirrored picture is nearer than the draft to the view that it would be."""
    picture = F.interpolate(crop_to_prior(case.premultiplied().permute(2, 0, 1))[None], size=(64, 64), mode="area")
    encoded = prior.network.read(picture * 2 - 1, torch.tensor([case.elevation]))
    _, drafts = agreement(prior.network, encoded, picture * 2 - 1, azimuths)
    views = rgba(case.mesh, orbit(2 * azimuths, case.elevation, fovy=PRIOR_FOVY, width=64)).permute(0, 3, 1, 2)
    truth = F.avg_pool2d(views, 2)
    return nearness(F.avg_pool2d(picture.flip(-1), 2), truth) - nearness(drafts, truth)


def row(case: Case, prior: EmbeddedPrior) -> tuple[list[str], list[float], float]:
    """The table's cells, what each plane that is taken is worth, and what the best would be."""
    condition = prior.condition(crop_to_prior(case.premultiplied().permute(2, 0, 1)), case.elevation)
    taken = prior.mirror_planes(condition)
    planes = AZIMUTHS[usable(AZIMUTHS)]
    possible = worth(case, prior, planes)
    best = [f"{float(planes[possible.argmax()]):.0f}", f"{float(possible.max()):+.1f}"]
    if not taken:
        return [case.name, "-", "-", "-", *best], [], float(possible.max())
    found = worth(case, prior, torch.tensor([plane.azimuth for plane in taken])).tolist()
    columns = [f"{plane.azimuth:.0f}" for plane in taken], [f"{plane.worth:.1f}" for plane in taken]
    cells = [", ".join(column) for column in (*columns, [f"{value:+.1f}" for value in found])]
    return [case.name, *cells, *best], found, float(possible.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=Path, default=Path("../shared/data/objects.npz"))
    parser.add_argument("--validation", type=int, default=60, help="number of validation objects")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    objects, prior = load_objects(args.objects), load_weights(args.weights)
    if prior.symmetry is None:
        raise UserError(f"{args.weights} was not taught what mirrored pictures are worth")
    print(heading())
    groups = {"examples": example_cases(objects), "validation": validation_cases(objects, args.validation)}
    lines, rows = [], []
    for group, cases in groups.items():
        found = [row(case, prior) for case in cases]
        rows += [cells for cells, _, _ in found]
        taken = torch.tensor([value for _, values, _ in found for value in values])
        if len(taken):
            lines.append(
                f"{group}: {len(taken)} planes are taken of {sum(bool(values) for _, values, _ in found)} of "
                f"{len(found)} objects; worth {float(taken.mean()):+.2f} dB in the mean, over 0 for "
                f"{100 * float((taken > 0).float().mean()):.0f} %, worst tenth under "
                f"{float(taken.quantile(0.1)):+.1f}; the best planes of all {len(found)} would be worth "
                f"{sum(max(0.0, best) for _, _, best in found) / len(found):.1f} dB in the mean"
            )
    print(markdown(COLUMNS, rows), *lines, sep="\n\n")


if __name__ == "__main__":
    stop_on_user_error(main)
