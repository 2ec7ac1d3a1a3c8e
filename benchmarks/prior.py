"""How good the embedded prior's views are, by the turn from the reference: against two answers that know nothing.

    python benchmarks/prior.py --objects PATH/objects.npz [--weights FILE] [--previous FILE] [--limit N] [--targets 3]
                               [--guidance 1] [--steps 20] [--least TIME] [--out DIR]

On validation objects, one of each stem, all or `--limit` of them: a reference view at any azimuth, elevation 0-30, and
for each object `--targets` views at turns spread evenly over 0-180 degrees to either side, elevation 0-30; 64 px, the
prior's frame.

    sample    the prior's picture from pure noise, DDIM        draft      its rendered volume, before any denoising
    repeat    the reference picture again                      nearest    the training object whose view is likest to
    previous  the same for --previous                                     the reference (mean square of RGBA), turned
    alone     the same from the reference alone; else, as in `gaussmith image`, from its mirrored pictures too where
              the prior finds planes of symmetry

Prints PSNR (dB, on white) / SSIM / IoU of alpha as means over the views of each bin, and LPIPS over all; writes
prior.png (a picture a column) to --out, and keeps the training views there for the next time (211 MB, a minute or two).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from cases import ELEVATIONS, validation_order
from gaussmith.camera import PRIOR_FOVY
from gaussmith.diffusion.schedule import ddim, even_times
from gaussmith.events import UserError
from gaussmith.io.image import save_image
from gaussmith.metrics import by_offset, compare_views
from gaussmith.metrics.lpips import load_lpips
from gaussmith.metrics.novel_views import on_white
from gaussmith.preview import contact_sheet
from gaussmith.priors.embedded.prior import WEIGHTS, Condition, EmbeddedPrior, load_weights
from gaussmith.synth.objects import ObjectSet, load_objects, split
from gaussmith.synth.views import render_views
from gaussmith.views import OrbitView
from tables import heading, markdown, stop_on_user_error

SIZE = 64
SHEET_ROWS, SHEET_SCALE = 16, 2
SHOWN = ("sample", "draft", "nearest", "previous sample", "previous draft")
BEHIND = 90.0  # degrees of turn from which the reference shows none of what is asked for


@dataclass(frozen=True)
class Trial:
    """A reference view and T target views of one object; pictures are premultiplied RGBA [..,64,64,4] in [0,1].

    Attributes:
        index: of the object. azimuth, elevation: of the reference, degrees.
        reference: [64,64,4]. truth: [T,64,64,4].
        views: the targets, azimuths relative to the reference.
    """

    index: int
    azimuth: float
    elevation: float
    reference: Tensor
    truth: Tensor
    views: OrbitView


Answer = Callable[[Trial], Tensor]


def draw_trial(objects: ObjectSet, index: int, targets: int) -> Trial:
    """An object's trial, the same whatever other objects are drawn."""
    random = np.random.default_rng([1, index])
    azimuth, elevation = random.uniform(-180, 180), random.uniform(*ELEVATIONS)
    turns = 180 * (np.arange(targets) + random.random(targets)) / targets * random.choice([-1, 1], targets)
    heights = random.uniform(ELEVATIONS[0], ELEVATIONS[1], targets)
    pictures = pictures_of(objects, index, np.append(azimuth, azimuth + turns), np.append(elevation, heights))
    views = OrbitView(torch.from_numpy(turns).float(), torch.from_numpy(heights).float(), fovy=PRIOR_FOVY, size=SIZE)
    return Trial(index, azimuth, elevation, pictures[0], pictures[1:], views)


def pictures_of(objects: ObjectSet, index: int, azimuths: np.ndarray, elevations: np.ndarray) -> Tensor:
    """[V,64,64,4] of an object in the prior's frame."""
    return torch.from_numpy(render_views(objects.mesh(index), azimuths, elevations, SIZE)).float() / 255


def repeat(trial: Trial) -> Tensor:
    return trial.reference.expand_as(trial.truth)


