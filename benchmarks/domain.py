"""What the warning "far from the training domain" finds, and what it misses.

    python benchmarks/domain.py [--objects PATH/objects.npz] [--weights FILE] [--photos FOLDER] [--out DIR]

Pictures go through `gaussmith.prepare` and the prior's frame, as a user's do; those of validation objects through the
prior's frame alone. For each kind: the mean percentile of its novelty among held-out renders (50 is the middle), and
the share that is called far (`gaussmith.priors.embedded.domain`). Photographs are scikit-image's own in the outline of
a disc and of validation objects; --photos adds cut-out ones (pictures with alpha). Writes domain.png, a row a kind.
"""

from __future__ import annotations

import argparse
import string
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from cases import PICTURES, validation_order
from gaussmith.events import UserError
from gaussmith.io.image import save_image
from gaussmith.metrics.novel_views import on_white
from gaussmith.picture import prepare
from gaussmith.priors.base import crop_to_prior
from gaussmith.priors.embedded.domain import SIDE, domain_distance
from gaussmith.priors.embedded.prior import WEIGHTS, load_weights
from gaussmith.synth.objects import load_objects
from gaussmith.synth.views import render_views
from tables import heading, markdown, stop_on_user_error

COUNT, PAGE = 24, 512  # pictures of a kind; side of those that are drawn
PHOTOS = ("astronaut", "camera", "chelsea", "coffee", "rocket", "coins", "brick", "grass", "gravel", "retina")
Draw = Callable[[ImageDraw.ImageDraw, np.random.Generator], None]


def prior_frame(picture: object) -> Tensor:
    """[4,64,64] premultiplied: what the prior sees of a user's picture."""
    rgba = prepare(picture).rgba
    premultiplied = torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], dim=-1).permute(2, 0, 1)
    return F.interpolate(crop_to_prior(premultiplied)[None], size=(SIDE, SIDE), mode="area")[0]


def drawn(draw: Draw, seed: int, paper: bool = False) -> Tensor:
    page = Image.new("RGBA", (PAGE, PAGE), (0, 0, 0, 0))
    if paper:
        ImageDraw.Draw(page).rectangle((80, 40, PAGE - 80, PAGE - 40), fill=(255, 255, 255, 255))
    draw(ImageDraw.Draw(page), np.random.default_rng(seed))
    return prior_frame(np.asarray(page))


