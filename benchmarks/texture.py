"""What each part of the texture brings: one mesh an object, several textures.

    python benchmarks/texture.py [--objects PATH/objects.npz] [--validation 9] [--examples chest,...]
                                 [--preset standard] [--out DIR]

Each object is made up to its mesh and first texture by the preset, as framed and without a mirrored picture. Then its
texture is made by each variant: from renders of the Gaussians alone; with the picture laid over them; with stage 2 of
the preset after that; with as many steps of a constant rate of 0.5; and with stage 2 after the renders alone. PSNR
(dB), SSIM and LPIPS ("-" where its weights are not installed) over the 24 unseen views of `benchmarks/assets.py`, PSNR
of the reference view, and seconds. Writes NAME.png to --out: a row a variant, seen from six sides.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from cases import Case, example_cases, framed, validation_cases
from gaussmith.camera import PRIOR_FOVY, orbit
from gaussmith.events import UserError
from gaussmith.io.image import save_image
from gaussmith.mesh import Mesh
from gaussmith.metrics import compare_views
from gaussmith.metrics.lpips import Lpips, load_lpips
from gaussmith.metrics.novel_views import on_white
from gaussmith.priors.embedded.prior import EmbeddedPrior, load_weights
from gaussmith.recipes import dreamgaussian
from gaussmith.synth.objects import load_objects
from gaussmith.texture.bake_splat import texture_from_gaussians
from gaussmith.train.figures import reference_figures
from gaussmith.train.subject import Subject, tell
from gaussmith.train.texture import RefineConfig, refine_texture
from oracle import rgba, unseen_cameras
from tables import heading, markdown, stop_on_user_error

SIDE, TURNS = 160, torch.arange(6) * 60.0


def variants(
    case: Case, preset: dreamgaussian.Config, prior: EmbeddedPrior
) -> tuple[Subject, dict[str, Callable[[], Mesh]]]:
    """The subject, and how each texture of its mesh is made."""
    subject = Subject((framed(case, "given"),))
    plain = replace(preset, mirror=0.0, refine=replace(preset.refine, steps=0))
    made = dreamgaussian.run(plain, subject, prior)
    condition, view = tell(prior, subject), subject.views[0]
    side = dreamgaussian.BAKE_SIZE
    picture = view.camera(side), view.premultiplied(side)[None]

    def textured(laid: bool, stage: RefineConfig | None) -> Mesh:
        mesh, _ = texture_from_gaussians(
            made.mesh, made.gaussians, preset.texture_size, view_size=side, pictures=picture if laid else None
        )
        if stage is None:
            return mesh
        return refine_texture(mesh, subject, prior, condition, stage, prior.guidance_scale, lambda *_: None)

    constant = replace(preset.refine, rate=(0.5, 0.5))
    return subject, {
        "renders alone": lambda: textured(False, None),
        "the picture laid over them": lambda: textured(True, None),
        "then stage 2": lambda: textured(True, preset.refine),
        "then stage 2, constant rate": lambda: textured(True, constant),
        "renders alone, then stage 2": lambda: textured(False, preset.refine),
    }


def figures(mesh: Mesh, case: Case, subject: Subject, lpips: Lpips | None) -> list[float | None]:
    """PSNR, SSIM and LPIPS of unseen views, and PSNR of the reference view."""
    seen, truth = (rgba(m, unseen_cameras()) for m in (mesh, case.mesh))
    views = compare_views(seen, truth)
    distance = None if lpips is None else float(lpips(on_white(seen), on_white(truth)).mean())
    return [
        float(views.psnr.mean()),
        float(views.ssim.mean()),
        distance,
        reference_figures(mesh, subject.views[0])["psnr"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=Path, default=Path("../shared/data/objects.npz"))
    parser.add_argument("--validation", type=int, default=9, help="number of validation objects")
    parser.add_argument("--examples", default="chest", help="names of examples, comma-separated")
    parser.add_argument("--preset", default="standard", choices=dreamgaussian.PRESETS)
    parser.add_argument("--out", type=Path, default=Path("out/texture"))
    args = parser.parse_args()
    objects, prior = load_objects(args.objects), load_weights()
    try:
        lpips = load_lpips("alex")
    except UserError as error:
        lpips = None
        print(error, file=sys.stderr)
    only = set(args.examples.split(",")) - {""}
    cases = [*(example_cases(objects, only) if only else ()), *validation_cases(objects, args.validation)]
    args.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[list[float | None]]] = {}
    for case in cases:
        subject, textures = variants(case, dreamgaussian.PRESETS[args.preset], prior)
        cameras, strips = orbit(TURNS, case.elevation, fovy=PRIOR_FOVY, width=SIDE), []
        for name, texture in textures.items():
            start = time.perf_counter()
            mesh = texture()
            seconds = time.perf_counter() - start
            rows.setdefault(name, []).append([*figures(mesh, case, subject, lpips), seconds])
            strips.append(torch.cat(list(on_white(rgba(mesh, cameras))), dim=1))
        save_image(args.out / f"{case.name}.png", torch.cat(strips).clamp(0, 1))
        print(case.name, file=sys.stderr)
    print(heading())
    print(f"Preset {args.preset}, means of {len(cases)} objects\n")
    titles = ["texture", "PSNR", "SSIM", "LPIPS", "reference PSNR", "s"]
    table = []
    for name, each in rows.items():
        means = [None if None in column else sum(column) / len(column) for column in zip(*each)]  # type: ignore[arg-type]
        styles = (".2f", ".4f", ".4f", ".2f", ".1f")
        table.append([name, *("-" if m is None else f"{m:{style}}" for m, style in zip(means, styles))])
    print(markdown(titles, table))


if __name__ == "__main__":
    stop_on_user_error(main)