def answers_of(
    prior: EmbeddedPrior, steps: int, guidance: float, least: float, mirrored: bool
) -> tuple[Answer, Answer]:
    """The prior's sample and draft."""

    known: dict[int, Condition] = {}  # by object: what is told of its reference

    def told(trial: Trial) -> Condition:
        if trial.index not in known:
            condition = prior.condition(trial.reference.permute(2, 0, 1), trial.elevation)
            planes = prior.mirror_planes(condition) if mirrored else ()
            known[trial.index] = prior.with_mirrored(condition, planes) if planes else condition
        return known[trial.index]

    @torch.no_grad()
    def sample(trial: Trial) -> Tensor:
        shape = prior.encode(trial.truth.permute(0, 3, 1, 2)).shape
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(trial.index)).to(prior.device)
        clean = ddim(
            lambda x, t: prior.predict(x, t, trial.views, told(trial), guidance),
            noise,
            even_times(1.0, steps, least),
            prior.schedule,
        )
        return at_size(prior.decode(clean))

    def draft(trial: Trial) -> Tensor:
        return at_size(prior.draft(trial.views, told(trial)))

    return sample, draft


def at_size(pictures: Tensor) -> Tensor:
    """[B,4,s,s] as [B,64,64,4]: enlarged smoothly, or reduced by area."""
    how = {"mode": "area"} if pictures.shape[-1] >= SIZE else {"mode": "bilinear", "align_corners": False}
    return F.interpolate(pictures.float().cpu(), size=(SIZE, SIZE), **how).permute(0, 2, 3, 1)


class NearestObject:
    """The training objects seen from a grid of directions, to find the one whose view is likest to a reference."""

    side = 32  # pixels, enough to compare by
    azimuths = np.arange(12) * 30.0
    heights = np.array([7.5, 22.5])

    def __init__(self, objects: ObjectSet, cache: Path) -> None:
        self.objects, (self.training, _) = objects, split(objects)
        names = "\n".join(objects.names[self.training].tolist())
        path = cache / f"nearest-{hashlib.sha256(names.encode()).hexdigest()[:8]}.npy"
        if not path.exists():
            self._render(path)
        self.views = np.load(path)  # [N,heights,azimuths,side,side,4] uint8

    def _render(self, path: Path) -> None:
        azimuth, height = np.tile(self.azimuths, len(self.heights)), np.repeat(self.heights, len(self.azimuths))
        shape = (len(self.heights), len(self.azimuths), self.side, self.side, 4)
        views = np.empty((len(self.training), *shape), np.uint8)
        for row, index in enumerate(self.training.tolist()):
            views[row] = render_views(self.objects.mesh(index), azimuth, height, self.side, supersample=2).reshape(
                shape
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path.with_suffix(".part.npy"), views)
        path.with_suffix(".part.npy").replace(path)

    def __call__(self, trial: Trial) -> Tensor:
        small = F.avg_pool2d(trial.reference.permute(2, 0, 1), SIZE // self.side).permute(1, 2, 0)
        level = int(np.abs(self.heights - trial.elevation).argmin())
        candidates = self.views[:, level]
        error = np.concatenate([
            ((torch.from_numpy(part).float() / 255 - small) ** 2).flatten(2).mean(dim=2).numpy()
            for part in np.array_split(candidates, 16)
        ])  # fmt: skip
        row, turn = np.unravel_index(error.argmin(), error.shape)
        azimuths = self.azimuths[turn] + trial.views.azimuth.numpy()
        return pictures_of(self.objects, int(self.training[row]), azimuths, trial.views.elevation.numpy())


def table(trials: list[Trial], guesses: dict[str, list[Tensor]]) -> str:
    """Means by azimuth offset, and over all; a column a method."""
    offsets = torch.cat([trial.views.azimuth for trial in trials])
    truth = torch.cat([trial.truth for trial in trials])
    figures = {name: compare_views(torch.cat(pictures), truth) for name, pictures in guesses.items()}
    rows = [[b.label, str(b.count)] for b in by_offset(offsets, offsets)] + [["all", str(len(offsets))]]
    for figure in figures.values():
        # A guess without a wrong pixel is no reason for an infinite mean.
        values = (figure.psnr.clamp(max=60), figure.ssim, figure.iou)
        columns = [[b.mean for b in by_offset(offsets, value)] + [float(value.mean())] for value in values]
        for row, (decibels, similarity, overlap) in zip(rows, zip(*columns)):
            row.append(f"{decibels:.2f} / {similarity:.3f} / {overlap:.3f}")
    behind = offsets.abs() >= BEHIND
    gains = (
        f"{name} {float((figure.psnr - figures['repeat'].psnr)[behind].mean()):+.2f}"
        for name, figure in figures.items()
        if name != "repeat"
    )
    return markdown(["turn", "views", *figures], rows) + f"\n\nAbove repeat at 90-180°, dB: {', '.join(gains)}"


def perceived(trials: list[Trial], guesses: dict[str, list[Tensor]]) -> str:
    """LPIPS of all views, enlarged to 128 pixels: the network sees little of smaller ones."""
    try:
        lpips = load_lpips()
    except UserError as error:
        return f"LPIPS not taken: {error}"

    def enlarged(pictures: list[Tensor]) -> Tensor:
        planes = on_white(torch.cat(pictures)).permute(0, 3, 1, 2)
        return F.interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)

    truth = enlarged([trial.truth for trial in trials]).split(32)
    distances = {
        name: torch.cat([lpips(a, b).flatten() for a, b in zip(enlarged(guess).split(32), truth)]).mean()
        for name, guess in guesses.items()
    }
    return "LPIPS: " + ", ".join(f"{name} {float(distance):.3f}" for name, distance in distances.items())


