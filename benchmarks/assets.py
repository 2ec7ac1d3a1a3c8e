"""Picture to GLB, end to end: how good the whole is on the examples and on validation objects.

    python benchmarks/assets.py [--objects PATH/objects.npz] [--no-examples] [--validation 20] [--preset standard]
                                [--framing given] [--symmetry auto] [--only chest,...] [--weights FILE] [--out DIR]
                                [--resume]

Each picture goes through the public API into a .glb, which is read back and drawn unlit. Over 24 unseen views at 192 px
on white (elevation -20 to 45): PSNR (dB), SSIM, IoU of alpha and LPIPS (AlexNet; "-" where its weights are not
installed, see `gaussmith.metrics.lpips`), each also for repeating the input at every view; PSNR of a white picture.
Of the surfaces, as far as they can be seen from outside: Chamfer distance in world units (an object is 1.2 across) and
F-score at 0.02. Janus: how much more the back looks like the front than the truth's does. Reference: the view of the
input, at 512 px. Seconds: from the picture to the mesh in memory.

Framing: "given" takes picture and elevation as the reference camera has them; "outline" centres the outline, "placed"
the object's box as the prior sees it, and "guessed" guesses the elevation too, as `gaussmith image` does. Assets are
moved back to where the true object stands before they are compared.

Symmetry: "auto" takes mirrored pictures as the prior finds the planes, "none" takes none, "known" those whose mirrored
pictures are best, judged by the true object: what a perfect eye for planes would bring.

Writes NAME.glb and NAME.png (input, six turned views above the truth's) to --out, examples.png and validation.png with
all of them, and assets.json, from which --resume goes on after the last finished object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from cases import FRAMINGS, Case, example_cases, framed, moved_back, repeated, validation_cases
from gaussmith import api
from gaussmith.camera import PRIOR_FOVY, orbit
from gaussmith.events import UserError
from gaussmith.io.atomic import write_bytes
from gaussmith.io.image import load_image, save_image
from gaussmith.mesh import Mesh
from gaussmith.metrics import chamfer, compare_views, f_score, janus_score, opposite_views, surface_points
from gaussmith.metrics.lpips import Lpips, load_lpips
from gaussmith.metrics.novel_views import on_white
from gaussmith.preview import contact_sheet
from gaussmith.priors.base import crop_to_prior
from gaussmith.priors.embedded.prior import WEIGHTS, load_weights
from gaussmith.priors.embedded.symmetry import FARTHEST, MOST, Plane, apart, usable
from gaussmith.recipes.dreamgaussian import PRESETS
from gaussmith.render.mesh import rasterize_mesh
from gaussmith.synth.objects import load_objects
from gaussmith.views import baking_ring
from oracle import rgba, unseen_cameras
from symmetry import worth
from tables import heading, markdown, stop_on_user_error

F_THRESHOLD = 0.02  # a sixtieth of the object: what eyes begin to see at 192 px
KNOWN_WORTH = 1.5  # dB that a mirrored picture must be better than the draft to be taken with --symmetry known
DOUBLED = 0.2  # Janus score from which an object is named below the table; a face painted on twice has about 0.6
# Points spread over each surface (they lie about 0.004 apart), and how far behind what a view shows a point may lie.
POINTS, BEHIND = 20_000, 0.015
PANEL, TURNS = 128, torch.arange(6) * 60.0

# Title, key and format of each column.
COLUMNS = (
    ("PSNR", "psnr", ".2f"), ("SSIM", "ssim", ".3f"), ("IoU", "iou", ".3f"), ("LPIPS", "lpips", ".3f"),
    ("Chamfer", "chamfer", ".4f"), ("F-score", "f_score", ".3f"), ("Janus", "janus", "+.3f"),
    ("worst view", "worst", ".2f"), ("reference PSNR", "reference_psnr", ".2f"),
    ("reference IoU", "reference_iou", ".3f"), ("repeat PSNR", "repeat_psnr", ".2f"),
    ("repeat SSIM", "repeat_ssim", ".3f"), ("repeat IoU", "repeat_iou", ".3f"),
    ("repeat LPIPS", "repeat_lpips", ".3f"), ("white PSNR", "white_psnr", ".2f"),
    ("elevation off by", "elevation", "+.1f"), ("s", "seconds", ".1f"),
)  # fmt: skip

GROUPS = ("examples", "validation")
Figures = dict[str, Any]


def figures(case: Case, made: Mesh, lpips: Lpips | None) -> Figures:
    """What can be told by comparing the made mesh with the true one."""
    cameras = unseen_cameras()
    truth, seen = rgba(case.mesh, cameras), rgba(made, cameras)
    copy = repeated(case, truth)
    ours, copies = compare_views(seen, truth), compare_views(copy, truth)
    fronts, backs = (side.camera() for side in opposite_views())
    ours_outside, true_outside = (outside(m, np.random.default_rng(i)) for i, m in enumerate((made, case.mesh)))
    return {
        **{key: float(getattr(ours, key).mean()) for key in ("psnr", "ssim", "iou")},
        "lpips": distance(lpips, seen, truth),
        "chamfer": chamfer(ours_outside, true_outside),
        "f_score": f_score(ours_outside, true_outside, F_THRESHOLD),
        "janus": float(janus_score(*(rgba(mesh, side) for mesh in (made, case.mesh) for side in (fronts, backs)))),
        "worst": float(ours.psnr.min()),
        **{f"repeat_{key}": float(getattr(copies, key).mean()) for key in ("psnr", "ssim", "iou")},
        "repeat_lpips": distance(lpips, copy, truth),
        "white_psnr": float(compare_views(torch.zeros_like(truth), truth).psnr.mean()),
    }


def outside(mesh: Mesh, generator: np.random.Generator) -> np.ndarray:
    """[N,3] points spread evenly over what 26 views show of a surface: many true objects have walls inside, up to half
    of their area, that no picture tells of."""
    points = surface_points(mesh, POINTS, generator)
    cameras = baking_ring(size=256).camera()
    depth = rasterize_mesh(mesh.vertices, mesh.faces, cameras).depth
    x, y, z = cameras.project(torch.from_numpy(points).float()).unbind(dim=-1)
    row, column = (pixel.long().clamp(0, 255) for pixel in (y, x))
    shown = depth[torch.arange(len(cameras))[:, None], row, column]
    seen = (z < shown + BEHIND) | (shown == 0)  # beside the silhouette by a rounding: on the rim
    return points[seen.any(dim=0).numpy()]


def distance(lpips: Lpips | None, seen: Tensor, truth: Tensor) -> float | None:
    return None if lpips is None else float(lpips(on_white(seen), on_white(truth)).mean())


def strip(case: Case, made: Mesh) -> Tensor:
    """[256,896,3]: the input, then the made object from six sides above the true one."""
    side = crop_to_prior(case.premultiplied().permute(2, 0, 1))[None]
    picture = torch.nn.functional.interpolate(side, size=(PANEL, PANEL), mode="area")[0].permute(1, 2, 0)
    cameras = orbit(TURNS, case.elevation, fovy=PRIOR_FOVY, width=PANEL)
    rows = [torch.cat(list(on_white(rgba(mesh, cameras))), dim=1) for mesh in (made, case.mesh)]
    left = [on_white(picture), torch.ones(PANEL, PANEL, 3)]
    return torch.cat([torch.cat(pair, dim=1) for pair in zip(left, rows)]).clamp(0, 1)


def best_planes(case: Case, prior: Any) -> tuple[Plane, ...]:
    """The planes whose mirrored pictures are nearest to the true views, chosen as `symmetry.find_planes` chooses."""
    planes = torch.arange(-FARTHEST, FARTHEST + 1, 2.0)
    planes = planes[usable(planes)]
    found, taken = worth(case, prior, planes), []
    for best in found.argsort(descending=True).tolist():
        plane = Plane(float(planes[best]), float(found[best]))
        if plane.worth < KNOWN_WORTH or len(taken) == MOST:
            break
        if apart(plane, taken):
            taken.append(plane)
    return tuple(taken)


def work(case: Case, args: argparse.Namespace, prior: Any, lpips: Lpips | None) -> Figures:
    """Make, save, read back and measure one asset."""
    path = args.out / f"{case.name}.glb"
    symmetry = "none" if args.symmetry == "none" else "auto"
    if args.symmetry == "known":
        planes = best_planes(case, prior)
        prior.mirror_planes = lambda condition: planes
    start = time.perf_counter()
    view = framed(case, args.framing)
    result = api.image_to_3d(view, preset=args.preset, prior=prior, symmetry=symmetry)
    seconds = time.perf_counter() - start
    api.save(result.mesh, path)
    made = api.load(path)
    assert isinstance(made, Mesh)
    made = made if args.framing == "given" else moved_back(made, view, case)
    save_image(path.with_suffix(".png"), strip(case, made))
    reference = {f"reference_{key}": result.report["reference"][key] for key in ("psnr", "iou")}
    return {**figures(case, made, lpips), **reference, "elevation": view.elevation - case.elevation, "seconds": seconds}


def table(done: dict[str, Figures]) -> str:
    """A row an object, then the means of each group and of all."""
    groups = {group: [f for f in done.values() if f["group"] == group] for group in GROUPS}
    means = {f"mean of {group}, {len(rows)}": mean(rows) for group, rows in groups.items() if rows}
    if len(means) > 1:
        means[f"mean of all, {len(done)}"] = mean(list(done.values()))
    rows = [[name, *(cell(f[key], style) for _, key, style in COLUMNS)] for name, f in {**done, **means}.items()]
    doubled = [name for name, f in done.items() if f["janus"] > DOUBLED]
    text = markdown(["object", *(title for title, _, _ in COLUMNS)], rows)
    return f"{text}\n\nJanus score above {DOUBLED}: {', '.join(doubled) or 'none'}"


def mean(rows: list[Figures]) -> Figures:
    columns = {key: [row[key] for row in rows] for _, key, _ in COLUMNS}
    return {key: None if None in values else sum(values) / len(values) for key, values in columns.items()}


def cell(value: float | None, style: str) -> str:
    return "-" if value is None else f"{value:{style}}"


def stored(path: Path, settings: dict[str, str], resume: bool) -> dict[str, Figures]:
    """The finished objects of an interrupted run of the same settings."""
    if not (resume and path.exists()):
        return {}
    try:
        record = json.loads(path.read_text())
        before, done = record["settings"], record["objects"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a record of this benchmark; choose another --out") from error
    if before != settings:
        raise UserError(f"{path} was made with {before}, not {settings}; choose another --out or leave out --resume")
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=Path, default=Path("../shared/data/objects.npz"))
    parser.add_argument("--examples", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--validation", type=int, default=20, help="number of validation objects")
    parser.add_argument("--preset", default="standard", choices=PRESETS)
    parser.add_argument("--symmetry", default="auto", choices=("auto", "none", "known"))
    parser.add_argument("--framing", default="given", choices=FRAMINGS)
    parser.add_argument("--only", default="", help="names of examples, comma-separated")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--out", type=Path, default=Path("out/assets"))
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    objects = load_objects(args.objects)
    weights = hashlib.sha256(args.weights.read_bytes()).hexdigest()[:12] if args.weights.is_file() else "missing"
    settings = {"preset": args.preset, "weights": weights, "symmetry": args.symmetry, "framing": args.framing}
    record = args.out / "assets.json"
    done = stored(record, settings, args.resume)
    prior = load_weights(args.weights)
    try:
        lpips = load_lpips("alex")
    except UserError as error:
        lpips = None
        print(error, file=sys.stderr)
    only = set(args.only.split(",")) - {""}
    cases = (
        example_cases(objects, only) if args.examples else (),
        () if only else validation_cases(objects, args.validation),
    )
    args.out.mkdir(parents=True, exist_ok=True)
    for group, members in zip(GROUPS, cases):
        for case in members:
            if case.name not in done:
                done[case.name] = {"group": group, **work(case, args, prior, lpips)}
                write_bytes(record, json.dumps({"settings": settings, "objects": done}, indent=1).encode())
                print(
                    f"{case.name}: {done[case.name]['psnr']:.2f} dB, {done[case.name]['seconds']:.0f} s",
                    file=sys.stderr,
                )
    print(heading())
    print(f"Preset {args.preset}, weights {weights}, symmetry {args.symmetry}, framing {args.framing}\n")
    print(table(done))
    for group in GROUPS:
        names = [name for name, f in done.items() if f["group"] == group and (args.out / f"{name}.png").exists()]
        strips = [torch.from_numpy(load_image(args.out / f"{name}.png")[..., :3]) for name in names]
        if strips:
            labels = [f"{name}, {done[name]['psnr']:.1f} dB, IoU {done[name]['iou']:.2f}" for name in names]
            save_image(args.out / f"{group}.png", contact_sheet(strips, labels, columns=2))


if __name__ == "__main__":
    stop_on_user_error(main)