def word(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    letters = "".join(random.choice(list(string.ascii_letters), random.integers(2, 8)).tolist())
    font = ImageFont.load_default(int(random.integers(60, 120)))
    draw.text((PAGE / 2, PAGE / 2), letters, (*random.integers(0, 200, 3).tolist(), 255), font, anchor="mm")


def lines_of_text(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    font = ImageFont.load_default(int(random.integers(16, 30)))
    for y in range(70, PAGE - 70, 30):
        letters = "".join(random.choice([*string.ascii_lowercase, " "], 26).tolist())
        draw.text((95, y), letters, (20, 20, 20, 255), font)


def scribble(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    """A closed curve and straight strokes, as a pen makes them."""
    width, phase = int(random.integers(3, 9)), random.uniform(0, 6)
    angle = np.linspace(0, 2 * np.pi, 90)
    curve = PAGE / 2 + 140 * np.stack([np.sin(random.integers(1, 4) * angle + phase), np.cos(2 * angle)], axis=1)
    draw.line([tuple(p) for p in curve.tolist()], (0, 0, 0, 255), width, joint="curve")
    for _ in range(4):
        draw.line(random.uniform(100, PAGE - 100, 4).tolist(), (0, 0, 0, 255), width)


def photograph(name: str) -> np.ndarray:
    """[512,512,3] in [0,1], the middle square of one of scikit-image's pictures."""
    picture = np.atleast_3d(getattr(skimage.data, name)())
    picture = np.broadcast_to(picture[..., :3], (*picture.shape[:2], 3))
    side = min(picture.shape[:2])
    top, left = ((n - side) // 2 for n in picture.shape[:2])
    square = Image.fromarray(np.ascontiguousarray(picture[top : top + side, left : left + side]))
    return np.asarray(square.resize((PAGE, PAGE)), np.float32) / 255


def in_disc(rgb: np.ndarray) -> Tensor:
    y, x = np.mgrid[:PAGE, :PAGE] - (PAGE - 1) / 2
    return prior_frame(np.concatenate([rgb, (np.hypot(x, y) < 180)[..., None]], axis=-1).astype(np.float32))


def filled(outline: Tensor, rgb: Tensor) -> Tensor:
    """The object of a picture [4,64,64] with other colours, to be broadcast to [3,64,64]."""
    return torch.cat([rgb.clamp(0, 1) * outline[3:], outline[3:]])


def changed(objects: list[Tensor], photos: list[np.ndarray]) -> dict[str, list[Tensor]]:
    """The objects' outlines, filled otherwise."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(1, 0, SIDE)
    light = 0.5 + 0.25 * (ramp[:, None] + ramp)
    small = [
        F.interpolate(torch.from_numpy(p).permute(2, 0, 1)[None], size=(SIDE, SIDE), mode="area")[0] for p in photos
    ]
    found: dict[str, list[Tensor]] = {}
    for number, picture in enumerate(objects):
        color = picture[:3] / picture[3:].clamp_min(1e-3)
        plain = picture[:3].sum(dim=(1, 2), keepdim=True) / picture[3:].sum()
        grain = 0.05 * torch.randn(3, SIDE, SIDE, generator=generator)
        for name, rgb in (
            ("objects, lit from one side", color * light),
            ("objects, one colour", plain),
            ("objects, grain of 5 %", color + grain),
            ("photographs in the objects' outlines", small[number % len(small)]),
            ("noise in the objects' outlines", torch.rand(3, SIDE, SIDE, generator=generator)),
        ):
            found.setdefault(name, []).append(filled(picture, rgb))
    return found


def kinds(objects: list[Tensor], cut_out: list[Path]) -> dict[str, list[Tensor]]:
    photos = [photograph(name) for name in PHOTOS]
    return {
        "validation objects": objects,
        "examples": [prior_frame(path) for path in sorted(PICTURES.glob("*.png"))],
        **changed(objects, photos),
        "photographs in a disc": [in_disc(photo) for photo in photos],
        **({"cut-out photographs": [prior_frame(path) for path in cut_out]} if cut_out else {}),
        "words": [drawn(word, i) for i in range(COUNT)],
        "pages of text": [drawn(lines_of_text, i, paper=True) for i in range(COUNT)],
        "line drawings": [drawn(scribble, i) for i in range(COUNT)],
        "line drawings on paper": [drawn(scribble, i, paper=True) for i in range(COUNT)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=Path, default=Path("../shared/data/objects.npz"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--photos", type=Path, help="folder of cut-out photographs (.png with alpha)")
    parser.add_argument("--out", type=Path, default=Path("out/domain"))
    args = parser.parse_args()
    objects, prior = load_objects(args.objects), load_weights(args.weights)
    if prior.domain is None:
        raise UserError(f"{args.weights} does not say what it learned from; export it again with train-prior")
    validation = []
    for index in validation_order(objects).tolist():
        random = np.random.default_rng([2, index])
        view = render_views(objects.mesh(index), random.uniform(-60, 60, 1), random.uniform(0, 30, 1), SIDE)
        validation.append(torch.from_numpy(view[0]).permute(2, 0, 1).float() / 255)
    photos = sorted(args.photos.glob("*.png")) if args.photos else []
    rows, sheet = [], []
    for name, pictures in kinds(validation, photos).items():
        distances = [domain_distance(prior, p) for p in pictures]
        percentile, far = (np.mean([getattr(d, key) for d in distances]) for key in ("percentile", "far"))
        rows.append([name, str(len(pictures)), f"{percentile:.0f}", f"{100 * far:.0f} %"])
        shown = [pictures[i % len(pictures)] for i in range(12)]
        sheet.append(torch.cat([on_white(p.permute(1, 2, 0)) for p in shown], dim=1))
    print(heading())
    print(markdown(["pictures", "count", "mean percentile", "called far"], rows))
    save_image(args.out / "domain.png", torch.cat(sheet).clamp(0, 1))


if __name__ == "__main__":
    stop_on_user_error(main)