def sheet(objects: ObjectSet, trials: list[Trial], guesses: dict[str, list[Tensor]]) -> Tensor:
    """A row an object: its reference, then a target's truth and the guesses at it."""
    panels, labels = [], []
    for row, trial in enumerate(trials[:SHEET_ROWS]):
        target = row % len(trial.views)
        pictures = {"reference": trial.reference, "truth": trial.truth[target]}
        pictures |= {name: guess[row][target] for name, guess in guesses.items() if name in SHOWN}
        panels += [
            on_white(p).repeat_interleave(SHEET_SCALE, 0).repeat_interleave(SHEET_SCALE, 1) for p in pictures.values()
        ]
        titles = {
            "reference": str(objects.names[trial.index])[:20],
            "truth": f"{float(trial.views.azimuth[target]):+.0f}°",
        }
        labels += [titles.get(name, name) for name in pictures]
    return contact_sheet(panels, labels, columns=len(panels) // min(len(trials), SHEET_ROWS))


def describe(path: Path) -> str:
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=Path, default=Path("../shared/data/objects.npz"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--previous", type=Path, help="other weights to compare with")
    parser.add_argument(
        "--limit", type=int, help="number of objects; all that are held out, one of each stem, if not given"
    )
    parser.add_argument("--targets", type=int, default=3, help="views an object")
    parser.add_argument("--guidance", type=float, default=1.0, help="1 is the plain conditional model")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--least", type=float, help="time from which the last step goes; the prior's own if not given")
    parser.add_argument("--no-nearest", action="store_true", help="leave the nearest training object out")
    parser.add_argument("--out", type=Path, default=Path("out/prior"))
    args = parser.parse_args()
    objects = load_objects(args.objects)
    answers: dict[str, Answer] = {}
    prior = load_weights(args.weights)
    drawn = args.steps, args.guidance, prior.least_time_of_reference if args.least is None else args.least
    answers["sample"], answers["draft"] = answers_of(prior, *drawn, mirrored=True)
    answers["sample alone"], answers["draft alone"] = answers_of(prior, *drawn, mirrored=False)
    if not args.no_nearest:
        answers["nearest"] = NearestObject(objects, args.out)
    if args.previous:
        before = answers_of(load_weights(args.previous), *drawn, mirrored=True)
        answers["previous sample"], answers["previous draft"] = before
    answers["repeat"] = repeat
    trials = [draw_trial(objects, index, args.targets) for index in validation_order(objects)[: args.limit].tolist()]
    guesses = {name: [answer(trial) for trial in trials] for name, answer in answers.items()}
    print(heading())
    previous = f", previous: {describe(args.previous)}" if args.previous else ""
    print(f"{len(trials)} objects; weights: {describe(args.weights)}{previous}; PSNR, dB / SSIM / IoU\n")
    print(table(trials, guesses))
    print(f"\n{perceived(trials, guesses)}")
    args.out.mkdir(parents=True, exist_ok=True)
    save_image(args.out / "prior.png", sheet(objects, trials, guesses))


if __name__ == "__main__":
    stop_on_user_error(main)
